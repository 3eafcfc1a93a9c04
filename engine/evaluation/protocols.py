"""Evaluation protocols on captures with true masks: the mask of one view is given, all other views are compared."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.table import Table

from engine.api import Options, SegmentOptions, make_mesh, open_workspace
from engine.captures.load import find_view, load_capture
from engine.console import table_console
from engine.devices import pick_device
from engine.evaluation.metrics import boundary_iou, chamfer_distance, f_score, iou, pixel_accuracy
from engine.evaluation.truth import Truth, read_truth
from engine.lifting.lifted import Seed
from engine.lifting.loop import lift
from engine.lifting.masks import resample
from engine.progress import Job
from engine.segmenters.choose import make_segmenter
from engine.workspace import Workspace

LEAST_PIXELS = 20  # of the object in a view that counts: below it the IoU says more about one pixel than about us


def compare_masks(
    masks: dict[str, Float[np.ndarray, "h w"]], truth: Truth, name: str, reference: str
) -> dict[str, float]:
    """Mean IoU, boundary IoU and pixel accuracy over the views that show the object, without the reference view.

    ``masks`` hold one rendered probability a view, at any size; they are compared at the truth's.
    """
    rows = []
    for stem in truth.stems_with(name, LEAST_PIXELS):
        if stem == reference or stem not in masks:
            continue
        true = truth.mask(stem, name)
        ours = resample(masks[stem], true.shape) > 0.5
        rows.append((iou(ours, true), boundary_iou(ours, true), pixel_accuracy(ours, true)))
    mean = np.mean(rows, axis=0) if rows else np.full(3, np.nan)
    worst = min((r[0] for r in rows), default=float("nan"))
    return {
        "iou": float(mean[0]),
        "boundary_iou": float(mean[1]),
        "accuracy": float(mean[2]),
        "worst_iou": float(worst),
        "views": len(rows),
    }


def render_all(workspace: Workspace, values: Float[np.ndarray, " n"]) -> dict[str, Float[np.ndarray, "h w"]]:
    """A voxel probability in all views, at working size."""
    return {stem: workspace.render_probability(view, values) for stem, view in workspace.views.items()}


def evaluate_reference_masks(
    path: Path, view: str | None, names: list[str] | None, request: SegmentOptions, options: Options, job: Job
) -> dict[str, Any]:
    """The reference-mask protocol on a capture with ``masks/`` and ``objects.json`` (and ``meshes/NAME.ply``).

    For every object: IoU of all views but the reference, the single-view baseline beside it, and chamfer distance and
    F-score at 2 % of the diagonal where there is a true mesh.
    """
    capture, truth = load_capture(path), read_truth(path if path.is_dir() else path.parent)
    reference = find_view(capture, view) if view is not None else capture.views[0]
    workspace, _ = open_workspace(capture, options, request, job)
    workspace.prepare(job)
    segmenter = make_segmenter(
        request.segmenter, pick_device(options.device).type, options.cache, request.weights, job.log
    )
    start = workspace.views[reference.stem]
    results: dict[str, Any] = {}
    for name in names if names is not None else sorted(truth.objects):
        begun = time.perf_counter()
        job.log(f"{name} ...")
        given = resample(truth.mask(start.stem, name).astype(np.float32), (start.camera.height, start.camera.width))
        lifted = lift(workspace.scene, [Seed(start, given)], segmenter, request.lifting, job)[0]
        masks = render_all(workspace, lifted.probability())
        row: dict[str, Any] = compare_masks(masks, truth, name, start.stem)
        row["seconds_masks"] = time.perf_counter() - begun
        baseline = render_all(workspace, lifted.single_view())
        row["single_view_iou"] = compare_masks(baseline, truth, name, start.stem)["iou"]
        if truth.has_mesh(name):
            mesh = make_mesh(workspace, lifted.probability(), lifted.evidence.seen, request, masks, job)
            row |= {"chamfer": asdict(chamfer_distance(mesh, truth.mesh(name)))["fraction"]}
            row |= {"f_score": asdict(f_score(mesh, truth.mesh(name)))["score"]}
        row["seconds"] = time.perf_counter() - begun
        results[name] = row
    return {
        "capture": str(path),
        "reference": reference.name,
        "segmenter": segmenter.name,
        "heldout_psnr_db": workspace.trained.mean_heldout_psnr_db,
        "objects": results,
        "mean_iou": float(np.mean([r["iou"] for r in results.values()])),
    }


def print_masks_table(result: dict[str, Any]) -> None:
    """The result of `evaluate_reference_masks` as a table on standard output."""
    table = Table(
        title=f"{result['capture']}, reference {result['reference']}, {result['segmenter']}, "
        f"field {result['heldout_psnr_db']:.1f} dB"
    )
    columns = ("object", "IoU", "single view", "boundary IoU", "accuracy", "worst IoU", "chamfer", "F @ 2 %", "s")
    for name in columns:
        table.add_column(name, justify="left" if name == "object" else "right")
    for name, row in result["objects"].items():
        chamfer = f"{100 * row['chamfer']:.2f} %" if "chamfer" in row else "-"
        score = f"{row['f_score']:.3f}" if "f_score" in row else "-"
        values = [f"{row[k]:.3f}" for k in ("iou", "single_view_iou", "boundary_iou", "accuracy", "worst_iou")]
        table.add_row(name, *values, chamfer, score, f"{row['seconds']:.0f}")
    table.add_section()
    table.add_row("mean", f"{result['mean_iou']:.3f}")
    table_console().print(table)
