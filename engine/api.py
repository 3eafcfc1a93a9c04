"""The engine's Python API: train, segment, mesh. The command line and the server hold no logic of their own."""

from __future__ import annotations

import json
import logging
import math
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from scipy import ndimage

from engine.cache import Cache, write_json
from engine.captures.bounds import scene_box
from engine.captures.capture import Capture, View
from engine.captures.load import find_view, load_capture
from engine.devices import describe, pick_device
from engine.fields.checkpoint import has_field, load_field, save_field
from engine.fields.training import PRESETS, TrainedField, TrainingSettings, measure_heldout, train_field
from engine.lifting.evidence import Evidence, probability, seen
from engine.lifting.geometry import connected_surface, surface_points
from engine.lifting.loop import Lifted, lift, resample
from engine.lifting.settings import LiftingSettings
from engine.meshing.colours import PhotoForColour
from engine.meshing.export import write_glb
from engine.meshing.from_field import DepthView, SurfaceSettings, object_mesh
from engine.progress import Job
from engine.prompts import UserPrompt, prompts_for, read_drawing
from engine.results import (
    EVIDENCE,
    MASKS,
    MESH,
    REPORT,
    SCENE,
    StoredEvidence,
    read_evidence,
    read_report,
    same_voxels,
    scene_description,
    versions,
    write_evidence,
    write_mask,
)
from engine.segmenters.base import Prompts, Segmenter
from engine.segmenters.choose import make_segmenter
from engine.workspace import Workspace, working_photo
from sa3d_blender.protocol.errors import FieldError, PromptError, StorageError

log = logging.getLogger(__name__)

HELD_OUT_EVERY = 8
MOST_HELD_OUT = 8
COLOUR_PHOTOS = 48


@dataclass(frozen=True)
class Options:
    """What all commands share: where the cache is, the device by name, the seed of everything random."""

    cache: Path
    device: str = "auto"
    seed: int = 0


@dataclass(frozen=True)
class SegmentOptions:
    """How an object is segmented; see `LiftingSettings` for the paper's knobs."""

    quality: str = "draft"
    segmenter: str = "auto"
    weights: Path | None = None
    lifting: LiftingSettings = field(default_factory=LiftingSettings)
    surface: SurfaceSettings = field(default_factory=SurfaceSettings)
    field_folder: Path | None = None


@dataclass(frozen=True)
class Trained:
    """A trained field, its folder, its key, and whether it was found rather than trained now."""

    field: TrainedField
    folder: Path
    key: str
    from_cache: bool


@dataclass(frozen=True)
class Segmented:
    """A segmented object: rendered probabilities of all views at working size, the mesh and the report's content."""

    masks: dict[str, Float[np.ndarray, "h w"]]
    lifted: Lifted
    mesh: trimesh.Trimesh
    report: dict[str, object]


