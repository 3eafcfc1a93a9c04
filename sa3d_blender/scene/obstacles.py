"""What stood in the file before and now stands between the cameras and what they see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import bpy
import numpy as np

__all__ = ["hide_obstacles"]

SOLID = {"MESH", "CURVE", "CURVES", "SURFACE", "META", "FONT", "VOLUME", "POINTCLOUD"}


def hide_obstacles(capture: Any) -> list[str]:
    """Hides, in the viewports, solid objects in the space that ``capture``'s cameras and meshes take up.

    Blender's default cube, for one, has the size of a table and would stand around or before the capture. Nothing is
    deleted: the eye in the Outliner brings it back. Objects of other imported captures stay. Returns the names of
    what was hidden.
    """
    ours = {item for one in bpy.data.collections if "sa3d_missing_photos" in one for item in one.all_objects}
    low, high = _box(capture.all_objects)
    hidden = []
    for item in bpy.context.view_layer.objects:
        if item in ours or item.type not in SOLID or not item.visible_get():
            continue
        its_low, its_high = _box([item])
        if np.all(its_low <= high) and np.all(its_high >= low):
            item.hide_set(True)
            hidden.append(item.name)
    return hidden


def _box(items: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest world coordinates [3] of the bounding boxes of ``items``, of cameras their positions."""
    points = []
    for item in items:
        matrix = np.array(item.matrix_world)
        corners = np.zeros((1, 3)) if item.type == "CAMERA" else np.array([tuple(corner) for corner in item.bound_box])
        points.append(corners @ matrix[:3, :3].T + matrix[:3, 3])
    joined = np.concatenate(points)
    return joined.min(axis=0), joined.max(axis=0)
