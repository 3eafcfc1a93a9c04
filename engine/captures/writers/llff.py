"""Writes LLFF's poses_bounds.npy with the photos in images/: pinholes with square pixels, the axis in the middle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.captures.bounds import scene_box
from engine.captures.capture import Camera, Capture, View
from engine.captures.writers.base import CaptureFormat, Written, centred_pinhole

__all__ = ["LLFF"]


def _place(view: View, number: int, suffix: str) -> str:
    return f"images/{view.stem}{suffix}"


def _targets(cameras: Sequence[Camera]) -> list[Camera]:
    return [centred_pinhole(camera) for camera in cameras]


def _write(folder: Path, written: Sequence[Written], capture: Capture) -> list[str]:
    corners = _corners(capture)
    rows = []
    for each in sorted(written, key=lambda one: Path(one.photo).name):  # rows follow the sorted names
        c = each.camera
        right, up, back, position = (c.world_from_camera[:3, i] for i in range(4))
        matrix = np.stack([-up, right, back, position, np.array([c.height, c.width, c.fl_x])], axis=1)
        depths = (c.position - corners) @ c.world_from_camera[:3, 2]
        far = max(float(depths.max()), 1e-6)
        near, far = each.view.near_far or (max(float(depths.min()), 0.01 * far), far)
        rows.append([*matrix.ravel(), near, far])
    np.save(folder / "poses_bounds.npy", np.array(rows, np.float64))
    told = []
    if capture.points is not None:
        told.append("LLFF has no sparse points.")
    if any(view.split != "train" for view in capture.views):
        told.append("LLFF has no splits: every 8th view is taken for testing.")
    return told


def _corners(capture: Capture) -> np.ndarray:
    """Corners [8, 3] of the region of interest, between whose depths the bounds of a view lie."""
    low, high = scene_box(capture).aabb
    return np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])


LLFF = CaptureFormat("llff", "LLFF, poses_bounds.npy and images/", _place, _targets, _write)
