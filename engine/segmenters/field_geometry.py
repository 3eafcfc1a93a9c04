"""What the field's depth and normals tell a 2D segmenter: large planes, and where surfaces break off.

No intrinsics are needed: the inverse depth of any plane is an affine function of the pixel, whatever the
camera. So planes are affine fits of inverse depth, and a surface breaks off where inverse depth does
not go on the way its surroundings do.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

__all__ = ["break_channel", "dominant_planes", "plane_offset"]

# A pixel belongs to a plane when its depth is off by less than this share.
_PLANE_TOLERANCE = 0.012
_MIN_PLANE_SHARE = 0.12
_HYPOTHESES = 160
_MAX_PLANES = 3


def dominant_planes(depth: np.ndarray) -> list[np.ndarray]:
    """Up to three large planes in ``depth`` [H, W] (0 = nothing), the largest first.

    Each is float64 [3] (a, b, c): inverse depth = a * x + b * y + c at the pixel in column x of row y.
    Deterministic RANSAC with a least-squares polish. Empty where no plane holds an eighth of the pixels.
    """
    rows, columns = np.nonzero(depth > 0)
    step = max(1, len(rows) // 3000)
    rows, columns = rows[::step], columns[::step]
    if len(rows) < 50:
        return []
    design = np.stack([columns, rows, np.ones(len(rows))], axis=1).astype(np.float64)
    inverse = 1.0 / depth[rows, columns].astype(np.float64)
    total = len(rows)
    planes: list[np.ndarray] = []
    random = np.random.default_rng(0)
    while len(planes) < _MAX_PLANES and len(design) >= _MIN_PLANE_SHARE * total:
        picks = random.integers(0, len(design), (_HYPOTHESES, 3))
        corners = design[picks]  # [T, 3, 3]
        solid = np.abs(np.linalg.det(corners)) > 50.0  # twice the triangle's area, in square pixels
        if not solid.any():
            break
        trial = np.linalg.solve(corners[solid], inverse[picks[solid]][..., None])[..., 0]  # [T, 3]
        off = np.abs(design @ trial.T / inverse[:, None] - 1)  # [N, T]
        plane = trial[int(np.argmax((off < _PLANE_TOLERANCE).sum(axis=0)))]
        for _ in range(3):
            near = np.abs(design @ plane / inverse - 1) < _PLANE_TOLERANCE
            if near.sum() < 10:
                break
            plane = np.linalg.lstsq(design[near], inverse[near], rcond=None)[0]
        near = np.abs(design @ plane / inverse - 1) < 1.5 * _PLANE_TOLERANCE
        if near.sum() < _MIN_PLANE_SHARE * total:
            break
        planes.append(plane)
        design, inverse = design[~near], inverse[~near]
    return planes


def plane_offset(depth: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """How far in front of ``plane`` each pixel of ``depth`` [H, W] lies, as a share of its depth, float32 [H, W].

    Positive in front, negative behind, -1 where there is nothing.
    """
    height, width = depth.shape
    inverse = plane[0] * np.arange(width)[None, :] + plane[1] * np.arange(height)[:, None] + plane[2]
    # Beyond the plane's horizon inverse depth is negative: there everything that exists lies in front.
    return np.where(depth > 0, 1.0 - np.maximum(inverse, 0.0) * depth, -1.0).astype(np.float32)


def break_channel(depth: np.ndarray, sigma: float = 4.0) -> np.ndarray:
    """Log depth without its smooth part, float32 [H, W]: flat on surfaces, jumping where one hides another.

    A difference between neighbours is the relative depth step there, whatever the slope of the surfaces.
    Pixels with nothing count as far behind everything.
    """
    there = depth > 0
    if not there.any():
        return np.zeros_like(depth)
    far = float(depth[there].max()) * 1.5
    inverse = 1.0 / np.where(there, depth, far)
    smooth = ndimage.gaussian_filter(inverse, sigma, truncate=2.5)
    return ((inverse - smooth) / np.maximum(smooth, 1e-9)).astype(np.float32)
