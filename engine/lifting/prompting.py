"""Cross-view self-prompting: from the rendered mask of the next view to prompts for it (paper, Eq. 6-8).

Beyond the paper: negative points on what was voted out and on other objects, and the rendered mask's box.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt

NEAR_RIM = 3.0  # pixels around a rendered mask in which it may be wrong: no place for a negative point
BOX_MARGIN = 0.05  # of the box's sides, as a rendered mask is seldom quite whole


def select_points(
    confidence: Float[np.ndarray, "h w"],
    points_world: Float[np.ndarray, "h w 3"],
    count: int,
    level: float = 0.5,
    decay: bool = True,
    inward: bool = True,
) -> Float[np.ndarray, "n 2"]:
    """Up to ``count`` positive prompts for a rendered mask, pixel centres (x, y) of float32 [N, 2].

    The first is where the mask is most confident (Eq. 6). Around each selected point p^ a square of side sqrt(area /
    pi) is blanked. The confidence of every other pixel p then decays with its 3D distance from what has been selected
    (Eq. 7, 8),

        C(p) <- M(p) - min over p^ of M(p^) d(G(p), G(p^))

    with d min-max normalised over the mask and G(p) the surface point under p: what is far from every prompt in space
    is likely to be a stray part of the mask. The selection ends where the confidence is no longer positive.

    Args:
        confidence: the rendered mask: a probability, or the paper's M = A V.
        points_world: surface points under the pixels; NaN where there is none (such pixels are never selected).
        count: n_p, the largest number of prompts.
        level: what the mask's pixels exceed: 0.5 of a probability, 0 of M.
        decay: with the 3D decay of Eq. 7 and 8; without, the next most confident pixel outside the squares.
        inward: ties are broken towards the inside of the mask (see `_interior`); the paper takes the first maximum.
    """
    mask = (confidence > level) & np.isfinite(points_world).all(-1)
    area = int(mask.sum())
    if area == 0:
        return np.zeros((0, 2), np.float32)
    side = np.sqrt(area / np.pi)
    rows, columns = np.nonzero(mask)
    original = confidence[rows, columns].astype(np.float64)
    positions = points_world[rows, columns].astype(np.float64)
    bonus = _interior(rows, columns, mask) if inward else np.zeros(area)
    current = original.copy()
    nearest = np.full(area, np.inf)
    free = np.ones(area, bool)
    selected: list[tuple[float, float]] = []
    while len(selected) < count and free.any():
        rank = np.round(current, 2) + bonus if inward else current
        best = int(np.argmax(np.where(free, rank, -np.inf)))
        if current[best] <= 0:
            break
        selected.append((columns[best] + 0.5, rows[best] + 0.5))
        free &= (np.abs(rows - rows[best]) > side / 2) | (np.abs(columns - columns[best]) > side / 2)
        if decay:
            distance = np.linalg.norm(positions - positions[best], axis=1)
            low, high = distance.min(), distance.max()
            nearest = np.minimum(nearest, original[best] * (distance - low) / max(high - low, 1e-12))
            current = original - nearest
    return np.array(selected, np.float32).reshape(-1, 2)


def _interior(rows: np.ndarray, columns: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Breaks ties towards the inside of the mask: the first maximum is often a pixel on its rim.

    A rendered probability is 1 over large parts of an object; there the distance to the mask's edge decides, at a
    thousandth of the confidence's range, so that it never overrules a real difference.
    """
    top, left = rows.min(), columns.min()
    cut = mask[top : rows.max() + 1, left : columns.max() + 1]  # the distance to the edge needs no more
    inside = distance_transform_edt(np.pad(cut, 1))[1:-1, 1:-1][rows - top, columns - left]
    return 1e-3 * inside / max(inside.max(), 1.0)


def away_from(
    confidence: Float[np.ndarray, "h w"],
    points_world: Float[np.ndarray, "h w 3"],
    refused_px: Float[np.ndarray, "k 2"],
) -> Float[np.ndarray, "h w"]:
    """The confidence, decayed towards refused points that lie on the mask: positive prompts belong far from them.

    The decay of Eq. 8 the other way round: with the 3D distance to the nearest such point, min-max normalised over the
    mask, as what is near it in space is likely to be refused, too.

    Args:
        refused_px: pixels (x, y) that are not the object, whatever the rendered mask says.
    """
    mask = (confidence > 0.5) & np.isfinite(points_world).all(-1)
    columns, rows = refused_px.astype(int).T
    contradicting = mask[rows, columns] if len(refused_px) else np.zeros(0, bool)
    if not contradicting.any():
        return confidence
    refused = points_world[rows, columns][contradicting]
    distance = np.min([np.linalg.norm(points_world[mask] - point, axis=-1) for point in refused], axis=0)
    decayed = confidence.copy()
    decayed[mask] *= (distance - distance.min()) / max(float(np.ptp(distance)), 1e-12)
    return decayed


def negative_points(
    mask: Bool[np.ndarray, "h w"], against: Float[np.ndarray, "h w"], count: int
) -> Float[np.ndarray, "n 2"]:
    """Up to ``count`` points near the mask where something else is, pixel centres (x, y) of float32 [N, 2].

    The nearest first: what lies close by is what a segmenter takes along. As with positive points, a square around
    each is blanked, so that they come to lie on different sides.

    Args:
        mask: the rendered mask of the object.
        against: how surely a pixel shows voxels that were voted out, or another object, in [0, 1].
    """
    area = int(mask.sum())
    if area == 0:
        return np.zeros((0, 2), np.float32)
    side = np.sqrt(area / np.pi)
    reach = math.ceil(NEAR_RIM + side) + 1  # nothing beyond is allowed, so only the surroundings are looked at
    filled_rows, filled_columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = max(0, filled_rows[0] - reach), max(0, filled_columns[0] - reach)
    window = np.s_[top : filled_rows[-1] + reach + 1, left : filled_columns[-1] + reach + 1]
    mask, against = mask[window], against[window]
    if not (against > 0.5).any():
        return np.zeros((0, 2), np.float32)
    away = distance_transform_edt(~mask)
    allowed = (against > 0.5) & (away > NEAR_RIM) & (away < NEAR_RIM + side)
    inside = distance_transform_edt(np.pad(allowed, 1))[1:-1, 1:-1]
    # a little way into what is there, not on its rim
    rank = np.where(allowed, against * np.exp(-away / side) * np.minimum(inside, NEAR_RIM), 0.0)
    rows, columns = np.indices(mask.shape)
    selected: list[tuple[float, float]] = []
    while len(selected) < count and rank.max() > 0:
        row, column = np.unravel_index(int(np.argmax(rank)), rank.shape)
        selected.append((float(left + column) + 0.5, float(top + row) + 0.5))
        rank[(np.abs(rows - row) <= side / 2) & (np.abs(columns - column) <= side / 2)] = 0
    return np.array(selected, np.float32).reshape(-1, 2)


def mask_box(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " 4"] | None:
    """The box (x0, y0, x1, y1) around a mask with a small margin, in pixels; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    x0, x1, y0, y1 = columns[0], columns[-1] + 1.0, rows[0], rows[-1] + 1.0
    dx, dy = BOX_MARGIN * (x1 - x0), BOX_MARGIN * (y1 - y0)
    height, width = mask.shape
    return np.array([max(0, x0 - dx), max(0, y0 - dy), min(width, x1 + dx), min(height, y1 + dy)], np.float32)
