"""A capture becomes part of the open file: a collection of cameras with photos, sparse points, a region of interest."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .cameras import add_camera, spread, use_view
from .description import CaptureDescription, capture_description
from .images import add_photo
from .lens import is_straight
from .meshes import COLOUR_ATTRIBUTE
from .names import fitting
from .views import mark_capture

__all__ = ["REGION", "SPARSE_POINTS", "add_points", "add_region", "build_capture", "moved_region", "region_of"]

REGION = "Region of Interest"
SPARSE_POINTS = "Sparse Points"
_SUGGESTED = "sa3d_suggested"  # the six numbers of the box that the engine suggests
_MOVED = 1e-3  # of the box's longest side; less is Blender's rounding


def build_capture(context: Any, description: CaptureDescription | dict[str, Any]) -> Any:
    """Puts a capture into the open file and returns its collection ``Capture: NAME``.

    ``description`` may be the engine's own (the body of `open_capture`, with its arrays under "points" and "colours").
    The first view becomes the scene's camera with its photo's resolution, the collection the active capture. Photos
    that lenses bent are straightened when they are first looked at (see photos.py). Undo is the caller's: an operator
    has it by its options, a timer calls ``bpy.ops.ed.undo_push``. Raises CaptureError before anything is changed.
    """
    if not isinstance(description, CaptureDescription):
        description = capture_description(description)
    scene = context.scene
    capture = bpy.data.collections.new(fitting(f"Capture: {description.name}"))
    scene.collection.children.link(capture)
    mark_capture(capture, uuid.uuid4().hex, description.source)

    folder = Path(bpy.data.filepath).parent if bpy.data.filepath else None
    scale = spread(description.views)
    missing = 0
    first = None
    for number, view in enumerate(description.views):
        camera = add_camera(view, capture, scale)
        camera["sa3d_index"] = number
        first = first or camera
        if is_straight(view):
            missing += not add_photo(camera, view, folder)
        else:
            missing += not view.image.is_file()
    capture["sa3d_missing_photos"] = missing
    if description.points is not None:
        add_points(description.points, description.colours, capture)
    if description.box is not None:
        add_region(*description.box, capture)
    use_view(scene, first)
    if hasattr(scene, "sa3d"):  # deliver.py builds scenes without the add-on's properties
        scene.sa3d.capture = capture
    layer = context.view_layer
    layer.update()
    for item in layer.objects.selected:
        item.select_set(False)
    layer.objects.active = first
    return capture


def add_points(points: np.ndarray, colours: np.ndarray | None, collection: Any) -> Any:
    """Sparse points [N, 3] with their colours [N, 3] (sRGB bytes) as a mesh of vertices only."""
    data = bpy.data.meshes.new(SPARSE_POINTS)
    data.vertices.add(len(points))
    data.vertices.foreach_set("co", np.ascontiguousarray(points, dtype=np.float32).ravel())
    if colours is not None:
        rgba = np.ones((len(points), 4), np.float32)
        rgba[:, :3] = np.asarray(colours, np.float32) / 255
        attribute = data.color_attributes.new(COLOUR_ATTRIBUTE, "BYTE_COLOR", "POINT")
        attribute.data.foreach_set("color_srgb", rgba.ravel())
    data.update()
    placed = bpy.data.objects.new(SPARSE_POINTS, data)
    placed["sa3d_points"] = True
    placed.hide_render = True
    placed.hide_select = True  # a click in the photo is meant for the photo
    # Black specks over the photo that one has come to click in: the panel and the Outliner show them when wanted.
    placed.hide_viewport = True
    collection.objects.link(placed)
    return placed


def add_region(low: tuple[float, ...], high: tuple[float, ...], collection: Any) -> Any:
    """The region of interest as a box to be moved and scaled: an empty, so that it hides nothing and renders nowhere.

    Its sides stay parallel to the axes, as the engine's box is; turning is locked.
    """
    corners = np.array([low, high], dtype=np.float64)
    box = bpy.data.objects.new(REGION, None)
    box.empty_display_type = "CUBE"
    box.empty_display_size = 1.0
    box.location = corners.mean(axis=0).tolist()
    box.scale = ((corners[1] - corners[0]) / 2).tolist()
    box.lock_rotation = (True, True, True)
    box["sa3d_region"] = True
    box[_SUGGESTED] = corners.ravel().tolist()
    collection.objects.link(box)
    return box


def region_of(capture: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The lowest and highest corner [3] of the capture's region of interest in the world; None where it has none."""
    box = next((item for item in capture.all_objects if "sa3d_region" in item), None)
    if box is None:
        return None
    unit = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float64)
    matrix = np.array(box.matrix_world)
    corners = unit * box.empty_display_size @ matrix[:3, :3].T + matrix[:3, 3]
    return corners.min(axis=0), corners.max(axis=0)


def moved_region(capture: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """The region of interest [3], [3] as ``region_of``, where the user has moved or scaled it; None where it is the
    engine's suggestion, gone, or flat."""
    found = region_of(capture)
    box = next((item for item in capture.all_objects if "sa3d_region" in item), None)
    if found is None or box is None or _SUGGESTED not in box:
        return None
    low, high = found
    if not (low < high).all():
        return None
    suggested = np.array(list(box[_SUGGESTED]), np.float64)
    moved = np.abs(np.concatenate([low, high]) - suggested).max()
    return found if moved > _MOVED * float((high - low).max()) else None
