"""`sa3d evaluate mesh`: how close meshes come to the true ones, how sound they are, and how true their colours."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.cache import scratch_folder
from engine.captures.load import load_capture
from engine.devices import pick_device
from engine.evaluation.masks import mask_tasks
from engine.evaluation.mesh_run import FUSION, MAKERS, ONE_LEVEL, OURS, USUAL, ObjectResult, measure_object
from engine.evaluation.page import write_page
from engine.evaluation.scenes import scenes
from engine.evaluation.strict import strict
from engine.evaluation.tables import Table, figure, show
from engine.evaluation.tasks import Task
from engine.evaluation.truth import Truth, read_truth
from engine.meshing.tsdf import check_fusion
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.segmenters.base import Segmenter
from engine.segmenters.choose import make_segmenter
from sa3d_blender.protocol.errors import CaptureError

MASKS = ("true", "segmented")
LEGEND = "From left to right: the photo, and the meshes in its camera, without light, on white."
NOTE = (
    "chamfer, F: in shares of the true mesh's diagonal; PSNR: in the photos' cameras, inside the true masks, "
    "where the mesh covers them; closed: two faces at every edge; edges > 2: with more; s: of making the mesh."
)
# What is averaged over objects: the figures of `MeshFigures.row`.
AVERAGED = (
    "chamfer",
    "f_1",
    "f_2",
    "normals",
    "psnr_db",
    "coverage",
    "watertight",
    "components",
    "non_manifold_edges",
    "consistently_oriented",
    "faces",
    "seconds",
)


@dataclass(frozen=True)
class MeshPlan:
    """What `sa3d evaluate mesh` was asked for.

    ``masks``: "true" ones of all views as evidence, or "segmented" from the true mask of ``view`` (None: the first).
    ``objects`` by name (None: all that have a true mesh), ``apart`` those that are left out of a second mean. Colours
    are compared in at most ``most`` photos of an object (None: all). With ``fusion`` meshes by the second way are
    measured, too.
    """

    masks: str = "true"
    objects: Sequence[str] | None = None
    view: str | None = None
    apart: Sequence[str] = ()
    most: int | None = None
    html: Path | None = None
    fusion: bool = False


def evaluate_mesh(path: Path, plan: MeshPlan, request: SegmentOptions, options: Options, job: Job) -> dict[str, Any]:
    """Meshes of a capture's objects, ours and the usual way from the same voxels and photos, beside the true ones.

    The field is found in the cache or trained. A mesh that can't be made is told and left out.

    Raises:
        CaptureError: there are no true masks or meshes, or no object of a given name.
        MeshError: no mesh of any object could be made.
        EnvironmentFault: the second way is wanted, and needs what isn't installed.
        Cancelled: on request.
    """
    if plan.fusion:
        check_fusion()
    ways = (OURS, FUSION, ONE_LEVEL) if plan.fusion else USUAL
    capture = load_capture(path)
    truth = read_truth(path if path.is_dir() else path.parent)
    tasks = mask_tasks(capture, truth, _with_mesh(truth, plan.objects), plan.view)
    device = pick_device(options.device).type
    segmenter = None
    if plan.masks == "segmented":
        segmenter = make_segmenter(request.segmenter, device, options.cache, request.weights, job.log)
    results: list[ObjectResult] = []
    decibels = float("nan")
    with scratch_folder(options.cache) as folder:
        for workspace, here in scenes(tasks, request, options, job):  # one, as all the tasks are on one capture
            decibels = workspace.trained.mean_heldout_psnr_db
            for task in here:
                place, pictured = folder / str(len(results)), plan.html is not None
                results.append(
                    measure_object(
                        workspace, task, segmenter, request, plan.most, pictured, place, options.seed, job, ways
                    )
                )
                shutil.rmtree(place, ignore_errors=True)
    faults = [fault for each in results for fault in each.failed.values()]
    if faults and not any(each.figures for each in results):
        raise faults[0]
    made = tables(results, plan.apart, _title(path, plan, tasks, segmenter))
    result: dict[str, Any] = {
        "benchmark": "mesh",
        "capture": str(path),
        "masks": plan.masks,
        "reference": tasks[0].reference if segmenter is not None else None,
        "segmenter": segmenter.name if segmenter is not None else None,
        "quality": request.quality,
        "heldout_psnr_db": decibels,
        "device": device,
        "threads": torch.get_num_threads(),
        "seed": options.seed,
        "no_texture": _no_texture(results),
        "objects": {
            each.name: {"iou": each.iou, "meshes": {name: found.row() for name, found in each.figures.items()}}
            for each in results
        },
        "means": means(results),
        "means_apart": means([each for each in results if each.name not in plan.apart]),
        "failed": [
            {"object": each.name, "mesh": method, "what": fault.what}
            for each in results
            for method, fault in each.failed.items()
        ],
        "tables": [asdict(table) for table in made],
    }
    if plan.html is not None:
        pictures = [picture for each in results for picture in each.pictures]
        write_page(plan.html, "Meshes", made, pictures, "The meshes in the photos' cameras", LEGEND)
        result["page"] = str(plan.html)
    checked: dict[str, Any] = strict(result)
    return checked


def show_mesh(result: dict[str, Any]) -> None:
    """Prints the table of a result on standard output, what was not measured, and what failed."""
    show([Table(t["title"], tuple(t["columns"]), tuple(map(tuple, t["rows"])), t["note"]) for t in result["tables"]])
    if result["no_texture"] is not None:
        print(f"PSNR isn't measured: {result['no_texture']}.")
    for each in result["failed"]:
        print(f"Failed: {each['object']}, {each['mesh']}: {each['what']}")
    if "page" in result:
        print(f"Page: {result['page']}")


def _with_mesh(truth: Truth, names: Sequence[str] | None) -> list[str]:
    """The objects to be measured. Those that were named need a true mesh; else all that have one are taken."""
    chosen = list(names) if names is not None else [name for name in sorted(truth.objects) if truth.has_mesh(name)]
    if not chosen:
        raise CaptureError(
            f"There are no true meshes in {truth.root / 'meshes'}.",
            "Put one NAME.ply per object there, in the capture's world, with the names of objects.json.",
        )
    for name in chosen:
        if not truth.has_mesh(name):
            raise CaptureError(f"There is no true mesh of {name}.", "Put one beside the others, or leave it out.")
    return chosen


def _title(path: Path, plan: MeshPlan, tasks: Sequence[Task], segmenter: Segmenter | None) -> str:
    name = path.resolve().name if path.is_dir() else path.resolve().parent.name
    if segmenter is None:
        return f"{name}, true masks of all views"
    return f"{name}, segmented by {segmenter.name} from the true mask of view {tasks[0].reference}"


def _no_texture(results: Sequence[ObjectResult]) -> str | None:
    """Why colours were not compared, or None where they were."""
    reasons = [found.no_texture for each in results for found in each.figures.values() if found.no_texture]
    return reasons[0] if reasons else None


def means(results: Sequence[ObjectResult]) -> dict[str, dict[str, float]]:
    """Means over objects of each method's figures, over those objects of which it made a mesh; NaN where unknown.

    Of what is true or false (``watertight``) the share of objects for which it is true.
    """
    found: dict[str, dict[str, float]] = {}
    for method in MAKERS:
        rows = [each.figures[method].row() for each in results if method in each.figures]
        if rows:
            averages = {name: _mean([row[name] for row in rows]) for name in AVERAGED}
            found[method] = {"objects": float(len(rows)), **averages}
    return found


def _mean(values: Sequence[float | None]) -> float:
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else float("nan")


def tables(results: Sequence[ObjectResult], apart: Sequence[str], title: str) -> list[Table]:
    """A row for each object and method, and one for each method's means, without those set ``apart``, too."""
    rows = []
    for each in results:
        for method, found in each.figures.items():
            row = found.row()
            closed = "yes" if row["watertight"] else "no"
            rows.append(_cells(each.name, method, row, closed, 0))
    groups = [("mean", results)]
    if apart:
        groups.append((f"mean without {', '.join(apart)}", [each for each in results if each.name not in apart]))
    for name, chosen in groups:
        for method, mean in means(chosen).items():
            count = round(mean["objects"])
            closed = f"{round(mean['watertight'] * count)} of {count}"
            rows.append(_cells(name, method, mean, closed, 1))
    columns = ("object", "mesh", "chamfer %", "F @ 1 %", "F @ 2 %", "normals", "PSNR dB", "covered %")
    return [Table(title, (*columns, "closed", "parts", "edges > 2", "faces", "s"), tuple(rows), NOTE)]


def _cells(name: str, method: str, row: dict[str, Any], closed: str, digits: int) -> tuple[str, ...]:
    """A row of the table; counts with so many digits."""
    chamfer, covered = (figure(100 * row[key] if row[key] is not None else None, 2) for key in ("chamfer", "coverage"))
    counts = [figure(row[key], digits) for key in ("components", "non_manifold_edges")]
    return (
        name,
        method,
        chamfer,
        *(figure(row[key]) for key in ("f_1", "f_2", "normals")),
        figure(row["psnr_db"], 1),
        covered,
        closed,
        *counts,
        figure(row["faces"], 0),
        figure(row["seconds"], 1),
    )
