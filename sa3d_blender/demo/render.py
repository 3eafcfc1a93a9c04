"""Renders the demo scene into a folder: a capture, and beside it the truth about its objects."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sa3d_blender.demo.clicks import clicks_for, focal_length
from sa3d_blender.demo.orbit import stands, world_from_camera
from sa3d_blender.demo.passes import read_mask, render_to, set_up_masks, set_up_photos
from sa3d_blender.demo.stage import OBJECTS, Stage, build_stage
from sa3d_blender.demo.truth import is_watertight, true_surface, write_ply
from sa3d_blender.protocol.errors import CaptureError, EnvironmentFault, MeshError, StorageError

Progress = Callable[[int, int], None]


def render_demo(
    out: Path,
    views: int = 40,
    width: int = 320,
    height: int = 240,
    samples: int = 16,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> None:
    """Write ``out``/capture and ``out``/truth; ``out`` appears only when all of it is there.

    Raises EnvironmentFault without bpy, CaptureError for sizes the scene is not made for and StorageError where
    ``out`` can't be written.
    """
    _check_sizes(views, width, height, samples)
    try:
        import bpy  # noqa: F401
    except ImportError as error:
        raise EnvironmentFault(
            f"The demo scene needs Blender's Python module, which is not here ({error}).",
            'Install it with: pip install "bpy==4.5.15" "numpy<2".',
        ) from error
    part = _fresh_folder(out)
    try:
        _write_all(part, views, width, height, samples, seed, progress)
        if out.exists():
            out.rmdir()
        os.replace(part, out)
    except OSError as error:
        raise StorageError(
            f"The demo could not be written to {out} ({error}).", "Name a folder on a disk with free space."
        ) from error


def _check_sizes(views: int, width: int, height: int, samples: int) -> None:
    if views < 1 or samples < 1:
        raise CaptureError("The demo needs at least one view and one sample.", "Give positive numbers.")
    if not 64 <= width <= 4096 or not 1.0 <= width / max(height, 1) <= 2.0:
        raise CaptureError(
            f"The demo scene does not fit a picture of {width} x {height} pixels.",
            "Choose a width of 64 to 4096 and a height between half of it and all of it, such as 320 x 240.",
        )


def _fresh_folder(out: Path) -> Path:
    """An empty ``out``.partial; what an interrupted run left there is removed, nothing else is."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StorageError(f"{out} exists already.", "Name a new folder, or delete that one first.")
    part = out.with_name(out.name + ".partial")
    if part.exists():
        if not {entry.name for entry in part.iterdir()} <= {"capture", "truth"}:
            raise StorageError(f"{part} is in the way and not ours.", "Move it, or name another folder.")
        shutil.rmtree(part)
    try:
        for folder in ("capture/images", "truth/masks", "truth/meshes"):
            (part / folder).mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"{part} could not be made ({error}).", "Name a folder that you may write to.") from error
    return part


def _write_all(part: Path, views: int, width: int, height: int, samples: int, seed: int, progress: Progress) -> None:
    stage = build_stage(width, height)
    cameras = [world_from_camera(stand) for stand in stands(views, seed)]
    names = [f"{index:03d}.png" for index in range(views)]
    _write_json(part / "capture/transforms.json", _transforms(cameras, names, width, height))
    _write_json(part / "truth/objects.json", OBJECTS)
    _write_json(part / "truth/clicks.json", clicks_for(width, height))
    _write_meshes(stage, part / "truth/meshes")
    sky = stage.scene.world
    total = 2 * views
    # All of one kind, then all of the other: changing materials throws away what Cycles keeps between views.
    set_up_masks(stage, seed)
    for index, (matrix, name) in enumerate(zip(cameras, names, strict=True)):
        render_to(stage, matrix, part / "truth/masks" / name)
        progress(index + 1, total)
    _check_masks(part / "truth/masks", names)
    stage.scene.world = sky
    set_up_photos(stage, samples, seed)
    for index, (matrix, name) in enumerate(zip(cameras, names, strict=True)):
        render_to(stage, matrix, part / "capture/images" / name)
        progress(views + index + 1, total)


def _transforms(cameras: list[np.ndarray], names: list[str], width: int, height: int) -> dict[str, Any]:
    focal = focal_length(width)
    return {
        "camera_model": "OPENCV",
        "fl_x": focal,
        "fl_y": focal,
        "cx": width / 2,
        "cy": height / 2,
        "w": width,
        "h": height,
        "k1": 0.0,
        "k2": 0.0,
        "p1": 0.0,
        "p2": 0.0,
        "frames": [
            {"file_path": f"images/{name}", "transform_matrix": matrix.tolist()}
            for matrix, name in zip(cameras, names, strict=True)
        ],
    }


def _write_meshes(stage: Stage, folder: Path) -> None:
    for name, item in stage.objects.items():
        vertices, triangles = true_surface(item)
        if not is_watertight(triangles):
            raise MeshError(f"The demo's {name} is not closed.", "Report this: the scene is built wrongly.")
        write_ply(folder / f"{name}.ply", vertices, triangles)


def _check_masks(folder: Path, names: list[str]) -> None:
    """Grey values other than the indices would mean that colour management or a filter got in between."""
    known = {0, *OBJECTS.values()}
    for name in names:
        strange = set(np.unique(read_mask(folder / name)).tolist()) - known
        if strange:
            raise CaptureError(
                f"The mask {name} holds {sorted(strange)}, which are no objects.",
                "Use Blender 4.2 to 5.2 with its own colour configuration (unset OCIO).",
            )


def _write_json(path: Path, content: object) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
