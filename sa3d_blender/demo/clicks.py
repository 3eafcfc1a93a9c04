"""The clicks an artist would make on the demo's objects, chosen by looking at its first view."""

from __future__ import annotations

from typing import Any

from sa3d_blender.demo.orbit import FOCAL_OVER_WIDTH

# Pixels of view 000 at 320x240, which has the same camera for every number of views and every seed.
REFERENCE_SIZE = (320, 240)
CLICKS: dict[str, tuple[str, tuple[tuple[int, int], tuple[int, int]]]] = {
    "main": ("brick", ((64, 118), (66, 144))),
    "second": ("ball", ((225, 135), (210, 150))),
}


def clicks_for(width: int, height: int) -> dict[str, Any]:
    """Content of clicks.json: object, view and two points (x right, y down, pixels) each.

    A point keeps its direction from the camera, whatever the size and shape of the picture.
    """
    scale = width / REFERENCE_SIZE[0]
    found: dict[str, Any] = {}
    for name, (target, points) in CLICKS.items():
        moved = [
            [
                round((x + 0.5 - REFERENCE_SIZE[0] / 2) * scale + width / 2 - 0.5),
                round((y + 0.5 - REFERENCE_SIZE[1] / 2) * scale + height / 2 - 0.5),
            ]
            for x, y in points
        ]
        found[name] = {"object": target, "view": "000.png", "points": moved}
    return found


def focal_length(width: int) -> float:
    """Focal length in pixels of pictures ``width`` pixels wide."""
    return FOCAL_OVER_WIDTH * width
