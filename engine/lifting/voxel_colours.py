"""The colours that the photos give the voxels: ``sum_v A_v^T rgb / sum_v A_v^T 1``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from engine.captures.capture import View
from engine.lifting.masks import resample
from engine.lifting.projection import ViewOperator
from engine.lifting.voxels import VoxelGrid


def voxel_colours(
    grid: VoxelGrid,
    views: Sequence[View],
    operator_of: Callable[[View], ViewOperator],
    photo_of: Callable[[View], Float[np.ndarray, "h w 3"]],
) -> Float[np.ndarray, "n 3"]:
    """RGB in [0, 1] of each occupied voxel, the mean of what the views see of it; NaN where none sees it."""
    total = np.zeros((3, grid.count), np.float32)
    weight = np.zeros(grid.count, np.float32)
    for view in views:
        operator = operator_of(view)
        rgb = resample(photo_of(view), operator.opacity.shape)
        for sums, channel in zip(total, np.moveaxis(rgb, -1, 0), strict=True):
            sums += operator.back_project(np.ascontiguousarray(channel))
        looked = operator.looked
        weight[looked.index] += looked.values
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(weight > 1e-3, total / weight, np.nan).T
