"""In which order views are visited: outward from the prompted one, by how much of the scene they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from engine.captures.capture import View
from engine.lifting.voxels import SparseVoxels, VoxelGrid

BLOCK = 8  # voxels a side that count as one place when views are compared
LEAST = 0.3  # of a voxel's evidence from the prompted view, for its place to be the object's


def view_signatures(
    views: Sequence[View], looked: Mapping[str, SparseVoxels], grid: VoxelGrid
) -> tuple[Float[np.ndarray, "views places"], Int[np.ndarray, " n"]]:
    """How much each view looks at each place, a row a view; and the place of each voxel.

    A place is a block of ``BLOCK``^3 voxels.
    """
    place = _places(grid)
    rows = np.zeros((len(views), int(place.max()) + 1), np.float32)
    for row, view in zip(rows, views, strict=True):
        seen = looked[view.stem]
        row += np.bincount(place[seen.index], seen.values, minlength=len(row))
    return rows, place


def _places(grid: VoxelGrid) -> Int[np.ndarray, " n"]:
    x, y, z = (np.arange(side, dtype=np.int32) // BLOCK for side in grid.shape)
    blocks = tuple(-(-side // BLOCK) for side in grid.shape)
    number = (x[:, None, None] * blocks[1] + y[:, None]) * blocks[2] + z
    of_voxel = number[grid.index >= 0]
    used = np.zeros(int(np.prod(blocks)), bool)
    used[of_voxel] = True
    renumbered = np.cumsum(used, dtype=np.int32) - 1
    return renumbered[of_voxel].astype(np.int32)


def around(
    signatures: Float[np.ndarray, "views places"], place: Int[np.ndarray, " n"], shown: SparseVoxels
) -> Float[np.ndarray, "views near"]:
    """The signatures' columns of the places where the prompted view shows the object, rows summing to 1 (or 0).

    Args:
        shown: the prompted view's evidence for the object.
    """
    near = np.unique(place[shown.index[shown.values > LEAST]])
    rows = signatures[:, near] if len(near) else signatures
    return rows / np.maximum(rows.sum(1, keepdims=True), 1e-9)


def views_outward(views: Sequence[View], start: View, signatures: Float[np.ndarray, "views places"]) -> list[View]:
    """The other views, each the one that shares most with any that comes before it.

    The overlap of two views is the common part of what they look at, ``sum min(s_u, s_v)``, in [0, 1]. Views that tie
    are taken by name, so that the order depends on nothing but the capture.
    """
    names = [v.stem for v in views]
    here = names.index(start.stem)
    overlap = np.full(len(views), -1.0)
    left = set(range(len(views))) - {here}
    order = []
    while left:
        common = np.minimum(signatures, signatures[here]).sum(1).astype(np.float64).round(5)
        overlap = np.maximum(overlap, common)
        here = min(left, key=lambda i: (-overlap[i], names[i]))
        left.remove(here)
        order.append(views[here])
    return order


def share_of(views: Sequence[View], share: float) -> list[View]:
    """An even selection of ``share`` of the views, at least one, in their order."""
    count = max(1, round(share * len(views)))
    picked = np.unique(np.round(np.linspace(0, len(views) - 1, count)).astype(int))
    return [views[i] for i in picked]
