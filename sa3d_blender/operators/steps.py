"""The panel's verbs: Train, Segment, Refine, Cancel. Each starts a job (jobs.py), or is grey for a reason."""

from __future__ import annotations

from typing import Any

import bpy

from .. import jobs
from ..asks import Ask, new_prompts, refine_asks, segment_asks, train_ask
from ..scene.capture import moved_region
from ..scene.delivery import object_by_uid
from ..scene.prompt_store import active_object
from ..scene.views import active_capture, cameras_of
from ..shaping import lambda_of

__all__ = ["make_job", "reason_against", "register", "unregister"]


def reason_against(step: str, context: Any) -> str:
    """Why a step ("train", "segment", "refine", "cancel") can't be taken now, as a tooltip says it; "" if it can."""
    if step == "cancel":
        return "" if jobs.running() is not None else "Nothing is running"
    capture = active_capture(context.scene)
    if capture is None:
        return "There is no capture in this scene: import one first"
    if capture.library is not None:
        return "This capture is linked from another file"
    if step == "train":
        busy = jobs.unfinished(capture["sa3d_uid"])
        return "" if busy is None else "This capture is being trained"
    prompted = active_object(capture)
    if prompted is None or not (len(prompted.prompts) or prompted.words.strip()):
        return "Nothing says what the object is: click it in a photo, or type a word"
    if jobs.unfinished(capture["sa3d_uid"], prompted.uid) is not None:
        return "This object is being worked on: wait, or cancel it first"
    return _against_segment(capture, prompted) if step == "segment" else _against_refine(capture, prompted)


def _against_segment(capture: Any, prompted: Any) -> str:
    there = [one for one in prompted.prompts if one.camera is not None]
    if any(one.positive or one.kind == "BOX" for one in there) or (prompted.words.strip() and cameras_of(capture)):
        return ""
    if not cameras_of(capture):
        return "This capture has no cameras left: import it again"
    if not there:
        return "The cameras of its prompts are gone: click it in another photo"
    return "All prompts say what the object is not: click it too"


def _against_refine(capture: Any, prompted: Any) -> str:
    if not prompted.result:
        return "There is no mesh to correct yet: press Segment"
    if object_by_uid(capture, prompted.uid) is None:
        return "The mesh to correct is not in the file any more: press Segment"
    if not new_prompts(prompted)[0]:
        return "No prompt was added since: click what the mesh got wrong, or Ctrl-click what is too much"
    return ""


def make_job(kind: str, context: Any, capture: Any, prompted: Any = None) -> jobs.Job:
    """The job that a verb starts on a capture, or on one of its prompted objects."""
    source, quality = str(capture.get("sa3d_source", "")), context.scene.sa3d.quality
    name, uid = ("", "") if prompted is None else (prompted.name, prompted.uid)
    result, lam = "", None
    asks: tuple[Ask, ...]
    if kind == "train":
        title, asks = (
            f"Train {capture.name.removeprefix('Capture: ')}",
            (train_ask(source, quality, moved_region(capture)),),
        )
    elif kind == "segment":
        title = f"Segment {name}"
        asks = segment_asks(source, quality, prompted, _camera(context, capture), moved_region(capture))
    else:
        title, result = f"Refine {name}", prompted.result
        there = jobs.corrections_of(result)
        take_back = 0 if there is None else max(0, there - prompted.corrections)
        lam = lambda_of(prompted) if abs(prompted.grow) > 1e-4 else None
        asks = refine_asks(prompted, take_back, lam)
        made = object_by_uid(capture, uid)
        quality = quality if made is None else str(made.get("sa3d_quality", quality))
    known, corrected = ("", 0) if prompted is None else (prompted.told, prompted.corrections)
    return jobs.Job(
        kind,
        title,
        capture["sa3d_uid"],
        capture.name,
        source,
        uid,
        name,
        quality,
        asks,
        result=result,
        lam=lam,
        known=known,
        corrected=corrected,
    )


