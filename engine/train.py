"""Training a field on a capture, or finding one; and a capture opened with its field."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from engine.cache import Cache
from engine.captures.bounds import scene_box
from engine.captures.capture import Capture, View
from engine.captures.images import photo_key
from engine.devices import describe, pick_device
from engine.fields.checkpoint import TENSORS, has_field, load_field, save_field
from engine.fields.kinds import kind_of
from engine.fields.settings import TrainingSettings
from engine.fields.training import TrainedField, measure_heldout, train_field
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.workspace import Workspace, working_photo
from sa3d_blender.protocol.errors import FieldError

HELD_OUT_EVERY = 8
MOST_HELD_OUT = 8


@dataclass(frozen=True)
class Trained:
    """A trained field, its folder, its key, and whether it was found rather than trained now."""

    field: TrainedField
    folder: Path
    key: str
    from_cache: bool


def split_views(capture: Capture) -> tuple[list[View], list[View]]:
    """(training views, held-out views): the capture's own split, else every eighth from the first on is held out."""
    named = [v for v in capture.views if v.split != "train"]
    if named and len(named) < len(capture.views):
        return [v for v in capture.views if v.split == "train"], named
    if len(capture.views) < 2 * HELD_OUT_EVERY:
        return list(capture.views), []
    return (
        [v for i, v in enumerate(capture.views) if i % HELD_OUT_EVERY],
        list(capture.views[::HELD_OUT_EVERY]),
    )


def preset(quality: str, kind: str = "tensorf") -> TrainingSettings:
    """Training settings by name of quality and kind. Raises FieldError for a name that isn't one."""
    presets = kind_of(kind).presets
    if quality not in presets:
        raise FieldError(f"There is no quality called '{quality}'.", f"Choose one of: {', '.join(presets)}.")
    return presets[quality]


def train(
    capture: Capture,
    quality: str,
    options: Options,
    job: Job,
    out: Path | None = None,
    kind: str = "tensorf",
    again: bool = False,
) -> Trained:
    """Trains a field on a capture, or finds it in the cache (or in ``out``).

    Raises:
        FieldError: the kind or quality doesn't exist, or training failed.
        CaptureError: a photo can't be read.
    """
    settings = preset(quality, kind)
    cache = Cache(options.cache)
    device = pick_device(options.device)
    key = cache.capture_key(capture)
    field_key = f"{key}-{quality}-{options.seed}"
    folder = out if out is not None else cache.folder("fields", field_key)
    if out is not None:
        cache.folder("fields", field_key)  # fails early where the cache can't be written
        folder.mkdir(parents=True, exist_ok=True)
    if has_field(folder) and not again:
        found = load_field(folder, device, key)
        if found.settings == settings or out is not None:
            job.log(f"Using the field in {folder} (held-out PSNR {found.mean_heldout_psnr_db:.1f} dB).")
            return Trained(found, folder, _content_key(folder), True)
    trained = _train(capture, settings, quality, options, device, job)
    save_field(trained, folder, key)
    return Trained(trained, folder, _content_key(folder), False)


def _content_key(folder: Path) -> str:
    return photo_key(folder / TENSORS)[:32]


def _train(
    capture: Capture, settings: TrainingSettings, quality: str, options: Options, device: torch.device, job: Job
) -> TrainedField:
    training, heldout = split_views(capture)
    with job.stage("Reading photos", len(training)) as stage:
        pairs = []
        for view in training:
            pairs.append(working_photo(view, settings.max_side_px))
            stage.advance(1, view.stem)
    job.log(
        f"Training a {quality} field (TensoRF VM-48): {settings.steps} steps of {settings.rays} rays from "
        f"{len(training)} photos on {describe(device)}. {_cost(settings, device)}"
    )
    box = scene_box(capture)
    trained = train_field([p[0] for p in pairs], [p[1] for p in pairs], box, settings, device, job, options.seed)
    trained = replace(trained, quality=quality)
    picked = (
        [heldout[i] for i in np.unique(np.linspace(0, len(heldout) - 1, MOST_HELD_OUT).astype(int))] if heldout else []
    )
    held = [working_photo(view, settings.max_side_px) for view in picked]
    trained = measure_heldout(trained, [v.name for v in picked], [h[0] for h in held], [h[1] for h in held], job)
    if picked:
        job.log(f"Held-out PSNR: {trained.mean_heldout_psnr_db:.2f} dB over {len(picked)} views.")
    return trained


def _cost(settings: TrainingSettings, device: torch.device) -> str:
    """What training will cost, in words. The rate is that of two CPU cores; the time left is measured as it runs."""
    if device.type != "cpu":
        return "Time left is shown as soon as it is known."
    minutes = settings.steps * settings.rays / 2048 * 0.075 * 2 / max(1, torch.get_num_threads()) / 60
    return f"Expect about {max(1, math.ceil(minutes))} min on such a machine."


def open_workspace(capture: Capture, options: Options, request: SegmentOptions, job: Job) -> tuple[Workspace, Trained]:
    """A capture with its field, trained first if there is none."""
    if request.field_folder is not None:
        key = Cache(options.cache).capture_key(capture)
        loaded = load_field(request.field_folder, pick_device(options.device), key)
        trained = Trained(loaded, request.field_folder, _content_key(request.field_folder), True)
    else:
        trained = train(capture, request.quality, options, job)
    cache = Cache(options.cache)
    return Workspace(capture, cache.capture_key(capture), trained.field, trained.key, cache, options.budget), trained
