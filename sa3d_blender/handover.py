"""From a finished job to the open file: when Blender can take it, and where it belongs by then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy

from .job import Job
from .opening import IMPORT, build_job
from .scene.capture import build_capture
from .scene.delivery import capture_by_uid, place, prompted_by_uid, results_of
from .scene.glb import glb_triangles
from .scene.look import follow_colours
from .scene.prompt_store import add_object

__all__ = [
    "deliver",
    "forget_result",
    "import_capture",
    "is_rendering",
    "neighbours",
    "push_undo",
    "report_in",
    "set_result",
    "why_not_now",
]

# Those of Blender's own modal operators that a change of meshes or of undo's stack would disturb.
_BUSY = ("TRANSFORM_OT_", "MESH_OT_", "SCULPT_OT_", "PAINT_OT_", "OBJECT_OT_", "CURVE_OT_", "SA3D_OT_add_")

setting = False
"""True while properties are set to what a result is: no hand has moved the slider then."""


def is_rendering() -> bool:
    """Whether a render reads the scene, which mustn't change under it."""
    return bool(bpy.app.is_job_running("RENDER"))


def why_not_now(job: Job) -> str:
    """What has to end before a result can be put into the scene; nothing where it can."""
    if is_rendering():
        return "Waiting for the render to end"
    for window in bpy.context.window_manager.windows:
        if any(one.bl_idname.startswith(_BUSY) for one in getattr(window, "modal_operators", ())):
            return "Waiting until the tool in hand is let go"
        active = window.view_layer.objects.active
        if active is not None and active.mode != "OBJECT":
            return "Leave Edit Mode to get it" if active.mode == "EDIT" else "Go to Object Mode to get it"
    return ""


def deliver(job: Job) -> bool:
    """Puts what a job made into the open file, as one step of undo. False where its capture isn't there.

    Raises StorageError for a mesh that can't be read, CaptureError for a capture that makes no sense.
    """
    if job.kind == IMPORT:
        build_job(job)
        push_undo(job.title)
        return True
    capture = capture_by_uid(job.capture_uid, job.capture_name)
    if capture is None:
        return False
    if job.kind == "train":
        _note_training(capture, job)
        return True
    assert job.glb is not None
    surface = glb_triangles(job.glb, "that the engine sent")
    prompted = prompted_by_uid(capture, job.object_uid)
    about = _about(job)
    first = not results_of(capture)
    made = place(capture, job.object_uid, job.object_name, surface, about)
    job.say(f"{made.name}: {len(surface.faces):,} faces.")
    if prompted is not None:
        set_result(prompted, job, about)
    _select(capture, made)
    follow_colours(results_of(capture), first)
    push_undo(job.title)
    return True


def import_capture(context: Any, job: Job) -> Any:
    """Puts the capture of a job into the open file, where it isn't, with an object to hold the job's result.

    Raises CaptureError where what the engine said of it makes no sense.
    """
    capture = build_capture(context, dict(job.scene or {}))
    capture["sa3d_uid"] = job.capture_uid
    capture["sa3d_source"] = job.source
    add_object(capture, job.object_name).uid = job.object_uid
    return capture


def set_result(prompted: Any, job: Job, about: Mapping[str, Any]) -> None:
    """Notes on a prompted object which result is its own, and what that knows already."""
    global setting
    earlier = [] if job.kind == "segment" else json.loads(job.known or "[]")
    setting = True
    try:
        prompted.told = json.dumps([*earlier, *job.told])
        prompted.result = job.result
        prompted.corrections = len(job.report.get("corrections", ())) if job.report else job.corrected
        if job.kind == "segment":
            prompted.lam = float(about.get("lambda") or 1.0)
            prompted.grow = 0.0
    finally:
        setting = False


def forget_result(prompted: Any) -> None:
    """The object is as if it had never been segmented; what was said about it stays."""
    global setting
    setting = True
    try:
        prompted.result = prompted.told = ""
        prompted.corrections, prompted.grow = 0, 0.0
    finally:
        setting = False


def neighbours(job: Job) -> tuple[str, ...]:
    """The result folders of the capture's other objects, as far as they are of a field of the same quality."""
    capture = capture_by_uid(job.capture_uid, job.capture_name)
    if capture is None:
        return ()
    found = [item for item in results_of(capture) if item.get("sa3d_object_uid") != job.object_uid]
    return tuple(dict.fromkeys(one["sa3d_result"] for one in found if one.get("sa3d_quality") == job.quality))


def report_in(folder: Path) -> Mapping[str, Any] | None:
    """The report in a result folder of this machine; None where there is none that can be read."""
    try:
        found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the engine may be on another machine
        return None
    return found if isinstance(found, dict) else None


def push_undo(message: str) -> None:
    """One step of undo for what was done outside an operator."""
    windows = bpy.context.window_manager.windows
    with bpy.context.temp_override(window=windows[0]) if windows else _nothing():
        if bpy.ops.ed.undo_push.poll():
            bpy.ops.ed.undo_push(message=message)


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _about(job: Job) -> dict[str, Any]:
    """What is kept on a mesh of how it was made."""
    report: Mapping[str, Any] = job.report or {}
    settings = report.get("settings", {})
    lam = job.lam if job.lam is not None else settings.get("lifting", {}).get("lam")
    return {
        "result": job.result,
        "lambda": lam,
        "drawn_lambda": lam,
        "quality": job.quality,
        "segmenter": report.get("segmenter"),
        "field": report.get("field_folder"),
        "accepted": report.get("accepted"),
        "rejected": report.get("rejected"),
        "versions": json.dumps(report["versions"]) if "versions" in report else None,
    }


def _note_training(capture: Any, job: Job) -> None:
    answer = job.answer or {}
    psnr = answer.get("heldout_psnr_db")
    capture[f"sa3d_field_{job.quality}"] = float(psnr) if isinstance(psnr, int | float) else 0.0
    known = f", {psnr:.1f} dB on photos that were held out" if isinstance(psnr, int | float) else ""
    job.say(f"The {job.quality} field is {'there already' if answer.get('from_cache') else 'trained'}{known}.")


def _select(capture: Any, made: Any) -> None:
    """Makes the mesh the active object, unless the artist is busy with another."""
    for window in bpy.context.window_manager.windows:
        layer = window.view_layer
        layer.update()  # else it doesn't know what was linked a moment ago
        if made.name not in layer.objects:
            continue
        active = layer.objects.active
        ours = active is None or active == made or not active.select_get(view_layer=layer)
        if ours or active.name in capture.all_objects:
            for other in layer.objects.selected:
                other.select_set(False, view_layer=layer)
            made.select_set(True, view_layer=layer)
            layer.objects.active = made
