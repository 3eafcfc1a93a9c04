"""What can be done with the mesh of the active object: find it, shape it well, make it one's own."""

from __future__ import annotations

from typing import Any

import bpy

from .. import handover, jobs
from ..asks import mesh_ask
from ..scene.delivery import keep_apart, object_by_uid
from ..scene.prompt_store import active_object
from ..scene.views import active_capture
from ..shaping import lambda_of

__all__ = ["register", "result_of", "unregister"]


def result_of(context: Any) -> Any:
    """The mesh of the active object of the active capture; None where there is none."""
    capture = active_capture(context.scene)
    prompted = None if capture is None else active_object(capture)
    return None if prompted is None else object_by_uid(capture, prompted.uid)


class _OnResult:
    """Operators on that mesh."""

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs one."""
        if result_of(context) is None:
            cls.poll_message_set("There is no mesh of this object yet: press Segment")  # type: ignore[attr-defined]
            return False
        return True


class SA3D_OT_select_result(_OnResult, bpy.types.Operator):
    """Select the mesh of this object"""

    bl_idname = "sa3d.select_result"
    bl_label = "Select Mesh"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012  Blender reads it from the class

    def execute(self, context: Any) -> set[str]:
        """Alone, and as the active object."""
        made = result_of(context)
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        if made.name not in context.view_layer.objects:
            self.report({"WARNING"}, f"{made.name} is not in this view layer")
            return {"CANCELLED"}
        for other in context.view_layer.objects.selected:
            other.select_set(False)
        made.hide_set(False)
        made.select_set(True)
        context.view_layer.objects.active = made
        return {"FINISHED"}


class SA3D_OT_apply_shape(_OnResult, bpy.types.Operator):
    """Make the mesh well at the size that the slider shows: smooth, and with colours from the photos"""

    bl_idname = "sa3d.apply_shape"
    bl_label = "Apply"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs a mesh that only follows the slider roughly."""
        if not super().poll(context):
            return False
        capture = active_capture(context.scene)
        prompted = active_object(capture)
        if jobs.unfinished(capture["sa3d_uid"], prompted.uid) is not None:
            cls.poll_message_set("This object is being worked on: wait, or cancel it first")
            return False
        made = result_of(context)
        if "sa3d_draft" not in made and abs(made.get("sa3d_lambda", 0.0) - lambda_of(prompted)) < 1e-6:
            cls.poll_message_set("The mesh is as the slider says already")
            return False
        return True

    def execute(self, context: Any) -> set[str]:
        """Starts a job."""
        capture = active_capture(context.scene)
        prompted, made = active_object(capture), result_of(context)
        lam = lambda_of(prompted)
        jobs.add(
            jobs.Job(
                "mesh",
                f"Shape {prompted.name}",
                capture["sa3d_uid"],
                capture.name,
                str(capture.get("sa3d_source", "")),
                prompted.uid,
                prompted.name,
                str(made.get("sa3d_quality", "")),
                (mesh_ask(lam),),
                result=prompted.result,
                lam=lam,
                known=prompted.told,
                corrected=prompted.corrections,
            )
        )
        return {"FINISHED"}


class SA3D_OT_reset_shape(_OnResult, bpy.types.Operator):
    """Put the slider back to where the object was cut"""

    bl_idname = "sa3d.reset_shape"
    bl_label = "Reset"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    def execute(self, context: Any) -> set[str]:
        """The mesh follows."""
        active_object(active_capture(context.scene)).grow = 0.0
        return {"FINISHED"}


class SA3D_OT_remove_from_capture(_OnResult, bpy.types.Operator):
    """Make the mesh an ordinary object of the scene. It stays when the capture goes, and Segment makes a new one"""

    bl_idname = "sa3d.remove_from_capture"
    bl_label = "Remove from Capture"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    def execute(self, context: Any) -> set[str]:
        """Its custom properties go on saying how it was made."""
        made = result_of(context)
        keep_apart(made, context.scene)
        prompted = active_object(active_capture(context.scene))
        handover.forget_result(prompted)
        self.report({"INFO"}, f"{made.name} is an object of the scene now")
        return {"FINISHED"}


CLASSES = (
    SA3D_OT_select_result,
    SA3D_OT_apply_shape,
    SA3D_OT_reset_shape,
    SA3D_OT_remove_from_capture,
)


def register() -> None:
    """Adds the operators."""
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """Takes them away again."""
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
