"""Cameras that stand somewhere on the earth are brought to the origin: what is far away has too few digits left.

A map's coordinates (such as UTM's) are moved. Coordinates from the earth's middle are turned as well: x to the east, y
to the north, z up. Source: WGS 84's ellipsoid, whose normal tells what is up.
"""

from __future__ import annotations

import numpy as np

__all__ = ["FAR", "brought_near"]

FAR = 1e5  # from here on coordinates are those of a map, not of a scene
_EQUATOR, _POLE = 6_378_137.0, 6_356_752.3
_HEIGHT = 50_000.0  # nobody takes photos of a scene further above the earth, or below its surface


def brought_near(positions: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """The rigid motion float64 [4, 4] to apply to cameras at ``positions`` [N, 3] (some of which may not be finite),
    and what to tell, if anything. Lengths stay what they are.

    The identity where they lie near the origin; else their middle, in whole units, comes to lie there.
    """
    motion = np.eye(4)
    good = positions[np.isfinite(positions).all(axis=1)]
    middle = np.round(np.median(good, axis=0)) if len(good) else np.zeros(3)
    if not FAR < np.abs(middle).max() < 1e12:
        return motion, []
    where = "on a map"
    if _POLE - _HEIGHT < np.linalg.norm(middle) < _EQUATOR + _HEIGHT:
        where = "on the earth"
        up = middle / np.square([_EQUATOR, _EQUATOR, _POLE])
        up /= np.linalg.norm(up)
        east = np.cross([0.0, 0.0, 1.0], up) if abs(up[2]) < 1 - 1e-9 else np.array([1.0, 0.0, 0.0])
        east /= np.linalg.norm(east)
        motion[:3, :3] = east, np.cross(up, east), up
    motion[:3, 3] = -motion[:3, :3] @ middle
    written = ", ".join(f"{value + 0.0:.0f}" for value in middle)
    return motion, [f"The cameras stand somewhere {where}; what was at ({written}) lies at the origin here."]
