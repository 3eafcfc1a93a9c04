"""Lens distortion, which Blender's cameras don't have: between a straight picture's pixels and the photo's; no bpy.

This is the one place where the map is: prompts, masks, boxes and straightened photos all go through it. Pixels are x
right, y down from the top-left corner, of the photo as stored or of the straight picture of the same size, which the
view's ``pinhole`` takes (straight_camera.py chooses it).

The models are OpenCV's (its documentation, "Camera Calibration and 3D Reconstruction" and "Fisheye camera model"):
``opencv`` with (k1, k2, p1, p2, k3, k4, k5, k6), missing ones zero; ``fisheye`` with (k1, k2, k3, k4). They hold up to
the radius where the polynomial folds over, at most 88 degrees off the axis: beyond that nothing is seen. The engine
has the same rule (engine/captures/rays.py); a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from .description import SceneView

__all__ = [
    "frame_from_photo",
    "has_photo_at",
    "is_straight",
    "photo_from_frame",
    "plane_from_photo",
    "reach",
    "shown_in_photo",
]

MOST_DEGREES = 88.0
STEPS = 40
CLOSE = 1e-12  # of the plane at unit depth; far below a thousandth of a pixel
SOLVED_PX = 1e-3  # a pixel whose ray misses it by more than this has no ray


def is_straight(view: SceneView) -> bool:
    """Whether the photo is already what a pinhole camera sees."""
    return view.model == "pinhole" or (view.model == "opencv" and not any(view.distortion))


def photo_from_frame(view: SceneView, points_px: np.ndarray) -> np.ndarray:
    """Pixels of the straight picture [N, 2] as pixels of the photo, float64 [N, 2].

    What the lens can't see is taken for the farthest that it sees in that direction; see ``shown_in_photo``.
    """
    return _through(view, points_px)[0]


def shown_in_photo(view: SceneView, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As ``photo_from_frame``, and where the photo shows something there, bool [N]: not beyond its border or lens."""
    points, seen = _through(view, points_px)
    x, y = points[:, 0], points[:, 1]
    return points, seen & (x >= 0.0) & (x <= view.width) & (y >= 0.0) & (y <= view.height)


def has_photo_at(view: SceneView, fraction: Iterable[float]) -> bool:
    """Whether the photo shows something at a place of the straight picture, in fractions of it."""
    place = np.array([tuple(fraction)], dtype=np.float64) * (view.width, view.height)
    return bool(shown_in_photo(view, place)[1][0])


