"""The icon that shows how training goes, there while a job trains and no longer."""

from __future__ import annotations

from typing import Any

import bpy
import bpy.utils.previews

from .. import jobs, link
from ..training_picture import SIDE_PX, TrainingPreview, compose

__all__ = ["icon_of", "register", "unregister"]

NAME = "training"

_icons: Any = None
_shown: TrainingPreview | None = None
_unhook: Any = None


def icon_of(job: jobs.Job) -> int | None:
    """The number of the icon that shows how far a job has trained, None where there is nothing to show. Without a
    window Blender numbers no icons: there it is 0."""
    if _icons is None or _shown is None or job.training is not _shown or NAME not in _icons:
        return None
    return int(_icons[NAME].icon_id)


def _advance() -> None:
    """After each pump: shows what the running job has sent last, and forgets what is no running job's."""
    global _shown
    job = jobs.running()
    latest = None if job is None else job.training
    if latest is _shown:
        return
    _shown = latest
    if latest is None:
        _icons.clear()
        return
    icon = _icons[NAME] if NAME in _icons else _icons.new(NAME)
    icon.image_size = SIDE_PX, SIDE_PX  # also has Blender forget the pixels that were there
    icon.image_pixels_float.foreach_set(compose(latest.picture, latest.curve, latest.steps).ravel())


def register() -> None:
    """Watches the jobs."""
    global _icons, _unhook
    _icons = bpy.utils.previews.new()
    _unhook = link.on_pump(_advance)


def unregister() -> None:
    """Watches no more; the icon goes."""
    global _icons, _shown, _unhook
    if _unhook is not None:
        _unhook()
        _unhook = None
    if _icons is not None:
        bpy.utils.previews.remove(_icons)
        _icons = None
    _shown = None
