"""Where a camera's frame lies in a viewport: between pixels of the region and fractions of the photo, without bpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Fit", "Frame", "fit_frame", "frame_from_corners", "free_of", "to_region"]

MARGIN = 0.96
"""Of the room that a photo may take up when it is fitted."""

ZOOMS = (-30.0, 600.0)
"""What Blender allows."""


@dataclass(frozen=True)
class Frame:
    """A camera's frame in a region: ``left``, ``bottom``, ``width``, ``height`` in pixels, y upwards as Blender has it.

    Fractions are those of the photo: (0, 0) its top-left corner, (1, 1) its bottom-right one.
    """

    left: float
    bottom: float
    width: float
    height: float

    def fraction(self, x: float, y: float) -> tuple[float, float]:
        """The place in the photo of a region's pixel coordinates; outside of 0 to 1 where they miss the photo."""
        return (x - self.left) / self.width, 1.0 - (y - self.bottom) / self.height

    def pixel(self, u: float, v: float) -> tuple[float, float]:
        """The region's pixel coordinates of a place in the photo."""
        return self.left + u * self.width, self.bottom + (1.0 - v) * self.height

    def pixels(self, fractions: np.ndarray) -> np.ndarray:
        """As ``pixel`` for many places [N, 2]."""
        scaled = np.asarray(fractions, dtype=np.float64).reshape(-1, 2) * (self.width, -self.height)
        return scaled + np.array([self.left, self.bottom + self.height])

    def holds(self, x: float, y: float) -> bool:
        """Whether a region's pixel lies on the photo."""
        u, v = self.fraction(x, y)
        return 0.0 <= u <= 1.0 and 0.0 <= v <= 1.0


def to_region(clip_from_world: np.ndarray, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """World points [N, 3] as pixels [N, 2] of a region of ``size``, by its perspective matrix [4, 4]."""
    points = np.asarray(points, dtype=np.float64).reshape(-1, 3)
    clip = np.c_[points, np.ones(len(points))] @ np.asarray(clip_from_world, dtype=np.float64).T
    return (clip[:, :2] / clip[:, 3:] + 1.0) / 2.0 * size


def frame_from_corners(corners: np.ndarray) -> Frame | None:
    """The upright rectangle around a frame's four corners [4, 2] in a region; None where it has no area to speak of."""
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    width, height = (float(length) for length in high - low)
    if not (np.isfinite([width, height]).all() and min(width, height) > 1e-3):
        return None
    return Frame(float(low[0]), float(low[1]), width, height)


@dataclass(frozen=True)
class Fit:
    """Blender's zoom and shift of a camera view (``view_camera_zoom``, ``view_camera_offset``)."""

    zoom: float
    offset: tuple[float, float]


def fit_frame(size: tuple[int, int], room: tuple[float, float, float, float], aspect: float) -> Fit:
    """The zoom and shift that put a photo into the middle of the ``room`` (left, bottom, right, top) of a region.

    ``aspect`` is the photo's width over its height as it is shown, its camera's sensor fit horizontal. Blender then
    draws the frame (sqrt 2 + zoom / 50)^2 / 4 times as wide as the region, and moved away from the region's middle by
    -2 offset that factor, in widths and heights of the region.
    """
    width, height = size
    left, bottom, right, top = room
    factor = max(MARGIN * min(right - left, (top - bottom) * aspect) / width, 1e-3)
    zoom = float(np.clip((2 * np.sqrt(factor) - np.sqrt(2)) * 50, *ZOOMS))
    factor = (np.sqrt(2) + zoom / 50) ** 2 / 4
    away = ((width / 2 - (left + right) / 2) / width, (height / 2 - (bottom + top) / 2) / height)
    x, y = (float(np.clip(value / (2 * factor), -1.0, 1.0)) for value in away)
    return Fit(zoom, (x, y))


def free_of(
    size: tuple[int, int], covers: Sequence[tuple[float, float, float, float]]
) -> tuple[float, float, float, float]:
    """The room (left, bottom, right, top) of a region that bars at its edges (``covers``, likewise) leave free.

    Those that lie over it because of Blender's region overlap. Each bar takes away the side on which that costs least;
    where nothing sensible is left, the whole region is the room.
    """
    width, height = size
    room = [0.0, 0.0, float(width), float(height)]
    for left, bottom, right, top in covers:
        if min(right, room[2]) <= max(left, room[0]) or min(top, room[3]) <= max(bottom, room[1]):
            continue  # beside what is left
        choices = [(right - room[0], 0, right), (top - room[1], 1, top), (room[2] - left, 2, left)]
        choices.append((room[3] - bottom, 3, bottom))
        _, side, edge = min(choices)
        room[side] = edge
    if room[2] - room[0] < width / 4 or room[3] - room[1] < height / 4:
        return 0.0, 0.0, float(width), float(height)
    return room[0], room[1], room[2], room[3]
