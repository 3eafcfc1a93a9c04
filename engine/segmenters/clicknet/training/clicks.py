"""The simulated user: first clicks, several points at once, boxes, rough masks, and clicks where a mask is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from engine.segmenters.clicknet.training.targets import Target

MOST_POINTS = 12


@dataclass
class Session:
    """What one simulated user has said so far: points (x, y) in pixels, labels, box, and the mask handed along."""

    target: Target
    points: list[tuple[float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: Float[np.ndarray, 4] | None = None
    mask: Float[np.ndarray, "h w"] | None = None
    single: bool = False  # nothing but one positive click: it may mean part, object or group


def begin(rng: np.random.Generator, target: Target, rivals: Bool[np.ndarray, "h w"]) -> Session:
    """The first prompts: mostly a click; else several points (as self-prompting gives them), a box, a rough mask.

    ``rivals``: where other things are, for points that say "not this".
    """
    session = Session(target)
    kind = rng.random()
    if kind < 0.5:
        add(session, inside(rng, target.masks[0] & target.wanted), 1)
        session.single = True
        return session
    if kind < 0.78:
        for _ in range(int(rng.integers(2, 9))):
            add(session, inside(rng, target.wanted, rng.uniform(0, 1.5)), 1)
        if rng.random() < 0.45:
            _refuse(rng, session, rivals)
        if rng.random() < 0.45:
            session.mask = rough(rng, target)
    elif kind < 0.95:
        session.box = _loose_box(rng, target.wanted)
        if rng.random() < 0.25:
            add(session, inside(rng, target.wanted), 1)
    else:
        add(session, inside(rng, target.wanted), 1)
        session.mask = rough(rng, target)
    return session


def add(session: Session, at: tuple[float, float], label: int) -> None:
    """One click more, as long as there is room."""
    if len(session.points) < MOST_POINTS:
        session.points.append(at)
        session.labels.append(label)


def correct(rng: np.random.Generator, session: Session, found: Bool[np.ndarray, "h2 w2"]) -> None:
    """A click in the middle of the largest error of a mask at half the size; none where nothing is wrong."""
    wanted = session.target.wanted[::2, ::2]
    missed, extra = _depth(wanted & ~found), _depth(found & ~wanted)
    positive = missed.max() >= extra.max()
    depth = missed if positive else extra
    if depth.max() < 1:
        return
    row, column = _deep(rng, depth)
    add(session, (2 * column + 1.0, 2 * row + 1.0), int(positive))
    session.single = False


def rough(rng: np.random.Generator, target: Target) -> Float[np.ndarray, "h w"]:
    """The target as another view may show it: shifted, swollen, blurred, cut off, partly unknown (one half)."""
    mask = target.masks[int(rng.integers(3))] if rng.random() < 0.15 else target.wanted
    reach = max(1.0, 0.12 * np.sqrt(mask.sum()))
    soft = np.roll(mask.astype(np.float32), rng.normal(0, 0.4 * reach, 2).astype(int).tolist(), (0, 1))
    soft = ndimage.gaussian_filter(soft, float(rng.uniform(0.3, reach)))
    level = rng.uniform(0.25, 0.75)
    soft = 1 / (1 + np.exp(-(soft - level) * rng.uniform(4, 16)))
    if rng.random() < 0.5:  # one side has been seen by no view, or voted out
        height, width = mask.shape
        rows, columns = np.mgrid[:height, :width]
        angle, (row, column) = rng.uniform(0, 2 * np.pi), _any_pixel(rng, mask)
        beyond = (columns - column) * np.cos(angle) + (rows - row) * np.sin(angle) > rng.normal(0, reach)
        soft = np.where(beyond, rng.choice([0.5, 0.5, 0.0]), soft)
    if rng.random() < 0.3:
        soft = soft + (0.5 - soft) * rng.uniform(0, 0.6)  # unsure all over
    return np.asarray(soft, np.float32)


def inside(rng: np.random.Generator, mask: Bool[np.ndarray, "h w"], power: float | None = None) -> tuple[float, float]:
    """A point inside; deeper ones are likelier. By default as users click: often right in the middle."""
    if power is None and rng.random() < 0.5:
        return middle(mask)
    depth = _depth(mask)
    rows, columns = np.nonzero(mask)
    chance = depth[rows, columns] ** (rng.uniform(0, 2) if power is None else power)
    at = int(rng.choice(len(rows), p=chance / chance.sum()))
    return float(columns[at]) + 0.5, float(rows[at]) + 0.5


def middle(mask: Bool[np.ndarray, "h w"]) -> tuple[float, float]:
    """The deepest pixel's centre (x, y)."""
    depth = _depth(mask)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return float(column) + 0.5, float(row) + 0.5


def _deep(rng: np.random.Generator, depth: Float[np.ndarray, "h w"]) -> tuple[float, float]:
    """Mostly the deepest place, else one of the deep ones."""
    if rng.random() < 0.6:
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        return float(row), float(column)
    rows, columns = np.nonzero(depth > 0.5 * depth.max())
    at = int(rng.integers(len(rows)))
    return float(rows[at]), float(columns[at])


def _refuse(rng: np.random.Generator, session: Session, rivals: Bool[np.ndarray, "h w"]) -> None:
    """Points that say "not this": on other things, or on the background not far away."""
    wanted = session.target.wanted
    for _ in range(int(rng.integers(1, 5))):
        if rivals.any() and rng.random() < 0.6:
            add(session, inside(rng, rivals, 0.5), 0)
        else:
            near = (ndimage.distance_transform_edt(~wanted) < rng.uniform(6, 60)) & ~wanted
            near &= ndimage.distance_transform_edt(~wanted) > 3
            if near.any():
                row, column = _any_pixel(rng, near)
                add(session, (column + 0.5, row + 0.5), 0)


def _any_pixel(rng: np.random.Generator, mask: Bool[np.ndarray, "h w"]) -> tuple[int, int]:
    rows, columns = np.nonzero(mask)
    at = int(rng.integers(len(rows)))
    return int(rows[at]), int(columns[at])


def _loose_box(rng: np.random.Generator, mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, 4]:
    """The tight box with each side moved by up to a tenth."""
    box = tight_box(mask)
    size = np.array([box[2] - box[0], box[3] - box[1]])
    loose = rng.choice([0.0, 0.03, 0.07])
    box += (rng.normal(0, loose, 4) * np.tile(size, 2)).astype(np.float32)
    box[2:] = np.maximum(box[2:], box[:2] + 2)
    limit = np.array([mask.shape[1], mask.shape[0]] * 2, np.float32)
    return np.clip(box, 0, limit)


def tight_box(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, 4]:
    """(x0, y0, x1, y1) of the pixels' outer edges."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)


def _depth(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Distance to the outside; the picture's border counts as outside."""
    depth: np.ndarray = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return depth
