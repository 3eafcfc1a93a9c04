"""The lower half of the tab SA3D: the verbs with what is running, the result with its slider, the list of jobs."""

from __future__ import annotations

import math
import textwrap
import time
from typing import Any

import bpy

from .. import jobs, link, shaping
from ..operators.results import result_of
from ..protocol.errors import EnvironmentFault, SegmenterError
from ..scene.prompt_store import active_object
from ..scene.views import active_capture
from ..training_picture import TrainingPreview
from . import training_preview

__all__ = ["CLASSES", "CURES", "say"]

SHOWN = 8
"""Jobs in the list, the latest first."""

ICONS = {
    "waiting": "TIME",
    "running": "PLAY",
    "cancelling": "PAUSE",
    "ready": "IMPORT",
    "homeless": "FILE_HIDDEN",
    "done": "CHECKMARK",
    "failed": "ERROR",
    "cancelled": "X",
}
TRAINING_SCALE = 9.0
"""How large the picture of training is, in rows of the panel: about as wide as a sidebar that nobody has widened."""

STUCK_SECONDS = 5.0
"""After which an engine that doesn't stop may be started anew."""

RESTART, PREFERENCES = ("sa3d.restart_engine", "FILE_REFRESH"), ("sa3d.open_preferences", "PREFERENCES")
CURES = {"engine": RESTART, EnvironmentFault.code: PREFERENCES, SegmenterError.code: PREFERENCES}
"""The button that does what an error's cure says, by the error's code."""


class _Panel:
    """Where they are."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "SA3D"


class SA3D_PT_steps(_Panel, bpy.types.Panel):
    """The verbs."""

    bl_idname = "SA3D_PT_steps"
    bl_label = "Segment"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs a capture, or something that goes on without one."""
        return active_capture(context.scene) is not None or bool(jobs.all_jobs()) or link.state() == "dead"

    def draw(self, context: Any) -> None:
        """One button for each step, grey with the reason; what runs; what is wrong."""
        layout = self.layout
        column = layout.column()
        column.use_property_split = True
        column.use_property_decorate = False
        column.prop(context.scene.sa3d, "quality")
        buttons = layout.row(align=True)
        buttons.scale_y = 1.2
        buttons.operator("sa3d.train")
        buttons.operator("sa3d.segment")
        buttons.operator("sa3d.refine")
        job = jobs.running()
        if job is not None:
            _draw_running(layout, job, context.scene)
        # before the picture of training, which may reach below the window's edge
        layout.operator("sa3d.cancel", icon="CANCEL")
        if job is not None and job.training is not None and job.state != "cancelling":
            _draw_training(layout, job, job.training)
        _draw_trouble(layout, context)


def _draw_running(layout: Any, job: jobs.Job, scene: Any) -> None:
    column = layout.column(align=True)
    stage = "Starting the engine" if link.state() == "starting" else job.stage
    if job.state == "cancelling":
        column.label(text="Stopping")
        if time.monotonic() - job.asked_to_stop > STUCK_SECONDS:
            column.operator(RESTART[0], icon=RESTART[1])
        return
    column.label(text=stage)
    column.progress(factor=job.fraction, type="BAR", text=f"{job.fraction:.0%}{_left(job.seconds_left)}")
    if job.view:
        row = column.row()
        row.label(text=job.view, icon="VIEW_CAMERA")
        counts = row.row()
        counts.alignment = "RIGHT"
        counts.label(text=f"{job.accepted} accepted, {job.rejected} rejected")
        counts.prop(scene.sa3d, "watch", text="", icon="HIDE_OFF" if scene.sa3d.watch else "HIDE_ON")


def _draw_training(layout: Any, job: jobs.Job, training: TrainingPreview) -> None:
    column = layout.box().column(align=True)
    row = column.row()
    row.label(text=training.view.rpartition("/")[2], icon="VIEW_CAMERA")
    quality = row.row()
    quality.alignment = "RIGHT"
    quality.label(text=f"PSNR {training.psnr_db:.1f} dB")
    icon = training_preview.icon_of(job)
    if icon is not None:
        column.template_icon(icon_value=icon, scale=TRAINING_SCALE)
    hint = column.row()
    hint.active = False
    hint.label(text="A photo not used for training")


def _draw_trouble(layout: Any, context: Any) -> None:
    """What waits for the artist: a result that has no place yet, an error with its cure."""
    latest = jobs.all_jobs()[-1] if jobs.all_jobs() else None
    waiting = sum(job.state == "waiting" for job in jobs.all_jobs())
    if waiting:
        layout.label(text=f"{waiting} more {'waits' if waiting == 1 else 'wait'}", icon="TIME")
    for job in jobs.all_jobs():
        if job.state == "ready" and job.note:
            say(layout, context, "INFO", f"{job.title} is done. {job.note}")
    fault = link.fault() if link.state() == "dead" else None
    if latest is not None and latest.state == "failed":
        box = layout.box()
        say(box, context, "ERROR", latest.what, latest.cure)
        row = box.row(align=True)
        cure = RESTART if fault is not None and latest.code == "engine" else CURES.get(latest.code)
        if cure is not None:
            row.operator(cure[0], icon=cure[1])
        if cure != RESTART or fault is None:
            row.operator("sa3d.run_again", icon="FILE_REFRESH").uid = latest.uid
        row.operator("sa3d.show_log", icon="TEXT").uid = latest.uid
        row.operator("sa3d.dismiss_job", text="", icon="X").uid = latest.uid
    elif fault is not None:
        box = layout.box()
        say(box, context, "ERROR", fault.what, fault.cure)
        row = box.row(align=True)
        if fault.code == EnvironmentFault.code:
            row.operator(PREFERENCES[0], icon=PREFERENCES[1])
        row.operator(RESTART[0], icon=RESTART[1])
        row.operator("sa3d.show_log", icon="TEXT").uid = ""
    if latest is not None and latest.state == "homeless":
        box = layout.box()
        say(box, context, "INFO", f"{latest.title} is done, but {latest.capture_name} is not in this file")
        row = box.row(align=True)
        row.operator("sa3d.import_job_result", icon="IMPORT").uid = latest.uid
        row.operator("sa3d.dismiss_job", text="", icon="X").uid = latest.uid


