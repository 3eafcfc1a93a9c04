"""Cameras that stand somewhere on the earth are moved to the origin: what is far away has too few digits left."""

from __future__ import annotations

import numpy as np

__all__ = ["FAR", "move_to_origin"]

FAR = 1e5  # from here on coordinates are those of a map, not of a scene


def move_to_origin(positions: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """What to add to all ``positions`` [N, 3] (some may not be finite): float64 [3], and what to tell, if anything.

    Zero where they lie near the origin; else minus their middle, in whole units.
    """
    good = positions[np.isfinite(positions).all(axis=1)]
    if len(good) == 0:
        return np.zeros(3), []
    middle = np.round(np.median(good, axis=0))
    if not FAR < np.abs(middle).max() < 1e12:
        return np.zeros(3), []
    move = np.where(np.abs(middle) > 0, -middle, 0.0)
    written = ", ".join(f"{value:.0f}" for value in move)
    return move, [f"The cameras stand somewhere on a map; they are moved by ({written}), to the origin."]
