"""File > Import > SA3D Capture, and a capture's file dropped on the viewport: cameras with photos, points, box."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy_extras.io_utils import ImportHelper

from .. import jobs
from ..opening import build, import_job, is_description, photos_without_cameras
from ..protocol.errors import Sa3dError
from ..scene.description import read_capture_file
from ..scene.views import active_capture

__all__ = ["SA3D_FH_capture", "SA3D_OT_import_capture", "register", "unregister"]


class SA3D_OT_import_capture(bpy.types.Operator, ImportHelper):
    """Import photos with their cameras, to click objects in them"""

    bl_idname = "sa3d.import_capture"
    bl_label = "Import Capture"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012  Blender reads it from the class

    filename_ext = ""
    filter_glob: bpy.props.StringProperty(  # type: ignore[valid-type]
        default="*.json;*.npy;*.bin;*.txt;*.xml;*.csv;*.xmp;*.jpg;*.jpeg;*.png;*.heic;*.mp4;*.mov", options={"HIDDEN"}
    )
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
        """Has the engine read it, as a job; a result's scene.json needs no engine. Faults are said in one sentence."""
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        path = Path(bpy.path.abspath(self.filepath))
        options = {"look_through": self.look_through, "hide_in_the_way": self.hide_in_the_way}
        if not is_description(path):
            if not path.exists():
                self.report({"ERROR"}, f"{path} isn't there. Choose a capture's folder, or the file with its cameras.")
                return {"CANCELLED"}
            photos = photos_without_cameras(path)
            if photos is not None:
                return self._offer_to_find(photos, options)
            job = jobs.add(import_job(path, options))
            self.report({"INFO"}, f"{job.title}: the engine is reading it")
            return {"FINISHED"}
        try:
            capture, said = build(context, read_capture_file(path), options)
        except Sa3dError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        for line in said:
            self.report({"WARNING"}, line)
        self.report({"INFO"}, f"Imported {capture.name}")
        return {"FINISHED"}

    def _offer_to_find(self, photos: Path, options: dict[str, bool]) -> set[str]:
        """A dialog asks whether the photos' cameras shall be found; without a window, that is said."""
        if bpy.app.background:
            self.report({"ERROR"}, f"{photos.name} has no cameras. Find them first: bpy.ops.sa3d.find_poses")
            return {"CANCELLED"}
        bpy.ops.sa3d.find_poses("INVOKE_DEFAULT", filepath=str(photos), **options)
        return {"FINISHED"}


class SA3D_FH_capture(bpy.types.FileHandler):
    """Drag and drop of the file that lists a capture's cameras."""

    bl_idname = "SA3D_FH_capture"
    bl_label = "SA3D Capture"
    bl_import_operator = SA3D_OT_import_capture.bl_idname
    bl_file_extensions = ".json;.npy"

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
    self.layout.operator(SA3D_OT_import_capture.bl_idname, text="SA3D Capture (folder, .json, .npy)")


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
