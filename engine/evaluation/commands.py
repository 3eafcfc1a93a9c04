"""What `sa3d evaluate ...` does: reads tasks, runs protocols on them, gives tables, JSON and a page."""

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
from engine.evaluation.nvos import nvos_tasks
from engine.evaluation.page import Picture, write_page
from engine.evaluation.replica import replica_tasks
from engine.evaluation.scenes import scenes
from engine.evaluation.spin_nerf import spin_nerf_tasks
from engine.evaluation.strict import strict
from engine.evaluation.tables import Table, show
from engine.evaluation.tasks import Task
from engine.evaluation.truth import read_truth
from engine.evaluation.worst import worst_views
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.segmenters.base import Segmenter
from engine.segmenters.choose import make_segmenter
from engine.workspace import Workspace

PROTOCOLS = ("reference", "clicks", "ceiling")
KINDS = ("masks", "nvos", "spin-nerf", "replica")


@dataclass(frozen=True)
class Source:
    """Where tasks come from.

    ``kind`` is one of KINDS, ``names`` choose objects, tasks or scenes, ``view`` is the reference view of masks,
    ``draws`` the number of seeds with which NVOS's points are drawn, ``every`` which of Replica's views are used.
    """

    kind: str
    path: Path
    names: list[str] | None = None
    view: str | None = None
    draws: int = 3
    every: int = 5

    def tasks(self, seed: int) -> list[Task]:
        """Reads them. Raises CaptureError where the layout is another or nothing is there."""
        if self.kind == "nvos":
            drawn = nvos_tasks(self.path, self.names, tuple(range(seed, seed + self.draws)))
            return [task for each in drawn for task in each]
        if self.kind == "spin-nerf":
            return spin_nerf_tasks(self.path, self.names)
        if self.kind == "replica":
            return replica_tasks(self.path, self.names, self.every)
        capture = load_capture(self.path)
        truth = read_truth(self.path if self.path.is_dir() else self.path.parent)
        return mask_tasks(capture, truth, self.names, self.view)


@dataclass(frozen=True)
class MasksPlan:
    """What `sa3d evaluate masks` was asked for; ``apart`` are objects that are left out of a second mean."""

    protocol: str
    clicks: Sequence[int]
    apart: Sequence[str]
    quick: bool
    meshes: bool
    html: Path | None


def evaluate_masks(
    source: Source, plan: MasksPlan, request: SegmentOptions, options: Options, job: Job
) -> dict[str, Any]:
    """One of the protocols on a capture with true masks.

    Raises:
        CaptureError: there are no true masks, or no object of a given name.
    """
    tasks = source.tasks(options.seed)
    segmenter = _segmenter(request, options, job)
    outcomes: list[list[Outcome]] = []
    pictures: list[Picture] = []
    decibels = math.nan
    for workspace, here in scenes(tasks, request, options, job):  # one, as all the tasks are on one capture
        decibels = workspace.trained.mean_heldout_psnr_db
        for task in here:
            found = _by_protocol(workspace, task, segmenter, plan, request, job)
            if plan.meshes:
                found[0] = masks.with_mesh(found[0], workspace, job)
            if plan.html is not None:
                pictures += worst_views(workspace, found[0])
            outcomes.append([each.without_masks() for each in found])
    told = "all views" if plan.protocol == "ceiling" else f"view {tasks[0].reference}"
    title = f"{source.path.resolve().name}, {plan.protocol} protocol, {told} given"
    made = masks.tables(outcomes, title, plan.apart)
    left = [found for found in outcomes if found[0].task.name not in plan.apart]
    methods = [o.method for o in outcomes[0]]
    result = _result(source, request, segmenter, made) | {
        "heldout_psnr_db": decibels,
        "protocol": plan.protocol,
        "reference": tasks[0].reference,
        "objects": {found[0].task.name: {o.method: o.row() for o in found} for found in outcomes},
        "mean_iou": {method: masks.mean_of(outcomes, i) for i, method in enumerate(methods)},
        "mean_iou_apart": {method: masks.mean_of(left, i) for i, method in enumerate(methods)},
    }
    return _finished(result, plan.html, title, made, pictures)


