"""The things that lie about in the training scenes: each a list of parts, every part a shape with its material.

All are about one unit large; the scene scales them. What a click may mean by "part" is one entry of the list.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sa3d_blender.synthetic import shapes
from sa3d_blender.synthetic.shapes import Shape, lathe, moved, sweep


@dataclass(frozen=True)
class Part:
    """One part; ``faceted`` gives every side a colour of its own, ``like`` is the part whose material it has."""

    shape: Shape
    smooth: bool = True
    faceted: bool = False
    like: int | None = None


Thing = list[Part]


def cup(rng: np.random.Generator) -> Thing:
    """A mug with a handle."""
    radius, height = rng.uniform(0.3, 0.45), rng.uniform(0.6, 1.0)
    flare = rng.uniform(0.85, 1.2)
    wall = 0.04
    outside = [(radius * (1 + (flare - 1) * t), height * t) for t in (0.02, 0.3, 0.6, 1.0)]
    inside = [(r - wall, z) for r, z in reversed(outside) if z > 0.1]
    body = lathe([(0.0, 0.0), (radius * 0.95, 0.0), *outside, *inside, (0.0, inside[-1][1])], 40)
    if rng.random() < 0.3:
        return [Part(body)]
    t = np.linspace(-1.3, 1.3, 20)
    path = np.stack([radius + rng.uniform(0.2, 0.3) * np.cos(t), 0 * t, height * (0.5 + 0.28 * np.sin(t))], -1)
    handle = sweep(path, np.full(20, rng.uniform(0.03, 0.06)), 10)
    return [Part(body), Part(handle, like=0 if rng.random() < 0.7 else None)]


def turned(rng: np.random.Generator) -> Thing:
    """A bottle, a vase, a bowl, a chess piece, often with a cap or a stem."""
    hollow = rng.random() < 0.45
    body = moved(lathe(shapes.random_profile(rng, int(rng.integers(3, 7)), hollow), 40), (0, 0, 0),
                 (1, 1, rng.uniform(0.25, 1.6)))  # fmt: skip
    parts = [Part(body)]
    top = float(body.vertices[:, 2].max())
    if not hollow and rng.random() < 0.4:
        parts.append(Part(moved(lathe(shapes.random_profile(rng, 3, False), 24), (0, 0, top), (0.3, 0.3, 0.2))))
    return parts


def fruit(rng: np.random.Generator) -> Thing:
    """A round fruit with a dent and a stem."""
    lean, belly = rng.uniform(0.0, 0.45), rng.uniform(0.42, 0.52)
    t = np.linspace(0.12, math.pi - 0.12, 22)
    radius = belly * np.sin(t) * (1 + lean * np.cos(t)) + 0.01
    height = 0.5 - 0.5 * np.cos(t) * rng.uniform(0.8, 1.15)
    height += rng.uniform(-0.1, 0.06) * np.exp(-((t - math.pi) ** 2) / 0.1)
    profile = [(0.0, float(height[0])), *zip(radius.tolist(), height.tolist(), strict=True), (0.0, float(height[-1]))]
    body = lathe(profile, 40)
    parts = [Part(body)]
    if rng.random() < 0.7:
        s = np.linspace(0, 1, 6)
        bend = rng.uniform(-0.12, 0.12)
        path = np.stack([bend * s**2, 0 * s, float(height[-1]) - 0.03 + rng.uniform(0.08, 0.2) * s], -1)
        parts.append(Part(sweep(path, np.full(6, rng.uniform(0.015, 0.035)), 7)))
    return parts


def bent(rng: np.random.Generator) -> Thing:
    """A banana, a horn, a cucumber: a tapered, bent body lying down."""
    count = 28
    t = np.linspace(-1, 1, count)
    curve = rng.uniform(0.0, 1.1)
    path = np.stack([t * 0.8, curve * 0.4 * (1 - t**2), 0 * t], -1)
    thick = rng.uniform(0.08, 0.2)
    radii = thick * np.clip(1 - np.abs(t) ** rng.uniform(2.5, 7), 0.12, 1) * (1 + rng.uniform(-0.3, 0.3) * t)
    body = sweep(path, radii, int(rng.choice([5, 6, 16])))
    parts = [Part(body)]
    if rng.random() < 0.6:
        stem = sweep(path[-1] + np.outer(np.linspace(0, 0.15, 4), [0.9, -0.3 * curve, 0]), np.full(4, 0.02), 6)
        parts.append(Part(stem))
    return parts


def block(rng: np.random.Generator) -> Thing:
    """A box, a book or a dice with sides of different colours."""
    size = np.exp(rng.uniform(np.log(0.25), np.log(1.0), 3))
    if rng.random() < 0.4:
        size[:] = 0.7
    if rng.random() < 0.25:  # a book: a cover around pages
        width, depth, height = 0.7, rng.uniform(0.45, 0.6), rng.uniform(0.06, 0.2)
        cover = [moved(shapes.slab(width, depth, 0.02), (0, 0, z)) for z in (0.0, height)]
        spine = moved(shapes.slab(0.02, depth, height + 0.02), (-width / 2, 0, 0))
        pages = moved(shapes.slab(width * 0.95, depth * 0.94, height - 0.02), (0, 0, 0.02))
        covers = [Part(c, smooth=False, like=0 if i else None) for i, c in enumerate([*cover, spine])]
        return [*covers, Part(pages, smooth=False)]
    return [Part(shapes.slab(*size), smooth=False, faceted=rng.random() < 0.6)]


def puzzle_cube(rng: np.random.Generator) -> Thing:
    """A cube of small cubes whose sides have one colour each (or are mixed up)."""
    count = int(rng.integers(2, 5))
    cells = []
    side, gap = 0.8 / count, rng.uniform(0.02, 0.08)
    for i, j, k in np.ndindex(count, count, count):
        if min(i, j, k) > 0 and max(i, j, k) < count - 1:
            continue
        middle = (np.array([i, j, k]) - (count - 1) / 2) * side
        cell = shapes.slab(side * (1 - gap), side * (1 - gap), side * (1 - gap))
        cells.append(moved(cell, (middle[0], middle[1], middle[2] + 0.4 - side / 2)))
    return [Part(merged(cells), smooth=False, faceted=True)]


def hoop(rng: np.random.Generator) -> Thing:
    """A thin ring, with a bar across or an arched handle at times."""
    radius, thick = rng.uniform(0.45, 0.55), np.exp(rng.uniform(np.log(0.012), np.log(0.1)))
    t = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    wobble = 1 + rng.uniform(0, 0.03) * np.sin(t * rng.integers(2, 9))
    path = np.stack([radius * wobble * np.cos(t), radius * wobble * np.sin(t) * rng.uniform(0.6, 1), 0 * t + thick], -1)
    parts = [Part(sweep(path, np.full(64, thick), 8, flatten=rng.uniform(0.4, 1.6), closed=True))]
    extra = rng.random()
    if extra < 0.35:
        s = np.linspace(-1, 1, 20)
        arch = np.stack([rng.uniform(0.3, 1.0) * radius * s, 0 * s, thick + rng.uniform(0.0, 0.5) * (1 - s**2)], -1)
        parts.append(Part(sweep(arch, np.full(20, thick * rng.uniform(0.8, 2.5)), 8, rng.uniform(0.3, 1)),
                          like=None if rng.random() < 0.6 else 0))  # fmt: skip
    elif extra < 0.5:
        stick = np.stack([np.linspace(radius, radius + rng.uniform(0.3, 1.0), 8), np.zeros(8), np.full(8, thick)], -1)
        parts.append(Part(sweep(stick, np.full(8, thick * rng.uniform(1, 3)), 8)))
    return parts


def stick(rng: np.random.Generator) -> Thing:
    """A pen, a knife, a spoon, a screwdriver, a lamp's pole: something long and thin, in one or two parts."""
    count = 24
    t = np.linspace(-1, 1, count)
    thick = np.exp(rng.uniform(np.log(0.012), np.log(0.06)))
    bow = rng.uniform(-0.15, 0.15)
    path = np.stack([t * 0.6, bow * t**2, np.full(count, thick)], -1)
    radii = np.full(count, thick)
    if rng.random() < 0.4:  # a spoon's bowl or a paddle
        radii = thick * (1 + rng.uniform(2, 6) * np.exp(-((t - 0.8) ** 2) / 0.03))
    if rng.random() < 0.4:
        radii = radii * np.clip((1 - t) * rng.uniform(1, 6), 0.1, 1)
    flat = rng.uniform(0.2, 1)
    if rng.random() < 0.5:
        return [Part(sweep(path, radii, 10, flat))]
    cut = int(rng.integers(6, 18))
    return [
        Part(sweep(path[: cut + 1], np.full(cut + 1, thick * rng.uniform(1, 2.2)), 10)),
        Part(sweep(path[cut:], radii[cut:], 10, flat)),
    ]


