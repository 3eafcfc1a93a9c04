"""What `sa3d evaluate ...` does: reads capture and truth, runs protocols, gives tables, JSON and a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.captures.load import load_capture
from engine.devices import pick_device
from engine.evaluation import ablation, masks
from engine.evaluation.benchmarks import benchmark_json, benchmark_table, run_benchmark
from engine.evaluation.masks import Outcome, mask_tasks
from engine.evaluation.page import Picture, outlined, write_page
from engine.evaluation.tables import Table, show
from engine.evaluation.tasks import Task
from engine.evaluation.truth import Truth, read_truth
from engine.lifting.masks import resample
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.segmenters.base import Segmenter
from engine.segmenters.choose import make_segmenter
from engine.train import open_workspace
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import CaptureError

PROTOCOLS = ("reference", "clicks", "ceiling")
WORST_VIEWS = 3  # pictures of each object on the page


@dataclass(frozen=True)
class MasksPlan:
    """What `sa3d evaluate masks` was asked for; ``apart`` are objects that are left out of a second mean."""

    protocol: str
    objects: list[str] | None
    view: str | None
    clicks: Sequence[int]
    apart: Sequence[str]
    quick: bool
    meshes: bool
    html: Path | None


def evaluate_masks(path: Path, plan: MasksPlan, request: SegmentOptions, options: Options, job: Job) -> dict[str, Any]:
    """One of the protocols on a capture with true masks.

    Raises:
        CaptureError: there are no true masks, or no object of a given name.
    """
    workspace, segmenter, truth = _open(path, request, options, job)
    tasks = mask_tasks(workspace.capture, truth, plan.objects, plan.view)
    outcomes: list[list[Outcome]] = []
    for task in tasks:
        if plan.protocol == "clicks":
            found = masks.run_clicks(workspace, task, segmenter, request.lifting, plan.clicks, job)
            if plan.meshes:
                found[0] = masks.with_mesh(found[0], workspace, job)
        elif plan.protocol == "ceiling":
            found = masks.run_ceiling(workspace, task, request.lifting, job)
            if plan.meshes:
                found[0] = masks.with_mesh(found[0], workspace, job)
        else:
            compared = masks.methods(request.lifting, plan.quick)
            found = masks.run_reference(workspace, task, segmenter, compared, plan.meshes, job)
        outcomes.append(found)
    title = f"{workspace.capture.root.name}, {plan.protocol} protocol, view {tasks[0].reference}"
    made = masks.tables(outcomes, title, plan.apart)
    result = _result(path, request, workspace, segmenter, made) | {
        "protocol": plan.protocol,
        "reference": tasks[0].reference,
        "objects": {found[0].task.name: {o.method: o.row() for o in found} for found in outcomes},
        "mean_iou": {o.method: masks.mean_of(outcomes, i) for i, o in enumerate(outcomes[0])},
        "mean_iou_apart": {
            o.method: masks.mean_of([f for f in outcomes if f[0].task.name not in plan.apart], i)
            for i, o in enumerate(outcomes[0])
        },
    }
    if plan.html is not None:
        pictures = [p for found in outcomes for p in worst_views(workspace, found[0])]
        write_page(plan.html, title, made, pictures)
        result["page"] = str(plan.html)
    return result


def evaluate_ablation(
    path: Path,
    wanted: Sequence[str],
    objects: list[str] | None,
    view: str | None,
    apart: Sequence[str],
    request: SegmentOptions,
    options: Options,
    html: Path | None,
    job: Job,
) -> dict[str, Any]:
    """Tables 4 to 7 of the paper, and the differences between its rule and ours."""
    workspace, segmenter, truth = _open(path, request, options, job)
    tasks = mask_tasks(workspace.capture, truth, objects, view)
    made, rows = [], {}
    for name in wanted:
        found = ablation.run_table(workspace, tasks, segmenter, ablation.variants(name, request.lifting), job)
        made.append(ablation.as_table(name, found, apart))
        rows[name] = {variant: {o.task.name: o.row() for o in outcomes} for variant, outcomes in found.items()}
    result = _result(path, request, workspace, segmenter, made) | {"reference": tasks[0].reference, "variants": rows}
    if html is not None:
        write_page(html, f"{workspace.capture.root.name}: ablation", made, [])
        result["page"] = str(html)
    return result


def evaluate_benchmark(
    name: str, tasks: Sequence[Task], request: SegmentOptions, options: Options, html: Path | None, job: Job
) -> dict[str, Any]:
    """A public benchmark: our method and the single-view baseline, beside what others have published."""
    device = pick_device(options.device).type
    segmenter = make_segmenter(request.segmenter, device, options.cache, request.weights, job.log)
    rows = run_benchmark(tasks, segmenter, request, options, job)
    made = [benchmark_table(name, rows)]
    result = {
        "benchmark": name,
        "segmenter": segmenter.name,
        "settings": asdict(request.lifting),
        "tables": [asdict(table) for table in made],
        "tasks": benchmark_json(rows),
    }
    if html is not None:
        write_page(html, name, made, [])
        result["page"] = str(html)
    return result


def _open(path: Path, request: SegmentOptions, options: Options, job: Job) -> tuple[Workspace, Segmenter, Truth]:
    capture = load_capture(path)
    truth = read_truth(path if path.is_dir() else path.parent)
    workspace, _ = open_workspace(capture, options, request, job)
    workspace.prepare(job)
    device = pick_device(options.device).type
    return workspace, make_segmenter(request.segmenter, device, options.cache, request.weights, job.log), truth


def _result(
    path: Path, request: SegmentOptions, workspace: Workspace, segmenter: Segmenter, made: Sequence[Table]
) -> dict[str, Any]:
    return {
        "capture": str(path),
        "segmenter": segmenter.name,
        "heldout_psnr_db": workspace.trained.mean_heldout_psnr_db,
        "settings": asdict(request.lifting),
        "tables": [asdict(table) for table in made],
    }


def show_result(result: dict[str, Any]) -> None:
    """Prints the tables of a result on standard output."""
    decibels = result.get("heldout_psnr_db", float("nan"))
    field = f", field of {decibels:.1f} dB" if math.isfinite(decibels) else ""
    print(f"2D segmenter {result['segmenter']}{field}")
    tables = [Table(t["title"], tuple(t["columns"]), tuple(map(tuple, t["rows"])), t["note"]) for t in result["tables"]]
    show(tables)
    if "page" in result:
        print(f"Page: {result['page']}")


def worst_views(workspace: Workspace, outcome: Outcome) -> list[Picture]:
    """The views in which an object came out worst, with our outline and the true one."""
    stems = sorted(outcome.views, key=lambda stem: outcome.views[stem].iou)[:WORST_VIEWS]
    pictures = []
    for stem in stems:
        truth = outcome.task.targets[stem]()
        photo = resample(workspace.photo(stem), truth.shape)
        ours = resample(outcome.carried.masks[stem], truth.shape) > 0.5
        caption = f"{outcome.task.name}, view {stem}: IoU {outcome.views[stem].iou:.3f}"
        pictures.append(Picture(caption, outlined(photo, ours, truth)))
    if not stems and not outcome.task.targets:
        raise CaptureError(
            f"No view but the reference shows {outcome.task.name}.", "Choose another object, or another reference view."
        )
    return pictures
