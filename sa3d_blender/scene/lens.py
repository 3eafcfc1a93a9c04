"""Lens distortion, which Blender's cameras don't have: where a straight picture's pixels lie in the photo; no bpy.

The models are OpenCV's (its documentation, "Camera Calibration and 3D Reconstruction" and "Fisheye camera model"):
``opencv`` with (k1, k2, p1, p2, k3, k4, k5, k6), missing ones zero; ``fisheye`` with (k1, k2, k3, k4).
"""

from __future__ import annotations

import numpy as np

from .description import SceneView

__all__ = ["is_straight", "photo_from_frame", "straightened"]

STRIP = 256  # rows at a time: a photo of 12 million pixels would else take 2 GB


def is_straight(view: SceneView) -> bool:
    """Whether the photo is already what a pinhole camera sees."""
    return view.model == "pinhole" or (view.model == "opencv" and not any(view.distortion))


def photo_from_frame(view: SceneView, points_px: np.ndarray) -> np.ndarray:
    """Pixels of the straight picture [N, 2] as pixels of the photo as stored (x right, y down, from the corner)."""
    points = np.asarray(points_px, dtype=np.float64).reshape(-1, 2)
    if is_straight(view):
        return points
    focal, centre = np.array([view.fl_x, view.fl_y]), np.array([view.cx, view.cy])
    plane = (points - centre) / focal
    bent = _fisheye(plane, view.distortion) if view.model == "fisheye" else _opencv(plane, view.distortion)
    return bent * focal + centre


def _opencv(plane: np.ndarray, distortion: tuple[float, ...]) -> np.ndarray:
    k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion, *[0.0] * (8 - len(distortion)))
    x, y = plane[:, 0], plane[:, 1]
    r2 = x * x + y * y
    radial = (1 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1 + r2 * (k4 + r2 * (k5 + r2 * k6)))
    return np.stack(
        [x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x), y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y],
        axis=1,
    )


def _fisheye(plane: np.ndarray, distortion: tuple[float, ...]) -> np.ndarray:
    k1, k2, k3, k4 = (*distortion, *[0.0] * (4 - len(distortion)))
    radius = np.linalg.norm(plane, axis=1)
    theta = np.arctan(radius)
    t2 = theta * theta
    bent = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
    return plane * np.where(radius > 1e-12, bent / np.where(radius > 1e-12, radius, 1.0), 1.0)[:, None]


def straightened(view: SceneView, photo: np.ndarray) -> np.ndarray:
    """The photo [H, W, C], any number type, as the view's pinhole camera would have taken it, float32 [H, W, C].

    Rows from the top. Between pixels it interpolates; where the photo ends it is 0 (black, transparent). The photo may
    be stored at another size than the view names.
    """
    height, width = photo.shape[:2]
    photo = np.ascontiguousarray(photo)
    made = np.empty(photo.shape, dtype=np.float32)
    for top in range(0, height, STRIP):
        made[top : top + STRIP] = _strip(view, photo, top, min(top + STRIP, height), width)
    return made


def _strip(view: SceneView, photo: np.ndarray, top: int, bottom: int, width: int) -> np.ndarray:
    height = len(photo)
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(top, bottom) + 0.5)
    scale = np.array([width / view.width, height / view.height])
    frame = np.stack([x.ravel(), y.ravel()], axis=1) / scale
    place = photo_from_frame(view, frame) * scale - 0.5
    inside = np.all((place >= -0.5) & (place <= (width - 0.5, height - 0.5)), axis=1)
    place = np.clip(place, 0.0, (width - 1, height - 1))
    corner = np.minimum(place.astype(np.intp), (max(width - 2, 0), max(height - 2, 0)))
    right, down = np.hsplit((place - corner).astype(np.float32), 2)
    first = corner[:, 1] * width + corner[:, 0]
    on, below = min(1, width - 1), width * min(1, height - 1)
    pixels = photo.reshape(height * width, -1)
    mixed = pixels[first] * ((1 - right) * (1 - down)) + pixels[first + on] * (right * (1 - down))
    mixed += pixels[first + below] * ((1 - right) * down) + pixels[first + below + on] * (right * down)
    mixed[~inside] = 0.0
    return mixed.reshape(bottom - top, width, -1)