class SA3D_PT_result(_Panel, bpy.types.Panel):
    """The mesh of the chosen object."""

    bl_idname = "SA3D_PT_result"
    bl_label = "Result"

    @classmethod
    def poll(cls, context: Any) -> bool:
        """Needs one."""
        return active_capture(context.scene) is not None and result_of(context) is not None

    def draw(self, context: Any) -> None:
        """Its slider, what is known of it, what can be done with it."""
        layout = self.layout
        made, prompted = result_of(context), active_object(active_capture(context.scene))
        row = layout.row(align=True)
        row.operator("sa3d.select_result", text=made.name, icon="OUTLINER_OB_MESH")
        column = layout.column(align=True)
        column.active = made.mode == "OBJECT"
        column.prop(prompted, "grow", slider=True)
        row = column.row(align=True)
        row.operator("sa3d.apply_shape", icon="CHECKMARK")
        row.operator("sa3d.reset_shape", icon="LOOP_BACK")
        if shaping.is_busy() and "sa3d_draft" not in made and abs(prompted.grow) > 0:
            layout.label(text="Taking the object up ...", icon="TIME")
        elif (fault := shaping.fault()) is not None:
            say(layout, context, "ERROR", fault.what)
        elif "sa3d_draft" in made:
            layout.label(text="A rough shape; Apply makes it fine", icon="INFO")
        facts = layout.column(align=True)
        facts.active = False
        facts.label(text=f"{len(made.data.polygons):,} faces, lambda {shaping.lambda_of(prompted):.3g}")
        if "sa3d_accepted" in made:
            facts.label(text=f"{made['sa3d_accepted']} views accepted, {made['sa3d_rejected']} rejected")
        if made.get("sa3d_segmenter"):
            facts.label(text=f"Segmenter: {made['sa3d_segmenter']}")
        layout.operator("sa3d.quad_remesh", icon="MESH_GRID")
        layout.operator("sa3d.remove_from_capture", icon="UNLINKED")


class SA3D_PT_jobs(_Panel, bpy.types.Panel):
    """What was asked of the engine, the latest first."""

    bl_idname = "SA3D_PT_jobs"
    bl_label = "Jobs"
    bl_options = {"DEFAULT_CLOSED"}  # noqa: RUF012  Blender reads it from the class

    @classmethod
    def poll(cls, _context: Any) -> bool:
        """Needs some."""
        return bool(jobs.all_jobs())

    def draw(self, _context: Any) -> None:
        """A row for each, with what can be done with it."""
        column = self.layout.column(align=True)
        for job in reversed(jobs.all_jobs()[-SHOWN:]):
            row = column.row(align=True)
            row.label(text=f"{job.title}{_took(job)}", icon=ICONS[job.state])
            if job.state == "homeless":
                row.operator("sa3d.import_job_result", text="", icon="IMPORT").uid = job.uid
            if job.state in ("waiting", "running"):
                row.operator("sa3d.cancel", text="", icon="CANCEL").uid = job.uid
            if job.is_over:
                row.operator("sa3d.run_again", text="", icon="FILE_REFRESH").uid = job.uid
            row.operator("sa3d.show_log", text="", icon="TEXT").uid = job.uid
            if job.is_over:
                row.operator("sa3d.dismiss_job", text="", icon="X").uid = job.uid


def say(layout: Any, context: Any, icon: str, *sentences: str) -> None:
    """Sentences, each on lines of its own, as many as it needs."""
    region = context.region
    scale = context.preferences.system.ui_scale
    wide = 36 if region is None else max(18, int((region.width - 70 * scale) / (6.3 * scale)))
    column = layout.column(align=True)
    column.scale_y = 0.8
    for line in (line for sentence in sentences for line in textwrap.wrap(sentence, wide)):
        column.label(text=line, icon=icon)
        icon = "BLANK1"


def _left(seconds: float | None) -> str:
    if seconds is None or seconds < 1:
        return ""
    return f", {math.ceil(seconds)} s left" if seconds < 90 else f", {math.ceil(seconds / 60)} min left"


def _took(job: jobs.Job) -> str:
    if not job.is_over or not job.seconds:
        return ""
    seconds = math.ceil(job.seconds)
    return f"  ({seconds} s)" if seconds < 90 else f"  ({math.ceil(seconds / 60)} min)"


CLASSES = (SA3D_PT_steps, SA3D_PT_result, SA3D_PT_jobs)
