"""Where the cameras of the demo capture stand: two waving rings around the table, without bpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

TARGET = (0.0, 0.0, 0.06)
# Focal length over image width: a horizontal field of view of 45 degrees.
FOCAL_OVER_WIDTH = 0.5 / math.tan(math.radians(22.5))


@dataclass(frozen=True)
class Stand:
    """One camera position: degrees of ``azimuth`` and ``elevation``, ``distance`` from the target in units."""

    azimuth: float
    elevation: float
    distance: float


def stands(count: int, seed: int) -> list[Stand]:
    """``count`` positions, elevations of 15 to 60 degrees.

    The first is the same for every count and seed, so that clicks into it stay valid; the others are moved
    a little at random, since photos taken by hand are never evenly spaced either.
    """
    rng = np.random.default_rng(seed)
    low = max(1, math.ceil(0.55 * count))
    found: list[Stand] = []
    for index in range(count):
        lower = index < low
        position = index / low if lower else (index - low + 0.5) / (count - low)
        wave = math.sin(2 * math.pi * position * 3)
        shake = rng.uniform(-1.0, 1.0, 3) if index else np.zeros(3)
        elevation = (24.0 + 8.0 * wave) if lower else (49.0 + 10.0 * wave)
        found.append(
            Stand(
                azimuth=-90.0 + 360.0 * position + 2.5 * shake[0],
                elevation=elevation + 1.0 * shake[1],
                distance=(1.22 if lower else 1.27) + 0.05 * shake[2],
            )
        )
    return found


def world_from_camera(stand: Stand) -> np.ndarray:
    """Camera matrix float64 [4, 4], OpenGL and Blender axes (+X right, +Y up, looking along -Z), level."""
    azimuth, elevation = math.radians(stand.azimuth), math.radians(stand.elevation)
    back = np.array(
        [
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ]
    )
    right = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2] = right, np.cross(back, right), back
    matrix[:3, 3] = np.asarray(TARGET) + stand.distance * back
    return matrix