def scissors(rng: np.random.Generator) -> Thing:
    """Two crossed blades with a ring each at the end; also pliers and clamps."""
    spread, thick = rng.uniform(0.1, 0.5), rng.uniform(0.015, 0.035)
    parts = []
    t = np.linspace(0, 2 * math.pi, 32, endpoint=False)
    for sign in (-1, 1):
        s = np.linspace(-1, 1, 16)
        path = np.stack([0.5 * s, sign * spread * 0.5 * s, np.full(16, thick * (1 + sign * 0.3))], -1)
        blade = sweep(path, thick * np.clip((1 - s) * 3, 0.15, 1) * 1.5, 8, 0.5)
        hole = rng.uniform(0.1, 0.16)
        eye = np.stack([-0.5 - hole * 0.9 + hole * np.cos(t), -sign * (spread * 0.5 + hole * 0.5) + hole * np.sin(t),
                        np.full(32, thick)], -1)  # fmt: skip
        parts += [blade, sweep(eye, np.full(32, thick * 1.2), 8, closed=True)]
    return [Part(merged([parts[0], parts[2]])), Part(merged([parts[1], parts[3]]))]


def cable(rng: np.random.Generator) -> Thing:
    """A cord thrown on the table."""
    knots = np.cumsum(rng.normal(0, 0.22, (int(rng.integers(5, 9)), 2)), 0)
    t = np.linspace(0, len(knots) - 1.001, 90)
    low = t.astype(int)
    f = (t - low)[:, None]
    f = f * f * (3 - 2 * f)
    flat = knots[low] * (1 - f) + knots[low + 1] * f
    thick = rng.uniform(0.012, 0.03)
    path = np.concatenate([flat, np.full((90, 1), thick)], 1)
    return [Part(sweep(path, np.full(90, thick), 7))]


