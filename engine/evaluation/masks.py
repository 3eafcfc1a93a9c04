"""Captures with true masks: one of them given, k simulated clicks, or the true masks of all views (the ceiling)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from engine.captures.capture import Capture
from engine.captures.load import find_view
from engine.evaluation.clicks import simulate_clicks
from engine.evaluation.metrics import chamfer_distance, f_score
from engine.evaluation.run import Carried, carry, ceiling, one_view_spread, single_view
from engine.evaluation.tables import Table, figure
from engine.evaluation.tasks import Task, ViewScore, score
from engine.evaluation.truth import Truth
from engine.lifting.lifted import Seed
from engine.lifting.masks import resample
from engine.lifting.settings import PAPER, LiftingSettings
from engine.options import SegmentOptions
from engine.progress import Job
from engine.prompted_view import attached_to_clicks, places_refused
from engine.prompts import UserPrompt
from engine.segment import make_mesh
from engine.segmenters.base import Prompts, Segmenter
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import CaptureError

LEAST_PIXELS = 20  # of the object in a view that counts: below it the IoU says more about one pixel than about us
CLICKS = (1, 2, 3, 5)


def mask_tasks(capture: Capture, truth: Truth, names: Sequence[str] | None, view: str | None) -> list[Task]:
    """A task for each object of a capture with ``masks/``; the mask of one view (by default the first) is given.

    Raises:
        CaptureError: there is no such object, or it shows in no other view or not in the given one.
        PromptError: there is no such view.
    """
    reference = (find_view(capture, view) if view is not None else capture.views[0]).stem
    stems = {v.stem for v in capture.views}
    tasks = []
    for name in names if names is not None else sorted(truth.objects):
        showing = [s for s in truth.stems_with(name, LEAST_PIXELS) if s in stems and s != reference]
        targets = {stem: partial(truth.mask, stem, name) for stem in showing}
        if not truth.mask(reference, name).any():
            raise CaptureError(f"View {reference} does not show {name}.", "Choose another view, or other objects.")
        if not targets:
            raise CaptureError(f"No view but {reference} shows {name}.", "Choose another object, or another view.")
        mesh = partial(truth.mesh, name) if truth.has_mesh(name) else None
        tasks.append(Task(capture, name, reference, partial(truth.mask, reference, name), targets, mesh=mesh))
    return tasks


@dataclass(frozen=True)
class Outcome:
    """How a method did on a task: scores by view, and of the mesh where there is a true one (else NaN)."""

    task: Task
    method: str
    views: dict[str, ViewScore]
    carried: Carried
    first_iou: float = float("nan")
    chamfer: float = float("nan")
    f_score: float = float("nan")
    mesh_seconds: float = float("nan")

    @property
    def iou(self) -> float:
        """Mean over the views that count."""
        return float(np.mean([v.iou for v in self.views.values()])) if self.views else float("nan")

    def without_masks(self) -> Outcome:
        """The figures alone: the masks of hundreds of outcomes would fill the memory."""
        nothing = np.zeros(0, np.float32)
        return replace(self, carried=replace(self.carried, masks={}, values=nothing, seen=nothing.astype(bool)))

    def row(self) -> dict[str, Any]:
        """All figures, for JSON."""
        names = ("iou", "boundary_iou", "accuracy")
        means = {n: float(np.mean([getattr(v, n) for v in self.views.values()])) for n in names} if self.views else {}
        worst = min(self.views, key=lambda s: self.views[s].iou, default=None)
        return {
            **means,
            "worst_view": worst,
            "worst_iou": self.views[worst].iou if worst is not None else None,
            "first_iou": self.first_iou,
            "chamfer": self.chamfer,
            "f_score": self.f_score,
            "seconds": self.carried.seconds,
            "seconds_segmenter": self.carried.segmenter_seconds,
            "seconds_mesh": self.mesh_seconds,
            "verdicts": self.carried.verdicts,
            "views": {stem: v.iou for stem, v in self.views.items()},
        }


def scores(task: Task, masks: Mapping[str, Float[np.ndarray, "h w"]]) -> dict[str, ViewScore]:
    """Rendered masks of any size against the truth, at the truth's size, by view."""
    found = {}
    for stem, true_mask in task.targets.items():
        truth = true_mask()
        found[stem] = score(resample(masks[stem], truth.shape), truth)
    return found


def ious(task: Task, masks: Mapping[str, Float[np.ndarray, "h w"]]) -> list[float]:
    """The IoU of each view that counts."""
    return [each.iou for each in scores(task, masks).values()]


def judge(task: Task, method: str, carried: Carried, first: Float[np.ndarray, "h w"] | None = None) -> Outcome:
    """Compares what a method carried to all views with the truth; ``first`` is the 2D mask that it began with."""
    first_iou = float("nan")
    if first is not None and task.prompt_mask is not None:
        truth = task.prompt_mask()
        first_iou = score(resample(first, truth.shape), truth).iou
    return Outcome(task, method, scores(task, carried.masks), carried, first_iou)


def with_mesh(outcome: Outcome, workspace: Workspace, job: Job) -> Outcome:
    """The same with chamfer distance (share of the diagonal) and F-score at 2 %, if there is a true mesh."""
    if outcome.task.mesh is None:
        return outcome
    begun = time.perf_counter()
    carried = outcome.carried
    mesh = make_mesh(workspace, carried.values, carried.seen, SegmentOptions(), carried.masks, job)
    seconds = time.perf_counter() - begun
    truth = outcome.task.mesh()
    return replace(
        outcome,
        chamfer=chamfer_distance(mesh, truth).fraction,
        f_score=f_score(mesh, truth).score,
        mesh_seconds=seconds,
    )


