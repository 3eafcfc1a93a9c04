"""Which of several meshes of one object is the add-on's own, and which are copies that the artist made of it.

Shift-D copies custom properties too, so that ids don't tell a copy. Each mesh that is placed is marked with its
``session_uid``, which a copy doesn't share and which no renaming or undo changes. It holds until the file is closed;
beyond that the name counts that the mesh had when it was saved.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import bpy
from bpy.app.handlers import persistent

__all__ = ["KEYS", "mark", "original", "register", "unregister"]

SELF, NAME = "sa3d_self", "sa3d_name"
KEYS = (SELF, NAME)

_SESSION = uuid.uuid4().hex[:12]  # numbers are given anew at each start of Blender


def mark(made: Any) -> None:
    """Makes a mesh the add-on's own of its object."""
    made[SELF], made[NAME] = _self(made), made.name


def original(found: Sequence[Any]) -> Any:
    """The add-on's own among the meshes of one object; None where only copies are left."""
    own = [one for one in found if one.get(SELF) == _self(one)] or [one for one in found if one.get(NAME) == one.name]
    own = own or [one for one in found if NAME not in one]
    return min(own, key=lambda one: (len(one.name), one.name)) if own else None


def _self(made: Any) -> str:
    return f"{_SESSION} {made.session_uid}"


def _marked() -> list[Any]:
    return [item for item in bpy.data.objects if NAME in item and item.library is None]


@persistent
def _before_save(_file: Any) -> None:
    for item in _marked():
        if item.get(SELF) == _self(item):
            item[NAME] = item.name


@persistent
def _after_load(_file: Any) -> None:
    for item in _marked():
        if item[NAME] == item.name:
            mark(item)


def register() -> None:
    """Listens to files that are opened and saved."""
    bpy.app.handlers.save_pre.append(_before_save)
    bpy.app.handlers.load_post.append(_after_load)


def unregister() -> None:
    """Listens no more."""
    bpy.app.handlers.load_post.remove(_after_load)
    bpy.app.handlers.save_pre.remove(_before_save)
