"""`sa3d evaluate field`: how well each kind of field predicts held-out views, how soon, and what it costs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from engine.cache import scratch_folder
from engine.captures.load import load_capture
from engine.devices import pick_device
from engine.evaluation.field_process import measure_apart
from engine.evaluation.field_quality import lpips_at_hand
from engine.evaluation.field_run import FieldRun, Outcome, spread
from engine.evaluation.page import Picture, write_page
from engine.evaluation.strict import strict
from engine.evaluation.tables import Table, figure, show
from engine.fields.curve import seconds_to
from engine.fields.kinds import KINDS
from engine.fields.settings import TrainingSettings
from engine.options import Options
from engine.progress import Job
from engine.train import HELD_OUT_EVERY, preset, split_views
from sa3d_blender.protocol.errors import Cancelled, CaptureError, FieldError, Sa3dError

TARGETS_DB = (25, 27, 29, 31)
MEGA = 1e6
LEGEND = "From left to right: the photo, the field's rendering, their difference (times 4), depth (near is bright)."


@dataclass(frozen=True)
class FieldPlan:
    """What `sa3d evaluate field` was asked for: each of the ``kinds`` at each of the ``qualities`` on every capture.

    At most ``most`` held-out views are measured (None: all).
    """

    kinds: Sequence[str] = ("tensorf",)
    qualities: Sequence[str] = ("draft",)
    most: int | None = None
    html: Path | None = None


@dataclass(frozen=True)
class Measured:
    """A run that came to an end; ``capture`` as it is called in tables."""

    capture: str
    run: FieldRun
    outcome: Outcome

    @property
    def setup(self) -> str:
        """Kind and quality in words."""
        return f"{self.run.kind} {self.run.quality}"

    def mean(self, what: str) -> float:
        """Mean over the held-out views of one of the figures of `ViewFigures`; NaN where it wasn't measured."""
        values = [getattr(view, what) for view in self.outcome.views]
        return float("nan") if None in values else float(np.mean(values))

    @property
    def render_seconds(self) -> float:
        """Median over the held-out views."""
        return float(np.median([view.seconds for view in self.outcome.views]))

    @property
    def training_seconds(self) -> float:
        """Of the steps alone; NaN without a curve."""
        return self.outcome.curve[-1].seconds if self.outcome.curve else float("nan")


def evaluate_field(paths: Sequence[Path], plan: FieldPlan, options: Options, job: Job) -> dict[str, Any]:
    """Trains every kind of field on every capture, each in a process of its own, and measures held-out views.

    Fields are trained anew and thrown away. A run that fails among others is told and left out.

    Raises:
        CaptureError: a capture can't be read, or none of its views is held out.
        FieldError: a kind or quality doesn't exist, or the only run failed.
        Cancelled: on request, within a second.
    """
    device = pick_device(options.device).type
    backbone, why_not = lpips_at_hand()
    measured: list[Measured] = []
    pictures: list[Picture] = []
    failed: list[dict[str, str]] = []
    error: Sa3dError | None = None
    with scratch_folder(options.cache) as folder:
        runs = _runs(paths, plan, options, backbone, folder)
        if backbone is None:
            job.log(f"LPIPS isn't measured: {why_not}.")
        for i, (name, run) in enumerate(runs):
            job.log(f"Run {i + 1} of {len(runs)}: {name}, {run.kind} {run.quality}.")
            try:
                found = Measured(name, run, measure_apart(run, job))
            except Cancelled:
                raise
            except Sa3dError as fault:
                job.log(f"{name}, {run.kind} {run.quality} is left out: {fault}")
                failed.append({"capture": name, "field": run.kind, "quality": run.quality, "what": fault.what})
                error = fault
                continue
            finally:
                # a large field takes gigabytes: one at a time
                shutil.rmtree(run.folder / "field", ignore_errors=True)
            measured.append(found)
            pictures += _pictures(found)
            job.log(_in_words(found))
    if error is not None and not measured:
        raise error
    made = _tables(measured, plan)
    result: dict[str, Any] = {
        "benchmark": "field",
        "captures": [str(path) for path in paths],
        "device": device,
        "threads": torch.get_num_threads(),
        "seed": options.seed,
        "lpips": backbone or why_not,
        "runs": [_figures(each) for each in measured],
        "failed": failed,
        "tables": [asdict(table) for table in made],
    }
    if plan.html is not None:
        write_page(plan.html, "Fields", made, pictures, "Held-out views", LEGEND)
        result["page"] = str(plan.html)
    checked: dict[str, Any] = strict(result)
    return checked


def show_field(result: dict[str, Any]) -> None:
    """Prints the tables of a result on standard output, and what failed."""
    show([Table(t["title"], tuple(t["columns"]), tuple(map(tuple, t["rows"])), t["note"]) for t in result["tables"]])
    for each in result["failed"]:
        print(f"Failed: {each['capture']}, {each['field']} {each['quality']}: {each['what']}")
    if "page" in result:
        print(f"Page: {result['page']}")