def given_seed(workspace: Workspace, task: Task) -> Seed:
    """The prompted view's true mask, as the user would give it."""
    assert task.prompt_mask is not None
    view = workspace.views[task.reference]
    return Seed(view, resample(task.prompt_mask().astype(np.float32), (view.camera.height, view.camera.width)))


Method = Callable[[Workspace, Seed, Segmenter, Job], Carried]


def methods(settings: LiftingSettings, quick: bool) -> dict[str, Method]:
    """What is compared on the reference-mask protocol: ours, and beside it (unless quick) the paper's rule."""
    found: dict[str, Method] = {"ours": lambda w, s, g, j: carry(w, s, g, settings, j)}
    if not quick:
        found["paper's rule"] = lambda w, s, g, j: carry(w, s, g, PAPER, j)
    found["one view, spread"] = lambda w, s, g, j: one_view_spread(w, s, settings, j)
    found["single view"] = lambda w, s, g, j: single_view(w, s, settings, j)
    return found


def run_reference(
    workspace: Workspace, task: Task, segmenter: Segmenter, compared: dict[str, Method], job: Job
) -> list[Outcome]:
    """One object by each of the methods, from the same mask."""
    seed = given_seed(workspace, task)
    outcomes: list[Outcome] = []
    for name, method in compared.items():
        outcome = judge(task, name, method(workspace, seed, segmenter, job))
        job.log(f"{task.name}, {name}: IoU {outcome.iou:.3f}")
        outcomes.append(outcome)
    return outcomes


def run_ceiling(workspace: Workspace, task: Task, settings: LiftingSettings, job: Job) -> list[Outcome]:
    """The true masks of all views as evidence: what no segmenter could better."""
    assert task.prompt_mask is not None
    masks = {stem: true_mask().astype(np.float32) for stem, true_mask in task.targets.items()}
    masks[task.reference] = task.prompt_mask().astype(np.float32)
    return [judge(task, "true masks", ceiling(workspace, masks, settings, job))]


def run_clicks(
    workspace: Workspace,
    task: Task,
    segmenter: Segmenter,
    settings: LiftingSettings,
    counts: Sequence[int],
    job: Job,
) -> list[Outcome]:
    """The k-click protocol: the mask that the segmenter makes of k clicks is carried, as when a user clicks."""
    view = workspace.views[task.reference]
    assert task.prompt_mask is not None
    size = (view.camera.height, view.camera.width)
    truth = resample(task.prompt_mask().astype(np.float32), size) > 0.5
    stored = workspace.stored[task.reference].camera
    scale = np.array([stored.width / size[1], stored.height / size[0]])
    segmenter.set_image(workspace.scene.photo(view))
    steps = simulate_clicks(segmenter, truth, max(counts))
    outcomes: list[Outcome] = []
    for count in counts:
        step = steps[min(count, len(steps)) - 1]
        mask = attached_to_clicks(workspace, view, step.mask, Prompts(step.points_px, step.labels))
        on_stored = step.points_px * scale
        clicked = [(float(x), float(y), int(label)) for (x, y), label in zip(on_stored, step.labels, strict=True)]
        refused = places_refused(workspace, UserPrompt(task.reference, tuple(clicked)), mask)
        seed = Seed(view, mask, step.score, step.points_px, step.labels, refused)
        outcome = judge(
            task, f"{count} click{'s' if count > 1 else ''}", carry(workspace, seed, segmenter, settings, job), mask
        )
        job.log(f"{task.name}, {count} clicks: first mask {outcome.first_iou:.3f}, IoU {outcome.iou:.3f}")
        outcomes.append(outcome)
    return outcomes


def tables(outcomes: Sequence[Sequence[Outcome]], title: str, apart: Sequence[str]) -> list[Table]:
    """IoU of every method by object, and the first method in full.

    Args:
        outcomes: for every object one of each method.
        apart: objects that are left out of a second mean.
    """
    names = [o.method for o in outcomes[0]]
    rows = [(found[0].task.name, *(figure(o.iou) for o in found)) for found in outcomes]
    rows.append(("mean", *(figure(mean_of(outcomes, i)) for i in range(len(names)))))
    if apart:
        left = [found for found in outcomes if found[0].task.name not in apart]
        rows.append((f"mean without {', '.join(apart)}", *(figure(mean_of(left, i)) for i in range(len(names)))))
    found = [Table(f"{title}: mean IoU", ("object", *names), tuple(rows))]
    clicked = any(np.isfinite(o.first_iou) for o in outcomes[0])
    if clicked:
        rows = [(f[0].task.name, *(figure(o.first_iou) for o in f)) for f in outcomes]
        found.append(Table("IoU of the first 2D mask", ("object", *names), tuple(rows)))
    columns = ("object", "IoU", "boundary IoU", "accuracy", "worst IoU", "chamfer %", "F @ 2 %", "s", "of it 2D")
    full = []
    for objects in outcomes:
        row = objects[0].row()
        figures = [figure(row.get(key)) for key in ("iou", "boundary_iou", "accuracy", "worst_iou")]
        shape = [figure(100 * row["chamfer"], 2), figure(row["f_score"])]
        full.append(
            (objects[0].task.name, *figures, *shape, figure(row["seconds"], 1), figure(row["seconds_segmenter"], 1))
        )
    note = "s: 2D masks, lifting and the rendered masks of all views; of it 2D: what the 2D segmenter took."
    return [*found, Table(f"{names[0]} in full", columns, tuple(full), note)]


def mean_of(outcomes: Sequence[Sequence[Outcome]], method: int) -> float:
    """Mean IoU over objects of one of the methods; NaN without objects."""
    return float(np.mean([found[method].iou for found in outcomes])) if outcomes else float("nan")
