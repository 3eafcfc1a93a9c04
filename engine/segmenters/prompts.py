"""Checks prompts before any segmenter acts on them, so that all refuse the same things in the same words."""

from __future__ import annotations

import numpy as np

from engine.segmenters.base import Photo, Prompts
from sa3d_blender.protocol.errors import PromptError

__all__ = ["check_photo", "check_prompts"]

# A hint whose best pixel is below this says "the object is nowhere"; it can't be the only prompt.
_FAINTEST_HINT = 0.05


def check_photo(photo: Photo) -> Photo:
    """The photo with contiguous float32 arrays, depth and normals without NaN.

    Pixels of the geometry that aren't finite become 0, the protocol's "nothing there". Raises PromptError
    where shapes do not fit together or the colours aren't finite numbers.
    """
    rgb = np.ascontiguousarray(photo.rgb, dtype=np.float32)
    if rgb.ndim != 3 or rgb.shape[2] != 3 or min(rgb.shape[:2]) < 2:
        raise PromptError(f"The photo has shape {rgb.shape}.", "Give an [H, W, 3] picture of at least 2 x 2 pixels.")
    if not np.isfinite(rgb).all():
        raise PromptError("The photo holds values that are no numbers.", "Give colours between 0 and 1.")
    height, width = rgb.shape[:2]
    depth = None if photo.depth is None else np.asarray(photo.depth, dtype=np.float32)
    if depth is not None and depth.shape != (height, width):
        raise PromptError(
            f"The depth has shape {depth.shape}, the photo {height} x {width}.", "Render the depth at the photo's size."
        )
    normals = None if photo.normals is None else np.asarray(photo.normals, dtype=np.float32)
    if normals is not None and normals.shape != (height, width, 3):
        raise PromptError(
            f"The normals have shape {normals.shape}, the photo {height} x {width}.",
            "Render the normals at the photo's size.",
        )
    if depth is not None:
        depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
    if normals is not None:
        normals = np.where(np.isfinite(normals).all(axis=2, keepdims=True), normals, np.float32(0))
    return Photo(np.clip(rgb, 0, 1), depth, normals, photo.key)


def check_prompts(prompts: Prompts, height: int, width: int) -> Prompts:
    """The prompts with their standard types, the box clipped to the photo of ``height`` x ``width`` pixels.

    Raises PromptError for points outside the photo, values that aren't finite, labels other than 0 and 1,
    an empty box, a mask of another shape, and prompts that name no object at all.
    """
    points = np.asarray(prompts.points_px, dtype=np.float32)
    points = points.reshape(0, 2) if points.size == 0 else points
    labels = np.asarray(prompts.labels).reshape(-1)
    if points.ndim != 2 or points.shape[1] != 2:
        raise PromptError(f"The points have shape {points.shape}.", "Give one (x, y) pair for each point.")
    if len(labels) != len(points):
        raise PromptError(f"There are {len(points)} points and {len(labels)} labels.", "Give one label for each point.")
    if not np.isfinite(points).all():
        raise PromptError("A point's position is not a number.", "Give every point an x and a y in pixels.")
    outside = (points < 0).any(axis=1) | (points[:, 0] >= width) | (points[:, 1] >= height)
    if outside.any():
        x, y = points[int(np.argmax(outside))]
        raise PromptError(
            f"The point ({x:.1f}, {y:.1f}) lies outside the photo of {width} x {height} pixels.",
            "Click inside the photo.",
        )
    if not np.isin(labels, (0, 1)).all():
        raise PromptError("A point's label is neither 0 nor 1.", "Label points 1 (the object) or 0 (not the object).")
    labels = labels.astype(np.int64)
    box = None if prompts.box_px is None else _checked_box(prompts.box_px, height, width)
    mask = None if prompts.mask is None else _checked_mask(prompts.mask, height, width)
    if not (labels == 1).any() and box is None and (mask is None or float(mask.max()) < _FAINTEST_HINT):
        raise PromptError("The prompts name no object.", "Click the object at least once, or draw a box around it.")
    return Prompts(points, labels, box, mask)


def _checked_box(box_px: np.ndarray, height: int, width: int) -> np.ndarray:
    box = np.asarray(box_px, dtype=np.float32).reshape(-1)
    if box.shape != (4,) or not np.isfinite(box).all():
        raise PromptError("The box is not four numbers.", "Give the box as x0, y0, x1, y1 in pixels.")
    clipped = np.array([max(box[0], 0), max(box[1], 0), min(box[2], width), min(box[3], height)], dtype=np.float32)
    if clipped[2] - clipped[0] < 1 or clipped[3] - clipped[1] < 1:
        raise PromptError(
            f"The box {tuple(float(v) for v in box)} covers less than one pixel of the photo.",
            "Drag a box around the object, from its top left to its bottom right.",
        )
    return clipped


def _checked_mask(hint: np.ndarray, height: int, width: int) -> np.ndarray:
    mask = np.asarray(hint, dtype=np.float32)
    if mask.shape != (height, width):
        raise PromptError(
            f"The mask has shape {mask.shape}, the photo {height} x {width}.", "Give a mask of the photo's size."
        )
    if not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1:
        raise PromptError("The mask holds values outside 0 to 1.", "Give a mask between 0 (outside) and 1 (inside).")
    return mask
