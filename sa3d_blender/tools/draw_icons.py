"""Draws the tools' icons in Blender's own vector format: run `python -m sa3d_blender.tools.draw_icons` after a change.

The format (``VCO``, read by Blender's toolbar): 8 bytes of head, then the corners of all triangles, two bytes x, y
each with y upwards, then their colours, four bytes each.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

__all__ = ["FOLDER", "main"]

FOLDER = Path(__file__).with_name("icons")
HEAD = b"VCO\x00" + bytes((255, 255, 0, 0))

Point = tuple[float, float]
Colour = tuple[int, int, int, int]
Triangles = list[tuple[tuple[Point, Point, Point], Colour]]

WHITE: Colour = (255, 255, 255, 255)
GREEN: Colour = (60, 200, 90, 255)
RED: Colour = (230, 70, 60, 255)


def disc(x: float, y: float, radius: float, colour: Colour, corners: int = 20) -> Triangles:
    """A filled circle."""
    rim = [
        (x + radius * math.cos(2 * math.pi * i / corners), y + radius * math.sin(2 * math.pi * i / corners))
        for i in range(corners + 1)
    ]
    return [(((x, y), rim[i], rim[i + 1]), colour) for i in range(corners)]


def bar(start: Point, end: Point, width: float, colour: Colour) -> Triangles:
    """A straight line."""
    length = math.dist(start, end)
    nx, ny = ((end[1] - start[1]) / length * width / 2, -(end[0] - start[0]) / length * width / 2)
    a, b = (start[0] + nx, start[1] + ny), (start[0] - nx, start[1] - ny)
    c, d = (end[0] - nx, end[1] - ny), (end[0] + nx, end[1] + ny)
    return [((a, b, c), colour), ((a, c, d), colour)]


def arrow(x: float, y: float, size: float) -> Triangles:
    """A mouse's arrow with its tip at (x, y)."""
    left, right, inner = (x, y - size), (x + 0.71 * size, y - 0.71 * size), (x + 0.27 * size, y - 0.74 * size)
    return [(((x, y), left, inner), WHITE), (((x, y), inner, right), WHITE)]


def click_icon() -> Triangles:
    """A green dot under an arrow, a red one beside it."""
    return [*disc(95, 165, 42, GREEN), *disc(190, 190, 24, RED), *arrow(100, 160, 120)]


def box_icon() -> Triangles:
    """A dashed box with a green dot inside."""
    low, high, third = 45.0, 210.0, 55.0
    made: Triangles = disc((low + high) / 2, (low + high) / 2, 34, GREEN)
    for at in (low, low + third, low + 2 * third):
        dash = (at, at + 0.66 * third + 0.34 * third * (at > low + third))
        for edge in (low, high):
            made += bar((dash[0], edge), (dash[1], edge), 16, WHITE)
            made += bar((edge, dash[0]), (edge, dash[1]), 16, WHITE)
    return made


def scribble_icon() -> Triangles:
    """A green wave and the pencil that drew it."""
    wave = [(35 + 1.5 * step, 85 + 30 * math.sin(step / 14)) for step in range(0, 85, 4)]
    made: Triangles = []
    for start, end in pairwise(wave):
        made += bar(start, end, 20, GREEN) + disc(*end, 10, GREEN, 8)
    tip = wave[-1]
    made.append(((tip, (tip[0] + 8, tip[1] + 38), (tip[0] + 38, tip[1] + 8)), WHITE))
    made += bar((tip[0] + 24, tip[1] + 24), (tip[0] + 66, tip[1] + 66), 40, WHITE)
    return made


ICONS = {"sa3d.click": click_icon, "sa3d.box": box_icon, "sa3d.scribble": scribble_icon}


def packed(triangles: Triangles) -> bytes:
    """The bytes of an icon file."""
    corners = bytes(min(255, max(0, round(value))) for three, _ in triangles for point in three for value in point)
    colours = bytes(value for _, colour in triangles for _ in range(3) for value in colour)
    return HEAD + corners + colours


def main() -> None:
    """Writes all icons."""
    FOLDER.mkdir(exist_ok=True)
    for name, draw in ICONS.items():
        (FOLDER / f"{name}.dat").write_bytes(packed(draw()))


if __name__ == "__main__":
    main()
