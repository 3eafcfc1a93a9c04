"""Objects and prompts in the lists of the panel: add, remove, clear, show."""

from __future__ import annotations

from typing import Any

import bpy

from ..scene.prompt_store import (
    active_object,
    active_prompt,
    add_object,
    prompts_in,
    remove_object,
    remove_prompt,
)
from ..scene.views import active_capture, capture_of, seen_camera, show_view

__all__ = ["register", "unregister"]


class _OnCapture:
    """Operators on the active capture."""

    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012  Blender reads it from the class

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs a capture that can be changed."""
        capture = active_capture(context.scene)
        return cls._needs(capture is not None, "There is no capture in this scene: import one first") and cls._needs(
            capture.library is None,  # type: ignore[union-attr]
            "This capture is linked from another file",
        )

    @classmethod
    def _needs(cls, given: bool, otherwise: str) -> bool:
        if not given:
            cls.poll_message_set(otherwise)  # type: ignore[attr-defined]
        return given


class _OnObject(_OnCapture):
    """Operators on the active object of the active capture."""

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs one."""
        return super().poll(context) and cls._needs(
            active_object(active_capture(context.scene)) is not None, "There is no object yet: add one, or click it"
        )


class SA3D_OT_add_object(_OnCapture, bpy.types.Operator):
    """Add another object to cut out; new prompts are for it"""

    bl_idname = "sa3d.add_object"
    bl_label = "Add Object"

    name: bpy.props.StringProperty(name="Name", default="Object")  # type: ignore[valid-type]

    def execute(self, context: Any) -> set[str]:
        """Adds it with a name of its own."""
        add_object(active_capture(context.scene), self.name)
        return {"FINISHED"}


class SA3D_OT_remove_object(_OnObject, bpy.types.Operator):
    """Forget this object and all its prompts. A mesh that was made of it stays"""

    bl_idname = "sa3d.remove_object"
    bl_label = "Remove Object"

    def execute(self, context: Any) -> set[str]:
        """Removes the active one."""
        remove_object(active_capture(context.scene))
        return {"FINISHED"}


class SA3D_OT_remove_prompt(_OnObject, bpy.types.Operator):
    """Remove the selected prompt"""

    bl_idname = "sa3d.remove_prompt"
    bl_label = "Remove Prompt"

    seen_only: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Seen Only", description="Only where the prompt is in the photo that is looked at", options={"HIDDEN"}
    )

    def execute(self, context: Any) -> set[str]:
        """Removes the active one of the active object."""
        prompted = active_object(active_capture(context.scene))
        chosen = active_prompt(prompted)
        seen = seen_camera(context.scene, context.space_data)
        if chosen is None or (self.seen_only and chosen.camera != seen):
            self.report({"INFO"}, "No prompt is selected in this photo: click one first")
            return {"CANCELLED"}
        remove_prompt(prompted, prompted.active)
        return {"FINISHED"}


class SA3D_OT_clear_prompts(_OnObject, bpy.types.Operator):
    """Remove the object's prompts in this photo, or in all photos"""

    bl_idname = "sa3d.clear_prompts"
    bl_label = "Clear Prompts"

    everywhere: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="All Photos", description="Not only in the photo that is looked at"
    )

    def execute(self, context: Any) -> set[str]:
        """Removes them from the last to the first, so that their numbers stay right."""
        prompted = active_object(active_capture(context.scene))
        camera = seen_camera(context.scene, context.space_data)
        numbers = range(len(prompted.prompts)) if self.everywhere else [n for n, _ in prompts_in(prompted, camera)]
        for number in reversed(list(numbers)):
            remove_prompt(prompted, number)
        if not numbers:
            self.report({"INFO"}, "There are none")
            return {"CANCELLED"}
        return {"FINISHED"}


class SA3D_OT_show_prompt(_OnObject, bpy.types.Operator):
    """Look through the camera in whose photo this prompt is"""

    bl_idname = "sa3d.show_prompt"
    bl_label = "Show Prompt"
    bl_options = {"REGISTER", "UNDO_GROUPED"}  # noqa: RUF012

    number: bpy.props.IntProperty(name="Prompt", min=0)  # type: ignore[valid-type]

    def execute(self, context: Any) -> set[str]:
        """Selects it and goes there."""
        prompted = active_object(active_capture(context.scene))
        if self.number >= len(prompted.prompts):
            self.report({"WARNING"}, "There is no such prompt any more")
            return {"CANCELLED"}
        prompted.active = self.number
        camera = prompted.prompts[self.number].camera
        if capture_of(context.scene, camera) is None:
            self.report({"WARNING"}, "Its camera is no longer in the scene; Ctrl-Z may bring it back")
            return {"CANCELLED"}
        trouble = show_view(context, camera)
        if trouble:
            self.report({"WARNING"}, trouble)
        return {"FINISHED"}


CLASSES = (
    SA3D_OT_add_object,
    SA3D_OT_remove_object,
    SA3D_OT_remove_prompt,
    SA3D_OT_clear_prompts,
    SA3D_OT_show_prompt,
)


def register() -> None:
    """Adds the operators."""
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """Takes them away again."""
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
