"""The main job on a trained field: from a prompt in one view to the object's masks and mesh."""

from __future__ import annotations

import json
import resource
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import trimesh
from jaxtyping import Bool, Float

from engine.captures.load import find_view
from engine.devices import describe, pick_device
from engine.encoding import encode_views
from engine.finished_mesh import FinishedMesh, finished
from engine.lifting.boundary import refine_boundary, spread_to_unseen
from engine.lifting.lifted import Lifted
from engine.lifting.loop import lift, rendered_mask
from engine.lifting.masks import resample
from engine.lifting.settings import LiftingSettings
from engine.lifting.store import StoredObject, store
from engine.lifting.two_pass import second_pass
from engine.meshing.colours import PhotoForColour
from engine.meshing.from_field import DepthView, object_mesh
from engine.meshing.simplify import FACE_BUDGETS
from engine.meshing.texture import TEXTURES, TextureSettings
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.prompted_view import first_seed
from engine.prompts import UserPrompt, prompts_for, with_clicks
from engine.results import versions
from engine.segmenters.base import Segmenter
from engine.segmenters.choose import make_segmenter
from engine.segmenters.scales import check_scale
from engine.text_prompts import with_box
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import PromptError

COLOUR_PHOTOS = 48
SAME = 0.01  # of a rendered probability: masks that nowhere differ by more are left as they are
FEW_VIEWS = 4  # that vote: with more, spreading an object to what none has looked at adds nothing


@dataclass(frozen=True)
class Segmented:
    """A segmented object: rendered probabilities of all views at working size, the mesh and the report's content."""

    masks: dict[str, Float[np.ndarray, "h w"]]
    lifted: Lifted
    stored: StoredObject
    mesh: trimesh.Trimesh
    report: dict[str, object]


def segment(
    workspace: Workspace,
    prompt: UserPrompt,
    request: SegmentOptions,
    options: Options,
    job: Job,
    beside: Sequence[Lifted] = (),
) -> Segmented:
    """The main job on a trained field: 2D mask, lifting over all views, masks of all views, mesh.

    Args:
        beside: objects of the same field that are known already; no voxel of theirs will be the new object's.

    Raises:
        PromptError: the prompt names no view or says nothing. LiftingError, MeshError: nothing came of it.
    """
    if prompt.is_empty:
        raise PromptError("There is no prompt.", "Give a --point, a --box, a --scribble, a --mask or a --text.")
    view = workspace.views[find_view(workspace.capture, prompt.view).stem]
    prompt = with_box(prompt, workspace.stored[view.stem], options, job)
    clicked = with_clicks(prompt, workspace.stored[view.stem], options.seed)
    if prompt.mask is None:
        prompts_for(clicked, workspace.stored[view.stem], (view.camera.width, view.camera.height), options.seed)
    device = pick_device(options.device).type
    segmenter = make_segmenter(request.segmenter, device, options.cache, request.weights, job.log)
    job.log(f"2D segmenter: {segmenter.name}.")
    check_scale(segmenter, request.lifting.scale)
    workspace.prepare(job)
    if request.lifting.views == 1:  # of a part of the views, those that are visited are encoded when they are
        encode_views(segmenter, list(workspace.stored.values()), workspace.max_side, device, job, workspace.copies)
    with job.stage("Segmenting the prompted view"):
        seed = first_seed(workspace, clicked, segmenter, options.seed, request.lifting.scale)
    lifted = lift(workspace.scene, [seed], segmenter, request.lifting, job, beside)[0]
    misclassified = None
    if request.lifting.two_pass:
        second = second_pass(workspace.scene, lifted, segmenter, job)
        lifted, misclassified = second.lifted, second.misclassified
    stored = store(lifted)
    values = object_probability(workspace, stored, request.lifting)
    masks = object_masks(workspace, lifted, values, job)
    texture = texture_for(workspace, request)
    mesh = make_mesh(workspace, values, lifted.evidence.seen, request, masks, job, request.mesh.level, texture)
    made = finished(workspace, mesh, masks, request.mesh, job)
    report = object_report(workspace, stored, segmenter, request, options, made, job)
    report |= {"prompt": json.loads(json.dumps(asdict(prompt), default=str)), "misclassified_pixels": misclassified}
    return Segmented(masks, lifted, stored, made.mesh, report)


def object_probability(
    workspace: Workspace, stored: StoredObject, settings: LiftingSettings
) -> Float[np.ndarray, " n"]:
    """Of each occupied voxel to be the object's, with the refinements that the settings ask for.

    Where hardly any view has voted, the object is spread to what none has looked at.
    """
    values = stored.probability(settings.lam)
    few = sum(result.votes for result in stored.views.values()) <= FEW_VIEWS and settings.spread
    if not settings.boundary and not few:
        return values
    looked = np.zeros(workspace.voxels.count, np.float32)  # once for each view, however much its mask is trusted
    for stem, result in stored.views.items():
        if result.votes:
            seen = workspace.operators.looked(workspace.views[stem])
            looked[seen.index] += seen.values
    taken = stored.voxels.support.scatter(stored.voxels.rival) >= 0.5
    voxels, opacity, colours = workspace.voxels, workspace.cell_opacity, workspace.voxel_colours
    if settings.boundary:
        values = refine_boundary(voxels, values, looked, opacity, colours, taken=taken)
    return spread_to_unseen(voxels, values, looked, opacity, colours, taken=taken) if few else values