def split_views(capture: Capture) -> tuple[list[View], list[View]]:
    """(training views, held-out views): the capture's own split, or else every eighth view held out."""
    named = [v for v in capture.views if v.split != "train"]
    if named and len(named) < len(capture.views):
        return [v for v in capture.views if v.split == "train"], named
    if len(capture.views) < 2 * HELD_OUT_EVERY:
        return list(capture.views), []
    return (
        [v for i, v in enumerate(capture.views) if i % HELD_OUT_EVERY != HELD_OUT_EVERY // 2],
        list(capture.views[HELD_OUT_EVERY // 2 :: HELD_OUT_EVERY]),
    )


def preset(quality: str) -> TrainingSettings:
    """Training settings by name. Raises FieldError for a name that isn't one."""
    if quality not in PRESETS:
        raise FieldError(f"There is no quality called '{quality}'.", f"Choose one of: {', '.join(PRESETS)}.")
    return PRESETS[quality]


def train(
    capture: Capture,
    quality: str,
    options: Options,
    job: Job,
    out: Path | None = None,
    kind: str = "tensorf",
    again: bool = False,
) -> Trained:
    """Trains a field on a capture, or finds it in the cache (or in ``out``).

    Raises:
        FieldError: the kind or quality doesn't exist, or training failed.
        CaptureError: a photo can't be read.
    """
    if kind != "tensorf":
        raise FieldError(f"Fields of kind '{kind}' can't be trained yet.", "Use --field tensorf.")
    settings = preset(quality)
    cache = Cache(options.cache)
    device = pick_device(options.device)
    key = cache.capture_key(capture)
    field_key = f"{key}-{quality}-{options.seed}"
    folder = out if out is not None else cache.folder("fields", field_key)
    if out is not None:
        cache.folder("fields", field_key)  # fails early where the cache can't be written
        folder.mkdir(parents=True, exist_ok=True)
    if has_field(folder) and not again:
        found = load_field(folder, device, key)
        if found.settings == settings or out is not None:
            job.log(f"Using the field in {folder} (held-out PSNR {found.mean_heldout_psnr_db:.1f} dB).")
            return Trained(found, folder, _content_key(folder), True)
    trained = _train(capture, settings, quality, options, device, job)
    save_field(trained, folder, key)
    return Trained(trained, folder, _content_key(folder), False)


def _content_key(folder: Path) -> str:
    from engine.captures.images import photo_key
    from engine.fields.checkpoint import TENSORS

    return photo_key(folder / TENSORS)[:32]


def _train(
    capture: Capture, settings: TrainingSettings, quality: str, options: Options, device: torch.device, job: Job
) -> TrainedField:
    training, heldout = split_views(capture)
    with job.stage("Reading photos", len(training)) as stage:
        pairs = []
        for view in training:
            pairs.append(working_photo(view, settings.max_side_px))
            stage.advance(1, view.stem)
    job.log(
        f"Training a {quality} field (TensoRF VM-48): {settings.steps} steps of {settings.rays} rays from "
        f"{len(training)} photos on {describe(device)}. {_cost(settings, device)}"
    )
    box = scene_box(capture)
    trained = train_field([p[0] for p in pairs], [p[1] for p in pairs], box, settings, device, job, options.seed)
    trained = replace(trained, quality=quality)
    picked = (
        [heldout[i] for i in np.unique(np.linspace(0, len(heldout) - 1, MOST_HELD_OUT).astype(int))] if heldout else []
    )
    held = [working_photo(view, settings.max_side_px) for view in picked]
    trained = measure_heldout(trained, [v.name for v in picked], [h[0] for h in held], [h[1] for h in held], job)
    if picked:
        job.log(f"Held-out PSNR: {trained.mean_heldout_psnr_db:.2f} dB over {len(picked)} views.")
    return trained


def _cost(settings: TrainingSettings, device: torch.device) -> str:
    """What training will cost, in words. The rate is that of two CPU cores; the time left is measured as it runs."""
    if device.type != "cpu":
        return "Time left is shown as soon as it is known."
    minutes = settings.steps * settings.rays / 2048 * 0.075 * 2 / max(1, torch.get_num_threads()) / 60
    return f"Expect about {max(1, math.ceil(minutes))} min on such a machine."


def open_workspace(capture: Capture, options: Options, request: SegmentOptions, job: Job) -> tuple[Workspace, Trained]:
    """A capture with its field, trained first if there is none."""
    if request.field_folder is not None:
        key = Cache(options.cache).capture_key(capture)
        loaded = load_field(request.field_folder, pick_device(options.device), key)
        trained = Trained(loaded, request.field_folder, _content_key(request.field_folder), True)
    else:
        trained = train(capture, request.quality, options, job)
    cache = Cache(options.cache)
    return Workspace(capture, cache.capture_key(capture), trained.field, trained.key, cache), trained


def first_mask(
    workspace: Workspace, view: View, prompt: UserPrompt, segmenter: Segmenter, seed: int
) -> tuple[Float[np.ndarray, "h w"], float | None]:
    """The 2D mask of the prompted view, at working size, and the segmenter's score (None for a mask given by the
    user).
    """
    stored = workspace.stored[view.stem]
    if prompt.mask is not None:
        return resample(read_drawing(prompt.mask, stored), (view.camera.height, view.camera.width)), None
    prompts = prompts_for(prompt, stored, (view.camera.width, view.camera.height), seed)
    segmenter.set_image(workspace.scene().photo(view))
    found = segmenter.predict(prompts)
    if float((found.mask > 0.5).sum()) == 0:
        raise PromptError(
            f"The segmenter found nothing in {view.name} for these prompts.", "Click in the middle of the object."
        )
    return attached_to_clicks(workspace, view, found.mask, prompts), found.score


def attached_to_clicks(
    workspace: Workspace, view: View, mask: Float[np.ndarray, "h w"], prompts: Prompts
) -> Float[np.ndarray, "h w"]:
    """A mask without what only touches the clicked object in the picture but lies elsewhere in space.

    Without positive clicks (a box alone), or where none of them lies on the mask, the mask stays as it is.
    """
    clicks = prompts.points_px[prompts.labels == 1]
    operator = workspace.operator(view)
    shape = (operator.camera.height, operator.camera.width)
    seeds = np.zeros(shape, bool)
    scale = np.array([shape[1] / view.camera.width, shape[0] / view.camera.height])
    for column, row in (clicks * scale).astype(int):
        seeds[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
    coarse = resample(mask, shape) > 0.25
    kept = connected_surface(coarse, surface_points(operator.camera, operator.depth), operator.camera, seeds)
    if not kept.any():
        return mask
    dropped = coarse & ~ndimage.binary_dilation(kept)  # a pixel of doubt: the rim belongs to the photo's own edge
    return mask * (resample(dropped.astype(np.float32), mask.shape) < 0.5)


def segment(workspace: Workspace, prompt: UserPrompt, request: SegmentOptions, options: Options, job: Job) -> Segmented:
    """The main job on a trained field: 2D mask, lifting over all views, masks of all views, mesh.

    Raises:
        PromptError: the prompt names no view or says nothing. LiftingError, MeshError: nothing came of it.
    """
    if prompt.is_empty:
        raise PromptError("There is no prompt.", "Give at least one --point, a --box, a --scribble or a --mask.")
    view = workspace.views[find_view(workspace.capture, prompt.view).stem]
    if prompt.mask is None:
        prompts_for(prompt, workspace.stored[view.stem], (view.camera.width, view.camera.height), options.seed)
    segmenter = make_segmenter(
        request.segmenter, pick_device(options.device).type, options.cache, request.weights, job.log
    )
    job.log(f"2D segmenter: {segmenter.name}.")
    workspace.prepare(job)
    with job.stage("Segmenting the prompted view"):
        mask, score = first_mask(workspace, view, prompt, segmenter, options.seed)
    refused = [place["point_world"] for place in prompt_places(workspace, prompt) if place["label"] == 0]
    known = np.array([place for place in refused if place is not None], np.float64).reshape(-1, 3)
    lifted = lift(workspace.scene(), view, mask, segmenter, request.lifting, job, score, known)
    values = lifted.probability()
    masks = {}
    with job.stage("Rendering masks", len(workspace.views)) as stage:
        for stem, each in workspace.views.items():
            masks[stem] = workspace.render_probability(each, values)
            stage.advance(1, stem)
    mesh = make_mesh(workspace, lifted.evidence.foreground, lifted.evidence.background, request, masks, job)
    report = _report(workspace, lifted, segmenter, prompt, request, options, mesh, job)
    return Segmented(masks, lifted, mesh, report)


def make_mesh(
    workspace: Workspace,
    foreground: Float[np.ndarray, " n"],
    background: Float[np.ndarray, " n"],
    request: SegmentOptions,
    masks: dict[str, Float[np.ndarray, "h w"]],
    job: Job,
    level: float = 0.5,
) -> trimesh.Trimesh:
    """The object's mesh from its evidence; coloured from the photos whose mask shows most of it."""
    lam = request.lifting.lam
    area = {stem: float(mask.sum()) for stem, mask in masks.items()}
    showing = sorted((s for s in area if area[s] > 0), key=lambda s: -area[s])[:COLOUR_PHOTOS]
    depth_views, photos = [], []
    for stem, view in workspace.views.items():
        operator = workspace.operator(view)
        depth_views.append(DepthView(operator.camera, operator.depth))
        if stem in showing:
            depth = resample(operator.depth, (view.camera.height, view.camera.width))
            photos.append(PhotoForColour(view.camera, workspace.photo(stem), depth, masks[stem]))
    return object_mesh(
        workspace.volume,
        workspace.voxels,
        probability(foreground, background, lam),
        seen(foreground, background),
        depth_views,
        photos,
        request.surface,
        job,
        level,
    )


def write_result(workspace: Workspace, done: Segmented, prompt: UserPrompt, trained: Trained, out: Path) -> None:
    """Writes ``masks/<stem>.png`` (at the photos' size), the mesh, the evidence, ``scene.json``, and the report last.

    Raises:
        StorageError: the folder can't be written.
    """
    (out / REPORT).unlink(missing_ok=True)
    for stem, mask in done.masks.items():
        camera = workspace.stored[stem].camera
        write_mask(out / MASKS / f"{stem}.png", resample(mask, (camera.height, camera.width)))
    write_glb(done.mesh, out / MESH)
    evidence = done.lifted.evidence
    stored = StoredEvidence(
        evidence.foreground, evidence.background, done.lifted.settings.lam, workspace.capture_key, trained.key
    )
    write_evidence(out / EVIDENCE, stored)
    clicks = prompt_places(workspace, prompt)
    root = workspace.capture.root
    write_json(out / SCENE, scene_description(root.absolute().name, root, workspace.stored, clicks))
    write_json(out / REPORT, done.report)


def prompt_places(workspace: Workspace, prompt: UserPrompt) -> list[dict[str, object]]:
    """The user's clicks with the surface points under them (None where the field has nothing)."""
    view = workspace.views[find_view(workspace.capture, prompt.view).stem]
    stored = workspace.stored[view.stem].camera
    operator = workspace.operator(view)
    points = surface_points(operator.camera, operator.depth)
    found: list[dict[str, object]] = []
    for x, y, label in prompt.points:
        column = min(operator.camera.width - 1, int(x / stored.width * operator.camera.width))
        row = min(operator.camera.height - 1, int(y / stored.height * operator.camera.height))
        place = points[row, column]
        world = place.tolist() if np.isfinite(place).all() else None
        found.append({"view": view.stem, "x_px": x, "y_px": y, "label": label, "point_world": world})
    return found


def mesh_again(folder: Path, options: Options, job: Job, level: float, lam: float | None, out: Path | None) -> Path:
    """Makes the mesh of a result folder anew, at another surface level or lambda, from the stored evidence.

    Raises:
        StorageError: the folder is no result, or its field is no longer there.
    """
    stored, report = read_evidence(folder), read_report(folder)
    capture = load_capture(Path(str(report["capture"])))
    request = SegmentOptions(field_folder=Path(str(report["field_folder"])))
    workspace, trained = open_workspace(capture, options, request, job)
    if trained.key != stored.field_key or not same_voxels(stored, workspace.voxels):
        raise StorageError(
            f"The field that {folder} was made with has been trained anew since.", "Run `sa3d segment` again."
        )
    request = replace(request, lifting=LiftingSettings(lam=stored.lam if lam is None else lam))
    workspace.prepare(job)
    values = probability(stored.foreground, stored.background, request.lifting.lam)
    masks = {stem: workspace.render_probability(view, values) for stem, view in workspace.views.items()}
    mesh = make_mesh(workspace, stored.foreground, stored.background, request, masks, job, level)
    path = out if out is not None else folder / MESH
    write_glb(mesh, path)
    return path


def _report(
    workspace: Workspace,
    lifted: Lifted,
    segmenter: Segmenter,
    prompt: UserPrompt,
    request: SegmentOptions,
    options: Options,
    mesh: trimesh.Trimesh,
    job: Job,
) -> dict[str, object]:
    verdicts = [r.verdict for r in lifted.views.values()]
    return {
        "capture": str(workspace.capture.root.absolute()),
        "format": workspace.capture.format,
        "warnings": list(workspace.capture.warnings),
        "segmenter": segmenter.name,
        "prompt": json.loads(json.dumps(asdict(prompt), default=str)),
        "settings": json.loads(json.dumps(asdict(request), default=str)) | {"seed": options.seed},
        "device": describe(pick_device(options.device)),
        "field": {
            "kind": "tensorf",
            "quality": workspace.trained.quality,
            "heldout_psnr_db": workspace.trained.mean_heldout_psnr_db,
            "voxels": workspace.voxels.count,
        },
        "views": {
            stem: {"verdict": r.verdict, "iou": r.iou, "score": r.score} for stem, r in sorted(lifted.views.items())
        },
        "accepted": verdicts.count("accepted"),
        "rejected": verdicts.count("rejected"),
        "not_visible": verdicts.count("not visible"),
        "mesh": {
            "vertices": len(mesh.vertices),
            "faces": len(mesh.faces),
            "watertight": bool(mesh.is_watertight),
            "bounds": mesh.bounds.tolist(),
        },
        "seconds": dict(job.timings),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": versions(),
    }


def segment_capture(
    path: Path, prompt: UserPrompt, request: SegmentOptions, options: Options, out: Path, job: Job
) -> dict[str, object]:
    """`sa3d segment`: reads the capture, trains if need be, segments, writes the result folder; returns the report.

    Raises:
        Sa3dError: any of the tree, each with what to do about it.
    """
    started = time.perf_counter()
    capture = load_capture(path)
    for warning in capture.warnings:
        job.log(f"Warning: {warning}")
    view = find_view(capture, prompt.view)
    if prompt.mask is None:  # a wrong prompt is told before the field is trained, not after
        prompts_for(prompt, view, (view.camera.width, view.camera.height), options.seed)
    else:
        read_drawing(prompt.mask, view)
    if request.segmenter != "auto" or request.weights is not None:
        # So is a segmenter that isn't there. It is made again later: a large one shouldn't fill memory meanwhile.
        make_segmenter(request.segmenter, pick_device(options.device).type, options.cache, request.weights)
    workspace, trained = open_workspace(capture, options, request, job)
    done = segment(workspace, prompt, request, options, job)
    done.report["field_folder"] = str(trained.folder.absolute())
    done.report["field_from_cache"] = trained.from_cache
    done.report["capture"] = str(path.absolute())
    done.report["seconds_total"] = time.perf_counter() - started
    write_result(workspace, done, prompt, trained, out)
    return done.report


def views_of(lifted: Lifted, verdict: str) -> Sequence[str]:
    """The stems of the views with a verdict."""
    return [stem for stem, result in lifted.views.items() if result.verdict == verdict]


def single_view_baseline(lifted: Lifted, view: str) -> Float[np.ndarray, " n"]:
    """Voxel probabilities from the prompted view alone (the paper's single-view baseline)."""
    alone = Evidence(lifted.evidence.count, {view: lifted.evidence.contributions[view]})
    return probability(alone.foreground, alone.background, lifted.settings.lam)