def toy(rng: np.random.Generator) -> Thing:
    """A vehicle or an aeroplane of a few primitive parts."""
    length = rng.uniform(0.7, 1.1)
    t = np.linspace(-0.5, 0.5, 20)
    body = sweep(np.stack([t * length, 0 * t, 0 * t + 0.22], -1), 0.14 * (1 - np.abs(2 * t) ** 4 * 0.8), 14)
    parts = [Part(body)]
    if rng.random() < 0.5:
        span = rng.uniform(0.7, 1.2)
        parts.append(Part(moved(shapes.slab(0.2, span, 0.03), (0.05, 0, 0.2)), smooth=False))
        parts.append(Part(moved(shapes.slab(0.1, span * 0.4, 0.025), (-length * 0.43, 0, 0.25)), smooth=False, like=1))
        parts.append(Part(moved(shapes.slab(0.12, 0.03, 0.2), (-length * 0.43, 0, 0.28)), smooth=False, like=1))
    else:
        cabin = moved(shapes.slab(0.35, 0.2, 0.2), (rng.uniform(-0.1, 0.1), 0, 0.3))
        parts.append(Part(cabin, smooth=False))
    wheel = sweep(np.array([[0, -0.04, 0], [0, 0.04, 0]], float), np.full(2, 0.1), 20)
    wheels = [moved(wheel, (x, y, 0.1)) for x in (-0.25 * length, 0.25 * length) for y in (-0.17, 0.17)]
    parts.append(Part(merged(wheels)))
    return parts


