"""Boundary refinement: a minimum cut on the voxels moves an object's surface to edges of colour, normal and density.

The evidence of single voxels is noisy where masks of different views disagree by a pixel. The cut (Boykov and Jolly
2001) weighs it against the edges of the scene: it is cheap to part two voxels of different colour, of different
normals, or with thin air between them, and dear to part two opaque voxels that look alike.

Measured on the tabletop capture (draft field, loop with the embedded segmenter), it changes the IoU by +0.006 for a
thin ring, +0.003 and +0.001 for two thin things, and -0.001 to -0.002 for solid ones; with true masks of all views it
never helps by more than 0.0003. Therefore it has to be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import maxflow
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from engine.lifting.voxels import VoxelGrid

AXES = np.eye(3, dtype=int)


@dataclass(frozen=True)
class BoundarySettings:
    """How the cut weighs things.

    ``smoothness`` is the cost, in log odds, of parting two opaque voxels that look alike; ``colour`` and ``normal``
    are the differences (of RGB in [0, 1]; of unit vectors) that count as one; ``doubt`` the F + B at which evidence
    is believed by two thirds; ``reach`` the cells around the object that may change sides.
    """

    smoothness: float = 3.0
    colour: float = 0.15
    normal: float = 0.5
    doubt: float = 0.5
    reach: int = 2


def refine_boundary(
    grid: VoxelGrid,
    probability: Float[np.ndarray, " n"],
    looked: Float[np.ndarray, " n"],
    opacity: Float[np.ndarray, "x y z"],
    colours: Float[np.ndarray, "n 3"] | None,
    settings: BoundarySettings | None = None,
) -> Float[np.ndarray, " n"]:
    """The probabilities after the cut: above one half exactly on the cut's side of the object.

    A voxel that changes sides gets the opposite probability, so that the surface stays as soft as it was.

    Args:
        probability: of each occupied voxel to be the object's.
        looked: F + B, how much the views have looked at it.
        opacity: share of the light that a cell of the grid stops.
        colours: of the occupied voxels, RGB in [0, 1]; NaN where unknown. None: colours don't count.
    """
    settings = settings or BoundarySettings()
    inside = np.flatnonzero(probability > 0.5)
    if len(inside) == 0:
        return probability
    cells = grid.cells(inside)
    low = np.maximum(cells.min(0) - settings.reach - 1, 0)
    high = np.minimum(cells.max(0) + settings.reach + 2, grid.shape)
    crop = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    index = grid.index[crop]
    here = index >= 0
    voxels = index[here]
    p = np.zeros(index.shape, np.float32)
    p[here] = probability[voxels]
    belief = np.zeros(index.shape, np.float32)
    belief[here] = 1 - np.exp(-looked[voxels] / settings.doubt)
    odds = np.log(np.clip(p, 1e-3, 1) / np.clip(1 - p, 1e-3, 1)) * belief
    near = ndimage.binary_dilation(p > 0.5, iterations=settings.reach)
    odds = np.where(near, odds, -1e3)  # the cut stays near the object
    colour = None
    if colours is not None:
        colour = np.full((*index.shape, 3), np.nan, np.float32)
        colour[here] = colours[voxels]
    side = _cut(odds, _links(opacity[crop], colour, settings))[here]
    before = probability[voxels]
    refined = probability.copy()
    refined[voxels] = np.where(side, np.maximum(before, 1 - before), np.minimum(before, 1 - before))
    # nothing becomes the object's that no view has looked at
    refined[voxels[(before == 0)]] = 0
    return refined


def _links(
    opacity: Float[np.ndarray, "x y z"], colour: Float[np.ndarray, "x y z 3"] | None, settings: BoundarySettings
) -> list[Float[np.ndarray, "x y z"]]:
    """The cost of parting each voxel from its next along x, y and z (0 at the end)."""
    smooth = ndimage.gaussian_filter(opacity, 1.0)
    normal = np.stack(np.gradient(smooth), -1)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.where(length > 1e-3, normal / np.maximum(length, 1e-9), 0)
    links = []
    for axis in range(3):
        a: list[slice] = [slice(None)] * 3
        b: list[slice] = [slice(None)] * 3
        a[axis], b[axis] = slice(None, -1), slice(1, None)
        first, second = tuple(a), tuple(b)
        energy = ((normal[first] - normal[second]) ** 2).sum(-1) / (2 * settings.normal**2)
        if colour is not None:
            change = ((colour[first] - colour[second]) ** 2).sum(-1) / (2 * settings.colour**2)
            energy = energy + np.nan_to_num(change)
        cost = np.zeros(opacity.shape, np.float32)
        cost[first] = settings.smoothness * np.exp(-energy) * np.sqrt(opacity[first] * opacity[second])
        links.append(cost)
    return links


def _cut(odds: Float[np.ndarray, "x y z"], links: list[Float[np.ndarray, "x y z"]]) -> Bool[np.ndarray, "x y z"]:
    """The minimum cut of a grid with 6 neighbours: true where a voxel falls to the object."""
    graph = maxflow.GraphFloat()
    nodes = graph.add_grid_nodes(odds.shape)
    for axis, weights in zip(AXES, links, strict=True):
        structure = np.zeros((3, 3, 3))
        structure[tuple(1 + axis)] = 1
        graph.add_grid_edges(nodes, weights, structure, symmetric=True)
    graph.add_grid_tedges(nodes, np.maximum(odds, 0), np.maximum(-odds, 0))
    graph.maxflow()
    found: Bool[np.ndarray, "x y z"] = ~graph.get_grid_segments(nodes)
    return found