def _by_protocol(
    workspace: Workspace, task: Task, segmenter: Segmenter, plan: MasksPlan, request: SegmentOptions, job: Job
) -> list[Outcome]:
    if plan.protocol == "clicks":
        return masks.run_clicks(workspace, task, segmenter, request.lifting, plan.clicks, job)
    if plan.protocol == "ceiling":
        return masks.run_ceiling(workspace, task, request.lifting, job)
    return masks.run_reference(workspace, task, segmenter, masks.methods(request.lifting, plan.quick), job)


def evaluate_ablation(
    source: Source,
    wanted: Sequence[str],
    apart: Sequence[str],
    request: SegmentOptions,
    options: Options,
    html: Path | None,
    job: Job,
) -> dict[str, Any]:
    """Tables 4 to 7 of the paper, and the differences between its rule and ours."""
    tasks = source.tasks(options.seed)
    segmenter = _segmenter(request, options, job)
    variants = {table: ablation.variants(table, request.lifting) for table in wanted}
    found = ablation.run_tables(tasks, variants, segmenter, request, options, job)
    made = [ablation.as_table(table, rows, apart) for table, rows in found.items()]
    result = _result(source, request, segmenter, made) | {
        "variants": {
            table: {
                name: [{"task": o.task.name, "reference": o.task.reference} | o.row() for o in outcomes]
                for name, outcomes in rows.items()
            }
            for table, rows in found.items()
        },
        "mean_iou": {
            table: {name: ablation.mean_iou(outcomes) for name, outcomes in rows.items()}
            for table, rows in found.items()
        },
    }
    return _finished(result, html, f"{source.path.resolve().name}: ablation", made, [])


def evaluate_benchmark(
    source: Source, request: SegmentOptions, options: Options, html: Path | None, job: Job
) -> dict[str, Any]:
    """A public benchmark: our method and the single-view baseline, beside what others have published."""
    tasks = source.tasks(options.seed)
    segmenter = _segmenter(request, options, job)
    rows = run_benchmark(tasks, segmenter, request, options, job, pictured=html is not None)
    made = [benchmark_table(source.kind, rows)]
    result = _result(source, request, segmenter, made) | {"tasks": benchmark_json(rows)}
    return _finished(result, html, source.kind, made, [picture for row in rows for picture in row.worst])


def _segmenter(request: SegmentOptions, options: Options, job: Job) -> Segmenter:
    device = pick_device(options.device).type
    return make_segmenter(request.segmenter, device, options.cache, request.weights, job.log)


def _result(source: Source, request: SegmentOptions, segmenter: Segmenter, made: Sequence[Table]) -> dict[str, Any]:
    return {
        "benchmark": source.kind,
        "path": str(source.path),
        "segmenter": segmenter.name,
        "settings": asdict(request.lifting),
        "tables": [asdict(table) for table in made],
    }


def _finished(
    result: dict[str, Any], html: Path | None, title: str, made: Sequence[Table], pictures: Sequence[Picture]
) -> dict[str, Any]:
    if html is not None:
        write_page(html, title, made, pictures)
        result["page"] = str(html)
    found: dict[str, Any] = strict(result)
    return found


def show_result(result: dict[str, Any]) -> None:
    """Prints the tables of a result on standard output."""
    decibels = result.get("heldout_psnr_db")
    field = f", field of {decibels:.1f} dB" if decibels is not None else ""
    print(f"2D segmenter {result['segmenter']}{field}")
    tables = [Table(t["title"], tuple(t["columns"]), tuple(map(tuple, t["rows"])), t["note"]) for t in result["tables"]]
    show(tables)
    if "page" in result:
        print(f"Page: {result['page']}")
