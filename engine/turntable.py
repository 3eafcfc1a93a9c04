"""Cameras around an object: upright as the photos are, at the height from which they were taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from engine.captures.capture import Camera

__all__ = ["orbit", "up_direction"]

FIELD_OF_VIEW = 30.0  # degrees: longer than a phone's, so that near parts don't bulge
ROOM = 1.08  # of a frame's half side, in radii of the ball around the object
TURNED = 0.05  # least share of the sideways axes' spread off their main direction, for them to tell what is level
NEARLY = 20.0  # degrees: a world axis this near to what the cameras hold upright is what the capture means by up
LOWEST, HIGHEST = 5.0, 50.0  # degrees above the horizon


def up_direction(cameras: Sequence[Camera]) -> Float[np.ndarray, " 3"]:
    """The unit direction that photos hold upright, in the capture's world.

    People keep the horizon level: up is what all cameras' sideways axes are square to. Where these are all alike
    (photos from one side), the cameras' own upward axes are averaged. World axes that are near to that are preferred.
    """
    rotations = np.stack([camera.world_from_camera[:3, :3] for camera in cameras])
    sideways, upwards = rotations[:, :, 0], rotations[:, :, 1]
    mean = upwards.mean(axis=0)
    spread, axes = np.linalg.eigh(sideways.T @ sideways / len(sideways))  # ascending
    up = axes[:, 0] if spread[1] > TURNED else mean
    up = up * (1.0 if up @ mean >= 0 else -1.0)
    length = float(np.linalg.norm(up))
    up = up / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
    nearest = int(np.abs(up).argmax())
    if np.abs(up[nearest]) > np.cos(np.radians(NEARLY)):
        up = np.sign(up[nearest]) * np.eye(3)[nearest]
    found: np.ndarray = up
    return found


def orbit(
    centre: Float[np.ndarray, " 3"],
    radius: float,
    cameras: Sequence[Camera],
    first: Camera,
    count: int,
    side_px: int,
) -> list[Camera]:
    """``count`` square cameras evenly around a ball, once around counter-clockwise seen from above.

    Args:
        centre: [3], and ``radius``: the ball, which fills the frames.
        cameras: the capture's, for what is up, and for the height (their median, within 5 to 50 degrees).
        first: the camera in whose direction the first one stands.
        side_px: of the frames.
    """
    up = up_direction(cameras)
    towards = np.stack([camera.position for camera in cameras]) - centre
    rise = towards @ up / np.maximum(np.linalg.norm(towards, axis=1), 1e-12)
    elevation = np.clip(np.median(np.arcsin(np.clip(rise, -1, 1))), np.radians(LOWEST), np.radians(HIGHEST))
    start = first.position - centre
    start = start - (start @ up) * up
    if np.linalg.norm(start) < 1e-6 * max(radius, 1e-12):  # it looks straight down
        start = np.cross(up, np.eye(3)[int(np.abs(up).argmin())])
    ahead = start / np.linalg.norm(start)
    left = np.cross(up, ahead)
    half = np.radians(FIELD_OF_VIEW / 2)
    distance = ROOM * radius / np.sin(half)
    focal = side_px / 2 / np.tan(half)
    found = []
    for angle in 2 * np.pi * np.arange(count) / count:
        level = np.cos(angle) * ahead + np.sin(angle) * left
        back = np.cos(elevation) * level + np.sin(elevation) * up
        right = np.cross(up, back)
        right = right / np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3] = np.stack([right, np.cross(back, right), back, centre + distance * back], axis=1)
        found.append(Camera(side_px, side_px, focal, focal, side_px / 2, side_px / 2, pose))
    return found
