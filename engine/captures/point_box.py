"""The region of interest made tight by sparse points: where the cameras look, the points say what is there."""

from __future__ import annotations

from typing import Literal

import numpy as np

from engine.captures.capture import SparsePoints

__all__ = ["LEAST_POINTS", "box_of_points"]

LEAST_POINTS = 200  # fewer say too little of what is there
SEEN_BY = 3  # photos: what two agree on is often wrong
OUTER = 1.0  # percent of the points on each side that may be wrong
OUTER_NEAR = 0.1  # percent of them on the cameras' side: a nose is little, and what they look at
NEARER = 0.25  # of the cameras' box that it may be longer towards them
BEFORE = 0.7  # of a side's half width: what stands farther out stands beside it
MARGIN = 0.08  # of the longest side, on every side: structure from motion finds nothing on what is plain
LEAST_SHARE = 0.2  # of the cameras' box, for each side: points on one label aren't the whole of a vase
FAR_FACTOR = 3.0  # times the near distance, where a front ends; the rest is left to the contraction

Layout = Literal["around", "outward", "front"]


def box_of_points(
    points: SparsePoints, by_cameras: np.ndarray, layout: Layout, positions: np.ndarray, forwards: np.ndarray
) -> np.ndarray | None:
    """The box [2, 3] around what sparse points show; None where there are too few to tell.

    Args:
        points: seen by at least ``SEEN_BY`` photos to count; all count where the source doesn't say.
        by_cameras: the box [2, 3] that the cameras suggest. It is only made smaller where they look at its middle from
            around (the walls behind and the floor below the cameras aren't meant), but for what reaches towards them.
        layout: how the cameras stand: "around" something, looking "outward" in a room, or at a "front".
        positions, forwards: the cameras', float64 [N, 3].
    """
    found = points.xyz if not points.count.any() else points.xyz[points.count >= SEEN_BY]
    near = np.zeros((2, 3), bool)
    if layout == "around":
        by_cameras, near = _towards(by_cameras, positions)
        found = found[((found >= by_cameras[0]) & (found <= by_cameras[1])).all(1)]
    elif layout == "front":
        found = _in_front(found, positions, forwards)
    if len(found) < LEAST_POINTS:
        return None
    low, high = (
        np.where(near[end], np.percentile(found, outer_near, axis=0), np.percentile(found, outer, axis=0))
        for end, outer, outer_near in ((0, OUTER, OUTER_NEAR), (1, 100 - OUTER, 100 - OUTER_NEAR))
    )
    if layout == "outward":  # a room holds those who stand in it
        low, high = np.minimum(low, positions.min(0)), np.maximum(high, positions.max(0))
    margin = MARGIN * float((high - low).max())
    low, high = low - margin, high + margin
    if layout != "around":
        return np.stack([low, high])
    least = LEAST_SHARE * (by_cameras[1] - by_cameras[0])
    middle, half = (low + high) / 2, np.maximum(high - low, least) / 2
    return np.stack([np.maximum(middle - half, by_cameras[0]), np.minimum(middle + half, by_cameras[1])])


def _towards(box: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A box [2, 3] grown on the sides beyond which most cameras stand, at most half-way to the nearest one that stands
    before that side; and which sides these are, bool [2, 3]."""
    grown, near = box.copy(), np.zeros((2, 3), bool)
    for axis in range(3):
        others = [i for i in range(3) if i != axis]
        middle, half = box[:, others].mean(0), (box[1, others] - box[0, others]) / 2
        before = (np.abs(positions[:, others] - middle) < BEFORE * half).all(1)
        for end, outward in ((0, -1.0), (1, 1.0)):
            gap = outward * (positions[:, axis] - box[end, axis])
            near[end, axis] = np.median(gap) > 0
            if near[end, axis]:
                room = float(gap[before & (gap > 0)].min(initial=np.inf)) / 2
                grown[end, axis] += outward * min(room, NEARER * float(box[1, axis] - box[0, axis]))
    return grown, near


def _in_front(found: np.ndarray, positions: np.ndarray, forwards: np.ndarray) -> np.ndarray:
    """The points between the nearest ones and ``FAR_FACTOR`` times their distance, along the mean view."""
    ahead = forwards.mean(0) / np.linalg.norm(forwards.mean(0))
    depth = (found - positions.mean(0)) @ ahead
    found, depth = found[depth > 0], depth[depth > 0]
    return found if not len(found) else found[depth <= FAR_FACTOR * float(np.percentile(depth, OUTER))]
