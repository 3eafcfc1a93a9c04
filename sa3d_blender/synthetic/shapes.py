"""Closed surfaces of the training scenes' things as plain vertices and faces, without bpy."""

from __future__ import annotations

import math

import numpy as np

from sa3d_blender.demo.shapes import Shape, ball, lathe, ring, smooth_profile

__all__ = ["Shape", "ball", "blob", "helix", "lathe", "moved", "prism", "random_profile", "ring", "slab", "sweep"]


def moved(shape: Shape, offset: tuple[float, float, float], scale: tuple[float, float, float] = (1, 1, 1)) -> Shape:
    """The shape scaled along the axes, then shifted."""
    return Shape(shape.vertices * np.asarray(scale, np.float64) + np.asarray(offset, np.float64), shape.faces)


def sweep(path: np.ndarray, radii: np.ndarray, sides: int = 10, flatten: float = 1.0, closed: bool = False) -> Shape:
    """A tube along ``path`` [N, 3] with ``radii`` [N], its section squeezed to ``flatten`` in one direction.

    Open ends get a cap. The section's frame is carried along the path without twist.
    """
    path, count = np.asarray(path, np.float64), len(path)
    along = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    side = np.cross(along[0], [0.0, 0.0, 1.0])
    if np.linalg.norm(side) < 0.1:
        side = np.cross(along[0], [0.0, 1.0, 0.0])
    angles = 2 * math.pi * np.arange(sides) / sides
    rings = []
    for i in range(count):
        side = side - along[i] * (side @ along[i])
        side /= max(float(np.linalg.norm(side)), 1e-9)
        up = np.cross(side, along[i])
        section = np.cos(angles)[:, None] * side + flatten * np.sin(angles)[:, None] * up
        rings.append(path[i] + radii[i] * section)
    spans = count if closed else count - 1
    faces: list[tuple[int, ...]] = []
    for i in range(spans):
        j = (i + 1) % count
        for k in range(sides):
            m = (k + 1) % sides
            faces.append((i * sides + k, i * sides + m, j * sides + m, j * sides + k))
    if not closed:
        faces += [tuple(range(sides - 1, -1, -1)), tuple(range((count - 1) * sides, count * sides))]
    return Shape(np.concatenate(rings), tuple(faces))


def helix(radius: float, height: float, turns: float, thickness: float) -> Shape:
    """A coil spring that stands on z = 0."""
    t = np.linspace(0, 1, max(24, int(24 * turns)))
    angle = 2 * math.pi * turns * t
    path = np.stack([radius * np.cos(angle), radius * np.sin(angle), thickness + height * t], -1)
    return sweep(path, np.full(len(t), thickness), 8)


def prism(corners: int, radius: float, height: float, star: float = 1.0) -> Shape:
    """An upright prism over a regular polygon; ``star`` < 1 pulls every second corner in."""
    angles = 2 * math.pi * np.arange(corners) / corners
    reach = np.where(np.arange(corners) % 2 == 0, radius, radius * star)
    low = np.stack([reach * np.cos(angles), reach * np.sin(angles), np.zeros(corners)], -1)
    vertices = np.concatenate([low, low + np.array([0, 0, height])])
    sides = [(k, (k + 1) % corners, corners + (k + 1) % corners, corners + k) for k in range(corners)]
    return Shape(vertices, (tuple(range(corners - 1, -1, -1)), tuple(range(corners, 2 * corners)), *sides))


def slab(width: float, depth: float, height: float) -> Shape:
    """A box that stands on z = 0, in the middle of x and y."""
    x, y = width / 2, depth / 2
    corners = [(-x, -y), (x, -y), (x, y), (-x, y)]
    vertices = np.array([(*c, 0.0) for c in corners] + [(*c, height) for c in corners])
    faces = ((3, 2, 1, 0), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7))
    return Shape(vertices, faces)


def blob(rng: np.random.Generator, steps: int = 20, segments: int = 32) -> Shape:
    """A smooth, star-shaped lump of radius about one half that rests near z = 0."""
    round_one = ball(0.5, steps, segments)
    direction = round_one.vertices - [0, 0, 0.5]
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    swell = np.zeros(len(direction))
    for _ in range(int(rng.integers(2, 7))):
        wave = rng.normal(size=3) * rng.uniform(0.8, 3.0)
        swell += rng.uniform(0.05, 0.22) * np.sin(direction @ wave + rng.uniform(0, 6.28))
    vertices = direction * (0.5 * np.exp(swell))[:, None] * rng.uniform(0.6, 1.3, 3)
    return Shape(vertices - [0, 0, vertices[:, 2].min()], round_one.faces)


def random_profile(rng: np.random.Generator, knots: int, hollow: bool) -> list[tuple[float, float]]:
    """A random outline (radius, height) for ``lathe``: a bottle, a vase, a fruit; ``hollow`` leaves it open on top."""
    heights = np.linspace(0.02, 1.0, knots)
    radii = np.clip(0.35 + np.cumsum(rng.normal(0, 0.13, knots)), 0.08, 0.6)
    outside = [
        (max(r, 0.02), z) for r, z in smooth_profile(list(zip(radii.tolist(), heights.tolist(), strict=True)), 5)
    ]
    profile = [(0.0, 0.0), (outside[0][0] * 0.9, 0.0), *outside]
    if not hollow:
        return [*profile, (outside[-1][0] * 0.5, 1.01), (0.0, 1.012)]
    wall = 0.035
    inside = [(max(r - wall, 0.015), z) for r, z in reversed(outside) if z > 0.08]
    return [*profile, *inside, (0.0, inside[-1][1])]
