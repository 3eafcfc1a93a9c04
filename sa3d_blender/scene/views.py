"""The captures of a scene and their views: which there are, which is looked at, looking at another."""

from __future__ import annotations

from typing import Any

import numpy as np

from .cameras import use_view
from .nearest import nearest_view
from .photos import ensure_photo
from .viewport import fit_photo

__all__ = [
    "active_capture",
    "cameras_of",
    "capture_of",
    "captures_in",
    "is_capture",
    "mark_capture",
    "nearest_camera",
    "seen_camera",
    "show_view",
    "step_camera",
]


def mark_capture(capture: Any, uid: str, source: str) -> None:
    """Makes a collection a capture. ``uid`` finds it again after undo and renaming; ``source`` the engine opens."""
    capture["sa3d_uid"] = uid
    capture["sa3d_source"] = source


def is_capture(collection: Any) -> bool:
    """Whether a collection was made by an import of ours."""
    return collection is not None and "sa3d_missing_photos" in collection


def captures_in(scene: Any) -> list[Any]:
    """The scene's captures in the Outliner's order."""
    return [one for one in scene.collection.children_recursive if is_capture(one)]


def capture_of(scene: Any, camera: Any) -> Any:
    """The capture that a camera belongs to; None for other cameras and for captures that have left the scene."""
    if camera is None or "sa3d_view" not in camera:
        return None
    return next((one for one in captures_in(scene) if camera.name in one.all_objects), None)


def active_capture(scene: Any) -> Any:
    """The capture that the panel is about: the chosen one if it is in the scene, else the camera's, else the first."""
    found = captures_in(scene)
    chosen = scene.sa3d.capture if hasattr(scene, "sa3d") else None
    if chosen is not None and chosen in found:
        return chosen
    return capture_of(scene, scene.camera) or (found[0] if found else None)


def cameras_of(capture: Any) -> list[Any]:
    """A capture's cameras in the order of its photos."""
    cameras = [item for item in capture.all_objects if item.type == "CAMERA" and "sa3d_view" in item]
    return sorted(cameras, key=lambda camera: camera.get("sa3d_index", 0))


def seen_camera(scene: Any, space: Any = None) -> Any:
    """The camera that a viewport looks through when it looks through one: its own, or the scene's."""
    if space is not None and getattr(space, "use_local_camera", False):
        return space.camera
    return scene.camera


def step_camera(capture: Any, camera: Any, step: int) -> Any:
    """The camera so many photos on, round and round; the first or last one where ``camera`` isn't of this capture."""
    cameras = cameras_of(capture)
    if not cameras:
        return None
    if camera not in cameras:
        return cameras[0 if step > 0 else -1]
    return cameras[(cameras.index(camera) + step) % len(cameras)]


def nearest_camera(capture: Any, region_3d: Any) -> Any:
    """The camera that sees nearly what a viewport shows."""
    cameras = cameras_of(capture)
    if not cameras:
        return None
    viewport = np.array(region_3d.view_matrix.inverted())
    matrices = np.array([np.array(camera.matrix_world) for camera in cameras])
    return cameras[nearest_view(viewport[:3, 3], -viewport[:3, 2], matrices)]


def show_view(context: Any, camera: Any) -> str:
    """Makes ``camera`` the scene's, with its photo's resolution, and looks through it.

    In the viewport that has the mouse, or in all of the window's where none has (a panel elsewhere, a script). Returns
    what is wrong with its photo, in a sentence, or nothing.
    """
    scene = context.scene
    trouble = ensure_photo(camera)
    before = _shape(scene)
    use_view(scene, camera)
    changed = abs(_shape(scene) / before - 1) > 0.01
    capture = capture_of(scene, camera)
    if capture is not None and hasattr(scene, "sa3d") and scene.sa3d.capture != capture:
        scene.sa3d.capture = capture
    here = context.area if context.area is not None and context.area.type == "VIEW_3D" else None
    areas = context.screen.areas if context.screen is not None else []
    for area in [here] if here else [area for area in areas if area.type == "VIEW_3D"]:
        space = area.spaces.active
        if space.use_local_camera:
            space.camera = camera
        if space.region_3d is not None:
            # Who has zoomed in on something keeps that from photo to photo, as long as they are of one shape.
            if changed or space.region_3d.view_perspective != "CAMERA":
                fit_photo(scene, area, space.region_3d)
            space.region_3d.view_perspective = "CAMERA"
    return trouble


def _shape(scene: Any) -> float:
    render = scene.render
    return float(render.resolution_x * render.pixel_aspect_x / (render.resolution_y * render.pixel_aspect_y))
