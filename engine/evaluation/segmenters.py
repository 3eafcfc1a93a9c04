"""`sa3d evaluate segmenters`: how good 2D segmenters are at clicks, several points and boxes, and how fast."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool

from engine.captures.capture import Capture, View
from engine.captures.load import load_capture
from engine.devices import pick_device
from engine.evaluation.page import Picture, write_page
from engine.evaluation.segmenter_pictures import panels, save_picture, with_prompts
from engine.evaluation.strict import strict
from engine.evaluation.tables import Table, figure, show
from engine.evaluation.trials import Protocol, Trial, run_trials
from engine.evaluation.truth import Truth, read_truth
from engine.lifting.masks import resample
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.segmenters.base import Photo, Prediction, Prompts, Segmenter
from engine.segmenters.choose import RANKING, at_hand, make_segmenter
from engine.segmenters.clicked_parts import OnlyClicked
from engine.train import open_workspace
from engine.workspace import Workspace, over_white, working_photo
from sa3d_blender.protocol.errors import Cancelled, CaptureError, Sa3dError

WORST_SHOWN = 8  # pictures of each segmenter


@dataclass(frozen=True)
class Contender:
    """A segmenter by its name, and the weights file that was named for it."""

    name: str
    weights: Path | None = None

    @property
    def label(self) -> str:
        """As it stands in the tables."""
        return self.name if self.weights is None else f"{self.name} ({self.weights})"


@dataclass(frozen=True)
class SegmentersPlan:
    """What `sa3d evaluate segmenters` was asked for.

    ``contenders`` are measured; empty: all at hand. ``every`` n-th view counts, and in it the objects (``names``; None:
    all) of at least ``least_pixels`` of the photo as stored. Photos are made at most ``longest`` pixels long.
    ``with_field``: they come with the field's depth and normals, at the field's working size. ``connected``: only parts
    of a mask that hold a positive click count.
    """

    protocol: Protocol = field(default_factory=Protocol)
    contenders: Sequence[Contender] = ()
    names: Sequence[str] | None = None
    every: int = 1
    least_pixels: int = 400
    longest: int = 1024
    with_field: bool = False
    connected: bool = False
    html: Path | None = None
    pictures: Path | None = None


@dataclass(frozen=True)
class Sample:
    """One view with the true masks (bool [H, W] as stored) of the objects that count in it."""

    capture: Capture
    view: View
    masks: dict[str, Bool[np.ndarray, "h w"]]

    @property
    def place(self) -> str:
        """Capture and view in words."""
        return f"{self.capture.root.resolve().name}/{self.view.stem}"


@dataclass(frozen=True)
class Measured:
    """The trials on one object in one view; their masks are kept by nobody."""

    place: str
    name: str
    trials: dict[str, Trial]


@dataclass
class Result:
    """What one segmenter did: seconds of every encoding and decoding, and every object it was tried on."""

    label: str
    encode_seconds: list[float] = field(default_factory=list)
    decode_seconds: list[float] = field(default_factory=list)
    measured: list[Measured] = field(default_factory=list)
    worst: dict[str, tuple[float, Sample, Trial]] = field(default_factory=dict)

    def mean(self, trial: str, what: str = "iou", name: str | None = None) -> float:
        """Mean over the instances (of one object, if named); NaN without any."""
        found = [getattr(m.trials[trial], what) for m in self.measured if name in (None, m.name)]
        return float(np.mean(found)) if found else float("nan")

    def trust(self) -> float:
        """Correlation between the segmenter's own estimates and the true IoU; NaN where either is constant."""
        pairs = np.array([(t.score, t.iou) for m in self.measured for t in m.trials.values()]).reshape(-1, 2)
        if len(pairs) < 2 or (np.ptp(pairs, axis=0) < 1e-9).any():
            return float("nan")
        return float(np.corrcoef(pairs.T)[0, 1])


class Stopwatch:
    """A segmenter whose every encoding and decoding is timed."""

    def __init__(self, inner: Segmenter, result: Result) -> None:
        """``inner`` does the work; seconds go to the ``result``."""
        self.inner, self.result = inner, result
        self.name, self.scales = inner.name, inner.scales

    def set_image(self, photo: Photo) -> None:
        """As the inner one."""
        begun = time.perf_counter()
        self.inner.set_image(photo)
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # else the encoding would be counted with the first decoding
        self.result.encode_seconds.append(time.perf_counter() - begun)

    def predict(self, prompts: Prompts) -> Prediction:
        """As the inner one."""
        begun = time.perf_counter()
        found = self.inner.predict(prompts)
        self.result.decode_seconds.append(time.perf_counter() - begun)
        return found


