"""Pictures of how a field renders a view: photo, rendering, difference and depth side by side."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from engine.fields.rendering import RenderedView
from engine.lifting.masks import resample

PANEL_SIDE_PX = 480  # a panel's longer side at most: four of them fill a page's width
GAP_PX = 4  # white, between panels
AMPLIFIED = 4.0  # differences: 25 % of the range shows as white
NEAREST, FARTHEST = 98.0, 2.0  # percentiles of 1 / depth that are shown white and black


def side_by_side(photo: Float[np.ndarray, "h w 3"], rendered: RenderedView) -> Float[np.ndarray, "i j 3"]:
    """Photo, rendering, their difference (times 4) and depth (near is bright), each at most 480 pixels long."""
    depth = np.repeat(shown_depth(rendered.depth)[..., None], 3, -1)
    found = [photo, rendered.rgb, np.clip(AMPLIFIED * np.abs(rendered.rgb - photo), 0, 1), depth]
    height, width = photo.shape[:2]
    scale = min(1.0, PANEL_SIDE_PX / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    gap = np.ones((size[0], GAP_PX, 3), np.float32)
    return np.concatenate([part for panel in found for part in (gap, resample(panel, size))][1:], 1)


def shown_depth(depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Depth as grey: even in 1 / depth, so that a far background leaves room for what is near; black for nothing."""
    there = depth > 0
    shown = np.zeros(depth.shape, np.float32)
    if there.any():
        nearness = 1 / depth[there]
        low, high = np.percentile(nearness, [FARTHEST, NEAREST])
        shown[there] = np.clip((nearness - low) / max(high - low, 1e-9), 0, 1) if high > low else 1.0
    return shown
