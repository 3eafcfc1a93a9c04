"""What a capture is, as facts to print: format, photos, lenses, splits, points, masks, box, and what is missing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from engine.captures.bounds import scene_box
from engine.captures.capture import Camera, Capture
from engine.captures.load import load_capture
from engine.captures.picture import draw_capture
from engine.captures.writers.base import stated_camera
from engine.progress import Job
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["capture_facts", "capture_info"]


def capture_info(path: Path, job: Job, picture: Path | None = None) -> dict[str, Any]:
    """The facts of the capture at ``path``; its cameras and points are drawn into the PNG ``picture``, if given.

    Raises CaptureError; StorageError where the picture can't be written, or would lie in the capture.
    """
    capture = load_capture(path)
    facts = capture_facts(capture)
    if picture is not None:
        with job.stage("Drawing cameras and points"):
            draw_capture(capture, picture)
        facts["picture"] = str(picture)
    return facts


def capture_facts(capture: Capture) -> dict[str, Any]:
    """Facts of a capture, ready for JSON. Lengths are in units of the capture's world."""
    views = capture.views
    centres = np.array([view.camera.position for view in views])
    lenses = Counter(view.camera.model for view in views)
    facts: dict[str, Any] = {
        "root": str(capture.root),
        "format": capture.format,
        "views": len(views),
        "sizes": _counted([f"{view.camera.width} x {view.camera.height}" for view in views]),
        "lens_models": dict(lenses.most_common()),
        "different_lenses": len({stated_camera(view.camera) for view in views}),
        "field_of_view_degrees": _range([_angle(view.camera) for view in views]),
        "splits": _counted([view.split for view in views]),
        "alpha": capture.has_alpha,
        "masks": sum(view.mask_path is not None for view in views),
        "near_far": sum(view.near_far is not None for view in views),
        "points": 0 if capture.points is None else len(capture.points),
        "cameras_lowest": centres.min(axis=0).tolist(),
        "cameras_highest": centres.max(axis=0).tolist(),
        "box": None,
        "box_kind": None,
        "warnings": list(capture.warnings),
    }
    try:
        box = scene_box(capture)
        facts["box"], facts["box_kind"] = box.aabb.tolist(), box.kind
    except CaptureError as error:
        facts["warnings"].append(f"There is no region of interest: {error.what}")
    return facts


def _angle(camera: Camera) -> float:
    """Across the photo, in degrees, as if it had no distortion."""
    return float(np.degrees(2.0 * np.arctan(0.5 * camera.width / camera.fl_x)))


def _range(values: list[float]) -> list[float]:
    return [round(min(values), 2), round(max(values), 2)]


def _counted(values: list[str]) -> dict[str, int]:
    return dict(Counter(values).most_common(20))