def bolt(rng: np.random.Generator) -> Thing:
    """Prisms stacked on one axis: bolts, nuts, chess towers, toy bricks."""
    parts, height = [], 0.0
    for _ in range(int(rng.integers(2, 5))):
        high = rng.uniform(0.1, 0.5)
        corners = int(rng.choice([4, 6, 8, 24]))
        piece = shapes.prism(corners, rng.uniform(0.12, 0.4), high, rng.uniform(0.6, 1) if rng.random() < 0.3 else 1)
        parts.append(moved(piece, (0, 0, height)))
        height += high
    if rng.random() < 0.6:
        return [Part(merged(parts), smooth=False)]
    return [Part(p, smooth=False) for p in parts]


def plant(rng: np.random.Generator) -> Thing:
    """A pot with stems and leaves."""
    pot = lathe([(0.0, 0.0), (0.18, 0.0), (0.19, 0.02), (0.25, 0.3), (0.22, 0.3), (0.0, 0.28)], 32)
    leaves = []
    for _ in range(int(rng.integers(5, 16))):
        s = np.linspace(0, 1, 10)
        out = rng.normal(size=2)
        out /= np.linalg.norm(out)
        reach, rise = rng.uniform(0.15, 0.5), rng.uniform(0.2, 0.7)
        path = np.concatenate([np.outer(s**1.5 * reach, out), (0.28 + rise * (s - 0.3 * s**2))[:, None]], 1)
        leaves.append(sweep(path, rng.uniform(0.03, 0.09) * np.sin(math.pi * np.clip(s, 0.08, 0.97)), 8, 0.15))
    return [Part(pot), Part(merged(leaves))]


def rack(rng: np.random.Generator) -> Thing:
    """Legs and rails: a stool, a chair, a dish rack."""
    width, depth, high, thick = (*rng.uniform(0.5, 0.8, 2), rng.uniform(0.4, 0.9), rng.uniform(0.015, 0.04))
    corners = [(x, y) for x in (-width / 2, width / 2) for y in (-depth / 2, depth / 2)]
    legs = [sweep(np.array([[x, y, 0], [x, y, high]], float), np.full(2, thick), 8) for x, y in corners]
    rails = []
    for k in range(int(rng.integers(2, 9))):
        x = width * (k / 8 - 0.5) * 1.0
        rails.append(
            sweep(np.array([[x, -depth / 2, high * 0.6], [x, depth / 2, high * 0.6]]), np.full(2, thick * 0.7), 6)
        )
    parts = [Part(merged(legs + rails))]
    if rng.random() < 0.6:
        parts.append(Part(moved(shapes.slab(width * 1.05, depth * 1.05, 0.05), (0, 0, high)), smooth=False))
    return parts


def lump(rng: np.random.Generator) -> Thing:
    """A stone, a potato, a toy of two lumps."""
    parts = [Part(shapes.blob(rng))]
    if rng.random() < 0.3:
        top = float(parts[0].shape.vertices[:, 2].max())
        parts.append(Part(moved(shapes.blob(rng), (0, 0, top * 0.85), (0.55, 0.55, 0.55))))
    return parts


def spring(rng: np.random.Generator) -> Thing:
    """A coil."""
    return [
        Part(shapes.helix(rng.uniform(0.15, 0.4), rng.uniform(0.2, 0.9), rng.uniform(3, 8), rng.uniform(0.01, 0.04)))
    ]


def merged(several: list[Shape]) -> Shape:
    """Several shapes as one."""
    vertices, faces, first = [], [], 0
    for shape in several:
        vertices.append(shape.vertices)
        faces += [tuple(i + first for i in face) for face in shape.faces]
        first += len(shape.vertices)
    return Shape(np.concatenate(vertices), tuple(faces))


# How often each kind is drawn: thin and many-coloured things more often than a household has them, as these are what
# a segmenter finds hardest.
KINDS: dict[Callable[[np.random.Generator], Thing], float] = {
    cup: 1.0,
    turned: 1.6,
    fruit: 1.3,
    bent: 1.0,
    block: 1.3,
    puzzle_cube: 1.2,
    hoop: 1.5,
    stick: 1.2,
    scissors: 0.7,
    cable: 0.5,
    toy: 1.0,
    bolt: 1.0,
    plant: 0.5,
    rack: 0.4,
    lump: 1.0,
    spring: 0.3,
}
