"""Which of several masks is meant: whole, part or sub-part; which of the things that the words fit."""

from __future__ import annotations

from typing import Any

import bpy

from ..scene import mask_preview
from ..scene.cameras import view_of
from ..scene.mask_answers import Answer, box_in_frame
from ..scene.prompt_store import active_object, add_prompt
from ..scene.views import capture_of, seen_camera

__all__ = ["answer_here", "register", "unregister"]


def answer_here(context: Any) -> Answer | None:
    """What the engine makes of the active object's prompts in the photo that is looked at."""
    camera = seen_camera(context.scene, context.space_data)
    capture = capture_of(context.scene, camera)
    prompted = None if capture is None else active_object(capture)
    return None if prompted is None else mask_preview.latest_for(context.scene, capture, prompted, camera)


class _InPhoto:
    """Operators on the active object in the photo that is looked at."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012  Blender reads it from the class

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs both."""
        camera = seen_camera(context.scene, context.space_data)
        capture = capture_of(context.scene, camera)
        if capture is None or active_object(capture) is None:
            cls.poll_message_set("Look through a photo and click an object first")  # type: ignore[attr-defined]
            return False
        return True

    def _here(self, context: Any) -> tuple[Any, Any, Any]:
        camera = seen_camera(context.scene, context.space_data)
        capture = capture_of(context.scene, camera)
        return capture, active_object(capture), camera

    def _nothing(self, what: str) -> set[str]:
        self.report({"INFO"}, what)  # type: ignore[attr-defined]
        return {"CANCELLED"}


class SA3D_OT_next_candidate(_InPhoto, bpy.types.Operator):
    """Take the next of the masks that the click may mean: a part, the object, the group it is in"""

    bl_idname = "sa3d.next_candidate"
    bl_label = "Next Mask"

    def execute(self, context: Any) -> set[str]:
        """Goes from the smallest to the largest, and round."""
        answer = answer_here(context)
        if answer is None:
            return self._nothing("There is no mask yet in this photo: click the object")
        if len(answer.candidates) < 2:
            return self._nothing("The segmenter offers one mask only")
        _, prompted, _ = self._here(context)
        now = answer.candidate(prompted.scale)
        at = next((i for i, one in enumerate(answer.candidates) if one is now), -1)
        prompted.scale = answer.candidates[(at + 1) % len(answer.candidates)].scale
        return {"FINISHED"}


class SA3D_OT_choose_candidate(_InPhoto, bpy.types.Operator):
    """Take this one of the masks that the click may mean, here and in all other photos"""

    bl_idname = "sa3d.choose_candidate"
    bl_label = "Choose Mask"

    scale: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Scale", description="How much is meant, in the segmenter's words", default="auto"
    )

    def execute(self, context: Any) -> set[str]:
        """Sets it; the engine is asked for the same in every photo."""
        self._here(context)[1].scale = self.scale
        return {"FINISHED"}


class SA3D_OT_find_words(_InPhoto, bpy.types.Operator):
    """Look for what the text says in this photo. On a processor it takes up to a minute"""

    bl_idname = "sa3d.find_words"
    bl_label = "Find"

    def execute(self, context: Any) -> set[str]:
        """Has the engine look; the panel lists what it finds."""
        capture, prompted, camera = self._here(context)
        if not prompted.words.strip():
            return self._nothing("Write what the object is called first")
        mask_preview.seek(capture, prompted, camera)
        return {"FINISHED"}


class SA3D_OT_choose_hit(_InPhoto, bpy.types.Operator):
    """Take this one: a box around it becomes a prompt in this photo"""

    bl_idname = "sa3d.choose_hit"
    bl_label = "Choose What Was Found"

    number: bpy.props.IntProperty(name="Number", min=0)  # type: ignore[valid-type]

    def execute(self, context: Any) -> set[str]:
        """Adds the box."""
        answer = answer_here(context)
        if answer is None or self.number >= len(answer.hits):
            return self._nothing("Nothing like that was found in this photo")
        _, prompted, camera = self._here(context)
        add_prompt(prompted, "BOX", camera, box_in_frame(view_of(camera), answer.hits[self.number].box).tolist())
        return {"FINISHED"}


CLASSES = (SA3D_OT_next_candidate, SA3D_OT_choose_candidate, SA3D_OT_find_words, SA3D_OT_choose_hit)


def register() -> None:
    """Adds the operators."""
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """Takes them away again."""
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
