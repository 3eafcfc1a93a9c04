"""A result becomes part of the open file: cameras with photos, meshes, clicks."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import bpy

from .cameras import add_camera, spread, use_view
from .description import read_description, without_lenses
from .glb import read_glb
from .images import add_photo
from .lens import is_straight
from .meshes import add_mesh
from .names import fitting
from .prompts import add_prompt
from .straight_camera import with_straight_camera
from .views import mark_capture

__all__ = ["build_scene"]


def build_scene(path_json: Path | str, relative_to: Path | None = None, straighten: bool = True) -> Any:
    """Puts the result that ``path_json`` (scene.json) describes into the current file and returns its collection.

    The collection ``Capture: NAME`` holds the cameras and the sub-collections ``Objects`` and ``Prompts``. The prompted
    view becomes the scene's camera and its object the active one. Photos are named relative to ``relative_to``, the
    open file's folder if it was saved; how many were missing stands in the collection's ``sa3d_missing_photos``.
    Photos that lenses bent are straightened when they are first looked at (photos.py); without ``straighten`` they are
    shown as they are, which needs no copies, and lie beside the mesh by what the lens bends.
    Raises StorageError, before the file is changed, where the JSON or a mesh can't be read.
    """
    description = read_description(path_json)
    if not straighten:
        description = without_lenses(description)
    surfaces = [read_glb(one.mesh) for one in description.objects]
    if relative_to is None and bpy.data.filepath:
        relative_to = Path(bpy.data.filepath).parent

    scene = bpy.context.scene
    capture = _collection(f"Capture: {description.name}", scene.collection)
    objects, prompts = _collection("Objects", capture), _collection("Prompts", capture)

    scale = spread(description.views)
    cameras: dict[str, Any] = {}
    missing = 0
    views = [with_straight_camera(view) for view in description.views]
    for number, view in enumerate(views):
        cameras[view.stem] = add_camera(view, capture, scale)
        cameras[view.stem]["sa3d_index"] = number
        missing += not (add_photo(cameras[view.stem], view, relative_to) if is_straight(view) else view.image.is_file())
    capture["sa3d_missing_photos"] = missing
    mark_capture(capture, uuid.uuid4().hex, description.source)
    use_view(scene, cameras[description.prompted_view.stem])

    meshes = [add_mesh(one.name, surface, objects) for one, surface in zip(description.objects, surfaces, strict=True)]
    bpy.context.view_layer.update()  # what follows reads where things are
    for one, mesh in zip(description.objects, meshes, strict=True):
        for prompt in one.prompts:
            view = next(view for view in views if view.stem == prompt.view)
            add_prompt(prompt, view, cameras[prompt.view], mesh.name, prompts)
    if meshes:
        _select(meshes[0])
    return capture


def _collection(name: str, parent: Any) -> Any:
    made = bpy.data.collections.new(fitting(name))
    parent.children.link(made)
    return made


def _select(chosen: Any) -> None:
    for other in bpy.context.view_layer.objects:
        other.select_set(other == chosen)
    bpy.context.view_layer.objects.active = chosen
