"""One object of `sa3d evaluate mesh`: its masks in 3D, a mesh by each method, and each mesh beside the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Bool, Float

from engine.blender_process import has_blender_module
from engine.evaluation.field_run import spread
from engine.evaluation.masks import Outcome, methods, run_ceiling, run_reference
from engine.evaluation.mesh_baseline import one_level_mesh
from engine.evaluation.mesh_pictures import meshes_beside
from engine.evaluation.mesh_render import read_render, render_surface
from engine.evaluation.mesh_texture import SeenMesh, TextureFigures, compare_texture, straight_photo
from engine.evaluation.metrics import compare_surfaces
from engine.evaluation.page import Picture
from engine.evaluation.tasks import Task
from engine.lifting.masks import resample
from engine.meshing.soundness import Soundness, soundness
from engine.options import SegmentOptions
from engine.progress import Job
from engine.segment import make_mesh, texture_for
from engine.segmenters.base import Segmenter
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import EnvironmentFault, MeshError

OURS, ONE_LEVEL, FUSION = "ours", "one density level", "fusion"
NO_BLENDER = "package bpy not installed (the extra 'blender')"


@dataclass(frozen=True)
class ShapeFigures:
    """How a mesh's surface compares with the true one.

    ``chamfer`` is a share of the true mesh's bounding-box diagonal; ``f_1`` and ``f_2`` are F-scores within 1 and 2 %
    of it, ``normals`` their consistency, all in [0, 1].
    """

    chamfer: float
    f_1: float
    f_2: float
    normals: float


@dataclass(frozen=True)
class MeshFigures:
    """All figures of a mesh. ``seconds`` are those of making it from voxels and photos that are in memory.

    ``texture`` is None where the mesh wasn't rendered, ``no_texture`` then says why not.
    """

    shape: ShapeFigures
    sound: Soundness
    vertices: int
    faces: int
    seconds: float
    texture: TextureFigures | None = None
    no_texture: str = ""

    def row(self) -> dict[str, Any]:
        """Flat, for JSON and tables: the names of all parts, ``psnr_db`` and ``coverage`` None without a texture."""
        texture = self.texture
        return {
            **asdict(self.shape),
            **asdict(self.sound),
            "vertices": self.vertices,
            "faces": self.faces,
            "seconds": self.seconds,
            "psnr_db": None if texture is None else texture.psnr_db,
            "mean_psnr_db": None if texture is None else texture.mean_psnr_db,
            "coverage": None if texture is None else texture.coverage,
            "no_texture": self.no_texture or None,
            "views": [] if texture is None else [asdict(view) for view in texture.views],
        }


@dataclass(frozen=True)
class ObjectResult:
    """What came of an object: the mean ``iou`` of its rendered masks, figures by method, and what failed by method."""

    name: str
    iou: float
    figures: dict[str, MeshFigures]
    failed: dict[str, MeshError]
    pictures: tuple[Picture, ...] = ()


Maker = Callable[[Workspace, Outcome, SegmentOptions, Job], trimesh.Trimesh]


def _ours(workspace: Workspace, lifted: Outcome, request: SegmentOptions, job: Job) -> trimesh.Trimesh:
    carried = lifted.carried
    texture = texture_for(workspace, request)
    return make_mesh(workspace, carried.values, carried.seen, request, carried.masks, job, request.mesh.level, texture)


def _fusion(workspace: Workspace, lifted: Outcome, request: SegmentOptions, job: Job) -> trimesh.Trimesh:
    return _ours(workspace, lifted, replace(request, surface=replace(request.surface, way="fusion")), job)


def _one_level(workspace: Workspace, lifted: Outcome, request: SegmentOptions, job: Job) -> trimesh.Trimesh:
    photos = ((view.camera, workspace.photo(stem)) for stem, view in workspace.views.items())
    return one_level_mesh(workspace.volume, workspace.voxels, lifted.carried.values, photos)


MAKERS: dict[str, Maker] = {OURS: _ours, FUSION: _fusion, ONE_LEVEL: _one_level}
USUAL = (OURS, ONE_LEVEL)  # what needs no extra


def lifted_object(
    workspace: Workspace, task: Task, segmenter: Segmenter | None, request: SegmentOptions, job: Job
) -> Outcome:
    """The object in 3D: by the whole pipeline from one true mask, or without ``segmenter`` from all true masks."""
    if segmenter is None:
        return run_ceiling(workspace, task, request.lifting, job)[0]
    ours = methods(request.lifting, quick=True)["ours"]
    return run_reference(workspace, task, segmenter, {OURS: ours}, job)[0]


def measure_object(
    workspace: Workspace,
    task: Task,
    segmenter: Segmenter | None,
    request: SegmentOptions,
    most: int | None,
    pictured: bool,
    folder: Path,
    seed: int,
    job: Job,
    methods: Sequence[str] = USUAL,
) -> ObjectResult:
    """Meshes of one object by each of the ``methods``, from the same voxels and photos, beside the true mesh.

    Colours are compared in at most ``most`` (None: all) of the photos that show the object, at working size. What
    Blender reads and writes meanwhile lies in ``folder``.

    Raises:
        CaptureError: the true mesh can't be read.
        Cancelled: on request.
    """
    assert task.mesh is not None
    truth = task.mesh()
    lifted = lifted_object(workspace, task, segmenter, request, job)
    _warm(workspace, job)
    masks = _true_masks(workspace, task, most)
    figures: dict[str, MeshFigures] = {}
    failed: dict[str, MeshError] = {}
    renders: dict[str, dict[str, Path]] = {}
    for number, method in enumerate(methods):
        begun = time.perf_counter()
        try:
            mesh = MAKERS[method](workspace, lifted, request, job)
            seconds = time.perf_counter() - begun
            shape = shape_figures(mesh, truth, seed)
        except MeshError as fault:
            job.log(f"{task.name}, {method} is left out: {fault}")
            failed[method] = fault
            continue
        rendered, why_not = _rendered(mesh, workspace, list(masks), folder / str(number), job)
        texture = compare_texture(_seen(workspace, masks, rendered, job)) if rendered else None
        found = MeshFigures(shape, soundness(mesh), len(mesh.vertices), len(mesh.faces), seconds, texture, why_not)
        job.log(f"{task.name}, {method}: {_in_words(found)}")
        figures[method], renders[method] = found, rendered
    pictures = _pictures(workspace, task.name, figures, masks, renders) if pictured else ()
    return ObjectResult(task.name, lifted.iou, figures, failed, tuple(pictures))


def shape_figures(mesh: trimesh.Trimesh, truth: trimesh.Trimesh, seed: int) -> ShapeFigures:
    """A mesh's outer surface beside the true one. Raises MeshError where either has none."""
    both = compare_surfaces(mesh, truth, seed=seed)
    scores = both.f_score(0.01).score, both.f_score(0.02).score
    return ShapeFigures(both.chamfer().fraction, *scores, both.normal_consistency())