def object_masks(
    workspace: Workspace, lifted: Lifted, values: Float[np.ndarray, " n"], job: Job
) -> dict[str, Float[np.ndarray, "h w"]]:
    """The object in all views: its probability ``values`` rendered, or by the paper's rule the mask ``A V > 0``."""
    if lifted.settings.rule == "ours":
        return render_masks(workspace, values, job)
    evidence = lifted.evidence
    v = evidence.foreground - np.float32(lifted.settings.lam) * evidence.background
    with job.stage("Rendering masks", len(workspace.views)) as stage:
        masks = {}
        for stem, view in workspace.views.items():
            masks[stem] = workspace.render_positive(view, v)
            stage.advance(1, stem)
    return masks


def views_changed(workspace: Workspace, before: Float[np.ndarray, " n"], now: Float[np.ndarray, " n"]) -> set[str]:
    """The views whose rendered mask differs between two probabilities of the voxels."""
    both = np.stack([before, now], 1)
    changed = set()
    for stem, view in workspace.views.items():
        seen = rendered_mask(workspace.operator(view), both)
        if float(np.abs(seen[..., 0] - seen[..., 1]).max()) > SAME:
            changed.add(stem)
    return changed


def render_masks(
    workspace: Workspace, values: Float[np.ndarray, " n"], job: Job, only: Collection[str] | None = None
) -> dict[str, Float[np.ndarray, "h w"]]:
    """A voxel probability as all views (or some, by stem) see it, at working size."""
    wanted = [stem for stem in workspace.views if only is None or stem in only]
    masks = {}
    with job.stage("Rendering masks", max(1, len(wanted))) as stage:
        for stem in wanted:
            masks[stem] = workspace.render_probability(workspace.views[stem], values)
            stage.advance(1, stem)
    return masks


def texture_for(workspace: Workspace, request: SegmentOptions) -> TextureSettings | None:
    """The texture that was asked for, or the one of the field's quality; None: coloured vertices are enough."""
    size_px = request.mesh.texture_px
    if size_px is not None:
        return TextureSettings(size_px) if size_px else None
    return request.texture or TEXTURES.get(workspace.trained.quality)


def make_mesh(
    workspace: Workspace,
    values: Float[np.ndarray, " n"],
    seen: Bool[np.ndarray, " n"],
    request: SegmentOptions,
    masks: dict[str, Float[np.ndarray, "h w"]],
    job: Job,
    level: float = 0.5,
    texture: TextureSettings | None = None,
) -> trimesh.Trimesh:
    """The object's mesh from the probability of its voxels; coloured from the photos whose mask shows most of it.

    Args:
        seen: voxels that some view has looked at; what none has seen is filled smoothly.
        texture: how its texture is to be; by default its vertices are coloured.
    """
    area = {stem: float(mask.sum()) for stem, mask in masks.items()}
    showing = sorted((s for s in area if area[s] > 0), key=lambda s: -area[s])[:COLOUR_PHOTOS]
    depth_views, photos = [], []
    for stem, view in workspace.views.items():
        operator = workspace.operator(view)
        depth_views.append(DepthView(operator.camera, operator.depth))
        if stem in showing:
            depth = resample(operator.depth, (view.camera.height, view.camera.width))
            photos.append(PhotoForColour(view.camera, workspace.photo(stem), depth, masks[stem]))
    surface = request.surface
    if surface.faces is None:
        surface = replace(surface, faces=FACE_BUDGETS.get(workspace.trained.quality))
    return object_mesh(
        workspace.volume, workspace.voxels, values, seen, depth_views, photos, surface, job, level, texture
    )


def object_report(
    workspace: Workspace,
    stored: StoredObject,
    segmenter: Segmenter,
    request: SegmentOptions,
    options: Options,
    made: FinishedMesh,
    job: Job,
) -> dict[str, object]:
    """What is told of a segmented object in its report."""
    return {
        "capture": str(workspace.capture.root.absolute()),
        "format": workspace.capture.format,
        "warnings": list(workspace.capture.warnings),
        "segmenter": segmenter.name,
        "settings": json.loads(json.dumps(asdict(request), default=str)) | {"seed": options.seed},
        "device": describe(pick_device(options.device)),
        "field": {
            "kind": workspace.trained.model.kind,
            "quality": workspace.trained.quality,
            "heldout_psnr_db": workspace.trained.mean_heldout_psnr_db,
            "voxels": workspace.voxels.count,
        },
        **views_report(stored),
        "mesh": made.report,
        "seconds": dict(job.timings),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "versions": versions(),
    }


def views_report(stored: StoredObject) -> dict[str, object]:
    """What came of each view, and how many were accepted and rejected."""
    verdicts = [r.verdict for r in stored.views.values()]
    views = {stem: {"verdict": r.verdict, "iou": r.iou, "score": r.score} for stem, r in sorted(stored.views.items())}
    return {
        "views": views,
        "accepted": verdicts.count("accepted"),
        "rejected": verdicts.count("rejected"),
        "not_visible": verdicts.count("not visible"),
    }
