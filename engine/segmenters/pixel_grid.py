"""The 8-connected grid of pixels: how alike neighbours are, shortest paths across it, and minimum cuts of it."""

from __future__ import annotations

from dataclasses import dataclass

import maxflow
import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

__all__ = ["OFFSETS", "PixelGrid", "boundary_contrast", "cut_grid", "likeness"]

# Half of the 8 neighbours as (row, column) steps; the other half are the same pairs from the other end.
OFFSETS = ((0, 1), (1, 0), (1, 1), (1, -1))
_LENGTHS = tuple(float(np.hypot(*offset)) for offset in OFFSETS)


def _ends(offset: tuple[int, int], height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the first and the second pixel of every pair that ``offset`` makes."""
    down, right = offset
    rows = slice(0, height - down), slice(down, height)
    left = slice(0, width - abs(right)), slice(abs(right), width)
    columns = left if right >= 0 else (left[1], left[0])
    return (rows[0], columns[0]), (rows[1], columns[1])


def likeness(channels: list[tuple[np.ndarray, float]]) -> np.ndarray:
    """exp(-sum of d^2 / (2 s^2)) between neighbours, float32 [4, H, W] in the order of OFFSETS.

    ``channels``: arrays [H, W] or [H, W, C], each with the difference s that counts as one; d is the Euclidean one.
    Pairs that leave the picture are 0. The contrast term of Boykov and Jolly (2001), with several cues.
    """
    height, width = channels[0][0].shape[:2]
    result = np.zeros((4, height, width), np.float32)
    for k, offset in enumerate(OFFSETS):
        first, second = _ends(offset, height, width)
        energy = np.zeros(result[k][first].shape, np.float32)
        for values, unit in channels:
            difference = values[first] - values[second]
            squares = difference * difference
            energy += (squares.sum(axis=2) if squares.ndim == 3 else squares) * np.float32(0.5 / unit**2)
        result[k][first] = np.exp(-energy)
    return result


@dataclass(frozen=True)
class PixelGrid:
    """The grid as a sparse graph for shortest paths; ``cost`` is its [N, N] CSR matrix."""

    shape: tuple[int, int]
    cost: sparse.csr_matrix

    @classmethod
    def of(cls, alike: np.ndarray, stride_cost: float) -> PixelGrid:
        """A step costs its length times (``stride_cost`` + 1 - likeness): little along a surface, much across edges."""
        height, width = alike.shape[1:]
        index = np.arange(height * width, dtype=np.int32).reshape(height, width)
        rows, columns, costs = [], [], []
        for k, offset in enumerate(OFFSETS):
            first, second = _ends(offset, height, width)
            rows.append(index[first].ravel())
            columns.append(index[second].ravel())
            costs.append(_LENGTHS[k] * (stride_cost + 1.0 - alike[k][first].ravel()))
        size = height * width
        pairs = (np.concatenate(costs), (np.concatenate(rows), np.concatenate(columns)))
        return cls((height, width), sparse.csr_matrix(pairs, shape=(size, size)))

    def distance(self, seeds: np.ndarray) -> np.ndarray:
        """Cost of the cheapest path from any of ``seeds`` (bool [H, W]) to each pixel, float32 [H, W]."""
        if not seeds.any():
            return np.full(self.shape, np.inf, np.float32)
        starts = np.flatnonzero(seeds)
        result = csgraph.dijkstra(self.cost, directed=False, indices=starts, min_only=True)
        return result.reshape(self.shape).astype(np.float32)


def cut_grid(gain: np.ndarray, alike: np.ndarray, smoothness: float) -> np.ndarray:
    """The minimum cut, bool [H, W], True = the object.

    ``gain`` [H, W]: what a pixel gains by belonging to the object (log odds; very large = fixed). Neighbours on
    different sides pay ``smoothness`` * likeness / distance.
    """
    height, width = gain.shape
    graph = maxflow.GraphFloat(height * width, 4 * height * width)
    nodes = graph.add_grid_nodes((height, width))
    for k, (down, right) in enumerate(OFFSETS):
        structure = np.zeros((3, 3))
        structure[1 + down, 1 + right] = 1.0
        weights = alike[k].astype(np.float64) * (smoothness / _LENGTHS[k])
        graph.add_grid_edges(nodes, weights=weights, structure=structure, symmetric=True)
    graph.add_grid_tedges(nodes, np.maximum(gain, 0).astype(np.float64), np.maximum(-gain, 0).astype(np.float64))
    graph.maxflow()
    return ~graph.get_grid_segments(nodes)


def boundary_contrast(mask: np.ndarray, alike: np.ndarray) -> float:
    """Mean of 1 - likeness over the pairs that the outline of ``mask`` separates, in [0, 1]; 0 without an outline."""
    total, count = 0.0, 0
    for k, offset in enumerate(OFFSETS):
        first, second = _ends(offset, *mask.shape)
        crossing = mask[first] != mask[second]
        total += float((1.0 - alike[k][first][crossing]).sum())
        count += int(crossing.sum())
    return total / count if count else 0.0
