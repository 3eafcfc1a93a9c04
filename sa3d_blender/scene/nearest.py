"""Which of a capture's cameras sees nearly what the viewport shows; without bpy."""

from __future__ import annotations

import numpy as np

__all__ = ["nearest_view"]

TURN = 0.5
"""What a difference of one radian in direction weighs, in median distances of the cameras from their middle."""


def nearest_view(eye: np.ndarray, forward: np.ndarray, world_from_cameras: np.ndarray) -> int:
    """The number of the camera (of ``world_from_cameras`` [N, 4, 4], looking along -Z) that is nearest to a view.

    Nearness counts both the way from ``eye`` [3] and the turn from ``forward`` [3], so that a camera just beside it
    that looks elsewhere loses against one a step away that sees the same.
    """
    cameras = np.asarray(world_from_cameras, dtype=np.float64).reshape(-1, 4, 4)
    if not len(cameras):
        raise ValueError("there are no cameras")
    places, looks = cameras[:, :3, 3], -cameras[:, :3, 2]
    size = float(np.median(np.linalg.norm(places - places.mean(axis=0), axis=1)))
    away = np.linalg.norm(places - np.asarray(eye, dtype=np.float64), axis=1) / (size if size > 1e-9 else 1.0)
    forward = np.asarray(forward, dtype=np.float64) / max(float(np.linalg.norm(forward)), 1e-12)
    looks = looks / np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-12)
    turn = np.arccos(np.clip(looks @ forward, -1.0, 1.0))
    return int(np.argmin(away + TURN * turn))
