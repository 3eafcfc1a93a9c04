"""Dots and outlines as triangles and lines in pixels; without bpy.

Dots are triangles, not points: how Blender draws points differs from version to version and from driver to driver.
"""

from __future__ import annotations

import numpy as np

__all__ = ["Colour", "box_line", "disc", "dot"]

Colour = tuple[float, float, float, float]

SEGMENTS = 24
SOFT = 0.75
"""Pixels over which a rim fades, on both sides of it: edges without steps, whatever the driver smooths."""


def disc(x: float, y: float, radius: float, colour: Colour) -> tuple[np.ndarray, np.ndarray]:
    """A disc around (x, y) as triangles: corners float32 [3 T, 2] and their colours float32 [3 T, 4]."""
    angles = np.linspace(0.0, 2 * np.pi, SEGMENTS + 1)
    rim = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inner, outer = rim * max(radius - SOFT, 0.0), rim * (radius + SOFT)
    centre = np.zeros_like(rim[:-1])
    fan = np.stack([centre, inner[:-1], inner[1:]], axis=1)
    ring = np.concatenate(
        [
            np.stack([inner[:-1], outer[:-1], outer[1:]], axis=1),
            np.stack([inner[:-1], outer[1:], inner[1:]], axis=1),
        ]
    )
    full, gone = np.array(colour), np.array([*colour[:3], 0.0])
    shades = np.concatenate(
        [
            np.broadcast_to(full, (SEGMENTS, 3, 4)),
            np.broadcast_to(np.stack([full, gone, gone]), (SEGMENTS, 3, 4)),
            np.broadcast_to(np.stack([full, gone, full]), (SEGMENTS, 3, 4)),
        ]
    )
    corners = np.concatenate([fan, ring]).reshape(-1, 2) + np.array([x, y])
    return corners.astype(np.float32), shades.reshape(-1, 4).astype(np.float32)


def dot(
    x: float, y: float, radius: float, fill: Colour, outline: Colour, selected: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A filled disc with an outline, and around it a white ring where it is ``selected``; as ``disc``."""
    layers = [disc(x, y, 1.3 * radius, outline), disc(x, y, radius, fill)]
    if selected:
        layers.insert(0, disc(x, y, 1.65 * radius, (1.0, 1.0, 1.0, fill[3])))
        layers.insert(0, disc(x, y, 1.85 * radius, outline))
    return np.concatenate([one[0] for one in layers]), np.concatenate([one[1] for one in layers])


def box_line(corners: np.ndarray) -> np.ndarray:
    """The outline of the upright box with two opposite corners [2, 2], closed: [5, 2]."""
    (x0, y0), (x1, y1) = np.min(corners, axis=0), np.max(corners, axis=0)
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