def _runs(
    paths: Sequence[Path], plan: FieldPlan, options: Options, backbone: str | None, folder: Path
) -> list[tuple[str, FieldRun]]:
    """All runs with their captures' names. What can't be run is refused before anything is trained."""
    settings: dict[tuple[str, str], TrainingSettings] = {}
    for kind in plan.kinds:
        if kind not in KINDS:
            raise FieldError(f"There is no kind of field called '{kind}'.", f"Choose among: {', '.join(KINDS)}.")
        settings |= {(kind, quality): preset(quality, kind) for quality in plan.qualities}
    found: list[tuple[str, FieldRun]] = []
    for path, name in zip(paths, _names(paths), strict=True):
        capture = load_capture(path)
        if not spread(split_views(capture)[1], plan.most):
            raise CaptureError(
                f"No view of {path} is held out: it has {len(capture)} views, fewer than {2 * HELD_OUT_EVERY}, "
                "and all are for training.",
                "Give a capture of more views, or one that names views for testing.",
            )
        for (kind, quality), each in settings.items():
            place = folder / str(len(found))
            place.mkdir()
            pictured = plan.html is not None
            run = FieldRun(
                path.absolute(),
                kind,
                quality,
                each,
                place.absolute(),
                options.device,
                options.seed,
                plan.most,
                backbone,
                pictured,
            )
            found.append((name, run))
    return found


def _names(paths: Sequence[Path]) -> list[str]:
    """Of captures: those of their folders, unless two have the same."""
    short = [path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _pictures(found: Measured) -> list[Picture]:
    pictures = []
    for path, caption in found.outcome.pictures.items():
        with Image.open(path) as image:
            rgb = np.asarray(image.convert("RGB"), np.float32) / 255
        pictures.append(Picture(f"{found.capture}, {found.setup}, {caption}", rgb))
    return pictures


def _in_words(found: Measured) -> str:
    decibels, likeness = found.mean("psnr_db"), found.mean("ssim")
    return (
        f"{found.capture}, {found.setup}: PSNR {decibels:.2f} dB, SSIM {likeness:.3f} over {len(found.outcome.views)} "
        f"held-out views after {found.outcome.total_seconds:.0f} s."
    )


def _tables(measured: Sequence[Measured], plan: FieldPlan) -> list[Table]:
    """Quality with the time that it took, its means over the captures where there are several, and the costs."""
    quality, cost = [], []
    gpu = any(found.outcome.cuda_bytes is not None for found in measured)
    for found in measured:
        o = found.outcome
        reached = [figure(seconds_to(o.curve, target), 1) for target in TARGETS_DB]
        likeness = figure(found.mean("psnr_db"), 2), figure(found.mean("ssim")), figure(found.mean("lpips"))
        total = figure(o.total_seconds, 1)
        quality.append((found.capture, found.setup, str(len(o.views)), *likeness, *reached, total, str(o.steps)))
        memory = [figure(None if b is None else b / MEGA, 0) for b in ([o.memory_bytes] + [o.cuda_bytes] * gpu)]
        disk, parameters = figure(o.disk_bytes / MEGA, 1), figure(o.parameters / MEGA, 2)
        cost.append((found.capture, found.setup, parameters, disk, *memory, figure(found.render_seconds, 2)))
    seconds = (*(f"s to {target} dB" for target in TARGETS_DB), "s in all", "steps")
    columns = ("capture", "field", "views", "PSNR dB", "SSIM", "LPIPS", *seconds)
    note = "s to: of training, until a sample of the held-out pixels reached it; s in all: with reading and saving."
    tables = [Table("Held-out views", columns, tuple(quality), note)]
    if len({found.capture for found in measured}) > 1:
        tables.append(_means(measured))
    heads = ("capture", "field", "parameters, million", "disk MB", "memory MB", *["GPU MB"] * gpu, "s a view")
    told = "memory: the most that the process held until the field was saved, with all libraries; s a view: median."
    return [*tables, Table("Costs", heads, tuple(cost), told)]


def _means(measured: Sequence[Measured]) -> Table:
    rows = []
    for setup in dict.fromkeys(found.setup for found in measured):
        here = [found for found in measured if found.setup == setup]
        means = [float(np.mean([found.mean(what) for found in here])) for what in ("psnr_db", "ssim", "lpips")]
        total = float(np.mean([found.outcome.total_seconds for found in here]))
        figures = figure(means[0], 2), figure(means[1]), figure(means[2]), figure(total, 1)
        rows.append((setup, str(len(here)), *figures))
    return Table("Means over captures", ("field", "captures", "PSNR dB", "SSIM", "LPIPS", "s in all"), tuple(rows))


def _figures(found: Measured) -> dict[str, Any]:
    o = found.outcome
    return {
        "capture": found.capture,
        "field": found.run.kind,
        "quality": found.run.quality,
        "settings": asdict(found.run.settings),
        "device": o.device,
        "psnr_db": found.mean("psnr_db"),
        "ssim": found.mean("ssim"),
        "lpips": found.mean("lpips"),
        "seconds_to": {str(target): seconds_to(o.curve, target) for target in TARGETS_DB},
        "training_seconds": found.training_seconds,
        "total_seconds": o.total_seconds,
        "stages": o.stages,
        "steps": o.steps,
        "parameters": o.parameters,
        "disk_bytes": o.disk_bytes,
        "memory_bytes": o.memory_bytes,
        "cuda_bytes": o.cuda_bytes,
        "render_seconds": found.render_seconds,
        "curve": [asdict(point) for point in o.curve],
        "views": [asdict(view) for view in o.views],
    }
