"""Closed surfaces of revolution as plain vertices and faces, without bpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Shape:
    """Vertices float64 [V, 3] and polygons (vertex indices, counter-clockwise from outside)."""

    vertices: np.ndarray
    faces: tuple[tuple[int, ...], ...]


def lathe(profile: Sequence[tuple[float, float]], segments: int = 64) -> Shape:
    """Solid body made by turning ``profile`` around +Z.

    ``profile`` is a list of (radius, height) running from the bottom to the top of the outside; it starts and
    ends on the axis (radius 0), where it becomes one single vertex. All other radii are positive.
    """
    if profile[0][0] != 0 or profile[-1][0] != 0 or any(radius <= 0 for radius, _ in profile[1:-1]):
        raise ValueError("a lathe profile starts and ends on the axis and leaves it in between")
    angles = 2 * math.pi * np.arange(segments) / segments
    rings = [np.stack([r * np.cos(angles), r * np.sin(angles), np.full(segments, z)], -1) for r, z in profile[1:-1]]
    bottom, top = [0.0, 0.0, profile[0][1]], [0.0, 0.0, profile[-1][1]]
    vertices = np.concatenate([np.array([bottom]), *rings, np.array([top])])
    last = len(vertices) - 1
    faces: list[tuple[int, ...]] = []
    for i in range(segments):
        j = (i + 1) % segments
        faces.append((0, 1 + j, 1 + i))
        for k in range(len(rings) - 1):
            low, high = 1 + k * segments, 1 + (k + 1) * segments
            faces.append((low + i, low + j, high + j, high + i))
        low = 1 + (len(rings) - 1) * segments
        faces.append((low + i, low + j, last))
    return Shape(vertices, tuple(faces))


def ring(major: float, minor: float, segments: int = 72, sides: int = 32) -> Shape:
    """Torus around +Z that stands on z = 0: ``major`` to the middle of the tube, ``minor`` the tube's radius."""
    u = 2 * math.pi * np.arange(segments) / segments
    v = 2 * math.pi * np.arange(sides) / sides
    radius = major + minor * np.cos(v)
    height = np.broadcast_to(minor + minor * np.sin(v), (segments, sides))
    vertices = np.stack([np.cos(u)[:, None] * radius, np.sin(u)[:, None] * radius, height], -1).reshape(-1, 3)
    faces = tuple(
        (
            i * sides + k,
            (i + 1) % segments * sides + k,
            (i + 1) % segments * sides + (k + 1) % sides,
            i * sides + (k + 1) % sides,
        )
        for i in range(segments)
        for k in range(sides)
    )
    return Shape(vertices, faces)


def smooth_profile(knots: Sequence[tuple[float, float]], steps: int = 8) -> list[tuple[float, float]]:
    """Round curve (Catmull-Rom) through ``knots``, ends kept; for ``lathe``."""
    points = np.asarray(knots, dtype=np.float64)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    curve: list[tuple[float, float]] = []
    for a, b, c, d in zip(padded[:-3], padded[1:-2], padded[2:-1], padded[3:], strict=True):
        for t in np.arange(steps) / steps:
            point = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            curve.append((float(point[0]), float(point[1])))
    return [*curve, (float(points[-1, 0]), float(points[-1, 1]))]


def ball(radius: float, steps: int = 32, segments: int = 64) -> Shape:
    """Sphere that stands on z = 0."""
    angles = np.linspace(0.0, math.pi, steps + 1)
    inner = [(radius * math.sin(a), radius - radius * math.cos(a)) for a in angles[1:-1]]
    return lathe([(0.0, 0.0), *inner, (0.0, 2 * radius)], segments)
