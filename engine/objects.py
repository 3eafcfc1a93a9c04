"""Result folders: what segmenting writes, and what can be done with it later: another mesh, corrections, undo."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from engine.cache import write_json
from engine.captures.load import find_view, load_capture
from engine.captures.scene_masks import with_masks
from engine.devices import pick_device
from engine.finished_mesh import finished
from engine.known_distance import KnownDistance
from engine.lifting.corrections import correct, undo
from engine.lifting.store import StoredObject, store
from engine.meshing.export import write_glb
from engine.meshing.formats import check_mesh_path, write_mesh
from engine.meshing.from_field import SurfaceSettings
from engine.meshing.tsdf import check_fusion
from engine.metric_scale import metres_per_unit
from engine.options import Options, SegmentOptions
from engine.out_folder import refuse_capture
from engine.overview import OVERVIEW, write_overview
from engine.progress import Job
from engine.prompted_view import prompt_places
from engine.prompts import UserPrompt, prompts_for, read_drawing
from engine.results import (
    EVIDENCE,
    MASKS,
    MESH,
    REPORT,
    SCENE,
    ObjectFile,
    mesh_options,
    read_mask,
    read_object,
    read_prompts,
    read_report,
    scene_description,
    write_mask,
    write_object,
)
from engine.segment import (
    Segmented,
    make_mesh,
    object_probability,
    render_masks,
    segment,
    texture_for,
    views_changed,
    views_report,
)
from engine.segmenters.choose import make_segmenter
from engine.segmenters.scales import check_scale
from engine.text_prompts import with_box
from engine.train import Trained, open_workspace
from engine.whole_folder import written_together
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import PromptError, StorageError


def segment_capture(
    path: Path,
    prompt: UserPrompt,
    request: SegmentOptions,
    options: Options,
    out: Path,
    job: Job,
    beside: Sequence[Path] = (),
) -> dict[str, Any]:
    """`sa3d segment`: reads the capture, trains if need be, segments, writes the result folder; returns the report.

    Args:
        beside: result folders of objects in the same field, none of whose voxels will be this object's.

    Raises:
        Sa3dError: any of the tree, each with what to do about it.
    """
    started = time.perf_counter()
    capture = load_capture(path)
    if request.field_folder is None:
        capture = with_masks(capture, request.masks)
    refuse_capture(out, capture.root)
    for warning in capture.warnings:
        job.log(f"Warning: {warning}")
    view = find_view(capture, prompt.view)
    prompt = with_box(prompt, view, options, job)
    if prompt.mask is None:  # a wrong prompt is told before the field is trained, not after
        prompts_for(prompt, view, (view.camera.width, view.camera.height), options.seed)
    else:
        read_drawing(prompt.mask, view)
    if request.segmenter != "auto" or request.weights is not None or request.lifting.scale is not None:
        # So is a segmenter that isn't there. It is made again later: a large one shouldn't fill memory meanwhile.
        made = make_segmenter(request.segmenter, pick_device(options.device).type, options.cache, request.weights)
        check_scale(made, request.lifting.scale)
        del made
    workspace, trained = open_workspace(capture, options, request, job)
    kept = [read_object(each, workspace.voxels, trained.key).stored for each in beside]
    neighbours = [stored.resume(workspace.scene) for stored in kept]
    done = segment(workspace, prompt, request, options, job, neighbours)
    done.report["field_folder"] = str(trained.folder.absolute())
    done.report["field_from_cache"] = trained.from_cache
    done.report["capture"] = str(path.absolute())
    done.report["beside"] = [str(each.absolute()) for each in beside]
    done.report["corrections"] = []
    done.report["seconds_total"] = time.perf_counter() - started
    write_result(workspace, done, prompt, trained, out, job)
    return done.report


def write_result(
    workspace: Workspace, done: Segmented, prompt: UserPrompt, trained: Trained, out: Path, job: Job
) -> None:
    """Writes ``masks/<stem>.png`` (at the photos' size), the mesh, the evidence, ``scene.json``, some masks over their
    photos in one picture, and the report: all or nothing, so that a result that was there stays as it was.

    Raises:
        StorageError: the folder can't be written.
    """
    root = workspace.capture.root
    with written_together(out) as part:
        _write_masks(workspace, done.masks, part / MASKS, job)
        write_glb(done.mesh, part / MESH)
        write_object(part / EVIDENCE, ObjectFile(done.stored, workspace.capture_key, trained.key))
        clicks = prompt_places(workspace, prompt)
        write_json(part / SCENE, scene_description(root.absolute().name, root, workspace.stored, clicks))
        write_overview(workspace, done.masks, clicks, part / OVERVIEW)
        write_json(part / REPORT, done.report)


def _write_masks(workspace: Workspace, masks: Mapping[str, Float[np.ndarray, "h w"]], folder: Path, job: Job) -> None:
    """Masks by stem at the photos' size: half a second for each of 50 megapixels."""
    with job.stage("Writing masks", max(1, len(masks))) as stage:
        for stem, mask in masks.items():
            camera = workspace.stored[stem].camera
            write_mask(folder / f"{stem}.png", mask, (camera.width, camera.height))
            stage.advance(1, stem)


def reopen(folder: Path, options: Options, job: Job) -> tuple[Workspace, Trained, ObjectFile]:
    """A result folder with its capture and field, ready for another mesh or a correction.

    Raises:
        StorageError: the folder is no result, or its field is no longer there.
    """
    report = read_report(folder)
    try:
        capture, field_folder = load_capture(Path(str(report["capture"]))), Path(str(report["field_folder"]))
    except KeyError as error:
        raise StorageError(
            f"The report in {folder} doesn't say which capture it belongs to.", "Run `sa3d segment` again."
        ) from error
    workspace, trained = open_workspace(capture, options, SegmentOptions(field_folder=field_folder), job)
    return workspace, trained, read_object(folder, workspace.voxels, trained.key)


def mesh_again(
    folder: Path,
    options: Options,
    job: Job,
    level: float | None = None,
    lam: float | None = None,
    out: Path | None = None,
    scale: KnownDistance | None = None,
    is_open: bool | None = None,
    texture_px: int | None = None,
    surface: SurfaceSettings | None = None,
) -> Path:
    """Makes the mesh of a result folder anew, at another surface level or lambda, from the stored evidence.

    The folder remembers how its own mesh is made (`MeshOptions`): what isn't given is as it was. Of lambda, of
    the way to the surface, and of other files it remembers nothing.

    Args:
        out: a file in the format of its suffix (see `engine.meshing.formats`), instead of the folder's own GLB.
        scale: writes the mesh in metres, scaled about the world's origin so that this distance is as it is known.
        surface: the way to its surface, and how fine; the usual one by default.

    Raises:
        StorageError: the folder is no result, or its field is no longer there. MeshError, EnvironmentFault: the format
        isn't known, or it or the way to the surface needs what isn't installed; or nothing is left at that level.
        PromptError: the scale's points are no places.
    """
    path = out if out is not None else folder / MESH
    check_mesh_path(path)
    surface = surface or SurfaceSettings()
    if surface.way == "fusion":
        check_fusion()
    workspace, _, kept = reopen(folder, options, job)
    refuse_capture(path, workspace.capture.root)
    factor = 1.0 if scale is None else metres_per_unit(scale, workspace)
    settings = replace(kept.stored.settings, lam=kept.stored.settings.lam if lam is None else lam)
    given: dict[str, Any] = {"level": level, "open": is_open, "texture_px": texture_px}
    wanted = replace(mesh_options(folder), **{name: value for name, value in given.items() if value is not None})
    workspace.prepare(job)
    values = object_probability(workspace, kept.stored, settings)
    masks = render_masks(workspace, values, job)
    request = SegmentOptions(lifting=settings, surface=surface, mesh=wanted)
    texture = texture_for(workspace, request)
    mesh = make_mesh(workspace, values, kept.stored.seen(), request, masks, job, wanted.level, texture)
    made = finished(workspace, mesh, masks, wanted, job)
    if out is None:
        report = read_report(folder)
        report["settings"] = {**report.get("settings", {}), "mesh": asdict(wanted)}
        with written_together(folder) as part:
            write_glb(made.mesh, part / MESH)
            write_json(part / REPORT, {**report, "mesh": made.report})
        return path
    if scale is not None:
        job.log(f"One unit of the capture's world is {factor:.6g} m.")
        made.mesh.apply_scale(factor)
        x, y, z = made.mesh.extents
        job.log(f"The mesh is {x:.3g} m long in x, {y:.3g} m in y and {z:.3g} m in z.")
    return write_mesh(made.mesh, path)


def correct_result(
    folder: Path,
    prompt: UserPrompt,
    options: Options,
    job: Job,
    segmenter_name: str | None = None,
    scale: str | None = None,
) -> dict[str, Any]:
    """`sa3d correct`: more clicks in any view of a segmented object; the folder then holds the corrected object.

    Only the views that the clicks touch are segmented again, and only the masks that change are written again.

    Args:
        segmenter_name: as for `segment`; by default the one that the object was segmented with.
        scale: which of the segmenter's scales the mask of the corrected view is to have (see `correct`).

    Raises:
        PromptError: no click, or one outside the photo. StorageError: the folder is no result, or its field is gone.
    """
    workspace, trained, kept = reopen(folder, options, job)
    report = read_report(folder)
    view = workspace.views[find_view(workspace.capture, prompt.view).stem]
    prompts = prompts_for(prompt, workspace.stored[view.stem], (view.camera.width, view.camera.height), options.seed)
    name = segmenter_name or str(report["segmenter"])
    weights = report["settings"]["weights"] if segmenter_name is None else None
    path = None if weights is None else Path(weights)
    segmenter = make_segmenter(name, pick_device(options.device).type, options.cache, path, job.log)
    check_scale(segmenter, scale)
    workspace.prepare(job)
    with job.stage("Taking the object up again"):
        lifted = kept.stored.resume(workspace.scene)
    done = correct(workspace.scene, lifted, view, prompts.points_px, prompts.labels, segmenter, job, scale)
    job.log(f"Worked out anew: {', '.join(done.touched)}.")
    stored = store(lifted, (*kept.stored.corrections, done))
    entry = {"view": view.stem, "points": [list(p) for p in prompt.points], "touched": list(done.touched)}
    corrections = [*report.get("corrections", []), entry]
    places = [*read_prompts(folder), *prompt_places(workspace, prompt)]
    return _replace_object(workspace, trained, folder, kept, stored, corrections, places, job)


def undo_result(folder: Path, options: Options, job: Job) -> dict[str, Any]:
    """`sa3d correct --undo`: takes the latest correction of a segmented object back.

    Raises:
        PromptError: there is nothing to take back. StorageError: the folder is no result, or its field is gone.
    """
    workspace, trained, kept = reopen(folder, options, job)
    report = read_report(folder)
    if not kept.stored.corrections:
        raise PromptError(f"{folder} has no correction that could be taken back.", "Segment again to begin anew.")
    workspace.prepare(job)
    with job.stage("Taking the object up again"):
        lifted = kept.stored.resume(workspace.scene)
    undo(workspace.scene, lifted, kept.stored.corrections[-1])
    stored = store(lifted, kept.stored.corrections[:-1])
    *earlier, last = report["corrections"]
    places = read_prompts(folder)
    return _replace_object(
        workspace, trained, folder, kept, stored, earlier, places[: len(places) - len(last["points"])], job
    )


def _replace_object(
    workspace: Workspace,
    trained: Trained,
    folder: Path,
    before: ObjectFile,
    stored: StoredObject,
    corrections: list[dict[str, Any]],
    places: list[dict[str, object]],
    job: Job,
) -> dict[str, Any]:
    """Writes an object in place of what it was: mesh, evidence, report, and those masks that differ now."""
    report = read_report(folder)
    request = SegmentOptions(lifting=stored.settings, mesh=mesh_options(folder))
    old = object_probability(workspace, before.stored, before.stored.settings)
    new = object_probability(workspace, stored, stored.settings)
    changed = views_changed(workspace, old, new)
    fresh = render_masks(workspace, new, job, changed)
    masks = {}
    for stem, view in workspace.views.items():
        size = (view.camera.width, view.camera.height)
        masks[stem] = fresh[stem] if stem in fresh else read_mask(folder / MASKS / f"{stem}.png", size)
    texture = texture_for(workspace, request)
    mesh = make_mesh(workspace, new, stored.seen(), request, masks, job, request.mesh.level, texture)
    made = finished(workspace, mesh, masks, request.mesh, job)
    root = workspace.capture.root
    report |= {"corrections": corrections, "masks_changed": sorted(changed), "seconds_correction": dict(job.timings)}
    report |= views_report(stored) | {"mesh": made.report}
    with written_together(folder) as part:
        _write_masks(workspace, fresh, part / MASKS, job)
        write_glb(made.mesh, part / MESH)
        write_object(part / EVIDENCE, ObjectFile(stored, workspace.capture_key, trained.key))
        write_json(part / SCENE, scene_description(root.absolute().name, root, workspace.stored, places))
        write_overview(workspace, masks, places, part / OVERVIEW)
        write_json(part / REPORT, report)
    return report
