"""A capture as the add-on needs it to build its scene: cameras, photos, box, sparse points, trained fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine import api
from engine.cache import Cache
from engine.captures.bounds import scene_box
from engine.captures.capture import Capture
from engine.captures.load import load_capture
from engine.fields.checkpoint import has_field
from engine.fields.settings import PRESETS
from engine.progress import Job
from engine.results import scene_description
from engine.server_lanes import Answer
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["describe_capture", "sparse_points"]

MOST_POINTS = 500_000  # to look at; more are thinned out evenly


def describe_capture(path: Path, cache: Path, job: Job) -> Answer:
    """A capture's content. The body is that of a result's scene.json, and besides ``format``, ``warnings``, ``fields``,
    ``box``, and with each view its ``split``; arrays ``points`` and ``colours``.

    Raises:
        CaptureError: it can't be read.
    """
    with job.stage("Reading capture", 2) as stage:
        capture = load_capture(path)
        stage.advance()
        body: dict[str, Any] = scene_description(
            capture.root.absolute().name, capture.root, {view.stem: view for view in capture.views}, []
        )
        body["objects"] = []
        for listed, view in zip(body["views"], capture.views, strict=True):
            listed["split"] = view.split
        warnings = list(capture.warnings)
        body |= {"capture": str(path.absolute()), "format": capture.format, "has_alpha": capture.has_alpha}
        try:
            box = scene_box(capture)
            body["box"] = {"low": box.aabb[0].tolist(), "high": box.aabb[1].tolist(), "kind": box.kind}
        except CaptureError as fault:  # it can be looked at all the same
            body["box"] = None
            warnings.append(f"There is no region of interest: {fault.what}")
        points, colours, note = sparse_points(capture)
        if note:
            warnings.append(note)
    body |= {"warnings": warnings, "fields": trained_fields(capture, cache, job)}
    arrays = {} if points is None else {"points": points, "colours": colours}
    return Answer(body, arrays)


def sparse_points(capture: Capture) -> tuple[np.ndarray | None, np.ndarray | None, str]:
    """(points float32 [N, 3] in the capture's world, their colours uint8 [N, 3], a warning or nothing).

    None where the capture has none.
    """
    if capture.points is None:
        return None, None, ""
    count = len(capture.points)
    step = max(1, -(-count // MOST_POINTS))
    note = f"Every {step}th of the {count} sparse points is shown." if step > 1 else ""
    points = capture.points.xyz[::step].astype(np.float32)
    return np.ascontiguousarray(points), np.ascontiguousarray(capture.points.rgb[::step]), note


def trained_fields(capture: Capture, cache: Path, job: Job, seed: int = 0) -> dict[str, str]:
    """The folders of fields in the cache that belong to this capture, by quality."""
    with job.stage("Looking for trained fields"):
        key = Cache(cache).capture_key(capture)
        places = {quality: cache / "fields" / f"{key}-{quality}-{seed}" for quality in PRESETS}
        return {quality: str(place) for quality, place in places.items() if has_field(place) and api.preset(quality)}
