"""Stray parts of a lifted object: what hangs together with nothing that the user showed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

MARGIN = 3  # cells around the object within which haze is looked at
HAZE = 2  # cells that the haze around a stray part reaches
NEIGHBOURS = np.ones((3, 3, 3), bool)


def attached(
    positions: Int[np.ndarray, "n 3"],
    object_voxels: Bool[np.ndarray, " n"],
    firm: Bool[np.ndarray, " n"],
    anchored: Bool[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """All voxels but those of stray parts: connected parts of the object that hold no anchored voxel.

    Parts are connected through ``firm`` voxels only: the haze that every field has around silhouettes bridges what is
    apart. Without a single anchored part nothing is stray.

    Args:
        positions: cells (x, y, z) of the voxels in question on the grid; of no others is anything said.
    """
    solid = object_voxels & firm
    if not solid.any():
        return np.ones(len(object_voxels), bool)
    low = positions[solid].min(0) - MARGIN
    shape = positions[solid].max(0) + MARGIN + 1 - low
    local = positions - low
    within = ((local >= 0) & (local < shape)).all(1)
    cells = tuple(local[within].T)

    def dense(flags: Bool[np.ndarray, " n"]) -> Bool[np.ndarray, "x y z"]:
        grid = np.zeros(tuple(shape), bool)
        grid[cells] = flags[within]
        return grid

    parts, count = ndimage.label(dense(solid), NEIGHBOURS)
    part = np.zeros(len(object_voxels), parts.dtype)
    part[within] = parts[cells]
    wanted = np.unique(part[anchored & (part > 0)])
    if len(wanted) in (0, count):
        return np.ones(len(object_voxels), bool)
    kept = np.isin(part, wanted)
    # the haze goes with the part that it surrounds
    around = ndimage.maximum_filter(dense((part > 0) & ~kept).view(np.uint8), 2 * HAZE + 1, mode="constant")
    stray = around[cells] > 0
    keep = np.ones(len(object_voxels), bool)
    keep[within] = ~stray
    return keep | kept
