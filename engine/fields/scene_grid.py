"""How fine the grids of a field are, and the occupancy grid that tells where to look in it."""

from __future__ import annotations

import numpy as np

from engine.fields.base import TrainableField
from engine.fields.sampling import OccupancyGrid


def resolution_of(aabb: np.ndarray, side: int) -> tuple[int, int, int]:
    """Grid nodes along x, y, z so that cells are cubes and there are about ``side``^3 of them."""
    extent = aabb[1] - aabb[0]
    cell = float(np.prod(extent)) ** (1 / 3) / side
    x, y, z = (max(8, round(e / cell)) for e in extent)
    return x, y, z


def build_grid(model: TrainableField, side: int) -> OccupancyGrid:
    """The occupancy grid of a field, or of its proposal: at most ``side``^3 cells and never finer than the field."""
    aabb = model.aabb.cpu().numpy()
    wanted = resolution_of(aabb, side)
    n = tuple(min(a, b) for a, b in zip(wanted, model.resolution, strict=True))
    guide = model if model.proposal is None else model.proposal
    return OccupancyGrid.from_volume(guide.density_volume((n[0], n[1], n[2])))
