"""File > Import > SA3D Capture, and a description dropped on the viewport: cameras with photos, points, box."""

from __future__ import annotations

from typing import Any

import bpy
from bpy_extras.io_utils import ImportHelper

from ..protocol.errors import Sa3dError
from ..scene.capture import build_capture
from ..scene.description import read_capture_file
from ..scene.obstacles import hide_obstacles
from ..scene.views import active_capture, show_view

__all__ = ["SA3D_FH_capture", "SA3D_OT_import_capture", "register", "unregister"]


class SA3D_OT_import_capture(bpy.types.Operator, ImportHelper):
    """Import photos with their cameras, to click objects in them"""

    bl_idname = "sa3d.import_capture"
    bl_label = "Import Capture"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012  Blender reads it from the class

    filename_ext = ".json"
    filter_glob: bpy.props.StringProperty(default="*.json", options={"HIDDEN"})  # type: ignore[valid-type]
    look_through: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Look Through Camera", description="Turn the 3D viewports to the first photo", default=True
    )
    hide_in_the_way: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Hide What Is in the Way",
        description="Hide objects that stand where the capture is; the eye in the Outliner shows them again",
        default=True,
    )

    def invoke(self, context: Any, event: Any) -> set[str]:
        """A dropped file is imported at once; from the menu the file browser asks first."""
        if self.filepath and self.properties.is_property_set("filepath"):
            return self.execute(context)
        return super().invoke(context, event)  # type: ignore[no-any-return]

    def execute(self, context: Any) -> set[str]:
        """Builds the capture; what is wrong with the file is said in one sentence."""
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        try:
            description = read_capture_file(self.filepath)
            capture = build_capture(context, description)
        except Sa3dError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        trouble = show_view(context, context.scene.camera) if self.look_through else ""
        hidden = hide_obstacles(capture) if self.hide_in_the_way else []
        missing = capture["sa3d_missing_photos"]
        for line in description.warnings[:3]:
            self.report({"WARNING"}, line)
        if missing:
            self.report({"WARNING"}, f"{missing} photos are not where the capture says; their cameras show none")
        elif trouble:
            self.report({"WARNING"}, trouble)
        elif hidden:
            self.report({"INFO"}, f"Imported {capture.name} and hid {', '.join(hidden)}, which stood in the way")
        else:
            self.report({"INFO"}, f"Imported {capture.name}")
        return {"FINISHED"}


class SA3D_FH_capture(bpy.types.FileHandler):
    """Drag and drop of a capture's description."""

    bl_idname = "SA3D_FH_capture"
    bl_label = "SA3D Capture"
    bl_import_operator = SA3D_OT_import_capture.bl_idname
    bl_file_extensions = ".json"

    @classmethod
    def poll_drop(cls, context: Any) -> bool:
        """Into a 3D viewport or the Outliner."""
        return context.area is not None and context.area.type in {"VIEW_3D", "OUTLINER"}


class SA3D_OT_remove_capture(bpy.types.Operator):
    """Take a capture out of the file: its cameras, photos, points, objects and prompts. Files on disk stay"""

    bl_idname = "sa3d.remove_capture"
    bl_label = "Remove Capture"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs one."""
        if active_capture(context.scene) is None:
            cls.poll_message_set("There is no capture in this scene")
            return False
        return True

    def execute(self, context: Any) -> set[str]:
        """Removes the collection with everything that is in no other collection."""
        capture = active_capture(context.scene)
        name = capture.name
        inside = list(capture.children_recursive)
        for item in list(capture.all_objects):
            if all(one == capture or one in inside for one in item.users_collection):
                bpy.data.objects.remove(item)
        for one in [*inside, capture]:
            bpy.data.collections.remove(one)
        self.report({"INFO"}, f"Removed {name}")
        return {"FINISHED"}


def _menu(self: Any, _context: Any) -> None:
    self.layout.operator(SA3D_OT_import_capture.bl_idname, text="SA3D Capture (.json)")


CLASSES = (SA3D_OT_import_capture, SA3D_FH_capture, SA3D_OT_remove_capture)


def register() -> None:
    """Adds the operators, the menu entry and the drop."""
    for one in CLASSES:
        bpy.utils.register_class(one)
    bpy.types.TOPBAR_MT_file_import.append(_menu)


def unregister() -> None:
    """Takes them away again."""
    bpy.types.TOPBAR_MT_file_import.remove(_menu)
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
