"""How much like one whole object a mask looks: measures in [0, 1] by which rival guesses are compared."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from engine.segmenters.pixel_grid import boundary_contrast

__all__ = ["fills_box", "frame_share", "goes_on", "outline_score", "overlap", "supports_clicks"]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two bool masks; 1 where both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def outline_score(mask: np.ndarray, odds: np.ndarray, alike: np.ndarray, share: float) -> float:
    """How object-like ``mask`` is, in [0, 1]: contrast along its outline, and colours that tell inside from outside."""
    if mask.sum() < 8 or share > 0.9:
        return 0.0
    contrast = boundary_contrast(mask, alike)
    ring = ndimage.binary_dilation(mask, iterations=5) & ~mask
    if not ring.any():
        return 0.0
    chance = 1.0 / (1.0 + np.exp(-odds))
    told = 0.5 * (float(chance[mask].mean()) + float((1 - chance[ring]).mean()))
    return contrast**0.7 * told**1.5


def frame_share(mask: np.ndarray) -> float:
    """Share of the picture's frame that ``mask`` covers: surroundings reach the frame, objects seldom do."""
    frame = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return float(frame.mean())


def goes_on(mask: np.ndarray, depth: np.ndarray | None, standing: np.ndarray | None) -> float:
    """Share of the outline of ``mask`` across which something goes on at the same depth: part of a larger thing.

    ``standing``: the pixels that stand off the background's planes; what lies in a plane doesn't count as going on.
    0 without geometry.
    """
    if depth is None or standing is None or not mask.any():
        return 0.0
    rim = mask & ~ndimage.binary_erosion(mask, iterations=2, border_value=1)
    ring = ndimage.binary_dilation(mask, iterations=3) & ~ndimage.binary_dilation(mask)
    if not rim.any() or not ring.any():
        return 0.0
    _, (rows, columns) = ndimage.distance_transform_edt(~rim, return_indices=True)
    own = depth[rows[ring], columns[ring]]
    same = np.abs(depth[ring] - own) < 0.02 * own
    return float((same & standing[ring]).mean())


def supports_clicks(mask: np.ndarray, inside: np.ndarray) -> float:
    """How well ``mask`` surrounds the clicks, in [0.4, 1]: a click that is in it only by force stands alone."""
    if not inside.any():
        return 1.0
    around = ndimage.uniform_filter(mask.astype(np.float32), 5)[inside]
    return 0.4 + 0.6 * float(np.clip(around / 0.4, 0, 1).mean())


def fills_box(mask: np.ndarray, frame: tuple[int, int, int, int] | None) -> float:
    """Share of the box's four sides that ``mask`` comes near: people draw boxes that touch the object."""
    if frame is None:
        return 1.0
    y0, y1, x0, x1 = frame
    inner = mask[y0:y1, x0:x1]
    if not inner.any():
        return 0.0
    rows, columns = np.flatnonzero(inner.any(axis=1)), np.flatnonzero(inner.any(axis=0))
    height, width = inner.shape
    gaps = np.array([rows[0] / height, 1 - (rows[-1] + 1) / height, columns[0] / width, 1 - (columns[-1] + 1) / width])
    return float(np.clip(1.0 - np.maximum(gaps - 0.05, 0) * 2, 0.2, 1.0).mean())
