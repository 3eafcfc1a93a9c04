"""Photos of a ball and a cube with known paint, worked out ray by ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import trimesh

from engine.captures.capture import Camera
from engine.meshing.colours import PhotoForColour

SIZE = 160
SIX = [(4.0, 0.5, 0.3), (-4.0, 0.5, 0.5), (0.3, 4.0, 0.6), (0.2, -4.0, 1.0), (0.1, 0.5, 4.0), (0.1, 0.4, -4.0)]
EIGHT = [(x, y, z) for x in (-2.3, 2.3) for y in (-2.3, 2.3) for z in (-2.3, 2.3)]
AROUND: list[tuple[float, float, float]] = [*SIX, *EIGHT]

Paint = Callable[[np.ndarray], np.ndarray]


def camera_at(position: Sequence[float], size: int = SIZE) -> Camera:
    """Looks at the origin, Z up."""
    back = np.array(position, dtype=np.float64)
    back /= np.linalg.norm(back)
    right = np.cross((0.0, 0.0, 1.0), back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = position
    return Camera(size, size, 1.25 * size, 1.25 * size, size / 2, size / 2, pose)


def smooth_paint(points: np.ndarray) -> np.ndarray:
    """Colours [..., 3] of points of the ball or the cube: never dark, at most 0.7 a unit in steepness."""
    return 0.5 + 0.35 * np.asarray(points)


def _rays(camera: Camera) -> np.ndarray:
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    local = np.stack([(x - camera.cx) / camera.fl_x, -(y - camera.cy) / camera.fl_y, -np.ones_like(x)], axis=-1)
    return local @ camera.world_from_camera[:3, :3].T


def _photo(camera: Camera, rays_d: np.ndarray, depth: np.ndarray, paint: Paint) -> PhotoForColour:
    hit = depth > 0
    points = camera.position + depth[..., None] * rays_d
    rgb = np.where(hit[..., None], paint(points), 0.0).astype(np.float32)
    return PhotoForColour(camera, rgb, depth.astype(np.float32), hit.astype(np.float32))


def photo_of_ball(position: Sequence[float], paint: Paint = smooth_paint, size: int = SIZE) -> PhotoForColour:
    """Of the ball of radius 1 around the origin, on black."""
    camera = camera_at(position, size)
    rays_d = _rays(camera)
    a = (rays_d**2).sum(-1)
    b = rays_d @ camera.position
    root = b * b - a * (camera.position @ camera.position - 1.0)
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0.0))) / a, 0.0)
    return _photo(camera, rays_d, depth, paint)


def photo_of_cube(position: Sequence[float], paint: Paint = smooth_paint, size: int = SIZE) -> PhotoForColour:
    """Of the cube from -0.8 to 0.8, on black."""
    camera = camera_at(position, size)
    rays_d = _rays(camera)
    safe = np.where(np.abs(rays_d) < 1e-12, 1e-12, rays_d)
    first, second = (-0.8 - camera.position) / safe, (0.8 - camera.position) / safe
    enter, leave = np.minimum(first, second).max(axis=-1), np.maximum(first, second).min(axis=-1)
    return _photo(camera, rays_d, np.where(enter < leave, enter, 0.0), paint)


def ball(subdivisions: int = 4) -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions, 1.0)


def cube(subdivisions: int = 3) -> trimesh.Trimesh:
    """As photographed, of so many triangles that vertex normals are only round at its edges."""
    mesh = trimesh.creation.box((1.6, 1.6, 1.6))
    for _ in range(subdivisions):
        mesh = mesh.subdivide()
    return mesh


def looked_up(mesh: trimesh.Trimesh, count: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random places of a textured mesh: (points [N, 3], colours [N, 3] as a renderer reads them, faces [N])."""
    random = np.random.default_rng(3)
    face = random.choice(len(mesh.faces), count, p=mesh.area_faces / mesh.area)
    weights = random.dirichlet((1.0, 1.0, 1.0), count)
    corners = np.asarray(mesh.faces)[face]
    points = np.einsum("nk,nkc->nc", weights, np.asarray(mesh.vertices)[corners])
    uv = np.einsum("nk,nkc->nc", weights, np.asarray(mesh.visual.uv)[corners])
    return points, bilinear(np.asarray(mesh.visual.material.baseColorTexture), uv), face


def bilinear(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """An image [S, S, 3] of bytes at uv [N, 2] (v upwards), in [0, 1]."""
    size = image.shape[0]
    place = np.clip(np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1) * size - 0.5, 0.0, size - 1.0)
    low = np.minimum(place.astype(int), size - 2)
    x, y = (place - low).T[..., None]
    (c, r), values = low.T, image / 255.0
    top = values[r, c] * (1 - x) + values[r, c + 1] * x
    return top * (1 - y) + (values[r + 1, c] * (1 - x) + values[r + 1, c + 1] * x) * y
