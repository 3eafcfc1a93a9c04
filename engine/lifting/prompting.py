"""Cross-view self-prompting: from the rendered mask of the next view to point prompts (paper, Eq. 6-8)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt

LEAST_CONFIDENCE = 0.5  # a rendered probability below this is no place for a positive prompt


def select_points(
    confidence: Float[np.ndarray, "h w"], points_world: Float[np.ndarray, "h w 3"], count: int
) -> Float[np.ndarray, "n 2"]:
    """Up to ``count`` positive prompts for a rendered mask, pixel centres (x, y) of float32 [N, 2].

    The first is where the mask is most confident (Eq. 6). Around each selected point p^ a square of side
    sqrt(area / pi) is blanked. The confidence of every other pixel p then decays with its 3D distance from what
    has been
    selected (Eq. 7, 8),

        C(p) <- M(p) - min over p^ of M(p^) d(G(p), G(p^))

    with d min-max normalised over the mask and G(p) the surface point under p: what is far from every prompt in
    space is
    likely to be a stray part of the mask. The selection ends where the confidence is no longer positive.

    Args:
        confidence: rendered mask in [0, 1].
        points_world: surface points under the pixels; NaN where there is none (such pixels are never selected).
        count: n_p, the largest number of prompts.
    """
    mask = (confidence >= LEAST_CONFIDENCE) & np.isfinite(points_world).all(-1)
    area = int(mask.sum())
    if area == 0:
        return np.zeros((0, 2), np.float32)
    side = np.sqrt(area / np.pi)
    rows, columns = np.nonzero(mask)
    original = confidence[rows, columns].astype(np.float64)
    positions = points_world[rows, columns].astype(np.float64)
    current = original.copy()
    decay = np.full(len(rows), np.inf)
    free = np.ones(len(rows), bool)
    selected: list[tuple[float, float]] = []
    while len(selected) < count and free.any():
        best = int(np.argmax(np.where(free, _interior(current, rows, columns, mask), -np.inf)))
        if current[best] <= 0:
            break
        selected.append((columns[best] + 0.5, rows[best] + 0.5))
        free &= (np.abs(rows - rows[best]) > side / 2) | (np.abs(columns - columns[best]) > side / 2)
        distance = np.linalg.norm(positions - positions[best], axis=1)
        low, high = distance.min(), distance.max()
        normalised = (distance - low) / max(high - low, 1e-12)
        decay = np.minimum(decay, original[best] * normalised)
        current = original - decay
    return np.array(selected, np.float32).reshape(-1, 2)


def _interior(current: np.ndarray, rows: np.ndarray, columns: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Breaks ties towards the inside of the mask: the paper's first maximum is often a pixel on its rim.

    A rendered probability is 1 over large parts of an object; there the distance to the mask's edge decides, at a
    thousandth of the confidence's range, so that it never overrules a real difference.
    """
    inside = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][rows, columns]
    return np.round(current, 2) + 1e-3 * inside / max(inside.max(), 1.0)
