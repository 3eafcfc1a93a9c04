"""The paper's tables 4 to 7, and what each difference between its rule and ours adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.evaluation.masks import Outcome, judge
from engine.evaluation.run import Carried, carry, single_view
from engine.evaluation.scenes import scenes, seed_of
from engine.evaluation.tables import Table, figure, gain
from engine.evaluation.tasks import Task
from engine.lifting.lifted import Seed
from engine.lifting.settings import PAPER, LiftingSettings
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.segmenters.base import Segmenter
from engine.workspace import Workspace

MOST_COLUMNS = 10  # of a table that shows every object
TITLES = {
    "views": "Table 4: share of the views that vote",
    "decay": "Table 5: decay of the confidence with 3D distance",
    "tau": "Table 6: IoU-aware rejection, tau",
    "lambda": "Table 7: weight of evidence against, lambda",
    "methods": "What each difference from the paper adds",
}
# Each difference between our rule and the paper's, alone.
DIFFERENCES: dict[str, dict[str, Any]] = {
    "probability, normalised": {"rule": "ours"},
    "lambda 1": {"lam": 1.0},
    "trust in the user's mask": {"trust": LiftingSettings.trust},
    "order by overlap": {"order": "overlap"},
    "rendered mask as hint": {"hint": True},
    "negative points": {"negatives": True},
    "10 points": {"prompts": LiftingSettings.prompts},
    "boxes": {"boxes": True},
    "second chance": {"second_chance": True},
    "stray parts left out": {"anchored": True},
    "spread where few views vote": {"spread": True},
    "candidate by agreement": {"agreement": True},
    "votes by score": {"scored": True},
}


def variants(table: str, base: LiftingSettings) -> dict[str, LiftingSettings | None]:
    """The rows of a table: settings by name; None stands for the single-view baseline."""
    if table == "views":
        return {f"{share:.0%}": replace(base, views=share) for share in (0.1, 0.25, 0.5, 1.0)}
    if table == "decay":
        return {"with": base, "without": replace(base, decay=False)}
    if table == "tau":
        return {f"{tau:g}": replace(base, tau=tau) for tau in (0.0, 0.3, 0.5, 0.7, 0.9)}
    if table == "lambda":
        return {f"{lam:g}": replace(base, lam=lam) for lam in (0.05, 0.15, 0.3, 0.5, 1.0, 2.0)}
    ours = LiftingSettings()
    rows: dict[str, LiftingSettings | None] = {"single view": None, "paper": PAPER}
    rows |= {f"paper + {name}": replace(PAPER, **change) for name, change in DIFFERENCES.items()}
    rows["ours"] = ours
    for name, change in DIFFERENCES.items():
        rows[f"ours - {name}"] = replace(ours, **{key: getattr(PAPER, key) for key in change})
    rows["ours + boundary graph cut"] = replace(ours, boundary=True)
    rows["ours + two passes"] = replace(ours, two_pass=True)
    rows["ours + clicked parts only"] = replace(ours, clicked_parts=True)
    return rows


def run_tables(
    tasks: Sequence[Task],
    tables: Mapping[str, Mapping[str, LiftingSettings | None]],
    segmenter: Segmenter,
    request: SegmentOptions,
    options: Options,
    job: Job,
) -> dict[str, dict[str, list[Outcome]]]:
    """Every variant of every table on every task: the whole loop again, as every setting also changes the prompts.

    Variants of the same settings are run once.
    """
    found: dict[str, dict[str, list[Outcome]]] = {table: {name: [] for name in rows} for table, rows in tables.items()}
    for workspace, here in scenes(tasks, request, options, job):
        for task in here:
            seed = seed_of(workspace, task, segmenter)
            known: dict[LiftingSettings | None, Outcome] = {}
            for table, rows in tables.items():
                for name, settings in rows.items():
                    if settings not in known:
                        known[settings] = judge(task, name, _carried(workspace, seed, segmenter, settings, job))
                        job.log(f"{task.name}, {table}, {name}: IoU {known[settings].iou:.3f}")
                    known[settings] = known[settings].without_masks()
                    found[table][name].append(replace(known[settings], method=name))
    return found


def _carried(
    workspace: Workspace, seed: Seed, segmenter: Segmenter, settings: LiftingSettings | None, job: Job
) -> Carried:
    if settings is None:
        return single_view(workspace, seed, LiftingSettings(), job)
    return carry(workspace, seed, segmenter, settings, job)


def mean_iou(outcomes: Sequence[Outcome]) -> float:
    """Over tasks; NaN without any."""
    return float(np.mean([o.iou for o in outcomes])) if outcomes else float("nan")


def as_table(table: str, found: Mapping[str, Sequence[Outcome]], apart: Sequence[str]) -> Table:
    """Mean IoU of every variant, by object (unless there are very many) and over all; for the methods also its gain.

    Tasks of the same name (other seeds) share a column.
    """
    first = next(iter(found.values()))
    names = tuple(dict.fromkeys(o.task.name for o in first))
    if len(names) > MOST_COLUMNS:
        names = ()
    columns = ["", *names, "mean"]
    if apart:
        columns.append(f"without {', '.join(apart)}")
    if table == "methods":
        columns.append("gain")
    rows = []
    for name, outcomes in found.items():
        by_name = [mean_iou([o for o in outcomes if o.task.name == each]) for each in names]
        row = [name, *(figure(v) for v in by_name), figure(mean_iou(outcomes))]
        if apart:
            row.append(figure(mean_iou([o for o in outcomes if o.task.name not in apart])))
        if table == "methods":
            row.append(_gain(name, found))
        rows.append(tuple(row))
    note = "gain: over the paper's rule where something is added to it; what ours loses where something is taken away."
    return Table(TITLES[table], tuple(columns), tuple(rows), note if table == "methods" else "")


def _gain(name: str, found: Mapping[str, Sequence[Outcome]]) -> str:
    here = mean_iou(found[name])
    if name.startswith("paper + ") or name in ("ours", "single view"):
        return gain(here - mean_iou(found["paper"]))
    if name.startswith("ours - "):
        return gain(mean_iou(found["ours"]) - here)
    if name.startswith("ours + "):
        return gain(here - mean_iou(found["ours"]))
    return ""
