"""Pictures of meshes beside the photo, of the part of it that shows the object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

PANEL_SIDE_PX = 360  # a panel's longer side at least, where whole pixels can be enlarged to it
MARGIN = 0.2  # around the object, of its longer side
GAP_PX = 4  # white, between panels
PAPER = 1.0  # behind the meshes


def meshes_beside(
    photo: Float[np.ndarray, "h w 3"],
    mask: Bool[np.ndarray, "h w"],
    renders: Sequence[tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]],
) -> Float[np.ndarray, "i j 3"]:
    """The photo around the object, and renders (colours, coverage) of meshes in the same window, on white."""
    window = _window(mask)
    panels = [photo[window]]
    for rgb, coverage in renders:
        share = coverage[window][..., None]
        panels.append(rgb[window] * share + PAPER * (1 - share))
    scale = max(1, PANEL_SIDE_PX // max(panels[0].shape[:2]))
    gap = np.ones((panels[0].shape[0] * scale, GAP_PX, 3), np.float32)
    parts = [part for panel in panels for part in (gap, np.repeat(np.repeat(panel, scale, 0), scale, 1))]
    return np.concatenate(parts[1:], 1).astype(np.float32)


def _window(mask: Bool[np.ndarray, "h w"]) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return slice(None), slice(None)
    around = 1 + round(MARGIN * max(np.ptp(rows), np.ptp(columns)))
    down, across = (slice(max(0, int(each[0]) - around), int(each[-1]) + 1 + around) for each in (rows, columns))
    return down, across