def evaluate_segmenters(
    paths: Sequence[Path], plan: SegmentersPlan, request: SegmentOptions, options: Options, job: Job
) -> dict[str, Any]:
    """Every segmenter on every object of captures with true masks.

    Args:
        request: says which field is taken, for a plan ``with_field``.

    Raises:
        CaptureError: there are no true masks, no object of a given name, or none that is large enough.
        SegmenterError: a segmenter that was named can't be made; one that is merely at hand is left out.
    """
    samples = [sample for path in paths for sample in _samples(path, plan)]
    if not samples:
        raise CaptureError(
            f"No object covers {plan.least_pixels} pixels of a photo.", "Choose other objects, or fewer least pixels."
        )
    photos = _photos(samples, plan, request, options, job)
    device = pick_device(options.device).type
    results = []
    for contender, segmenter in _made(plan.contenders, device, options.cache, job):
        results.append(_measure(contender.label, segmenter, samples, photos, plan, job))
        job.log(f"{contender.label}: " + ", ".join(f"{t} {results[-1].mean(t):.3f}" for t in plan.protocol.names))
        del segmenter  # one at a time: the larger ones take gigabytes
    made = [*_tables(results, samples, plan), *(_by_object(result, plan.protocol) for result in results)]
    found: dict[str, Any] = {
        "benchmark": "segmenters",
        "captures": [str(path) for path in paths],
        "plan": asdict(replace(plan, html=None, pictures=None, contenders=())),
        "device": device,
        "threads": torch.get_num_threads(),
        "instances": sum(len(sample.masks) for sample in samples),
        "segmenters": {result.label: _figures(result, plan.protocol) for result in results},
        "tables": [asdict(table) for table in made],
        "shown": len(made) - len(results),
    }
    if plan.html is not None:
        worst = [picture for result in results for picture in _worst(result, photos)]
        write_page(plan.html, "2D segmenters", made, worst)
        found["page"] = str(plan.html)
    if plan.pictures is not None:
        found["pictures"] = str(plan.pictures)
    checked: dict[str, Any] = strict(found)
    return checked


def show_segmenters(found: dict[str, Any]) -> None:
    """Prints the tables of a result on standard output, but those by object."""
    tables = [Table(t["title"], tuple(t["columns"]), tuple(map(tuple, t["rows"])), t["note"]) for t in found["tables"]]
    show(tables[: found["shown"]])
    for key, word in (("page", "Page"), ("pictures", "Pictures")):
        if key in found:
            print(f"{word}: {found[key]}")


def _samples(path: Path, plan: SegmentersPlan) -> list[Sample]:
    capture = load_capture(path)
    truth = read_truth(path if path.is_dir() else path.parent)
    names = sorted(truth.objects) if plan.names is None else [name for name in plan.names if name in truth.objects]
    if not names:
        raise CaptureError(
            f"The truth of {path} knows none of: {', '.join(plan.names or [])}.",
            f"Choose among {', '.join(sorted(truth.objects))}.",
        )
    there = [view for view in capture.views if view.stem in truth.stems][:: plan.every]
    found = [Sample(capture, view, _masks(truth, view, names, plan.least_pixels)) for view in there]
    return [sample for sample in found if sample.masks]


def _masks(truth: Truth, view: View, names: Sequence[str], least: int) -> dict[str, Bool[np.ndarray, "h w"]]:
    masks = {name: truth.mask(view.stem, name) for name in names}
    return {name: mask for name, mask in masks.items() if int(mask.sum()) >= least}


class _Photos:
    """Photos as segmenters get them: alone, or with the field's geometry."""

    def __init__(self, longest: int, workspaces: dict[int, Workspace]) -> None:
        """``workspaces`` by the capture's id; without any, photos go alone."""
        self.longest, self.workspaces = longest, workspaces

    def photo(self, sample: Sample) -> Photo:
        """Without a key, so that nothing of it is found in a cache: encoding is to be timed."""
        workspace = self.workspaces.get(id(sample.capture))
        if workspace is not None:
            return replace(workspace.scene.photo(workspace.views[sample.view.stem]), key=None)
        return Photo(over_white(working_photo(sample.view, self.longest)[1]))


def _photos(
    samples: Sequence[Sample], plan: SegmentersPlan, request: SegmentOptions, options: Options, job: Job
) -> _Photos:
    workspaces: dict[int, Workspace] = {}
    if plan.with_field:
        for capture in {id(sample.capture): sample.capture for sample in samples}.values():
            workspaces[id(capture)] = open_workspace(capture, options, request, job)[0]
            workspaces[id(capture)].prepare(job)
    return _Photos(plan.longest, workspaces)


def _made(contenders: Sequence[Contender], device: str, cache: Path, job: Job) -> Iterator[tuple[Contender, Segmenter]]:
    """The segmenters that were named, one at a time, or all at hand but those that fail to load."""
    for contender in contenders:
        yield contender, make_segmenter(contender.name, device, cache, contender.weights, job.log)
    if contenders:
        return
    there = at_hand(cache)
    missing = [name for name in RANKING if name not in there]
    if missing:
        job.log(f"Not at hand, and left out: {', '.join(missing)}.")
    for name in there:
        try:
            segmenter = make_segmenter(name, device, cache, None, job.log)
        except Cancelled:
            raise
        except Sa3dError as error:
            job.log(f"Segmenter {name} is left out: {error}")
            continue
        yield Contender(name), segmenter


