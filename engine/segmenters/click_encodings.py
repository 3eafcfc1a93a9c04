"""How click models of the literature turn clicks into maps: disks, squares, distances, Gaussians."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

__all__ = ["ENCODINGS", "click_map"]

# What ``size`` means in each.
ENCODINGS = {
    "disk": "radius in pixels",
    "square": "side in pixels",
    "tanh-distance": "norm in pixels",
    "clipped-distance": "largest distance in pixels",
    "gaussian": "standard deviation in pixels",
}


def click_map(
    kind: str, size: float, points_yx: Float[np.ndarray, "n 2"], height: int, width: int
) -> Float[np.ndarray, "h w"]:
    """The map of clicks of one kind (all positive or all negative) on a raster of ``height`` x ``width``.

    With d the distance of a pixel's centre to the nearest click, in pixels:

    - ``disk``: 1 where d <= size, else 0. RITM (Sofiiuk et al. 2021) and, with the same code, SimpleClick and
      FocalClick: radius 5, or 3 and 2 for FocalClick's S1 models.
    - ``square``: 1 within a square of ``size`` pixels around each click, else 0. SEEM (Zou et al. 2023), by a
      convolution with ones: 3.
    - ``tanh-distance``: tanh(2 d / size), 1 without clicks. f-BRS (Sofiiuk et al. 2020) and RITM's option: 260.
    - ``clipped-distance``: min(d, size) / size, 1 without clicks. Deep interactive object selection (Xu et al. 2016),
      there with 255 and not divided by it.
    - ``gaussian``: exp(-d^2 / (2 size^2)), 0 without clicks. Deep extreme cut (Maninis et al. 2018): 10.

    Args:
        points_yx: clicks as (row, column), where whole numbers are centres of pixels. They may lie outside.
    """
    if len(points_yx) == 0:
        empty = 1.0 if kind in ("tanh-distance", "clipped-distance") else 0.0
        return np.full((height, width), empty, np.float32)
    points = np.asarray(points_yx, np.float64)
    rows, columns = np.arange(height)[None, :] - points[:, :1], np.arange(width)[None, :] - points[:, 1:]  # [n, H/W]
    if kind == "square":
        # Whole pixels, as a convolution has it: the click's own and (size - 1) / 2 to either side.
        near_rows = np.abs(np.arange(height)[None, :] - np.rint(points[:, :1])) <= (size - 1) / 2
        near_columns = np.abs(np.arange(width)[None, :] - np.rint(points[:, 1:])) <= (size - 1) / 2
        return (near_rows[:, :, None] & near_columns[:, None, :]).any(axis=0).astype(np.float32)
    squared = np.full((height, width), np.inf)
    for row, column in zip(rows, columns, strict=True):  # one click at a time: a scribble's many would fill memory
        np.minimum(squared, row[:, None] ** 2 + column[None, :] ** 2, out=squared)
    if kind == "disk":
        return (squared <= size**2).astype(np.float32)
    if kind == "gaussian":
        return np.exp(-squared / (2 * size**2)).astype(np.float32)
    distance = np.sqrt(squared)
    if kind == "tanh-distance":
        return np.tanh(2 * distance / size).astype(np.float32)
    if kind == "clipped-distance":
        return (np.minimum(distance, size) / size).astype(np.float32)
    raise ValueError(f"unknown click encoding {kind}")
