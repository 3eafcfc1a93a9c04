"""What jobs have found in the photos: the masks that the engine sends as it goes from view to view."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from .. import jobs, link
from ..job import ViewPreview
from .description import SceneView
from .lens import is_straight
from .mask_answers import Place
from .straighten import straightened

__all__ = ["Seen", "register", "seen_in", "unregister"]

MOST_BYTES = 96 << 20


@dataclass(eq=False)
class Seen:
    """A mask uint8 [h, w] as the photo is stored, and what became of its view."""

    mask: np.ndarray
    verdict: str
    straight: bool = False


_seen: OrderedDict[Place, Seen] = OrderedDict()
_unwatch: Any = None


def seen_in(place: Place, view: SceneView) -> Seen | None:
    """What was found of an object in a photo, as the view's straight picture has it; None where nothing was."""
    found = _seen.get(place)
    if found is not None and not found.straight:
        if not is_straight(view):
            found.mask = straightened(view, found.mask[..., None])[..., 0].round().astype(np.uint8)
        found.straight = True
    return found


def _keep(preview: ViewPreview) -> None:
    place = Place(preview.capture_uid, preview.object_uid, preview.view)
    _seen.pop(place, None)
    if preview.mask is not None:
        _seen[place] = Seen(preview.mask, preview.verdict)
        total = sum(one.mask.nbytes for one in _seen.values())
        while total > MOST_BYTES:
            total -= _seen.popitem(last=False)[1].mask.nbytes
    link.redraw("WINDOW")


@bpy.app.handlers.persistent
def _after_load(_file: Any) -> None:
    _seen.clear()


def register() -> None:
    """Watches the jobs."""
    global _unwatch
    _unwatch = jobs.on_preview(_keep)
    bpy.app.handlers.load_post.append(_after_load)


def unregister() -> None:
    """Watches no more, forgets all."""
    global _unwatch
    bpy.app.handlers.load_post.remove(_after_load)
    if _unwatch is not None:
        _unwatch()
        _unwatch = None
    _seen.clear()
