"""Turns to the photo that a job is working on, mask and all, where the artist wants to watch."""

from __future__ import annotations

import time
from typing import Any

import bpy

from .. import jobs
from ..job import ViewPreview
from ..overlay import pending
from .cameras import use_view
from .delivery import capture_by_uid
from .photos import ensure_photo
from .views import cameras_of, capture_of

__all__ = ["register", "turn_to", "unregister"]

LINGER = 0.8
"""Seconds that a photo stays: long enough to see its mask. Jobs are faster than eyes."""

_turned = 0.0
_unwatch: Any = None


def turn_to(scene: Any, preview: ViewPreview) -> bool:
    """Makes the camera of a job's view the scene's, if one of that capture is looked through and nothing is being
    drawn; returns whether it did."""
    global _turned
    now = time.monotonic()
    capture = capture_of(scene, scene.camera)
    if preview.mask is None or now - _turned < LINGER or pending.is_drawing() or capture is None:
        return False
    if capture != capture_by_uid(preview.capture_uid):
        return False
    camera = next((one for one in cameras_of(capture) if one["sa3d_view"] == preview.view), None)
    if camera is None or camera == scene.camera:
        return False
    _turned = now
    ensure_photo(camera)
    use_view(scene, camera)
    return True


def _watch(preview: ViewPreview) -> None:
    for window in bpy.context.window_manager.windows:
        if window.scene.sa3d.watch:
            turn_to(window.scene, preview)


def register() -> None:
    """Watches the jobs."""
    global _unwatch
    _unwatch = jobs.on_preview(_watch)


def unregister() -> None:
    """Watches no more."""
    global _unwatch
    if _unwatch is not None:
        _unwatch()
        _unwatch = None