def _measure(
    label: str, segmenter: Segmenter, samples: Sequence[Sample], photos: _Photos, plan: SegmentersPlan, job: Job
) -> Result:
    result = Result(label)
    watched: Segmenter = Stopwatch(segmenter, result)
    if plan.connected:
        watched = OnlyClicked(watched)
    with job.stage(f"Measuring {label}", sum(len(sample.masks) for sample in samples)) as stage:
        for sample in samples:
            photo = photos.photo(sample)
            watched.set_image(photo)
            for name, stored in sample.masks.items():
                truth = resample(stored.astype(np.float32), photo.rgb.shape[:2]) > 0.5
                trials = run_trials(watched, truth, plan.protocol)
                if plan.pictures is not None:
                    file = f"{sample.capture.root.resolve().name}_{sample.view.stem}_{name}.png"
                    save_picture(plan.pictures / _as_folder(label) / file, panels(photo.rgb, truth, trials))
                _keep_worst(result, sample, name, trials)
                bare = {t.name: replace(t, mask=np.zeros((0, 0), bool)) for t in trials}
                result.measured.append(Measured(sample.place, name, bare))
                stage.advance(1, f"{sample.place}, {name}")
    return result


def _as_folder(label: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in label)


def _keep_worst(result: Result, sample: Sample, name: str, trials: Sequence[Trial]) -> None:
    """Of each object the view that came out worst, after the clicks that a user gives without thinking (3 at most)."""
    few = [t for t in trials if t.name in ("1 click", "2 clicks", "3 clicks")]
    trial = (few or list(trials))[-1]
    if name not in result.worst or trial.iou < result.worst[name][0]:
        result.worst[name] = trial.iou, sample, trial


def _worst(result: Result, photos: _Photos) -> list[Picture]:
    pictures = []
    for name, (reached, sample, trial) in sorted(result.worst.items(), key=lambda item: item[1][0])[:WORST_SHOWN]:
        rgb = photos.photo(sample).rgb
        truth = resample(sample.masks[name].astype(np.float32), rgb.shape[:2]) > 0.5
        caption = f"{result.label}, {sample.place}, {name}, {trial.name}: IoU {reached:.3f}"
        pictures.append(Picture(caption, with_prompts(rgb, truth, trial)))
    return pictures


def _tables(results: Sequence[Result], samples: Sequence[Sample], plan: SegmentersPlan) -> list[Table]:
    names = plan.protocol.names
    counted = sum(len(sample.masks) for sample in samples)
    told = "photo with the field's depth and normals" if plan.with_field else "photo alone"
    told += ", only parts that hold a click" if plan.connected else ""
    told += ", the mask so far as previous mask" if plan.protocol.previous else ""
    speed = f"encode, decode: median milliseconds, {torch.get_num_threads()} threads"
    note = f"{speed}; r: correlation of the segmenter's own estimate with the IoU."
    rows = []
    for found in results:
        times = [1000 * float(np.median(s)) for s in (found.encode_seconds, found.decode_seconds)]
        means = [figure(found.mean(name)) for name in names]
        rows.append((found.label, *means, *(figure(t, 0) for t in times), figure(found.trust(), 2)))
    title = f"mean IoU over {counted} instances ({told})"
    edges = [(found.label, *(figure(found.mean(name, "boundary_iou")) for name in names)) for found in results]
    return [
        Table(title, ("segmenter", *names, "encode", "decode", "r"), tuple(rows), note),
        Table("mean boundary IoU", ("segmenter", *names), tuple(edges)),
    ]


def _by_object(result: Result, protocol: Protocol) -> Table:
    objects = sorted({m.name for m in result.measured})
    rows = []
    for name in objects:
        count = sum(m.name == name for m in result.measured)
        rows.append((name, str(count), *(figure(result.mean(trial, name=name)) for trial in protocol.names)))
    return Table(f"{result.label}: mean IoU by object", ("object", "views", *protocol.names), tuple(rows))


def _figures(result: Result, protocol: Protocol) -> dict[str, Any]:
    objects: dict[str, dict[str, float]] = defaultdict(dict)
    for name in sorted({m.name for m in result.measured}):
        for trial in protocol.names:
            objects[name][trial] = result.mean(trial, name=name)
    return {
        "iou": {trial: result.mean(trial) for trial in protocol.names},
        "boundary_iou": {trial: result.mean(trial, "boundary_iou") for trial in protocol.names},
        "encode_seconds": float(np.median(result.encode_seconds)),
        "decode_seconds": float(np.median(result.decode_seconds)),
        "score_correlation": result.trust(),
        "objects": dict(objects),
        "views": [
            {
                "view": m.place,
                "object": m.name,
                "iou": {n: t.iou for n, t in m.trials.items()},
                "score": {n: t.score for n, t in m.trials.items()},
            }
            for m in result.measured
        ],
    }
