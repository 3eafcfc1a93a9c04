"""Live Grow / Shrink: the slider asks for a rough shape, the latest wish wins, at most one is under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bpy
from bpy.app.handlers import persistent

from . import handover, jobs, link
from .client.session import Callbacks, Handle, as_numpy
from .protocol.messages import Failure, Result
from .scene.delivery import capture_by_uid, draft, object_by_uid, restored, results_of
from .scene.look import follow_colours

__all__ = ["fault", "grown", "is_busy", "lambda_of", "register", "unregister"]

DECADES = 2.0
"""That the slider moves lambda by, from its middle to either end."""


@dataclass(frozen=True)
class _Wish:
    """A shape that was asked for; nothing is drawn of one that only warms the engine up."""

    capture_uid: str
    object_uid: str
    result: str
    lam: float
    drawn: bool = True


_wanted: _Wish | None = None
_under_way: _Wish | None = None
_handle: Handle | None = None
_fault: Failure | None = None
_unhook: list[Callable[[], None]] = []


def lambda_of(prompted: Any) -> float:
    """The lambda that an object's slider stands for: to grow is to heed the evidence against it less."""
    return float(prompted.lam * 10.0 ** (-DECADES * prompted.grow))


def grown(prompted: Any) -> None:
    """The slider was moved."""
    if not handover.setting and prompted.result:
        capture = prompted.id_data
        if _is_good_again(capture, prompted):
            return
        _wish(_Wish(capture.get("sa3d_uid", ""), prompted.uid, prompted.result, lambda_of(prompted)))


def _is_good_again(capture: Any, prompted: Any) -> bool:
    """Takes the rough shape off where the slider is back at what the good mesh beneath it was made for."""
    made = object_by_uid(capture, prompted.uid)
    if made is None or made.mode != "OBJECT" or handover.is_rendering():
        return False
    lam = made.get("sa3d_lambda")
    if lam is None or abs(lam - lambda_of(prompted)) > 1e-6 * lam or not restored(made):
        return False
    made["sa3d_drawn_lambda"] = lam
    _drop(prompted.uid)
    follow_colours(results_of(capture))
    link.redraw()
    return True


def _warm_up(job: jobs.Job) -> None:
    """Has the engine take a new object into memory, which takes seconds, before the slider is moved."""
    _drop(job.object_uid)  # the good mesh is there: no draft comes after it
    if _wanted is None and not is_busy() and job.after == "done" and not link.session().open_handles:
        _wish(_Wish(job.capture_uid, job.object_uid, job.result, 1.0, drawn=False))


def _drop(object_uid: str) -> None:
    """What was wished for an object is not drawn any more."""
    global _wanted, _under_way
    if _wanted is not None and _wanted.object_uid == object_uid:
        _wanted = None
    if _under_way is not None and _under_way.object_uid == object_uid:
        _under_way = None


def is_busy() -> bool:
    """Whether a shape is under way."""
    return _handle is not None and _handle.is_open


def fault() -> Failure | None:
    """Why the latest shape could not be had."""
    return _fault


def _wish(wish: _Wish) -> None:
    global _wanted
    _wanted = wish
    _send()


def _send() -> None:
    global _wanted, _under_way, _handle
    if _wanted is None or is_busy() or handover.is_rendering():
        return
    wish, _wanted = _wanted, None
    _under_way = wish
    body = {**jobs.request_defaults("shape"), "result": wish.result, "lambda": wish.lam}
    callbacks = Callbacks(
        result=lambda _, message: _shaped(wish, message),
        failure=lambda _, message: _failed(wish, message),
        done=lambda _: _send(),
    )
    _handle = link.session().request("shape", body, callbacks=callbacks)
    link.redraw()


def _shaped(wish: _Wish, message: Result) -> None:
    global _fault, _wanted
    _fault = None
    link.redraw()
    if wish.drawn and wish is _under_way and handover.is_rendering():  # which reads the mesh: asked for again after it
        _wanted = _wanted or wish
        return
    capture = capture_by_uid(wish.capture_uid) if wish.drawn and wish is _under_way else None
    made = object_by_uid(capture, wish.object_uid) if capture is not None else None
    if made is None or made.mode != "OBJECT" or made.get("sa3d_result") != wish.result:
        return
    arrays = {name: as_numpy(each) for name, each in message.arrays.items()}
    draft(made, arrays["vertices"], arrays["faces"], arrays.get("colours"))
    made["sa3d_drawn_lambda"] = wish.lam
    follow_colours(results_of(capture))


def _failed(wish: _Wish, message: Failure) -> None:
    global _fault
    _fault = None if message.cancelled or not wish.drawn else message
    link.redraw()


@persistent
def _after_undo(_scene: Any, _depsgraph: Any = None) -> None:
    """A draft comes after the slider's step of undo was made, so that undo may bring an older one back. And one that is
    on its way mustn't come over a mesh that is as its slider says, for the artist may have worked on that."""
    for capture in bpy.data.collections:
        if "sa3d_missing_photos" not in capture:
            continue
        for prompted in capture.sa3d.objects:
            made = object_by_uid(capture, prompted.uid) if prompted.result else None
            drawn = None if made is None else made.get("sa3d_drawn_lambda", made.get("sa3d_lambda"))
            if drawn is not None and abs(drawn - lambda_of(prompted)) > 1e-6 * drawn:
                grown(prompted)
            else:
                _drop(prompted.uid)


def register() -> None:
    """Listens to undo, to meshes that come, and for what had to wait for a render."""
    _unhook.extend((jobs.on_delivered(_warm_up), link.on_pump(_send)))
    bpy.app.handlers.undo_post.append(_after_undo)
    bpy.app.handlers.redo_post.append(_after_undo)


def unregister() -> None:
    """Listens no more."""
    global _wanted, _under_way, _handle, _fault
    while _unhook:
        _unhook.pop()()
    bpy.app.handlers.undo_post.remove(_after_undo)
    bpy.app.handlers.redo_post.remove(_after_undo)
    _wanted = _under_way = _handle = _fault = None
