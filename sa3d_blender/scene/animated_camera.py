"""The scene's own camera, frame by frame, as the cameras of a capture: a transforms.json beside the rendered frames."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy

from ..protocol.errors import CaptureError

__all__ = ["FILE", "intrinsics", "rendered_folder", "write_camera"]

FILE = "transforms.json"
_READ = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})  # what the engine reads
_MOST_FRAMES = 100_000


def rendered_folder(scene: Any) -> Path:
    """The folder that the scene's frames are rendered into."""
    return Path(bpy.path.abspath(scene.render.frame_path(frame=scene.frame_start))).parent


def intrinsics(scene: Any, camera: Any, depsgraph: Any) -> dict[str, float]:
    """Focal lengths and principal point of the camera object in pixels of the scene's frames (x right, y down, from the
    top-left corner), with their size. Blender's own projection says them, so lens, shift, sensor fit and pixel
    aspect are in it.

    Raises CaptureError for cameras that don't see straight, and for frames that are cut.
    """
    render = scene.render
    if camera.data.type != "PERSP":
        raise CaptureError(
            f"The camera {camera.name} is not a perspective one.", "Choose Perspective as its type and render again."
        )
    if render.use_border and render.use_crop_to_border:
        raise CaptureError("The frames are cropped to the render region.", "Turn that off and render again.")
    width = max(1, render.resolution_x * render.resolution_percentage // 100)
    height = max(1, render.resolution_y * render.resolution_percentage // 100)
    matrix = camera.calc_matrix_camera(
        depsgraph, x=width, y=height, scale_x=render.pixel_aspect_x, scale_y=render.pixel_aspect_y
    )
    return {
        "w": width,
        "h": height,
        "fl_x": matrix[0][0] * width / 2,
        "fl_y": matrix[1][1] * height / 2,
        "cx": (1 - matrix[0][2]) * width / 2,
        "cy": (1 + matrix[1][2]) * height / 2,
    }


def write_camera(context: Any, path: Path) -> tuple[int, int]:
    """Writes the file; returns how many frames are in it and how many of the scene's aren't rendered.

    Frames are those from the scene's first to its last, by its step, whose pictures lie beside the file or below. The
    current frame is left as it was. Raises CaptureError where there is nothing to write, or it can't be written.
    """
    scene = context.scene
    numbers = range(scene.frame_start, scene.frame_end + 1, max(1, scene.frame_step))
    if len(numbers) > _MOST_FRAMES:
        raise CaptureError(f"The scene has {len(numbers)} frames, more than {_MOST_FRAMES}.", "Shorten its range.")
    frames, missing = [], 0
    with _frame_kept(scene):
        for number in numbers:
            picture = Path(bpy.path.abspath(scene.render.frame_path(frame=number)))
            if not picture.is_file():
                missing += 1
                continue
            frames.append(_frame(context, number, picture, path.parent))
    if not frames:
        picture = Path(bpy.path.abspath(scene.render.frame_path(frame=scene.frame_start)))
        raise CaptureError(f"No frame of this scene is rendered; looked for {picture}.", "Render the animation first.")
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(json.dumps({"camera_model": "PINHOLE", "frames": frames}, indent=1), encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise CaptureError(
            f"{path} can't be written: {error.strerror or error}.", "Choose a folder that you may write to."
        ) from error
    return len(frames), missing


@contextmanager
def _frame_kept(scene: Any) -> Iterator[None]:
    before, part = scene.frame_current, scene.frame_subframe
    try:
        yield
    finally:
        scene.frame_set(before, subframe=part)


def _frame(context: Any, number: int, picture: Path, folder: Path) -> dict[str, Any]:
    scene = context.scene
    if picture.suffix.lower() not in _READ:
        raise CaptureError(f"Frames are rendered as {picture.suffix}, not as pictures.", "Render PNG or JPEG files.")
    try:
        name = picture.resolve().relative_to(folder.resolve()).as_posix()
    except ValueError as error:
        raise CaptureError(
            f"The frame {picture} lies elsewhere than {FILE}.", f"Write {FILE} into the folder of the frames."
        ) from error
    scene.frame_set(number)
    camera = scene.camera  # a marker may have chosen another one
    if camera is None:
        raise CaptureError(f"The scene has no camera in frame {number}.", "Set its active camera.")
    depsgraph = context.evaluated_depsgraph_get()
    seen = camera.evaluated_get(depsgraph)
    pose = seen.matrix_world.normalized()  # Blender's cameras don't grow with their object's scale
    return {
        "file_path": name,
        "transform_matrix": [list(row) for row in pose],
        **intrinsics(scene, seen, depsgraph),
    }
