"""File > Import > SA3D Result: cameras, meshes and clicks of a finished segmentation."""

from __future__ import annotations

from typing import Any

import bpy
from bpy_extras.io_utils import ImportHelper

from ..protocol.errors import Sa3dError
from ..scene.build import build_scene
from ..scene.look import show_colours
from ..scene.obstacles import hide_obstacles
from ..scene.photos import ensure_photo

__all__ = ["SA3D_OT_import_result", "register", "unregister"]


class SA3D_OT_import_result(bpy.types.Operator, ImportHelper):
    """Import a segmented object with the cameras, photos and clicks it came from"""

    bl_idname = "sa3d.import_result"
    bl_label = "Import SA3D Result"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012  Blender reads it from the class

    filename_ext = ".json"
    filter_glob: bpy.props.StringProperty(default="*.json", options={"HIDDEN"})  # type: ignore[valid-type]
    look_through: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Look Through Camera",
        description="Turn the 3D viewports to the photo that was clicked, and show vertex colours",
        default=True,
    )
    hide_in_the_way: bpy.props.BoolProperty(  # type: ignore[valid-type]
        name="Hide What Is in the Way",
        description="Hide objects that stand where the capture is; the eye in the Outliner shows them again",
        default=True,
    )

    def execute(self, context: Any) -> set[str]:
        """Builds the scene; what is wrong with the file is said in one sentence."""
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        try:
            capture = build_scene(self.filepath)
        except Sa3dError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        trouble = ensure_photo(context.scene.camera)
        if self.look_through and context.screen is not None:
            show_colours(context.screen, capture.all_objects, through_camera=True)
        hidden = hide_obstacles(capture) if self.hide_in_the_way else []
        missing = capture["sa3d_missing_photos"]
        if missing:
            self.report({"WARNING"}, f"{missing} photos are not where the result says; their cameras show none")
        elif trouble:
            self.report({"WARNING"}, trouble)
        elif hidden:
            self.report({"INFO"}, f"Imported {capture.name} and hid {', '.join(hidden)}, which stood in the way")
        else:
            self.report({"INFO"}, f"Imported {capture.name}")
        return {"FINISHED"}


def _menu(self: Any, _context: Any) -> None:
    self.layout.operator(SA3D_OT_import_result.bl_idname, text="SA3D Result (.json)")


def register() -> None:
    """Adds the operator and its menu entry."""
    bpy.utils.register_class(SA3D_OT_import_result)
    bpy.types.TOPBAR_MT_file_import.append(_menu)


def unregister() -> None:
    """Takes both away again."""
    bpy.types.TOPBAR_MT_file_import.remove(_menu)
    bpy.utils.unregister_class(SA3D_OT_import_result)
