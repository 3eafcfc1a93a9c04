"""A capture small enough for tests: a ball and a box on a ground, ray-traced with numpy, with the truth beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

WIDTH, HEIGHT, VIEWS = 80, 60, 20
FOCAL = 87.0  # pixels; 49 degrees across
SUPERSAMPLES = 3  # per side of a pixel: edges in the photos are as soft as a real lens's
GROUND, BALL, BOX = 0, 1, 2
BALL_CENTRE, BALL_RADIUS = np.array([-0.45, 0.0, 0.4]), 0.4
BOX_CENTRE, BOX_HALF = np.array([0.55, 0.15, 0.3]), np.array([0.25, 0.35, 0.3])
ORBIT_RADIUS, LOOK_AT = 3.0, np.array([0.0, 0.0, 0.25])
LIGHT = np.array([0.4, -0.5, 0.77]) / np.linalg.norm([0.4, -0.5, 0.77])


@dataclass(frozen=True)
class TinyCapture:
    """Where a tiny capture lies and what is true of it.

    ``names`` are the photos' ("images/000.png"), in order. ``masks`` maps "ball" and "box" to bool [20, 60, 80], true
    where most of a pixel shows the object. ``world_from_camera`` is float64 [20, 4, 4] in OpenGL's axes.
    """

    folder: Path
    names: tuple[str, ...]
    masks: dict[str, np.ndarray]
    world_from_camera: np.ndarray

    def centre_px(self, thing: str, view: int) -> tuple[float, float]:
        """(x, y) of the visible pixel centre furthest inside an object: where a person would click."""
        from scipy import ndimage

        inside = ndimage.distance_transform_edt(np.pad(self.masks[thing][view], 1))[1:-1, 1:-1]
        y, x = np.unravel_index(int(np.argmax(inside)), inside.shape)
        return float(x) + 0.5, float(y) + 0.5


def write_tiny_capture(folder: Path) -> TinyCapture:
    """Renders the scene and writes transforms.json, images/, masks/ (uint8 object index), objects.json and meshes/."""
    for name in ("images", "masks", "meshes"):
        (folder / name).mkdir(parents=True)
    poses = np.stack([_look_at(_camera_position(i)) for i in range(VIEWS)])
    names, frames, indices = [], [], []
    for i, pose in enumerate(poses):
        colour, index = _render(pose)
        name = f"images/{i:03d}.png"
        Image.fromarray((colour * 255.0).round().astype(np.uint8)).save(folder / name)
        Image.fromarray(index.astype(np.uint8)).save(folder / "masks" / f"{i:03d}.png")
        names.append(name)
        indices.append(index)
        frames.append({"file_path": name, "transform_matrix": pose.tolist()})
    camera = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    written = {"camera_model": "PINHOLE", **camera, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(written), encoding="utf-8")
    (folder / "objects.json").write_text(json.dumps({"ball": BALL, "box": BOX}), encoding="utf-8")
    _true_ball().export(folder / "meshes" / "ball.ply")
    _true_box().export(folder / "meshes" / "box.ply")
    stacked = np.stack(indices)
    return TinyCapture(folder, tuple(names), {"ball": stacked == BALL, "box": stacked == BOX}, poses)


def _true_ball() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(4, BALL_RADIUS).apply_translation(BALL_CENTRE)


def _true_box() -> trimesh.Trimesh:
    return trimesh.creation.box(2.0 * BOX_HALF).apply_translation(BOX_CENTRE)


def _camera_position(i: int) -> np.ndarray:
    """On two interleaved rings, so that heights vary as well as sides."""
    angle = 2.0 * np.pi * i / VIEWS
    height = np.deg2rad(28.0 if i % 2 else 48.0)
    around = [np.cos(height) * np.cos(angle), np.cos(height) * np.sin(angle), np.sin(height)]
    return LOOK_AT + ORBIT_RADIUS * np.array(around)


def _look_at(position: np.ndarray) -> np.ndarray:
    back = (position - LOOK_AT) / np.linalg.norm(position - LOOK_AT)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return pose


def _render(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour [H, W, 3] in [0, 1] and object index [H, W] of one view."""
    n = SUPERSAMPLES
    x = (np.arange(WIDTH * n) + 0.5) / n
    y = (np.arange(HEIGHT * n) + 0.5) / n
    px, py = np.meshgrid(x, y)
    rays = np.stack([(px - WIDTH / 2) / FOCAL, -(py - HEIGHT / 2) / FOCAL, -np.ones_like(px)], axis=-1).reshape(-1, 3)
    rays_d = rays @ pose[:3, :3].T
    rays_d /= np.linalg.norm(rays_d, axis=1, keepdims=True)
    colour, index = _trace(pose[:3, 3], rays_d)
    colour = colour.reshape(HEIGHT, n, WIDTH, n, 3).mean(axis=(1, 3))
    split = index.reshape(HEIGHT, n, WIDTH, n)
    share = np.stack([(split == thing).mean(axis=(1, 3)) for thing in (GROUND, BALL, BOX)])
    return colour, share.argmax(axis=0)


