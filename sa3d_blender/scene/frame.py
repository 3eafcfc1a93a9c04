"""Where a camera's frame lies in a viewport: between pixels of the region and fractions of the photo, without bpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Frame", "frame_from_corners", "to_region"]


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
