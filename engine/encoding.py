"""What is slow about a segmenter, done ahead: the photos of a capture become embeddings, once for all objects."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn.modules.module import register_module_forward_pre_hook

from engine.cache import Cache
from engine.captures.capture import View
from engine.captures.images import working_key, working_size
from engine.captures.load import load_capture
from engine.devices import pick_device
from engine.options import Options
from engine.photo_copies import PhotoCopies
from engine.progress import Job
from engine.segmenters.base import Encoder, Photo, Segmenter
from engine.segmenters.choose import make_segmenter
from engine.train import preset
from engine.workspace import over_white, working_photo

__all__ = ["Encoded", "encode_capture", "encode_views", "stoppable"]

BATCH_ON_GPU = 8  # photos at once; a CPU gains nothing from more than one


@dataclass(frozen=True)
class Encoded:
    """How many photos were encoded now, and how many had been before."""

    now: int
    before: int


def encode_capture(
    path: Path, segmenter: str, weights: Path | None, quality: str, options: Options, job: Job
) -> dict[str, Any]:
    """`sa3d encode`: all photos of a capture; says how many it were, and the seconds.

    Args:
        quality: of the field that will be used, as it decides the photos' working size.

    Raises:
        Sa3dError: any of the tree, each with what to do about it.
    """
    started = time.perf_counter()
    capture = load_capture(path)
    device = pick_device(options.device).type
    made = make_segmenter(segmenter, device, options.cache, weights, job.log)
    if not isinstance(made, Encoder):
        job.log(f"The segmenter {made.name} has nothing to do ahead.")
    copies = PhotoCopies(Cache(options.cache), job.log)
    done = encode_views(made, capture.views, preset(quality).max_side_px, device, job, copies)
    copies.cache.keep_hashes()
    seconds = time.perf_counter() - started
    return {"segmenter": made.name, "encoded": done.now, "already": done.before, "seconds": round(seconds, 2)}


def encode_views(
    segmenter: Segmenter,
    views: Sequence[View],
    max_side: int,
    device: str,
    job: Job,
    copies: PhotoCopies | None = None,
) -> Encoded:
    """Encodes all photos whose embeddings the store lacks; does nothing for segmenters that keep none.

    What is done stays done: a job that was stopped or killed goes on with the photo it was at. Photos are read one
    batch at a time.

    Args:
        views: as stored; photos are encoded at working size, no side longer than ``max_side``.
        copies: where big photos are kept at that size.

    Raises:
        Cancelled, CaptureError, SegmenterError, StorageError.
    """
    if not isinstance(segmenter, Encoder):
        return Encoded(0, 0)
    missing = [view for view in views if not segmenter.is_encoded(_unread(view, max_side, copies))]
    if missing:
        job.log(f"{len(missing)} of {len(views)} photos are encoded for {segmenter.name}, once for all objects.")
        with job.stage("Encoding photos", len(missing)) as stage, stoppable(job):
            for batch in _batches(missing, max_side, BATCH_ON_GPU if device == "cuda" else 1):
                segmenter.encode([_read(view, max_side, copies) for view in batch])
                stage.advance(len(batch), batch[-1].stem)
    return Encoded(len(missing), len(views) - len(missing))


@contextlib.contextmanager
def stoppable(job: Job) -> Iterator[None]:
    """Lets any network that runs meanwhile stop between two layers: a large one takes a minute for one photo."""

    def check(module: Any, arguments: Any) -> None:
        job.check()

    hook = register_module_forward_pre_hook(check)
    try:
        yield
    finally:
        hook.remove()


def _unread(view: View, max_side: int, copies: PhotoCopies | None) -> Photo:
    """The photo's key and size, without its pixels."""
    width, height = working_size(view.camera, max_side)
    return Photo(np.broadcast_to(np.float32(0), (height, width, 3)), key=_key(view, max_side, copies))


def _read(view: View, max_side: int, copies: PhotoCopies | None) -> Photo:
    return Photo(over_white(working_photo(view, max_side, copies)[1]), key=_key(view, max_side, copies))


def _key(view: View, max_side: int, copies: PhotoCopies | None) -> str:
    return working_key(view, max_side) if copies is None else copies.key(view, max_side)


def _batches(views: Sequence[View], max_side: int, size: int) -> Iterator[list[View]]:
    """Views of one working size, some at a time."""
    for _, alike in groupby(views, lambda view: working_size(view.camera, max_side)):
        group = list(alike)
        yield from (group[i : i + size] for i in range(0, len(group), size))