def frame_from_photo(view: SceneView, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the photo [N, 2] as pixels of the straight picture, float64 [N, 2], and which of them have any, bool
    [N]: a lens may have no ray for a photo's corners. Others get the nearest that the lens has."""
    points = np.asarray(points_px, dtype=np.float64).reshape(-1, 2)
    if is_straight(view):
        return points, np.ones(len(points), dtype=bool)
    plane, good = plane_from_photo(view, points)
    pinhole = view.pinhole
    return plane * (pinhole.fl_x, pinhole.fl_y) + (pinhole.cx, pinhole.cy), good


def plane_from_photo(view: SceneView, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of the photo [N, 2] on the plane at unit depth [N, 2] (x right, y down), and which of them have a ray."""
    target = (np.asarray(points_px, dtype=np.float64).reshape(-1, 2) - (view.cx, view.cy)) / (view.fl_x, view.fl_y)
    if is_straight(view):
        return target, np.ones(len(target), dtype=bool)
    return _fisheye_undone(view, target) if view.model == "fisheye" else _opencv_undone(view, target)


def reach(view: SceneView) -> float:
    """The radius on the plane at unit depth up to which the lens is one to one; infinite for straight ones."""
    return np.inf if is_straight(view) else _reach(view.model, view.distortion)


@lru_cache(maxsize=64)
def _reach(model: str, distortion: tuple[float, ...]) -> float:
    most = np.radians(MOST_DEGREES)
    if model == "fisheye":
        k1, k2, k3, k4 = (*distortion, *[0.0] * (4 - len(distortion)))
        folds = _positive_roots([9 * k4, 7 * k3, 5 * k2, 3 * k1, 1.0])  # of the slope, in theta^2
        return float(np.tan(min([most, *np.sqrt(folds)])))
    k1, k2, _, _, k3, k4, k5, k6 = (*distortion, *[0.0] * (8 - len(distortion)))
    above, below = np.array([k3, k2, k1, 1.0]), np.array([k6, k5, k4, 1.0])
    # d/dr (r above(s) / below(s)) with s = r^2 has the sign of: above below + 2 s (above' below - above below')
    rise: np.ndarray = np.polysub(np.polymul(np.polyder(above), below), np.polymul(above, np.polyder(below)))
    slope = np.polyadd(np.polymul(above, below), 2 * np.polymul(rise, [1.0, 0.0]))
    folds = [*_positive_roots(slope), *_positive_roots(below)]
    # just short of the fold: on it the Jacobian is singular and Newton's method has nowhere to go
    return min([float(np.tan(most)), *(0.999 * float(np.sqrt(fold)) for fold in folds)])


def _positive_roots(polynomial: list[float] | np.ndarray) -> list[float]:
    values = np.asarray(polynomial, dtype=np.float64)
    values = np.where(np.abs(values) < 1e-30, 0.0, values)  # a leading coefficient of nearly nothing would overflow
    roots = np.roots(np.trim_zeros(values, "f"))
    real = roots[np.abs(roots.imag) < 1e-9 * np.maximum(1.0, np.abs(roots.real))].real
    return [float(root) for root in real if root > 0]


def _through(view: SceneView, points_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points = np.asarray(points_px, dtype=np.float64).reshape(-1, 2)
    if is_straight(view):
        return points, np.ones(len(points), dtype=bool)
    pinhole, most = view.pinhole, reach(view)
    plane = (points - (pinhole.cx, pinhole.cy)) / (pinhole.fl_x, pinhole.fl_y)
    radius = np.sqrt(plane[:, 0] ** 2 + plane[:, 1] ** 2)
    seen = radius <= most
    if not seen.all():
        plane = plane * np.minimum(1.0, most / np.maximum(radius, 1e-30))[:, None]
    bent = _fisheye(plane, view.distortion) if view.model == "fisheye" else _opencv(plane, view.distortion)[0]
    return bent * (view.fl_x, view.fl_y) + (view.cx, view.cy), seen


def _opencv(plane: np.ndarray, distortion: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(points through the lens [N, 2], the radial factor and its slope by r^2 [N])."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*distortion, *[0.0] * (8 - len(distortion)))
    x, y = plane[:, 0], plane[:, 1]
    r2 = x * x + y * y
    above, below = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)), 1 + r2 * (k4 + r2 * (k5 + r2 * k6))
    radial = above / below
    slope = (k1 + r2 * (2 * k2 + r2 * 3 * k3) - radial * (k4 + r2 * (2 * k5 + r2 * 3 * k6))) / below
    bent = np.empty_like(plane)
    bent[:, 0] = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    bent[:, 1] = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return bent, radial, slope


def _opencv_undone(view: SceneView, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method on the plane, held inside of the lens's reach."""
    _, _, p1, p2, *_ = (*view.distortion, *[0.0] * 4)
    most = reach(view)
    plane = _held(target, most)
    for _ in range(STEPS):
        bent, radial, slope = _opencv(plane, view.distortion)
        x, y = plane[:, 0], plane[:, 1]
        error_x, error_y = (bent - target).T
        xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
        xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
        determinant = xx * yy - xy * xy
        determinant = np.where(np.abs(determinant) < 1e-6, np.copysign(1e-6, determinant), determinant)
        step = np.stack([yy * error_x - xy * error_y, xx * error_y - xy * error_x], axis=1) / determinant[:, None]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        step = step * np.minimum(1.0, 0.5 / np.maximum(length, 1e-30))  # near the fold a full step would leap over it
        moved = _held(plane - step, most)
        change = np.abs(moved - plane).max(initial=0.0)
        plane = moved
        if change < CLOSE:
            break
    miss = np.abs((_opencv(plane, view.distortion)[0] - target) * (view.fl_x, view.fl_y)).max(axis=1, initial=0.0)
    return plane, miss < SOLVED_PX


def _held(plane: np.ndarray, most: float) -> np.ndarray:
    radius = np.linalg.norm(plane, axis=1, keepdims=True)
    return plane * np.minimum(1.0, most / np.maximum(radius, 1e-30))


def _bent_angle(theta: np.ndarray, distortion: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The fisheye's polynomial and its slope."""
    k1, k2, k3, k4 = (*distortion, *[0.0] * (4 - len(distortion)))
    t2 = theta * theta
    value = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
    return value, 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * 9 * k4)))


def _fisheye(plane: np.ndarray, distortion: tuple[float, ...]) -> np.ndarray:
    radius = np.sqrt(plane[:, 0] ** 2 + plane[:, 1] ** 2)
    bent, _ = _bent_angle(np.arctan(radius), distortion)
    return plane * np.where(radius > 1e-12, bent / np.where(radius > 1e-12, radius, 1.0), 1.0)[:, None]


def _fisheye_undone(view: SceneView, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton's method on the angle theta, bracketed: the polynomial rises up to the lens's reach."""
    wanted = np.linalg.norm(target, axis=1)
    low, high = np.zeros_like(wanted), np.full_like(wanted, np.arctan(reach(view)))
    good = wanted <= _bent_angle(high, view.distortion)[0]
    theta = np.minimum(wanted, high)
    for _ in range(STEPS):
        value, slope = _bent_angle(theta, view.distortion)
        error = value - wanted
        low, high = np.where(error < 0, theta, low), np.where(error < 0, high, theta)
        moved = theta - error / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
        moved = np.where((moved < low) | (moved > high), 0.5 * (low + high), moved)
        change = np.abs(moved - theta).max(initial=0.0)
        theta = moved
        if change < CLOSE:
            break
    scale = np.where(wanted > 1e-12, np.tan(theta) / np.where(wanted > 1e-12, wanted, 1.0), 1.0)
    return target * scale[:, None], good
