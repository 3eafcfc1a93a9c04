"""The panel's verbs, Train, Segment, Refine and Cancel: until an engine is connected they say so and do nothing."""

from __future__ import annotations

from typing import Any

import bpy

from ..scene.prompt_store import active_object
from ..scene.views import active_capture

__all__ = ["NO_ENGINE", "reason_against", "register", "unregister"]

NO_ENGINE = "This version of the add-on can't start the engine yet; `sa3d segment` on the command line can"
NOTHING_RUNS = "Nothing is running"


def reason_against(step: str, context: Any) -> str:
    """Why a step ("train", "segment", "refine", "cancel") can't be taken now, as a tooltip says it; "" if it can.

    What the artist can mend comes before what only another version of the add-on can.
    """
    capture = active_capture(context.scene)
    if step == "cancel":
        return NOTHING_RUNS
    if capture is None:
        return "There is no capture in this scene: import one first"
    if step in {"segment", "refine"}:
        prompted = active_object(capture)
        if prompted is None or not (len(prompted.prompts) or prompted.words.strip()):
            return "Nothing says what the object is: click it in a photo, or type a word"
        if step == "segment" and not prompted.words.strip() and not any(one.positive for one in prompted.prompts):
            return "All prompts say what the object is not: click it too"
    return NO_ENGINE


class _Step:
    """A button that is grey for a reason."""

    step = ""

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Grey with the reason in the tooltip."""
        why = reason_against(cls.step, context)
        if why:
            cls.poll_message_set(why)  # type: ignore[attr-defined]
        return not why

    def execute(self, context: Any) -> set[str]:
        """Nothing: ``poll`` keeps it from being called until the engine's side is there."""
        self.report({"ERROR"}, reason_against(self.step, context) or NO_ENGINE)  # type: ignore[attr-defined]
        return {"CANCELLED"}


class SA3D_OT_train(_Step, bpy.types.Operator):
    """Learn the capture's shape and colours from its photos, once for all objects"""

    bl_idname = "sa3d.train"
    bl_label = "Train"
    step = "train"


class SA3D_OT_segment(_Step, bpy.types.Operator):
    """Cut the object that the prompts mark out of the capture, as a mesh"""

    bl_idname = "sa3d.segment"
    bl_label = "Segment"
    step = "segment"


class SA3D_OT_refine(_Step, bpy.types.Operator):
    """Correct the object's mesh by the prompts that were added since"""

    bl_idname = "sa3d.refine"
    bl_label = "Refine"
    step = "refine"


class SA3D_OT_cancel(_Step, bpy.types.Operator):
    """Stop what is running; nothing that was finished is lost"""

    bl_idname = "sa3d.cancel"
    bl_label = "Cancel"
    step = "cancel"


CLASSES = (SA3D_OT_train, SA3D_OT_segment, SA3D_OT_refine, SA3D_OT_cancel)


def register() -> None:
    """Adds the operators."""
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """Takes them away again."""
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