def _camera(context: Any, capture: Any) -> Any:
    """Where words are looked for when nothing was clicked: in the photo that one sees."""
    cameras = cameras_of(capture)
    return context.scene.camera if context.scene.camera in cameras else next(iter(cameras), None)


class _Step:
    """A button that is grey for a reason, and starts a job."""

    step = ""

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Grey with the reason in the tooltip."""
        why = reason_against(cls.step, context)
        if why:
            cls.poll_message_set(why)  # type: ignore[attr-defined]
        return not why

    def execute(self, context: Any) -> set[str]:
        """Starts the job and returns at once."""
        capture = active_capture(context.scene)
        prompted = None if self.step == "train" else active_object(capture)
        jobs.add(make_job(self.step, context, capture, prompted))
        return {"FINISHED"}


class SA3D_OT_train(_Step, bpy.types.Operator):
    """Learn the capture's shape and colours from its photos, once for all objects"""

    bl_idname = "sa3d.train"
    bl_label = "Train"
    step = "train"


class SA3D_OT_segment(_Step, bpy.types.Operator):
    """Cut the object that the prompts mark out of the capture, as a mesh. Trains first where that wasn't done"""

    bl_idname = "sa3d.segment"
    bl_label = "Segment"
    step = "segment"


class SA3D_OT_refine(_Step, bpy.types.Operator):
    """Correct the object's mesh by the prompts that were added since"""

    bl_idname = "sa3d.refine"
    bl_label = "Refine"
    step = "refine"


class SA3D_OT_cancel(bpy.types.Operator):
    """Stop what is running; nothing that was finished is lost"""

    bl_idname = "sa3d.cancel"
    bl_label = "Cancel"

    uid: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Something has to run."""
        why = reason_against("cancel", context)
        if why:
            cls.poll_message_set(why)
        return not why

    def execute(self, _context: Any) -> set[str]:
        """Asks the engine to stop, or takes a waiting job out of the queue."""
        job = jobs.by_uid(self.uid) if self.uid else jobs.running()
        if job is None:
            return {"CANCELLED"}
        jobs.cancel(job)
        return {"FINISHED"}


class SA3D_OT_cancel_by_key(bpy.types.Operator):
    """Stop what is running, unless a tool wants the key for itself"""

    bl_idname = "sa3d.cancel_by_key"
    bl_label = "Cancel SA3D Job"
    bl_options = {"INTERNAL"}  # noqa: RUF012  Blender reads it from the class

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Only while a job runs and no operator is under way; else the key goes on to whom it is meant for."""
        job = jobs.running()
        if job is None or job.state != "running":
            cls.poll_message_set("No SA3D job is running")
            return False
        if context.screen is not None and context.screen.is_animation_playing:  # which the key stops
            return False
        return not list(getattr(context.window, "modal_operators", ()))

    def execute(self, _context: Any) -> set[str]:
        """As the button."""
        job = jobs.running()
        if job is not None:
            jobs.cancel(job)
            self.report({"INFO"}, f"Stopping: {job.title}")
        return {"FINISHED"}


CLASSES = (SA3D_OT_train, SA3D_OT_segment, SA3D_OT_refine, SA3D_OT_cancel, SA3D_OT_cancel_by_key)
_keys: list[tuple[Any, Any]] = []


def register() -> None:
    """Adds the operators, and Esc over the 3D viewport."""
    for one in CLASSES:
        bpy.utils.register_class(one)
    keyconfig = bpy.context.window_manager.keyconfigs.addon
    if keyconfig is not None:  # there is none without a window
        keymap = keyconfig.keymaps.new(name="3D View Generic", space_type="VIEW_3D")
        _keys.append((keymap, keymap.keymap_items.new(SA3D_OT_cancel_by_key.bl_idname, "ESC", "PRESS")))


def unregister() -> None:
    """Takes them away again."""
    while _keys:
        keymap, item = _keys.pop()
        keymap.keymap_items.remove(item)
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
