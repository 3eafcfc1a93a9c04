"""One run of `sa3d evaluate field`: trains a field and measures it, in a process of its own.

Its standard input gives the run as a line of JSON, and its end ends the process. On standard output come lines of JSON:
progress, words for the log, and at last the outcome or an error.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.captures.capture import View
from engine.captures.load import load_capture
from engine.devices import describe
from engine.evaluation.field_pictures import side_by_side
from engine.evaluation.field_quality import lpips_distance, quality
from engine.evaluation.segmenter_pictures import save_picture
from engine.fields.curve import CurvePoint
from engine.fields.heldout import spread_numbers
from engine.fields.kinds import KINDS
from engine.fields.rendering import RenderedView, render_view
from engine.fields.settings import Sampling, TrainingSettings
from engine.fields.training import TrainedField
from engine.options import Options
from engine.progress import Job, Report
from engine.train import split_views, train
from engine.workspace import over_white, working_photo
from sa3d_blender.protocol.errors import Sa3dError


@dataclass(frozen=True)
class FieldRun:
    """What is trained and how it is measured.

    ``settings`` stand for the preset called ``quality``. Everything is written into ``folder``. At most ``most``
    held-out views are measured (None: all), with LPIPS by the backbone ``lpips`` (None: without). ``pictured``: with
    pictures of three of them. ``capture`` and ``folder`` are absolute.
    """

    capture: Path
    kind: str
    quality: str
    settings: TrainingSettings
    folder: Path
    device: str = "auto"
    seed: int = 0
    most: int | None = None
    lpips: str | None = None
    pictured: bool = False

    def to_json(self) -> str:
        """As one line."""
        return json.dumps(asdict(self), default=str)

    @staticmethod
    def from_json(line: str) -> FieldRun:
        """What `to_json` made a line of."""
        given = json.loads(line)
        settings = {name: _setting(value) for name, value in given["settings"].items()}
        paths = {name: Path(given[name]) for name in ("capture", "folder")}
        return FieldRun(**given | paths | {"settings": TrainingSettings(**settings)})


def _setting(value: Any) -> Any:
    """One of TrainingSettings' values, of which JSON knows neither tuples nor a Sampling."""
    if isinstance(value, dict):
        return Sampling(**value)
    return tuple(value) if isinstance(value, list) else value


