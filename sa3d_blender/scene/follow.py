"""Keeps the render resolution that of the photo, however the scene's camera is changed (Ctrl-Numpad 0, a script)."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from .cameras import use_view

__all__ = ["register", "unregister"]

_last: dict[int, int] = {}
"""The camera of each scene when it was last looked at, by session_uid. Only a change counts: whoever sets another
resolution on purpose keeps it."""


@persistent
def _after_change(scene: Any, _depsgraph: Any = None) -> None:
    camera = scene.camera
    now = camera.session_uid if camera is not None else 0
    before = _last.get(scene.session_uid)
    if now == before:
        return
    _last[scene.session_uid] = now
    if before is None or camera is None or "sa3d_resolution" not in camera or bpy.app.is_job_running("RENDER"):
        return
    render = scene.render
    if [render.resolution_x, render.resolution_y] != [int(n) for n in camera["sa3d_resolution"]]:
        use_view(scene, camera)


@persistent
def _after_load(_file: Any) -> None:
    _last.clear()
    for scene in bpy.data.scenes:
        _last[scene.session_uid] = scene.camera.session_uid if scene.camera is not None else 0


def register() -> None:
    """Listens to changes of the scene."""
    _last.clear()
    bpy.app.handlers.depsgraph_update_post.append(_after_change)
    bpy.app.handlers.load_post.append(_after_load)


def unregister() -> None:
    """Listens no more."""
    bpy.app.handlers.load_post.remove(_after_load)
    bpy.app.handlers.depsgraph_update_post.remove(_after_change)
