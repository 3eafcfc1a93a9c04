"""A lens that none of our models is, expressed by the one that is nearest to it over the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from engine.captures.capture import Camera, CameraModel
from engine.captures.rays import rays_distort_well, through_lens
from engine.captures.validate import BadView

__all__ = ["GRID", "MAX_MISS_PX", "SHOWN_MISS_PX", "Fit", "nearest_lens"]

GRID = 25  # pixels along a side at which a lens is compared
MAX_MISS_PX = 2.0  # a lens that none of ours resembles to within this is refused,
MAX_MISS = 2e-3  # or, for large photos, to within this part of their longer side: they are shrunk before training
SHOWN_MISS_PX = 1e-3  # less is not worth a word
_CANDIDATES: tuple[tuple[CameraModel, int], ...] = (("opencv", 5), ("opencv", 8), ("fisheye", 4))  # coefficients


@dataclass(frozen=True)
class Fit:
    """A camera and by how much it misses the stated one at worst over the photo, in pixels; 0 where it is the same.

    The camera stands at the world's origin, as the stated one does; a lens that is skew may have it turned there.
    """

    camera: Camera
    miss_px: float = 0.0


def nearest_lens(start: Camera, plane: np.ndarray, pixels: np.ndarray, turns: bool = False) -> Fit:
    """The one of our models that maps points [N, 2] of the plane at unit depth (x right, y down) most nearly to
    ``pixels`` [N, 2]; focal lengths and centre are free, and with ``turns`` how it is turned about its axis.

    Raises BadView (a clause that follows "its lens") where none comes near.
    """
    fits = [
        _fit(replace(start, model=model, distortion=()), count, plane, pixels, turns) for model, count in _CANDIDATES
    ]
    most = max(MAX_MISS_PX, MAX_MISS * max(start.width, start.height))
    # the one with most freedom may fold over right at the photo's border
    sound = [fit for fit in fits if fit.miss_px <= most and rays_distort_well(fit.camera)]
    best = min(sound or fits, key=lambda fit: fit.miss_px)
    if not best.miss_px <= most:
        raise BadView(
            f"can't be expressed in OpenCV's models (the nearest misses it by {best.miss_px:.1f} pixels); undistort "
            "the photos in the program that made it"
        )
    return best


def _fit(start: Camera, count: int, plane: np.ndarray, pixels: np.ndarray, turns: bool) -> Fit:
    size = float(max(start.width, start.height))
    first = np.array([start.fl_x, start.fl_y, start.cx, start.cy]) / size

    def camera(values: Sequence[float] | np.ndarray) -> Camera:
        fl_x, fl_y, cx, cy = (float(value) * size for value in values[:4])
        bent = tuple(float(v) for v in values[4 : 4 + count])
        return replace(start, fl_x=fl_x, fl_y=fl_y, cx=cx, cy=cy, distortion=bent)

    def misses(values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            seen = plane @ _turn(values[-1])[:2, :2].T if turns else plane
            found = through_lens(camera(values), seen) - pixels
        return np.nan_to_num(found, nan=1e6, posinf=1e6, neginf=-1e6).ravel()

    values = np.concatenate([first, np.zeros(count + turns)])
    with np.errstate(all="ignore"):
        found = least_squares(misses, values, method="trf", x_scale="jac", max_nfev=200).x
    best = camera(found)
    if min(best.fl_x, best.fl_y) <= 0:
        return Fit(start, float("inf"))
    if turns:  # with y upward the same turn goes the other way round, and so does its inverse, from camera to world
        best = replace(best, world_from_camera=start.world_from_camera @ _turn(found[-1]))
    return Fit(best, float(np.abs(misses(found)).max()))


def _turn(angle: float) -> np.ndarray:
    """The turn [4, 4] about z by ``angle`` radians, from x towards y."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.eye(4)
    turn[:2, :2] = (c, -s), (s, c)
    return turn