@dataclass(frozen=True)
class ViewFigures:
    """A held-out view: ``psnr_db``, ``ssim``, ``lpips`` (None: not measured), ``seconds`` of rendering it."""

    name: str
    psnr_db: float
    ssim: float
    lpips: float | None
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What came of a run.

    ``total_seconds`` are those of all that `sa3d train` does, reading photos and saving included; ``stages`` maps its
    stages to theirs. ``disk_bytes`` are the field's files', ``memory_bytes`` the most that the process held at once
    until the field was saved, libraries included (None where the system doesn't say), ``cuda_bytes`` the most that its
    tensors took on a GPU. ``pictures`` maps files to captions.
    """

    views: Sequence[ViewFigures]
    curve: Sequence[CurvePoint]
    steps: int
    total_seconds: float
    stages: dict[str, float]
    disk_bytes: int
    memory_bytes: int | None
    cuda_bytes: int | None
    parameters: int
    device: str
    pictures: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def from_json(given: dict[str, Any]) -> Outcome:
        """What `dataclasses.asdict` and JSON made of one."""
        views = tuple(ViewFigures(**view) for view in given["views"])
        return Outcome(**given | {"views": views, "curve": tuple(CurvePoint(**point) for point in given["curve"])})


def measure(run: FieldRun, job: Job) -> Outcome:
    """Trains as `sa3d train` does, but with the run's settings, and measures held-out views.

    Changes what a preset means in this process.

    Raises:
        CaptureError, FieldError, StorageError: as `engine.train.train`. EnvironmentFault: as `lpips_distance`.
    """
    capture = load_capture(run.capture)
    kind = KINDS[run.kind]
    KINDS[run.kind] = replace(kind, presets={**kind.presets, run.quality: run.settings})
    options = Options(run.folder / "cache", run.device, run.seed)
    started = time.perf_counter()
    out, poses = run.folder / "field", run.settings.refine_poses
    found = train(capture, run.quality, options, job, out, run.kind, again=True, refine_poses=poses)
    total = time.perf_counter() - started
    trained, device = found.field, found.field.model.aabb.device
    memory = peak_memory_bytes()
    cuda = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    stages = dict(job.timings)
    views = spread(split_views(capture)[1], run.most)
    measured = _measured(trained, views, run, job)
    return Outcome(
        measured,
        trained.history,
        trained.history[-1].step if trained.history else run.settings.steps,
        total,
        stages,
        sum(path.stat().st_size for path in found.folder.rglob("*") if path.is_file()),
        memory,
        cuda,
        sum(p.numel() for p in trained.model.parameters()),
        describe(device),
        _pictures(trained, views, measured, run, job) if run.pictured else {},
    )


def spread(views: Sequence[View], most: int | None) -> list[View]:
    """At most that many of the views, spread evenly; None: all."""
    return [views[i] for i in spread_numbers(len(views), len(views) if most is None else most)]


def _rendered(trained: TrainedField, view: View) -> tuple[np.ndarray, RenderedView, float]:
    """The photo [H, W, 3] at working size, the field's rendering of it, and the seconds that this took."""
    camera, image = working_photo(view, trained.settings.max_side_px)
    started = time.perf_counter()
    found = render_view(trained.model, trained.grid, camera, trained.settings.rendering)
    return over_white(image), found, time.perf_counter() - started


def _measured(trained: TrainedField, views: Sequence[View], run: FieldRun, job: Job) -> list[ViewFigures]:
    distance = None if run.lpips is None else lpips_distance(run.lpips, trained.model.aabb.device)
    figures = []
    with job.stage("Measuring held-out views", len(views)) as stage:
        for view in views:
            photo, rendered, seconds = _rendered(trained, view)
            q = quality(rendered.rgb, photo, distance)
            figures.append(ViewFigures(view.name, q.psnr_db, q.ssim, q.lpips, seconds))
            stage.advance(1, f"{view.name} {q.psnr_db:.1f} dB")
    return figures


def _pictures(
    trained: TrainedField, views: Sequence[View], figures: Sequence[ViewFigures], run: FieldRun, job: Job
) -> dict[str, str]:
    """Files with the worst, the median and the best of the views, and their captions."""
    order = sorted(range(len(views)), key=lambda i: figures[i].psnr_db)
    picked = {"worst": order[0], "median": order[(len(order) - 1) // 2], "best": order[-1]}
    found = {}
    with job.stage("Rendering pictures", len(picked)) as stage:
        for word, i in picked.items():
            photo, rendered, _ = _rendered(trained, views[i])
            path = run.folder / f"{word}.png"
            save_picture(path, side_by_side(photo, rendered))
            found[str(path)] = f"{word}, {views[i].name}: {figures[i].psnr_db:.2f} dB, SSIM {figures[i].ssim:.3f}"
            stage.advance(1)
    return found


def peak_memory_bytes() -> int | None:
    """The most memory that this process has held at once; None where the system doesn't say.

    Linux's own count of this program's memory: what getrusage says there begins with that of the program that
    started it.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _peak_by_rusage()
    found = next((line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")), None)
    return _peak_by_rusage() if found is None else int(found) << 10


def _peak_by_rusage() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10  # bytes there, kilobytes elsewhere


def main() -> None:
    """Runs what standard input says."""
    # Whatever a library prints must not come between the lines of JSON.
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(what: str, value: object) -> None:
        print(json.dumps({what: value}), file=lines, flush=True)

    run = FieldRun.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _answer(run, say)


def _answer(run: FieldRun, say: Callable[[str, object], None]) -> None:
    def listen(report: Report) -> None:
        say("report", asdict(report))

    try:
        say("outcome", asdict(measure(run, Job(listener=listen, log=lambda line: say("log", line)))))
    except Sa3dError as error:
        say("error", {"code": error.code, "what": error.what, "cure": error.cure})


def _end_with_parent() -> None:
    """Ends this process where the one that started it is gone: nobody would hear of the outcome."""
    os.read(0, 1)  # not sys.stdin: its lock, held here, would make the end of Python an error
    os._exit(1)


if __name__ == "__main__":
    main()
