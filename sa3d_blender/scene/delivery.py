"""What the engine made becomes an object of its capture: a mesh in ``Capture: name / Objects``, found again by ids.

Nothing here keeps a reference to what it finds: between a request and its answer lie undo, renaming and other files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np

from .glb import Triangles
from .meshes import add_mesh, base_of, dress
from .names import fitting
from .originals import KEYS, mark, original

__all__ = [
    "capture_by_uid",
    "draft",
    "keep_apart",
    "object_by_uid",
    "objects_collection",
    "place",
    "prompted_by_uid",
    "restored",
    "results_of",
]

CAPTURE, OBJECT, ORIGIN = "sa3d_capture_uid", "sa3d_object_uid", "sa3d_origin"
GOOD = "sa3d_good"  # the mesh as it was before rough shapes came over it
STILL = 1e-5  # of the size of the scene's numbers: less is Blender's rounding, not the artist's hand


def capture_by_uid(uid: str, name: str = "") -> Any:
    """The capture of that id in the open file, in a scene and if possible of that name; None where there is none."""
    found = [one for one in bpy.data.collections if one.get("sa3d_uid") == uid and "sa3d_missing_photos" in one]
    shown = [one for one in found if any(one in scene.collection.children_recursive for scene in bpy.data.scenes)]
    named = [one for one in shown if one.name == name]
    return (named or shown or [None])[0]


def prompted_by_uid(capture: Any, uid: str) -> Any:
    """The capture's prompted object of that id; None where the artist has removed it."""
    return next((one for one in capture.sa3d.objects if one.uid == uid), None)


def results_of(capture: Any) -> list[Any]:
    """All meshes in the file's scenes that were made of this capture."""
    uid = capture.get("sa3d_uid")
    return [
        item
        for item in bpy.data.objects
        if item.get(CAPTURE) == uid and item.type == "MESH" and item.library is None and item.users_scene
    ]


def object_by_uid(capture: Any, uid: str) -> Any:
    """The mesh that was made of a prompted object, and none of the artist's copies of it. None where there is none."""
    return original([item for item in results_of(capture) if item.get(OBJECT) == uid])


def objects_collection(capture: Any) -> Any:
    """The capture's ``Objects``, made where it isn't."""
    for child in capture.children:
        if "sa3d_objects" in child or child.name.split(".")[0] == "Objects":
            return child
    made = bpy.data.collections.new(fitting("Objects"))
    made["sa3d_objects"] = True
    capture.children.link(made)
    return made


def place(capture: Any, uid: str, name: str, surface: Triangles, about: Mapping[str, Any]) -> Any:
    """Puts an object's surface into the capture, or in place of what was made of it before, and returns the object.

    A new one stands at its place and scale with its origin at its base. One that is there keeps its name, transform,
    modifiers and materials: only its surface is another, and the pictures in a material that was made here. ``about``
    becomes its custom properties ``sa3d_...``.
    """
    made = object_by_uid(capture, uid)
    if made is None:
        made = add_mesh(name, surface, objects_collection(capture))
        made[ORIGIN] = base_of(surface.vertices).tolist()
    else:
        if _untouched(made):  # then it may as well stand on its new base
            origin = base_of(surface.vertices)
            made[ORIGIN] = origin.tolist()
            made.location = origin.tolist()
        if made.data.shape_keys is not None:  # they are of the old surface's vertices
            made.shape_key_clear()
        _forget_good(made)  # first: a material that it has as well would be taken for one of other objects
        dress(made.data, name, surface, np.array(made[ORIGIN]))
    made[CAPTURE], made[OBJECT] = capture["sa3d_uid"], uid
    mark(made)
    made.pop("sa3d_draft", None)
    for key, value in about.items():
        if value is not None:
            made[f"sa3d_{key}"] = value
    made.update_tag()
    return made


def draft(made: Any, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None) -> None:
    """Shows a rough surface (world [V, 3], triangles, sRGB bytes [V, 4]) until ``place`` brings the good one of that
    shape, or ``restored`` the one that was there."""
    if "sa3d_draft" not in made:
        _forget_good(made)
        made[GOOD] = made.data.copy()
    if made.data.shape_keys is not None:
        made.shape_key_clear()
    rgba = None if colours is None else _linear(colours)
    dress(made.data, made.name, Triangles(vertices, faces, rgba), np.array(made[ORIGIN]))
    made["sa3d_draft"] = True
    made.update_tag()


def restored(made: Any) -> bool:
    """Takes rough shapes off a mesh again; False where there are none, or what was there before them is gone."""
    good = made.get(GOOD)
    if "sa3d_draft" not in made or good is None:
        return False
    rough, name = made.data, made.data.name
    rough.user_remap(good)
    bpy.data.meshes.remove(rough)
    good.name = name
    for key in (GOOD, "sa3d_draft"):
        del made[key]
    made.update_tag()
    return True


def _forget_good(made: Any) -> None:
    good = made.pop(GOOD, None)
    if good is not None and good.users == 0:
        bpy.data.meshes.remove(good)


def keep_apart(made: Any, scene: Any) -> None:
    """Makes a result an ordinary object of ``scene``: what happens to its capture is nothing to it any more."""
    captures = [one for one in bpy.data.collections if "sa3d_missing_photos" in one]
    inside = {one for capture in captures for one in (capture, *capture.children_recursive)}
    for collection in list(made.users_collection):
        if collection in inside:
            collection.objects.unlink(made)
    if not made.users_collection:
        scene.collection.objects.link(made)
    _forget_good(made)
    for key in (CAPTURE, OBJECT, ORIGIN, "sa3d_draft", *KEYS):
        made.pop(key, None)


def _untouched(made: Any) -> bool:
    """Whether it stands as it was placed: neither moved nor turned nor scaled nor tied to anything."""
    here = np.eye(4)
    here[:3, 3] = made[ORIGIN]
    size = max(1e-3, float(np.abs(here[:3, 3]).max()))
    return made.parent is None and np.allclose(np.array(made.matrix_basis), here, rtol=0, atol=STILL * size)


_LEVELS = np.arange(256) / 255.0
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _linear(colours: np.ndarray) -> np.ndarray:
    """sRGB bytes [V, 4] as linear float32 (IEC 61966-2-1); alpha is linear already."""
    rgba = _LINEAR[colours]
    rgba[:, 3] = colours[:, 3] / np.float32(255)
    return rgba
