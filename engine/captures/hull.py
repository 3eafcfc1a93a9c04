"""The visual hull: what photos with alpha leave of space, before anything is learned.

A place that a photo shows as transparent is empty (Laurentini, "The visual hull concept", 1994). It gives an object its
tight box, and training the cells that it need not look into.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation, maximum_filter

from engine.captures.bounds import SceneBox
from engine.captures.capture import Camera
from engine.captures.rays import project

COARSE_SIDE, FINE_SIDE = 48, 112  # nodes along a side, to find the box and to tell what is empty in it
MOST_COARSE, MOST_FINE = 32, 64  # photos that are looked at: more hardly carve more
LIARS_SHARE = 0.02  # of the photos may call a place transparent by mistake (one photo lost, one pose absurd) ...
LIARS_FROM = 8  # ... where there are at least this many


@dataclass(frozen=True)
class VisualHull:
    """``box`` around all that may be something, and ``inhabited`` [X, Y, Z] which nodes of it may be.

    Nodes lie on the corners of the box (align_corners), each standing for the cell around it.
    """

    box: SceneBox
    inhabited: Bool[np.ndarray, "x y z"]


def visual_hull(
    cameras: Sequence[Camera],
    alphas: Sequence[Float[np.ndarray, "h w"]],
    box: SceneBox,
    check: Callable[[], None] = lambda: None,
) -> VisualHull | None:
    """Carves ``box`` by the photos' alphas, at the sizes of their cameras; None where nothing or everything is left.

    A place goes when more photos than a few liars show it as transparent. What lies outside of a photo stays.
    ``check`` is called for each photo and may raise.
    """
    coarse = _carved(cameras, alphas, box.aabb, COARSE_SIDE, MOST_COARSE, check)
    if not coarse.any() or coarse.all():
        return None
    low, high = np.argwhere(coarse).min(0), np.argwhere(coarse).max(0)
    cell = (box.aabb[1] - box.aabb[0]) / (np.array(coarse.shape) - 1)
    aabb = np.stack([box.aabb[0] + (low - 1) * cell, box.aabb[0] + (high + 1) * cell])
    aabb = np.stack([np.maximum(aabb[0], box.aabb[0]), np.minimum(aabb[1], box.aabb[1])])
    fine = _carved(cameras, alphas, aabb, FINE_SIDE, MOST_FINE, check)
    if not fine.any():
        return None
    # one cell more on all sides: a surface lies between nodes
    return VisualHull(replace(box, aabb=aabb), binary_dilation(fine, np.ones((3, 3, 3))))


def _carved(
    cameras: Sequence[Camera],
    alphas: Sequence[Float[np.ndarray, "h w"]],
    aabb: np.ndarray,
    side: int,
    most: int,
    check: Callable[[], None],
) -> Bool[np.ndarray, "x y z"]:
    extent = aabb[1] - aabb[0]
    cell = float(np.prod(extent)) ** (1 / 3) / side
    shape = tuple(max(2, round(float(e) / cell) + 1) for e in extent)
    axes = [np.linspace(aabb[0, i], aabb[1, i], n) for i, n in enumerate(shape)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    alive = np.arange(len(points))
    votes = np.zeros(len(points), np.int32)
    picks = np.unique(np.linspace(0, len(cameras) - 1, min(most, len(cameras))).round().astype(int))
    liars = max(1, int(LIARS_SHARE * len(picks))) if len(picks) >= LIARS_FROM else 0
    half_diagonal = np.sqrt(3) / 2 * cell
    # photos far apart first: they carve most, and what is gone costs nothing in the rest
    for i in picks[np.argsort(np.arange(len(picks)) * 7 % max(1, len(picks)), kind="stable")]:
        check()
        camera, alpha = cameras[i], alphas[i]
        at, depth = project(camera, points[alive])
        with np.errstate(invalid="ignore"):
            inside = (at >= 0).all(1) & (at[:, 0] < camera.width) & (at[:, 1] < camera.height) & (depth > 0)
        column, row = at[inside].astype(np.int64).T
        # half a cell's diagonal, in pixels, at each place's own depth
        wide = np.ceil(half_diagonal * max(camera.fl_x, camera.fl_y) / np.maximum(depth[inside], cell)).astype(np.int64)
        for spread in np.unique(wide):
            here = wide == spread
            filled = maximum_filter(alpha, size=2 * int(spread) + 1) > 0
            votes[alive[inside][here]] += ~filled[row[here], column[here]]
        alive = alive[votes[alive] <= liars]
        if len(alive) == 0:
            break
    left = np.zeros(len(points), bool)
    left[alive] = True
    return left.reshape(shape)
