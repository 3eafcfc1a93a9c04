"""The camera's frame in a 3D viewport, as Blender draws it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .frame import Frame, frame_from_corners, to_region

__all__ = ["camera_frame", "photo_frame"]


def camera_frame(scene: Any, camera: Any, region: Any, region_3d: Any) -> Frame | None:
    """Where the frame of ``camera`` lies in a region that looks through it; None where that makes no sense.

    Computed from the camera's own corners: they follow zoom, pan, resolution, pixel aspect and shift. The matrices of
    a region are those of its last drawing.
    """
    corners = np.array([tuple(corner) for corner in camera.data.view_frame(scene=scene)])
    matrix = np.array(camera.matrix_world)
    world = corners @ matrix[:3, :3].T + matrix[:3, 3]
    with np.errstate(all="ignore"):  # frames without an area are told apart by what comes out
        placed = to_region(np.array(region_3d.perspective_matrix), world, (region.width, region.height))
    return frame_from_corners(placed)


def photo_frame(context: Any, region: Any | None = None) -> tuple[Any, Frame] | None:
    """(camera, its frame) where the context's viewport looks through a camera of a capture, else None."""
    from .views import seen_camera

    space, region = context.space_data, region or context.region
    if space is None or space.type != "VIEW_3D" or region is None or region.type != "WINDOW":
        return None
    region_3d = context.region_data or space.region_3d
    if region_3d is None or region_3d.view_perspective != "CAMERA":
        return None
    camera = seen_camera(context.scene, space)
    if camera is None or camera.type != "CAMERA" or "sa3d_view" not in camera:
        return None
    frame = camera_frame(context.scene, camera, region, region_3d)
    return None if frame is None else (camera, frame)
