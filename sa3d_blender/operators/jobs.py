"""What can be done with the jobs in the list, and with the engine behind them."""

from __future__ import annotations

from typing import Any

import bpy

from .. import handover, jobs, link
from ..protocol.errors import Sa3dError
from ..scene.delivery import capture_by_uid, prompted_by_uid
from .steps import make_job

__all__ = ["LOG", "register", "unregister"]

LOG = "SA3D Log"


class _OnJob:
    """Operators on one job of the list."""

    uid: bpy.props.StringProperty(options={"HIDDEN", "SKIP_SAVE"})  # type: ignore[valid-type]

    def _job(self) -> jobs.Job | None:
        job = jobs.by_uid(self.uid)
        if job is None:
            self.report({"WARNING"}, "That job is not in the list any more")  # type: ignore[attr-defined]
        return job


class SA3D_OT_restart_engine(bpy.types.Operator):
    """Start a new engine. What was trained and segmented is on disk and stays"""

    bl_idname = "sa3d.restart_engine"
    bl_label = "Restart"

    def execute(self, _context: Any) -> set[str]:
        """Doesn't wait: the panel says how it goes."""
        link.restart()
        return {"FINISHED"}


class SA3D_OT_open_preferences(bpy.types.Operator):
    """Open the preferences of this add-on: the engine, its device, its weights"""

    bl_idname = "sa3d.open_preferences"
    bl_label = "Preferences"

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """They are a window."""
        if bpy.app.background:
            cls.poll_message_set("Blender runs without a window")
        return not bpy.app.background

    def execute(self, _context: Any) -> set[str]:
        """Blender's own window, at our add-on."""
        bpy.ops.preferences.addon_show(module=__package__.partition(".sa3d_blender")[0])
        return {"FINISHED"}


class SA3D_OT_run_again(_OnJob, bpy.types.Operator):
    """Do the same once more"""

    bl_idname = "sa3d.run_again"
    bl_label = "Run Again"

    def execute(self, context: Any) -> set[str]:
        """With the prompts as they were; a correction with what its object hasn't been told yet."""
        job = self._job()
        if job is None or not job.is_over:
            return {"CANCELLED"}
        if job.kind != "refine":
            jobs.again(job)
            return {"FINISHED"}
        capture = capture_by_uid(job.capture_uid, job.capture_name)
        prompted = None if capture is None else prompted_by_uid(capture, job.object_uid)
        made = None if prompted is None else make_job("refine", context, capture, prompted)
        if made is None or not made.asks:
            self.report({"WARNING"}, "There is nothing left to correct")
            return {"CANCELLED"}
        jobs.add(made)
        return {"FINISHED"}


class SA3D_OT_show_log(_OnJob, bpy.types.Operator):
    """Open what this job and the engine have said, as a text"""

    bl_idname = "sa3d.show_log"
    bl_label = "Log"

    def execute(self, context: Any) -> set[str]:
        """Fills one text, always the same, and shows it in a text editor: one that is open, or a new window."""
        job = self._job() if self.uid else None
        text = bpy.data.texts.get(LOG) or bpy.data.texts.new(LOG)
        text.clear()
        text.write("\n".join(_log_of(job)))
        text.cursor_set(0)
        if context.window is not None and not bpy.app.background:
            _show_text(context, text)
        return {"FINISHED"}


class SA3D_OT_dismiss_job(_OnJob, bpy.types.Operator):
    """Take this job off the list. What it made stays"""

    bl_idname = "sa3d.dismiss_job"
    bl_label = "Dismiss"

    def execute(self, _context: Any) -> set[str]:
        """Only what is over can go."""
        job = self._job()
        if job is not None:
            jobs.dismiss(job)
        return {"FINISHED"}


class SA3D_OT_import_job_result(_OnJob, bpy.types.Operator):
    """Put the result of this job into the open file, and its capture where that isn't there"""

    bl_idname = "sa3d.import_job_result"
    bl_label = "Import Result"
    bl_options = {"REGISTER"}  # noqa: RUF012  the delivery is a step of undo already

    def execute(self, context: Any) -> set[str]:
        """Says in one sentence what is wrong where it can't be."""
        job = self._job()
        if job is None or job.state != "homeless":
            return {"CANCELLED"}
        if context.mode != "OBJECT":
            bpy.ops.object.mode_set(mode="OBJECT")
        try:
            if capture_by_uid(job.capture_uid) is None:
                if job.scene is None:
                    self.report({"ERROR"}, f"Open the file with {job.capture_name}, or import that capture first")
                    return {"CANCELLED"}
                handover.import_capture(context, job)
            jobs.take_in(job)
        except Sa3dError as fault:
            self.report({"ERROR"}, str(fault))
            return {"CANCELLED"}
        if job.state == "failed":
            self.report({"ERROR"}, f"{job.what} {job.cure}")
        else:
            self.report({"INFO"}, job.note or f"Imported {job.object_name}")
        return {"FINISHED"}


def _log_of(job: jobs.Job | None) -> list[str]:
    lines = [] if job is None else [job.title, "=" * len(job.title), *job.log, ""]
    if job is not None and job.result:
        lines += [f"Result: {job.result}", ""]
    return [*lines, "The engine", "==========", *link.log_lines()]


def _show_text(context: Any, text: Any) -> None:
    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "TEXT_EDITOR":
                _fill(area, text)
                return
    before = set(context.window_manager.windows)
    bpy.ops.wm.window_new()
    for window in context.window_manager.windows:
        if window not in before:
            area = max(window.screen.areas, key=lambda one: one.width * one.height)
            area.type = "TEXT_EDITOR"
            _fill(area, text)


def _fill(area: Any, text: Any) -> None:
    space = area.spaces.active
    space.text, space.show_word_wrap, space.show_syntax_highlight, space.top = text, True, False, 0


CLASSES = (
    SA3D_OT_restart_engine,
    SA3D_OT_open_preferences,
    SA3D_OT_run_again,
    SA3D_OT_show_log,
    SA3D_OT_dismiss_job,
    SA3D_OT_import_job_result,
)


def register() -> None:
    """Adds the operators."""
    for one in CLASSES:
        bpy.utils.register_class(one)


def unregister() -> None:
    """Takes them away again."""
    for one in reversed(CLASSES):
        bpy.utils.unregister_class(one)
