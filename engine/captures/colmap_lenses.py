"""COLMAP's camera models as ours: most are OpenCV's under another name, the others are fitted to the nearest of ours.

Source: COLMAP's `src/colmap/sensor/models.h`. pycolmap, which is that code, says where the models that are fitted map
the photo's pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine.captures.capture import Camera, CameraModel
from engine.captures.colmap_model import ColmapLens
from engine.captures.images import MAX_PIXELS
from engine.captures.lens_fit import GRID, Fit, nearest_lens
from engine.captures.validate import BadView

__all__ = ["camera_of"]

# Where the parameters of a model lie: how many are focal lengths, then cx and cy, then these of ours.
_EXACT: dict[str, tuple[int, CameraModel, tuple[int, ...]]] = {
    # our order: k1 k2 p1 p2 k3 k4 k5 k6 under opencv, k1 k2 k3 k4 under fisheye
    "SIMPLE_PINHOLE": (1, "pinhole", ()),
    "PINHOLE": (2, "pinhole", ()),
    "SIMPLE_RADIAL": (1, "opencv", (0,)),
    "RADIAL": (1, "opencv", (0, 1)),
    "OPENCV": (2, "opencv", (0, 1, 2, 3)),
    "FULL_OPENCV": (2, "opencv", (0, 1, 2, 3, 4, 5, 6, 7)),
    "SIMPLE_FISHEYE": (1, "fisheye", ()),
    "FISHEYE": (2, "fisheye", ()),
    "SIMPLE_RADIAL_FISHEYE": (1, "fisheye", (0,)),
    "RADIAL_FISHEYE": (1, "fisheye", (0, 1)),
    "OPENCV_FISHEYE": (2, "fisheye", (0, 1, 2, 3)),
}


def camera_of(lens: ColmapLens) -> Fit:
    """The lens as a camera at the world's origin. Raises BadView where it makes no sense or resembles none of ours."""
    if min(lens.width, lens.height) < 1 or lens.width * lens.height > MAX_PIXELS:
        raise BadView(f"its camera is for a photo of {lens.width} x {lens.height} pixels")
    if lens.model == "EQUIRECTANGULAR":
        raise BadView("it is a panorama all around, which no camera of one direction is")
    if not np.isfinite(lens.params).all():
        raise BadView("its camera holds values that are not finite")
    focals, _, _ = _EXACT.get(lens.model, (1 if lens.model.startswith("SIMPLE") else 2, "pinhole", ()))
    fl_x, fl_y = lens.params[0], lens.params[focals - 1]
    if min(fl_x, fl_y) <= 0:
        raise BadView(f"its focal length is {min(fl_x, fl_y):g}")
    cx, cy = lens.params[focals : focals + 2]
    camera = Camera(lens.width, lens.height, fl_x, fl_y, cx, cy, np.eye(4))
    if lens.model in _EXACT:
        _, model, which = _EXACT[lens.model]
        extra = tuple(lens.params[focals + 2 :][i] for i in which)
        return Fit(replace(camera, model=model, distortion=extra)) if model == "fisheye" or any(extra) else Fit(camera)
    return _fitted(lens, camera)


def _fitted(lens: ColmapLens, start: Camera) -> Fit:
    """The one of our models, with its focal length and centre free, that maps the photo's rays most nearly alike."""
    plane, pixels = _rays_of(lens)
    try:
        return nearest_lens(start, plane, pixels)
    except BadView as reason:
        raise BadView(f"its {lens.model} lens {reason}") from reason


def _rays_of(lens: ColmapLens) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 2] of the plane at unit depth (x right, y down) and the pixels [N, 2] that see them."""
    import pycolmap

    try:
        theirs = pycolmap.Camera(
            model=lens.model, width=lens.width, height=lens.height, params=np.array(lens.params, np.float64)
        )
        x, y = np.meshgrid(np.linspace(0, lens.width, GRID), np.linspace(0, lens.height, GRID))
        pixels = np.stack([x.ravel(), y.ravel()], axis=1)
        plane = np.array(theirs.cam_from_img(pixels), np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            back = np.array(theirs.img_from_cam(np.concatenate([plane, np.ones((len(plane), 1))], axis=1)), np.float64)
            sound = (np.abs(back - pixels) < 1e-3).all(axis=1) & (np.abs(plane) < 30).all(axis=1)
    except (ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise BadView(f"its {lens.model} lens makes no sense to COLMAP") from error
    if sound.mean() < 0.9:
        raise BadView(f"its {lens.model} lens maps only {100 * sound.mean():.0f} % of the photo's pixels to rays")
    return plane[sound], pixels[sound]