def _trace(origin: np.ndarray, rays_d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour [R, 3] and object index [R] along rays from one point."""
    # Every ray looks down on the ground or past its horizon; past it the sky takes its place, far away.
    distance, normal = np.full(len(rays_d), np.inf), np.tile([0.0, 0.0, 1.0], (len(rays_d), 1))
    down = rays_d[:, 2] < -1e-6
    distance[down] = -origin[2] / rays_d[down, 2]
    index = np.full(len(rays_d), GROUND)

    t = _hit_ball(origin, rays_d)
    nearer = t < distance
    distance[nearer], index[nearer] = t[nearer], BALL
    points = origin + np.where(np.isfinite(distance), distance, 0.0)[:, None] * rays_d
    normal[nearer] = (points[nearer] - BALL_CENTRE) / BALL_RADIUS

    t, box_normal = _hit_box(origin, rays_d)
    nearer = t < distance
    distance[nearer], index[nearer], normal[nearer] = t[nearer], BOX, box_normal[nearer]

    points = origin + np.where(np.isfinite(distance), distance, 0.0)[:, None] * rays_d
    shade = 0.45 + 0.55 * np.clip(normal @ LIGHT, 0.0, 1.0)
    colour = _texture(points, index) * shade[:, None]
    colour[~np.isfinite(distance)] = (0.75, 0.85, 0.95)
    return np.clip(colour, 0.0, 1.0), index


def _hit_ball(origin: np.ndarray, rays_d: np.ndarray) -> np.ndarray:
    from_centre = origin - BALL_CENTRE
    half_b = rays_d @ from_centre
    inside = half_b**2 - (from_centre @ from_centre - BALL_RADIUS**2)
    t = -half_b - np.sqrt(np.maximum(inside, 0.0))
    return np.where((inside > 0.0) & (t > 0.0), t, np.inf)


def _hit_box(origin: np.ndarray, rays_d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    safe = np.where(np.abs(rays_d) < 1e-12, 1e-12, rays_d)
    low, high = (BOX_CENTRE - BOX_HALF - origin) / safe, (BOX_CENTRE + BOX_HALF - origin) / safe
    enters = np.minimum(low, high)
    t_in, t_out = enters.max(axis=1), np.maximum(low, high).min(axis=1)
    axis = enters.argmax(axis=1)
    normal = np.zeros_like(rays_d)
    rows = np.arange(len(rays_d))
    normal[rows, axis] = -np.sign(rays_d[rows, axis])
    return np.where((t_in < t_out) & (t_in > 0.0), t_in, np.inf), normal


def _texture(points: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Smooth patterns in world space, others for each thing: something for a field to hold on to. Colour [R, 3]."""
    x, y, z = points.T
    waves = {
        GROUND: 0.5 + 0.25 * np.sin(5.0 * x) + 0.25 * np.sin(4.0 * y + 1.0),
        BALL: 0.5 + 0.5 * np.sin(9.0 * z) * np.cos(7.0 * x + 5.0 * y),
        BOX: 0.5 + 0.5 * np.sin(10.0 * (x + z)) * np.sin(10.0 * (y - z)),
    }
    colours = {
        GROUND: ((0.35, 0.40, 0.35), (0.60, 0.62, 0.55)),
        BALL: ((0.80, 0.15, 0.10), (1.00, 0.55, 0.20)),
        BOX: ((0.10, 0.20, 0.70), (0.35, 0.60, 0.95)),
    }
    colour = np.empty((len(points), 3))
    for thing, (dark, light) in colours.items():
        here = index == thing
        wave = waves[thing][here, None]
        colour[here] = np.array(dark) * (1.0 - wave) + np.array(light) * wave
    return colour
