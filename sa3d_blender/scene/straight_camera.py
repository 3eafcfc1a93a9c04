"""Which camera without distortion shows a photo that its lens bent: one that shows all of it, within limits; no bpy.

The straight picture keeps the photo's width and height, and so does Blender's resolution; the focal length changes
until the whole photo is in the frame. A fisheye's rim would need an endless frame: what lies farther than
WIDEST_DEGREES off the axis doesn't count, for there a straight picture stretches things more than ninefold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from .description import Pinhole, SceneView
from .lens import frame_from_photo, is_straight, plane_from_photo, reach

__all__ = ["WIDEST_DEGREES", "WORTH_SAYING", "hidden_share", "said_of_hidden", "with_straight_camera"]

WIDEST_DEGREES = 70.0
"""Off the axis, in any direction."""

MOST_ZOOM_IN = 2.0
"""A lens that folds over shows a small disc only; a frame around no more than that helps nobody."""

BORDER = 65  # places along each side of the photo
GRID = 96  # places across the photo, for the share that isn't shown

WORTH_SAYING = 0.005
"""Of a photo: less than that at its rim isn't missed."""

SLACK = 1e-6  # of the photo's size, for rounding


def with_straight_camera(view: SceneView) -> SceneView:
    """The view with the camera that shows its photo straightened; as it is where the photo is straight, or has one."""
    if is_straight(view) or view.straight is not None:
        return view
    return replace(view, straight=_straight_camera(_lens_of(view)))


def hidden_share(view: SceneView) -> float:
    """How much of what the photo shows lies outside of the straight picture, 0 to 1."""
    return 0.0 if is_straight(view) else _hidden_share(_lens_of(view))


def said_of_hidden(shares: Iterable[float]) -> str:
    """What an artist should know of photos that can't be shown whole, by the ``hidden_share`` of each, or nothing."""
    hiding = [share for share in shares if share >= WORTH_SAYING]
    if not hiding:
        return ""
    photos = "One photo is" if len(hiding) == 1 else f"{len(hiding)} photos are"
    return (
        f"{photos} too wide to be shown whole without bending: up to {100 * max(hiding):.0f} %, at the rim, can't be "
        "seen or clicked. Click what lies there in a photo that has it nearer to the middle"
    )


def _lens_of(view: SceneView) -> SceneView:
    """The view without what tells it from others of its lens."""
    return replace(view, name="", stem="", image=Path(), world_from_camera=())


@lru_cache(maxsize=256)
def _straight_camera(view: SceneView) -> Pinhole:
    border = _border(view)
    plane, good = plane_from_photo(view, border)
    # Where the border has no ray, what the lens sees ends at its reach in that direction.
    outward = (border - (view.cx, view.cy)) / (view.fl_x, view.fl_y)
    plane = np.where(good[:, None], plane, outward * (reach(view) / _lengths(outward)))
    plane = plane * np.minimum(1.0, np.tan(np.radians(WIDEST_DEGREES)) / _lengths(plane))
    low, high = plane.min(axis=0), plane.max(axis=0)
    size, focal = np.array([view.width, view.height], dtype=np.float64), np.array([view.fl_x, view.fl_y])
    zoom = min(float((size / focal / np.maximum(high - low, 1e-9)).min()), MOST_ZOOM_IN)  # of the focal length
    centre = size / 2 - focal * zoom * (low + high) / 2
    return Pinhole(*(float(value) for value in (*(focal * zoom), *centre)))


@lru_cache(maxsize=256)
def _hidden_share(view: SceneView) -> float:
    size = np.array([view.width, view.height], dtype=np.float64)
    points, good = frame_from_photo(view, _border(view))
    if good.all() and bool(((points >= -SLACK * size) & (points <= (1 + SLACK) * size)).all()):
        return 0.0
    steps = (np.arange(GRID) + 0.5) / GRID
    points, good = frame_from_photo(view, np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) * size)
    inside = good & ((points >= 0.0) & (points <= size)).all(axis=1)
    return 1.0 - float(inside.sum()) / max(1, int(good.sum()))


def _lengths(plane: np.ndarray) -> np.ndarray:
    """[N, 1], never zero."""
    return np.maximum(np.linalg.norm(plane, axis=1, keepdims=True), 1e-12)


def _border(view: SceneView) -> np.ndarray:
    """Places along the photo's border, pixels [N, 2]."""
    along = np.linspace(0.0, 1.0, BORDER)
    zero, one = np.zeros_like(along), np.ones_like(along)
    border = np.stack([np.concatenate([along, along, zero, one]), np.concatenate([zero, one, along, along])], axis=1)
    return border * (view.width, view.height)
