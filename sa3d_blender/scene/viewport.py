"""The camera's frame in a 3D viewport, as Blender draws it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .frame import Frame, fit_frame, frame_from_corners, free_of, to_region

__all__ = ["camera_frame", "fit_photo", "photo_frame"]


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


def fit_photo(scene: Any, area: Any, region_3d: Any) -> None:
    """Puts the photo into the middle of what toolbar, sidebar and headers leave of a viewport, as large as fits.

    Blender's own *Frame Camera Bounds* centres it in the whole region, where the sidebar would cover some of it.
    """
    region = next((one for one in area.regions if one.type == "WINDOW"), None)
    if region is None or region.width < 2 or region.height < 2:  # a background session has no sizes
        return
    covers = [
        (one.x - region.x, one.y - region.y, one.x - region.x + one.width, one.y - region.y + one.height)
        for one in area.regions
        if one.type in {"TOOLS", "UI", "HEADER", "TOOL_HEADER", "ASSET_SHELF"} and min(one.width, one.height) > 1
    ]
    render = scene.render
    aspect = render.resolution_x * render.pixel_aspect_x / (render.resolution_y * render.pixel_aspect_y)
    size = (region.width, region.height)
    fit = fit_frame(size, free_of(size, covers), aspect)
    region_3d.view_camera_zoom, region_3d.view_camera_offset = fit.zoom, fit.offset
