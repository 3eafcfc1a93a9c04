"""The public benchmarks, task by task: a field for each scene, our method, and the single-view baseline beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.evaluation.masks import Outcome, judge
from engine.evaluation.page import Picture
from engine.evaluation.published import PUBLISHED
from engine.evaluation.run import carry, single_view
from engine.evaluation.scenes import scenes, seed_of
from engine.evaluation.tables import Table, figure
from engine.evaluation.tasks import Task, ViewScore, score
from engine.evaluation.worst import worst_views
from engine.lifting.masks import resample
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.segmenters.base import Segmenter


@dataclass(frozen=True)
class BenchmarkRow:
    """A task's outcome: ``ours`` and the ``baseline`` on the views that count, ``apart`` the scores of others.

    ``worst`` are pictures of the views in which ours came out worst.
    """

    ours: Outcome
    baseline: Outcome
    apart: dict[str, ViewScore]
    worst: Sequence[Picture] = ()

    @property
    def with_reference(self) -> float:
        """Mean IoU with the views counted in that we leave out."""
        return float(np.mean([v.iou for v in (*self.ours.views.values(), *self.apart.values())]))


def run_benchmark(
    tasks: Sequence[Task],
    segmenter: Segmenter,
    request: SegmentOptions,
    options: Options,
    job: Job,
    pictured: bool = False,
) -> list[BenchmarkRow]:
    """Every task; a field is trained (or found) once for each capture. Pictures only where they are ``pictured``."""
    rows = []
    for workspace, here in scenes(tasks, request, options, job):
        for task in here:
            seed = seed_of(workspace, task, segmenter)
            ours = judge(task, "ours", carry(workspace, seed, segmenter, request.lifting, job))
            baseline = judge(task, "single view", single_view(workspace, seed, request.lifting, job))
            apart = {}
            for stem, true_mask in task.others.items():
                truth = true_mask()
                apart[stem] = score(resample(ours.carried.masks[stem], truth.shape), truth)
            job.log(f"{task.name}: IoU {ours.iou:.3f} (single view {baseline.iou:.3f})")
            worst = worst_views(workspace, ours) if pictured else []
            rows.append(BenchmarkRow(ours.without_masks(), baseline.without_masks(), apart, worst))
    return rows


def benchmark_table(name: str, rows: Sequence[BenchmarkRow]) -> Table:
    """Mean IoU and accuracy by task, their means, and what others have published, all in per cent.

    Rows of the same task (other seeds) become one, with the spread of the IoU over the seeds.
    """
    grouped: dict[str, list[BenchmarkRow]] = {}
    for row in rows:
        grouped.setdefault(row.ours.task.name, []).append(row)
    lines, sums = [], []
    for task, found in grouped.items():
        values = _figures(found)
        sums.append(values)
        spread = float(np.std([100 * row.ours.iou for row in found])) if len(found) > 1 else float("nan")
        lines.append((task, *(figure(v, 1) for v in values), figure(spread, 1)))
    lines.append(("mean", *(figure(float(v), 1) for v in np.mean(sums, axis=0)), ""))
    for who, published in PUBLISHED[name].items():
        words = f"{who}: {published.note}" if published.note else who
        lines.append((words, figure(published.miou, 1), figure(published.accuracy, 1), "", "", ""))
    columns = ("task", "IoU %", "accuracy %", "IoU with reference %", "single view %", "spread")
    note = "spread: standard deviation over the seeds of the points."
    return Table(f"{name}", columns, tuple(lines), note)


def _figures(found: Sequence[BenchmarkRow]) -> tuple[float, float, float, float]:
    accuracy = [v.accuracy for row in found for v in row.ours.views.values()]
    return (
        100 * float(np.mean([row.ours.iou for row in found])),
        100 * float(np.mean(accuracy)),
        100 * float(np.mean([row.with_reference for row in found])) if found[0].apart else float("nan"),
        100 * float(np.mean([row.baseline.iou for row in found])),
    )


def benchmark_json(rows: Sequence[BenchmarkRow]) -> list[dict[str, Any]]:
    """All figures of all tasks."""
    return [
        {
            "task": row.ours.task.name,
            "reference": row.ours.task.reference,
            "ours": row.ours.row(),
            "single_view": row.baseline.row(),
            "iou_with_reference": row.with_reference,
        }
        for row in rows
    ]
