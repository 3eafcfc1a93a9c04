"""Photos or a video without cameras: have the engine find the cameras, then import the capture that it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from .. import jobs
from ..opening import PHOTOS, VIDEOS, poses_job

__all__ = ["SA3D_OT_find_poses", "register", "unregister"]

WIDTH = 420
SECONDS_A_PHOTO = 6  # on two cores, all steps together; more for more than a hundred
_FRAMES = 100


class SA3D_OT_find_poses(bpy.types.Operator):
    """Find from where the photos of a folder, or the frames of a video, were taken, and import them as a capture"""

    bl_idname = "sa3d.find_poses"
    bl_label = "Find Cameras"
    bl_options = {"REGISTER"}  # noqa: RUF012  the delivery is a step of undo already

    filepath: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Photos", description="A folder of photos, or a video", subtype="FILE_PATH", options={"HIDDEN"}
    )
    out: bpy.props.StringProperty(  # type: ignore[valid-type]
        name="Capture", description="A new folder for the capture", subtype="DIR_PATH"
    )
    look_through: bpy.props.BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]
    hide_in_the_way: bpy.props.BoolProperty(default=True, options={"HIDDEN"})  # type: ignore[valid-type]

    def invoke(self, context: Any, _event: Any) -> set[str]:
        """Says how long it may take, and waits for a yes."""
        photos = self._photos()
        if not self.out:
            self.out = str(_place(photos))
        found: set[str] = context.window_manager.invoke_props_dialog(self, width=WIDTH, confirm_text="Find Cameras")
        return found

    def draw(self, _context: Any) -> None:
        """What the dialog says."""
        photos = self._photos()
        count = _FRAMES if photos.suffix.lower() in VIDEOS else _count(photos)
        minutes = max(1, round(count * SECONDS_A_PHOTO / 60))
        column = self.layout.column()
        column.label(text=f"{photos.name} has no cameras.", icon="INFO")
        column.label(text=f"They can be found from {count} pictures, in about {minutes} min.", icon="BLANK1")
        column.prop(self, "out")

    def execute(self, _context: Any) -> set[str]:
        """Adds the job, and doesn't wait."""
        photos = self._photos()
        if not self.filepath or not photos.exists():
            self.report({"ERROR"}, f"{photos} isn't there. Choose a folder of photos, or a video.")
            return {"CANCELLED"}
        out = Path(bpy.path.abspath(self.out)) if self.out else _place(photos)
        options = {"look_through": self.look_through, "hide_in_the_way": self.hide_in_the_way}
        job = jobs.add(poses_job(photos, out, options))
        self.report({"INFO"}, f"{job.title}: the engine is at work")
        return {"FINISHED"}

    def _photos(self) -> Path:
        return Path(bpy.path.abspath(self.filepath))


def _place(photos: Path) -> Path:
    """A folder beside the photos, which is never in among them."""
    return photos.with_name(f"{photos.stem if photos.is_file() else photos.name}-capture")


def _count(folder: Path) -> int:
    try:
        return sum(one.suffix.lower() in PHOTOS for one in folder.iterdir())
    except OSError:
        return 0  # the engine says what is wrong with it


def register() -> None:
    """Adds the operator."""
    bpy.utils.register_class(SA3D_OT_find_poses)


def unregister() -> None:
    """Takes it away again."""
    bpy.utils.unregister_class(SA3D_OT_find_poses)