def _warm(workspace: Workspace, job: Job) -> None:
    """Reads photos and ray weights, which a user's session has read before it makes a mesh: no method pays for them."""
    with job.stage("Reading photos", len(workspace.views)) as stage:
        for stem, view in workspace.views.items():
            workspace.photo(stem)
            workspace.operator(view)
            stage.advance(1, stem)


def _true_masks(workspace: Workspace, task: Task, most: int | None) -> dict[str, Bool[np.ndarray, "h w"]]:
    """True masks at working size of the views that are compared, by stem: those that show the object, spread evenly."""
    given = dict(task.targets)
    if task.prompt_mask is not None:
        given[task.reference] = task.prompt_mask
    views = spread([view for stem, view in workspace.views.items() if stem in given], most)
    size = {view.stem: (view.camera.height, view.camera.width) for view in views}
    return {stem: resample(given[stem]().astype(np.float32), size[stem]) > 0.5 for stem in size}


def _rendered(
    mesh: trimesh.Trimesh, workspace: Workspace, stems: Sequence[str], folder: Path, job: Job
) -> tuple[dict[str, Path], str]:
    """Pictures of the mesh by stem, or none and why not."""
    if not has_blender_module():
        return {}, NO_BLENDER
    try:
        return render_surface(mesh, {stem: workspace.views[stem] for stem in stems}, folder, job), ""
    except EnvironmentFault as fault:  # installed, but on a machine that lacks its libraries
        job.log(f"Colours aren't compared: {fault}")
        return {}, fault.what.rstrip(".")


def _seen(
    workspace: Workspace, masks: Mapping[str, Bool[np.ndarray, "h w"]], rendered: Mapping[str, Path], job: Job
) -> Iterator[SeenMesh]:
    for stem, path in rendered.items():
        job.check()
        photo, mask = straight_photo(workspace.views[stem].camera, workspace.photo(stem), masks[stem])
        yield SeenMesh(stem, photo, mask, *read_render(path))


def _pictures(
    workspace: Workspace,
    name: str,
    figures: Mapping[str, MeshFigures],
    masks: Mapping[str, Bool[np.ndarray, "h w"]],
    renders: Mapping[str, Mapping[str, Path]],
) -> list[Picture]:
    """Photo and meshes in the views in which the first method's colours came out worst and in the middle."""
    shown = [method for method, found in figures.items() if found.texture is not None]
    if not shown:
        return []
    texture = figures[shown[0]].texture
    assert texture is not None
    known = [view for view in texture.views if np.isfinite(view.psnr_db)]
    ordered = sorted(known, key=lambda view: view.psnr_db)
    pictures = []
    for view, which in zip(ordered[:1] + ordered[len(ordered) // 2 :][:1], ("worst", "median"), strict=False):
        photo, mask = straight_photo(workspace.views[view.stem].camera, workspace.photo(view.stem), masks[view.stem])
        panels: list[tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]] = [
            read_render(renders[method][view.stem]) for method in shown
        ]
        decibels = ", ".join(f"{method} {_decibels(figures[method], view.stem)}" for method in shown)
        caption = f"{name}, view {view.stem} ({which}): photo, {decibels}"
        pictures.append(Picture(caption, meshes_beside(photo, mask, panels)))
    return pictures


def _decibels(found: MeshFigures, stem: str) -> str:
    assert found.texture is not None
    value = next(view.psnr_db for view in found.texture.views if view.stem == stem)
    return f"{value:.1f} dB" if np.isfinite(value) else "not covered"


def _in_words(found: MeshFigures) -> str:
    colours = "colours not compared" if found.texture is None else f"PSNR {found.texture.psnr_db:.1f} dB"
    return (
        f"chamfer {100 * found.shape.chamfer:.2f} %, F-score {found.shape.f_2:.3f} at 2 %, {colours}, "
        f"{found.faces} faces in {found.seconds:.1f} s."
    )
