"""From photo to photo: Next View, Previous View, View Nearest to Here, Look Through Camera."""

from __future__ import annotations

from typing import Any

import bpy

from ..scene.views import active_capture, capture_of, nearest_camera, seen_camera, show_view, step_camera

__all__ = ["register", "unregister"]


class _InCapture:
    """Operators on the active capture's views."""

    # Many steps in a row are one step of undo, so that they don't push the prompts out of its memory.
    bl_options = {"REGISTER", "UNDO_GROUPED"}  # noqa: RUF012  Blender reads it from the class

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs a capture."""
        if active_capture(context.scene) is None:
            cls.poll_message_set("There is no capture in this scene: import one first")  # type: ignore[attr-defined]
            return False
        return True

    def _show(self, context: Any, camera: Any) -> set[str]:
        if camera is None:
            self.report({"WARNING"}, "This capture has no cameras left")  # type: ignore[attr-defined]
            return {"CANCELLED"}
        trouble = show_view(context, camera)
        if trouble:
            self.report({"WARNING"}, trouble)  # type: ignore[attr-defined]
        return {"FINISHED"}

    def _step(self, context: Any, step: int) -> set[str]:
        camera = seen_camera(context.scene, context.space_data)
        return self._show(context, step_camera(active_capture(context.scene), camera, step))


class SA3D_OT_next_view(_InCapture, bpy.types.Operator):
    """Look through the camera of the capture's next photo"""

    bl_idname = "sa3d.next_view"
    bl_label = "Next View"

    def execute(self, context: Any) -> set[str]:
        """One on; after the last comes the first."""
        return self._step(context, 1)


class SA3D_OT_previous_view(_InCapture, bpy.types.Operator):
    """Look through the camera of the photo before this one"""

    bl_idname = "sa3d.previous_view"
    bl_label = "Previous View"

    def execute(self, context: Any) -> set[str]:
        """One back; before the first comes the last."""
        return self._step(context, -1)


class SA3D_OT_nearest_view(_InCapture, bpy.types.Operator):
    """Look through the camera that sees nearly what the viewport shows now"""

    bl_idname = "sa3d.nearest_view"
    bl_label = "View Nearest to Here"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs a viewport to be near to."""
        if not super().poll(context):
            return False
        if context.space_data is None or context.space_data.type != "VIEW_3D":
            cls.poll_message_set("Only in a 3D viewport")  # type: ignore[attr-defined]
            return False
        return True

    def execute(self, context: Any) -> set[str]:
        """By where the viewport's eye is and where it looks."""
        region_3d = context.region_data or context.space_data.region_3d
        return self._show(context, nearest_camera(active_capture(context.scene), region_3d))


class SA3D_OT_look_through(_InCapture, bpy.types.Operator):
    """Look through this photo's camera"""

    bl_idname = "sa3d.look_through"
    bl_label = "Look Through Camera"

    camera: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Camera", description="Name of the camera; the active object's, or the scene's, where it is empty"
    )

    def execute(self, context: Any) -> set[str]:
        """A camera of any capture in the scene."""
        active = context.view_layer.objects.active
        named = context.scene.objects.get(self.camera) if self.camera else active
        if not self.camera and capture_of(context.scene, named) is None:
            named = context.scene.camera
        if capture_of(context.scene, named) is None:
            self.report({"ERROR"}, f'"{self.camera}" is no camera of a capture' if self.camera else "No capture camera")
            return {"CANCELLED"}
        return self._show(context, named)


CLASSES = (SA3D_OT_next_view, SA3D_OT_previous_view, SA3D_OT_nearest_view, SA3D_OT_look_through)


def register() -> None:
    """Adds the operators."""
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """Takes them away again."""
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
