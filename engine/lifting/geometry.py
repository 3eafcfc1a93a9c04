"""Depth maps as geometry: the surface points and normals that a view sees."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from engine.captures.capture import Camera
from engine.captures.rays import camera_directions


def surface_points(camera: Camera, depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """World points under the pixels, for a depth along the viewing axis; NaN where the depth is 0."""
    directions = camera_directions(camera).astype(np.float64) @ camera.world_from_camera[:3, :3].T
    points = camera.position + directions * depth[..., None]
    points[depth <= 0] = np.nan
    return points.astype(np.float32)


def surface_normals(points: Float[np.ndarray, "h w 3"], camera: Camera) -> Float[np.ndarray, "h w 3"]:
    """Unit normals of a map of surface points, towards the camera; 0 where they can't be told."""
    right = np.gradient(points, axis=1)
    down = np.gradient(points, axis=0)
    normals = np.cross(right, down)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=np.isfinite(length) & (length > 0))
    towards = ((camera.position - points) * normals).sum(-1, keepdims=True)
    return np.nan_to_num(np.where(towards < 0, -normals, normals)).astype(np.float32)
