"""The 2D mask of one view for the clicks so far, without a field: what the artist sees a moment after a click."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine import api
from engine.cache import Cache
from engine.captures.capture import Capture, View
from engine.captures.load import find_view, load_capture
from engine.devices import pick_device
from engine.options import Options
from engine.photo_copies import PhotoCopies
from engine.progress import Job
from engine.prompts import UserPrompt, prompts_for, read_drawing
from engine.segmenters.base import Photo, Segmenter
from engine.segmenters.choose import make_segmenter
from engine.server_lanes import Answer
from engine.text_prompts import with_box
from engine.workspace import over_white, working_photo

__all__ = ["PreviewRequest", "Previewer"]


@dataclass(frozen=True)
class PreviewRequest:
    """Which mask: prompts in one view of a capture, by which segmenter, at which of its scales.

    ``quality`` gives the size at which the photo is looked at, so that the embedding serves the lifting too.
    """

    capture: Path
    prompt: UserPrompt
    segmenter: str = "auto"
    weights: Path | None = None
    scale: str | None = None
    quality: str = "draft"


class Previewer:
    """Keeps the segmenter, the capture and the photo of the latest click, so that the next one costs a decoder call.

    What is kept for speed is made anew where a file that it came from has changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._segmenter: tuple[tuple[Any, ...], Segmenter] | None = None
        self._capture: tuple[tuple[Any, ...], Capture] | None = None
        self._photo: tuple[Any, ...] | None = None
        self._size = (0, 0)

    def mask(self, request: PreviewRequest, options: Options, job: Job) -> Answer:
        """Body: ``view``, ``segmenter``, ``scales``, ``score``, ``candidates``, ``chosen``, ``box``, ``hits``,
        ``seconds``; arrays: ``mask`` uint8 [h, w] (255 = the object), ``candidate0`` ... in the same way.

        Raises:
            PromptError, CaptureError, SegmenterError, StorageError, EnvironmentFault
        """
        started = time.perf_counter()
        with self._lock, job.stage("Segmenting the view", 2) as stage:
            view = find_view(self._opened(request.capture), request.prompt.view)
            prompt = with_box(request.prompt, view, options, job)
            if prompt.mask is not None:
                drawn = _as_bytes(read_drawing(prompt.mask, view))
                return Answer({"view": view.stem, "segmenter": "", "score": None, "candidates": []}, {"mask": drawn})
            segmenter = self._looking_at(view, request, options, job)
            stage.advance()
            prompts = replace(prompts_for(prompt, view, self._size, options.seed), scale=request.scale)
            found = segmenter.predict(prompts)
        arrays = {"mask": _as_bytes(found.mask)}
        candidates = []
        for i, each in enumerate(found.candidates):
            arrays[f"candidate{i}"] = _as_bytes(each.mask)
            candidates.append({"scale": each.scale, "score": each.score, "array": f"candidate{i}"})
        chosen = next((i for i, each in enumerate(found.candidates) if np.array_equal(each.mask, found.mask)), None)
        hits = () if prompt.text is None else prompt.text.hits
        body = {
            "view": view.stem,
            "segmenter": segmenter.name,
            "scales": segmenter.scales,
            "score": found.score,
            "candidates": candidates,
            "chosen": chosen,
            "box": prompt.box,
            "hits": [{"box": hit.box_px, "score": hit.score, "words": hit.words} for hit in hits],
            "seconds": time.perf_counter() - started,
        }
        return Answer(body, arrays)

    def encode(self, request: PreviewRequest, options: Options, job: Job) -> Answer:
        """Does what is slow about a view ahead of its first click: body ``view``, ``segmenter``, ``scales``."""
        with self._lock, job.stage("Preparing the view"):
            view: View = find_view(self._opened(request.capture), request.prompt.view)
            segmenter = self._looking_at(view, request, options, job)
        return Answer({"view": view.stem, "segmenter": segmenter.name, "scales": segmenter.scales})

    def _looking_at(self, view: View, request: PreviewRequest, options: Options, job: Job) -> Segmenter:
        """The segmenter, with the view's photo set."""
        segmenter = self._made(request, options, job)
        side = api.preset(request.quality).max_side_px
        mark = (view.stem, side, *_stamp(view.image_path))
        if mark != self._photo:
            self._photo = None  # a failure in between leaves nothing wrong behind
            copies = PhotoCopies(Cache(options.cache), job.log)
            camera, image = working_photo(view, side, copies)
            job.check()
            segmenter.set_image(Photo(over_white(image), key=copies.key(view, side)))
            self._photo, self._size = mark, (camera.width, camera.height)
        return segmenter

    def _opened(self, path: Path) -> Capture:
        file = path / "transforms.json" if path.is_dir() else path
        mark = (path, *_stamp(file if file.is_file() else path))
        if self._capture is None or self._capture[0] != mark:
            self._capture, self._photo = (mark, load_capture(path)), None
        return self._capture[1]

    def _made(self, request: PreviewRequest, options: Options, job: Job) -> Segmenter:
        mark = (request.segmenter, request.weights, options.device, options.cache)
        if self._segmenter is None or self._segmenter[0] != mark:
            self._segmenter = self._photo = None  # the old one's memory is free before the new one takes its own
            device = pick_device(options.device).type
            made = make_segmenter(request.segmenter, device, options.cache, request.weights, job.log)
            self._segmenter = mark, made
            job.check()
        return self._segmenter[1]


def _stamp(path: Path) -> tuple[str, int, int]:
    """A file as it is now; (path, 0, 0) where it is gone, which the reader says better."""
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0
    return str(path), found.st_size, found.st_mtime_ns


def _as_bytes(mask: np.ndarray) -> np.ndarray:
    return (np.clip(mask, 0, 1) * 255 + 0.5).astype(np.uint8)
