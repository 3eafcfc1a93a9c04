"""Which camera without distortion shows a photo whole, within limits: for photos that are straightened.

The same rule as the add-on's (sa3d_blender/scene/straight_camera.py), which can't be imported here; a test compares
the two. The picture keeps the photo's width and height, the focal length changes until all of the photo is in it. What
lies farther than WIDEST_DEGREES off the axis doesn't count: there a straight picture stretches things ninefold.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.captures.capture import Camera
from engine.captures.rays import project, rays_through

__all__ = ["WIDEST_DEGREES", "hidden_share", "straight_camera"]

WIDEST_DEGREES = 70.0
"""Off the axis, in any direction."""

_MOST_ZOOM_IN = 2.0  # a lens that folds over shows a small disc only
_BORDER = 65  # places along each side of the photo
_GRID = 96  # places across it
_HAS_RAY_PX = 1e-2  # a pixel whose ray comes back farther off than this has none


def straight_camera(camera: Camera) -> Camera:
    """The pinhole camera at the same place that sees all of the photo; the camera itself where it is a pinhole."""
    if camera.model == "pinhole" or (camera.model == "opencv" and not any(camera.distortion)):
        return camera
    along = np.linspace(0.0, 1.0, _BORDER)
    zero, one = np.zeros_like(along), np.ones_like(along)
    border = np.stack([np.concatenate([along, along, zero, one]), np.concatenate([zero, one, along, along])], axis=1)
    plane, _ = _on_plane(camera, border * (camera.width, camera.height))
    plane = plane * np.minimum(1.0, np.tan(np.radians(WIDEST_DEGREES)) / np.maximum(_lengths(plane), 1e-12))
    low, high = plane.min(axis=0), plane.max(axis=0)
    size, focal = np.array([camera.width, camera.height], np.float64), np.array([camera.fl_x, camera.fl_y])
    zoom = min(float((size / focal / np.maximum(high - low, 1e-9)).min()), _MOST_ZOOM_IN)  # of the focal length
    fl_x, fl_y = (float(value) for value in focal * zoom)
    cx, cy = (float(value) for value in size / 2 - focal * zoom * (low + high) / 2)
    return replace(camera, fl_x=fl_x, fl_y=fl_y, cx=cx, cy=cy, model="pinhole", distortion=())


def hidden_share(camera: Camera, straight: Camera) -> float:
    """How much of what a camera's photo shows the picture of ``straight``, at the same place, doesn't: 0 to 1."""
    steps = (np.arange(_GRID) + 0.5) / _GRID
    pixels = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) * (camera.width, camera.height)
    plane, seen = _on_plane(camera, pixels)
    at = plane * (straight.fl_x, straight.fl_y) + (straight.cx, straight.cy)
    inside = seen & ((at >= 0) & (at <= (straight.width, straight.height))).all(axis=1)
    return 1.0 - float(inside.sum()) / max(1, int(seen.sum()))


def _on_plane(camera: Camera, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, 2] on the plane at unit depth [N, 2] (x right, y down), and which of them have a ray, bool [N]."""
    unmoved = replace(camera, world_from_camera=np.eye(4))
    _, rays_d = rays_through(unmoved, pixels)
    back, _ = project(unmoved, rays_d)
    with np.errstate(invalid="ignore"):
        seen = np.abs(back - pixels).max(axis=1) < _HAS_RAY_PX
    return rays_d[:, :2] * (1.0, -1.0), seen


def _lengths(plane: np.ndarray) -> np.ndarray:
    return np.linalg.norm(plane, axis=1, keepdims=True)
