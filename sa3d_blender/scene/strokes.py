"""Brush strokes as lists of points, thinned to what their shape needs; without bpy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

__all__ = ["MOST_POINTS", "paint", "simplified"]

MOST_POINTS = 200
"""Of one stroke. A hand can't draw a line over a photo that needs more."""


def simplified(points: np.ndarray, tolerance: float) -> np.ndarray:
    """The points of a line [N, 2] without those that lie within ``tolerance`` of the line through the rest.

    Ramer's and Douglas and Peucker's way: keep the point that is farthest off the straight line, on both sides of it
    again, until all others are near. The tolerance grows where more than MOST_POINTS would be left.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    while True:
        keep = _kept(points, tolerance)
        if keep.sum() <= MOST_POINTS:
            return points[keep]
        tolerance *= 1.5


def _kept(points: np.ndarray, tolerance: float) -> np.ndarray:
    keep = np.zeros(len(points), dtype=bool)
    if len(points):
        keep[[0, -1]] = True
    waiting = [(0, len(points) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        off = _distances(points[first + 1 : last], points[first], points[last])
        farthest = int(np.argmax(off))
        if off[farthest] > tolerance:
            middle = first + 1 + farthest
            keep[middle] = True
            waiting += [(first, middle), (middle, last)]
    return keep


def _distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Of points [N, 2] from the straight piece between two others."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0.0, 1.0) if length > 0 else np.zeros(len(points))
    return np.linalg.norm(points - start - share[:, None] * along, axis=1)


def paint(lines: list[np.ndarray], size: tuple[int, int], radius: float = 1.5) -> np.ndarray:
    """Lines (each [N, 2], in pixels, x right, y down) painted on a picture of ``size`` (width, height): bool [H, W].

    What is nearer than ``radius`` to a line is True.
    """
    width, height = size
    painted = np.zeros((height, width), dtype=bool)
    for line in lines:
        line = np.asarray(line, dtype=np.float64).reshape(-1, 2)
        if len(line) == 1:
            line = np.repeat(line, 2, axis=0)
        for start, end in pairwise(line):
            low = np.floor(np.minimum(start, end) - radius - 1).astype(int)
            high = np.ceil(np.maximum(start, end) + radius + 1).astype(int)
            x0, y0 = max(low[0], 0), max(low[1], 0)
            x1, y1 = min(high[0], width), min(high[1], height)
            if x0 >= x1 or y0 >= y1:
                continue
            x, y = np.meshgrid(np.arange(x0, x1) + 0.5, np.arange(y0, y1) + 0.5)
            near = _distances(np.stack([x.ravel(), y.ravel()], axis=1), start, end) <= radius
            painted[y0:y1, x0:x1] |= near.reshape(x.shape)
    return painted
