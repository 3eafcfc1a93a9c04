"""Photos and masks as a straight camera would have taken them; the look-up of one lens is kept for its next photo.

Where each pixel is looked up costs most, and is the same for all photos of a lens. No bpy.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np

from .description import SceneView
from .lens import is_straight, shown_in_photo

__all__ = ["LONGEST", "LookUp", "forget_look_ups", "look_up", "straight_size", "straightened"]

LONGEST = 4096
"""Pixels of a straightened picture's longer side. Screens show no more, and memory is finite."""

MOST_BYTES = 160 << 20
"""Of the look-ups that are kept: one of the largest, and some of masks."""

PIECE = 1 << 14  # pixels at a time: four corners of a colour picture then fit into a processor's cache
UNIT = 65535  # of the fractions between pixels
_BESIDE = -1


@dataclass(frozen=True, eq=False)
class LookUp:
    """Where the pixels of a straight picture of ``size`` (width, height) lie in a photo of another size, row by row.

    ``first`` int32 [N]: the number of the upper left of the four photo pixels around it, -1 beside the photo. ``right``
    and ``down`` uint16 [N]: how far on towards the next ones it lies, in 65535ths.
    """

    size: tuple[int, int]
    first: np.ndarray
    right: np.ndarray
    down: np.ndarray

    @property
    def bytes(self) -> int:
        """In memory."""
        return self.first.nbytes + self.right.nbytes + self.down.nbytes


_kept: OrderedDict[tuple[object, ...], LookUp] = OrderedDict()
_lock = Lock()


def straight_size(view: SceneView, width: int, height: int) -> tuple[int, int]:
    """(width, height) of the straight picture of a photo that is stored with that many pixels.

    As sharp in its middle as the photo is, where that takes no more than LONGEST pixels along its longer side.
    """
    if is_straight(view):
        return width, height
    sharp = min(view.fl_x / view.pinhole.fl_x, LONGEST / max(width, height))
    return max(1, round(width * sharp)), max(1, round(height * sharp))


def straightened(view: SceneView, photo: np.ndarray, from_below: bool = False) -> np.ndarray:
    """The photo [H, W, C], any number type, as the view's pinhole camera would have taken it, float32 [H', W', C].

    Rows from the top, or both ``from_below``, as Blender has them: turning 200 MB over takes as long as straightening
    them. H' and W' are those of ``straight_size``. Between pixels it interpolates; where the photo ends it
    is 0 (black, transparent). The photo may be stored at another size than the view names.
    """
    height, width, channels = photo.shape
    found = look_up(view, width, height, from_below)
    pixels = np.ascontiguousarray(photo, dtype=np.float32).reshape(height * width, channels)
    made = np.empty((found.first.size, channels), np.float32)
    on, below = min(1, width - 1), width * min(1, height - 1)
    # All of a colour are fetched at once, as one number of 16 bytes, which takes a third of the time.
    source: np.ndarray = pixels.view(np.complex128).ravel() if channels == 4 else pixels
    for start in range(0, len(made), PIECE):
        piece = slice(start, start + PIECE)
        first = found.first[piece]
        beside = first < 0
        first = np.where(beside, 0, first)
        right, down = (_fractions(each[piece], channels) for each in (found.right, found.down))
        one, two, three, four = (
            source.take(first + by, axis=0).view(np.float32).reshape(-1, channels) for by in (0, on, below, below + on)
        )
        two -= one
        two *= right
        one += two
        four -= three
        four *= right
        three += four
        three -= one
        three *= down
        one += three
        one[beside] = 0.0
        made[piece] = one
    return made.reshape(found.size[1], found.size[0], channels)


def _fractions(values: np.ndarray, channels: int) -> np.ndarray:
    return np.repeat(values.astype(np.float32) * np.float32(1 / UNIT), channels).reshape(-1, channels)


def look_up(view: SceneView, width: int, height: int, from_below: bool = False) -> LookUp:
    """The look-up for photos of the view's lens that are stored at that size and in that order, kept or made."""
    size = straight_size(view, width, height)
    lens = (view.model, view.distortion, view.fl_x, view.fl_y, view.cx, view.cy, view.width, view.height)
    key = (*lens, view.pinhole, width, height, size, from_below)
    with _lock:
        found = _kept.get(key)
        if found is not None:
            _kept.move_to_end(key)
            return found
    found = _made(view, width, height, size, from_below)
    with _lock:
        _kept[key] = found
        total = sum(one.bytes for one in _kept.values())
        while total > MOST_BYTES and len(_kept) > 1:
            total -= _kept.popitem(last=False)[1].bytes
    return found


def forget_look_ups() -> None:
    """Gives their memory back."""
    with _lock:
        _kept.clear()


def _made(view: SceneView, width: int, height: int, size: tuple[int, int], from_below: bool) -> LookUp:
    count = size[0] * size[1]
    first, right, down = np.empty(count, np.int32), np.empty(count, np.uint16), np.empty(count, np.uint16)
    columns = (np.arange(size[0]) + 0.5) * (view.width / size[0])
    lines = (np.arange(size[1]) + 0.5) * (view.height / size[1])
    lines = lines[::-1] if from_below else lines
    rows = max(1, PIECE // size[0])
    for top in range(0, size[1], rows):
        here = lines[top : top + rows]
        frame = np.stack([np.tile(columns, len(here)), np.repeat(here, len(columns))]).T  # each coordinate in one piece
        points, seen = shown_in_photo(view, frame)
        x, to_right = _before(points[:, 0] * (width / view.width), width)
        onward = view.height - points[:, 1] if from_below else points[:, 1]
        y, to_below = _before(onward * (height / view.height), height)
        piece = slice(top * size[0], top * size[0] + len(frame))
        first[piece] = np.where(seen, y * width + x, _BESIDE)
        right[piece], down[piece] = to_right, to_below
    return LookUp(size, first, right, down)


def _before(places: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The number of the pixel before each place along a side of ``count`` pixels, int32, and how far on it lies."""
    inside = np.clip(places - 0.5, 0.0, count - 1)
    number = np.minimum(inside.astype(np.int32), max(count - 2, 0))
    return number, ((inside - number) * UNIT + 0.5).astype(np.uint16)
