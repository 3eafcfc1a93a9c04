"""A capture on its way into the open file: what the artist chose, what the engine found there, what is built of it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bpy

from .asks import Ask
from .job import Job
from .scene.capture import build_capture
from .scene.description import CaptureDescription
from .scene.obstacles import hide_obstacles
from .scene.straight_camera import said_of_hidden
from .scene.views import cameras_of, show_view

__all__ = ["IMPORT", "build", "build_job", "import_job", "is_description", "photos_without_cameras", "poses_job"]

IMPORT = "import"
MOST_WARNINGS = 3
PHOTOS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif"})
VIDEOS = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".3gp"})
_CAMERAS = frozenset({".json", ".npy", ".xml", ".csv", ".bin", ".txt"})
_SIDECAR = b"capturingreality.com/ns/xcr"  # in RealityCapture's .xmp files; drones and photo editors write others
_BESIDE = ("poses_bounds.npy", "transforms.json", "sparse", "colmap")


def is_description(path: Path) -> bool:
    """Whether a file is a description that needs no engine: a result's scene.json, or the like."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False  # whoever reads it says what is wrong with it
    return isinstance(tree, dict) and "views" in tree and "frames" not in tree


def import_job(path: Path, options: Mapping[str, bool]) -> Job:
    """A job that has the engine read a capture: a folder, or the file in it that lists the cameras."""
    name = path.name if path.is_dir() else path.parent.name
    asks = (Ask("open_capture", {"path": str(path)}),)
    return Job(IMPORT, f"Import {name}", "", "", str(path), "", "", "", asks, options=dict(options))


def photos_without_cameras(path: Path) -> Path | None:
    """What cameras would have to be found for, where an artist chose ``path``: a video, or a folder of photos in which
    and beside which there is nothing that could hold cameras. None where there may be some.
    """
    if path.suffix.lower() in VIDEOS:
        return path if path.is_file() else None
    folder = path.parent if path.suffix.lower() in PHOTOS else path
    try:
        there = list(folder.iterdir())
        beside = any((folder.parent / name).exists() for name in _BESIDE)
    except OSError:
        return None  # the engine says what is wrong with it
    cameras = any(one.suffix.lower() in _CAMERAS or one.name in ("sparse", "colmap", "Sequence_1") for one in there)
    cameras = cameras or any(_is_sidecar(one) for one in there)
    return folder if not cameras and not beside and any(one.suffix.lower() in PHOTOS for one in there) else None


def _is_sidecar(path: Path) -> bool:
    """Whether a file is one in which RealityCapture says where a photo was taken from."""
    if path.suffix.lower() != ".xmp" or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return _SIDECAR in file.read(2**16)
    except OSError:
        return False


def poses_job(photos: Path, out: Path, options: Mapping[str, bool]) -> Job:
    """A job that has the engine find the cameras of photos or of a video, then imports the capture in ``out``."""
    asks = (Ask("find_poses", {"photos": str(photos), "out": str(out)}), Ask("open_capture", {"path": str(out)}))
    return Job(IMPORT, f"Find Cameras of {photos.name}", "", "", str(out), "", "", "", asks, options=dict(options))


def build_job(job: Job) -> None:
    """Builds what a job's engine found, in a context that has a viewport where there is one. Raises CaptureError."""
    with _in_a_viewport():
        for line in build(bpy.context, dict(job.described or {}), job.options)[1]:
            job.say(line)


def build(
    context: Any, description: CaptureDescription | dict[str, Any], options: Mapping[str, bool]
) -> tuple[Any, list[str]]:
    """Puts a capture into the open file. Returns its collection and what the artist should know of it.

    ``options``: ``look_through`` its first camera, ``hide_in_the_way`` what stands where it is. Raises CaptureError.
    """
    warnings = description.warnings if isinstance(description, CaptureDescription) else description.get("warnings", ())
    capture = build_capture(context, description)
    said = [str(line) for line in list(warnings)[:MOST_WARNINGS]]
    hides = said_of_hidden(camera.get("sa3d_hidden", 0.0) for camera in cameras_of(capture))
    if hides:
        said.append(hides)
    trouble = show_view(context, context.scene.camera) if options.get("look_through", True) else ""
    hidden = hide_obstacles(capture) if options.get("hide_in_the_way", True) else []
    missing = capture["sa3d_missing_photos"]
    if missing:
        said.append(f"{missing} photos are not where the capture says; their cameras show none")
    elif trouble:
        said.append(trouble)
    if hidden:
        said.append(f"Hid {', '.join(hidden)}, which stood in the way")
    return capture, said


@contextlib.contextmanager
def _in_a_viewport() -> Any:
    """A timer has no area; looking through a camera wants one."""
    for window in bpy.context.window_manager.windows:
        area = next((one for one in window.screen.areas if one.type == "VIEW_3D"), None)
        if area is not None:
            region = next(one for one in area.regions if one.type == "WINDOW")
            with bpy.context.temp_override(window=window, area=area, region=region):
                yield
            return
    yield
