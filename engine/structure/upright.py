"""Where up is, where the middle is, and how large a reconstruction is: structure from motion knows none of these."""

from __future__ import annotations

import numpy as np

from engine.captures.bounds import attention_point
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["DISTANCE", "upright_similarity"]

DISTANCE = 2.0  # units (Blender: metres) from the attention point to the cameras, by the median
_SPAN = 0.2  # least share of the cameras' right axes off their common direction for these to tell a plane


def upright_similarity(poses: np.ndarray, points: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """(scale, rotation [3, 3], translation [3]) of x -> scale * rotation @ x + translation, to a world in which +Z is
    up, the origin is what the cameras look at, and their median distance from it is DISTANCE.

    Args:
        poses: camera-to-world, OpenGL axes, [N, 4, 4]. points: sparse points [M, 3] in the same world.
    """
    up = _up(poses[:, :3, 0], poses[:, :3, 1])
    middle = _middle(poses, points)
    away = poses[:, :3, 3] - middle
    scale = DISTANCE / max(1e-12, float(np.median(np.linalg.norm(away, axis=1))))
    # The cameras are on the side of -Y, by the mean: Blender's front view sees what most photos see.
    towards = -away.mean(0) + 1e-3 * np.abs(away).max() * -poses[:, :3, 2].mean(0)
    ahead = towards - up * (towards @ up)
    if np.linalg.norm(ahead) < 1e-6 * np.linalg.norm(towards) or np.linalg.norm(ahead) < 1e-12:
        ahead = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    ahead = ahead / np.linalg.norm(ahead)
    rotation = np.stack([np.cross(ahead, up), ahead, up])  # rows: +X, +Y, +Z of the new world in the old one
    return scale, rotation, -scale * rotation @ middle


def _up(rights: np.ndarray, ups: np.ndarray) -> np.ndarray:
    """The direction that is up in most photos, [3]: the mean of the cameras' up axes, made orthogonal to their right
    axes where these span a plane (people hold cameras level, but look down)."""
    mean = ups.mean(0)
    if np.linalg.norm(mean) < 1e-6:
        mean = ups[0]
    mean = mean / np.linalg.norm(mean)
    _, sizes, axes = np.linalg.svd(rights, full_matrices=False)
    if sizes[1] > _SPAN * sizes[0] and sizes[2] < 0.5 * sizes[1]:
        normal = axes[2] * np.sign(axes[2] @ mean)
        if normal @ mean > 0.3:
            return normal
    return mean


def _middle(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The attention point where it lies in front of most cameras, else the median of the points."""
    positions, forwards = poses[:, :3, 3], -poses[:, :3, 2]
    median = np.median(points, axis=0) if len(points) else positions.mean(0) + forwards.mean(0)
    try:
        point = attention_point(positions, forwards)
    except CaptureError:  # all look the same way
        return median
    depths = np.einsum("ni,ni->n", point - positions, forwards)
    usual = np.median(np.einsum("ni,ni->n", median - positions, forwards))
    if np.median(depths) < 0.25 * usual or np.median(depths) > 4 * usual:
        return median
    return point
