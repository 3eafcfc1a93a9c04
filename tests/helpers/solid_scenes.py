"""Solids on a ground as a perfect field would hold them, with what cameras around them see: meshes without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import trimesh

from engine.captures.capture import Camera
from engine.captures.rays import rays_through
from engine.fields.contraction import Contraction
from engine.fields.volume import DensityVolume
from engine.lifting.voxels import VoxelGrid
from engine.meshing.colours import PhotoForColour
from engine.meshing.from_field import DepthView, SurfaceSettings, object_mesh
from engine.progress import Job

__all__ = ["AABB", "CELL", "SolidScene", "ball_at", "in_front", "ring", "solid_scene"]

AABB = np.array([[-1.0, -1.0, -0.2], [1.0, 1.0, 1.0]])
NODES = (41, 41, 25)
CELL = 0.05
STONE = 80.0  # density per unit: light is gone within a cell
HALF_ABSORBED = float(np.log(2)) / (SurfaceSettings().absorb_cells * CELL)  # at which a mesh has its surface
SIDE_PX = 112
FOCAL = 130.0

Distance = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SolidScene:
    """A field of stone, the voxels that hold it, each one's probability to be the object's, and what cameras see."""

    volume: DensityVolume
    voxels: VoxelGrid
    probability: np.ndarray
    views: list[DepthView]
    photos: list[PhotoForColour]

    def mesh(self, job: Job | None = None, level: float = 0.5, faces: int | None = None) -> trimesh.Trimesh:
        """The object's mesh, as the main job makes it."""
        seen = np.ones(self.voxels.count, bool)
        settings = SurfaceSettings(faces=faces, most=60)
        return object_mesh(
            self.volume, self.voxels, self.probability, seen, self.views, self.photos, settings, job or Job(), level
        )


def ball_at(centre: Sequence[float], radius: float) -> Distance:
    """The signed distance of points [N, 3] to a ball, negative inside."""
    return lambda points: np.linalg.norm(points - np.array(centre), axis=-1) - radius


def ring(count: int = 12, elevation: float = 35.0, look_at: Sequence[float] = (0.0, 0.0, 0.3)) -> list[Camera]:
    """Cameras all around, looking down onto a place from ``elevation`` degrees."""
    turns = 2 * np.pi * np.arange(count) / count
    return [_camera(turn, elevation, look_at) for turn in turns]


def in_front(count: int = 5, look_at: Sequence[float] = (0.0, 0.0, 0.3)) -> list[Camera]:
    """Cameras side by side, all on the side of -Y."""
    return [_camera(-np.pi / 2 + turn, 15.0, look_at) for turn in np.linspace(-0.25, 0.25, count)]


def _camera(turn: float, elevation: float, look_at: Sequence[float]) -> Camera:
    up = np.radians(elevation)
    back = np.array([np.cos(turn) * np.cos(up), np.sin(turn) * np.cos(up), np.sin(up)])
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, np.array(look_at) + 3.0 * back], axis=1)
    return Camera(SIDE_PX, SIDE_PX, FOCAL, FOCAL, SIDE_PX / 2, SIDE_PX / 2, pose)


def solid_scene(thing: Distance | None, cameras: Sequence[Camera], ground: float | None = 0.0) -> SolidScene:
    """A ``thing`` (its signed distance; None: nothing at all) on a ground at that height (None: in the air)."""

    def apart(points: np.ndarray) -> np.ndarray:
        return np.full(points.shape[:-1], 9.0) if thing is None else thing(points)

    def everything(points: np.ndarray) -> np.ndarray:
        return apart(points) if ground is None else np.minimum(apart(points), points[..., 2] - ground)

    axes = [np.linspace(low, high, n) for low, high, n in zip(*AABB, NODES, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    # Interpolated between nodes as distances are, so that the surface lies where it should, and turns to stone below.
    features = np.clip(HALF_ABSORBED - STONE * everything(points) / CELL, -100.0, STONE)
    box = torch.from_numpy(AABB).float()
    volume = DensityVolume(torch.from_numpy(features).float(), Contraction(box), 0.0, 1.0)
    voxels = VoxelGrid.from_volume(volume)
    centres = voxels.centres()
    below = np.full(len(centres), 9.0) if ground is None else centres[:, 2] - ground
    probability = (apart(centres) < below).astype(np.float32)
    seen = [_seen(everything, apart, camera) for camera in cameras]
    views = [DepthView(camera, depth) for camera, (depth, _) in zip(cameras, seen, strict=True)]
    photos = [
        PhotoForColour(camera, np.full((SIDE_PX, SIDE_PX, 3), 0.6, np.float32), depth, mask)
        for camera, (depth, mask) in zip(cameras, seen, strict=True)
    ]
    return SolidScene(volume, voxels, probability, views, photos)


def _seen(everything: Distance, thing: Distance, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Depth (0: nothing, or outside of the region) and the object's mask, both float32 [H, W], by sphere tracing."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays_o, rays_d = rays_through(camera, np.stack([x.ravel(), y.ravel()], 1))
    unit = rays_d / np.linalg.norm(rays_d, axis=1, keepdims=True)
    points = rays_o.copy()
    for _ in range(120):
        points = points + np.clip(everything(points), 0.0, 0.5)[:, None] * unit
    hit = (np.abs(everything(points)) < 1e-3) & (points >= AABB[0] - 1e-6).all(1) & (points <= AABB[1] + 1e-6).all(1)
    depth = np.where(hit, -(points - camera.position) @ camera.world_from_camera[:3, 2], 0.0)
    mask = hit & (thing(points) < 1e-2)
    shape = (camera.height, camera.width)
    return depth.reshape(shape).astype(np.float32), mask.reshape(shape).astype(np.float32)
