"""File > Export > SA3D Capture: the scene's animated camera as a capture, over frames that are rendered already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy_extras.io_utils import ExportHelper

from ..protocol.errors import Sa3dError
from ..scene.animated_camera import FILE, rendered_folder, write_camera

__all__ = ["SA3D_OT_export_camera", "register", "unregister"]


class SA3D_OT_export_camera(bpy.types.Operator, ExportHelper):
    """Write the scene's camera, frame by frame, beside its rendered frames: together they are a capture"""

    bl_idname = "sa3d.export_camera"
    bl_label = "Export Camera as Capture"

    filename_ext = ".json"
    filter_glob: bpy.props.StringProperty(default="*.json", options={"HIDDEN"})  # type: ignore[valid-type]

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs a camera."""
        if context.scene.camera is None:
            cls.poll_message_set("There is no active camera in this scene")
            return False
        return True

    def invoke(self, context: Any, event: Any) -> set[str]:
        """Offers the folder of the frames."""
        self.filepath = str(rendered_folder(context.scene) / FILE)
        return super().invoke(context, event)  # type: ignore[no-any-return]

    def execute(self, context: Any) -> set[str]:
        """Writes the file. Without a path: into the folder of the frames."""
        path = Path(bpy.path.abspath(self.filepath)) if self.filepath else rendered_folder(context.scene) / FILE
        try:
            count, missing = write_camera(context, path)
        except Sa3dError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        if missing:
            self.report({"WARNING"}, f"{missing} frames of the scene are not rendered and left out")
        self.report({"INFO"}, f"{path}: the cameras of {count} frames")
        return {"FINISHED"}


def _menu(self: Any, _context: Any) -> None:
    self.layout.operator(SA3D_OT_export_camera.bl_idname, text="SA3D Capture (camera of rendered frames)")


def register() -> None:
    """Adds the operator and the menu entry."""
    bpy.utils.register_class(SA3D_OT_export_camera)
    bpy.types.TOPBAR_MT_file_export.append(_menu)


def unregister() -> None:
    """Takes them away again."""
    bpy.types.TOPBAR_MT_file_export.remove(_menu)
    bpy.utils.unregister_class(SA3D_OT_export_camera)
