"""Writes COLMAP models, sparse/0/*.bin or *.txt, with the photos in images/.

Points get no tracks, since a capture doesn't know what shows them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.captures.capture import Camera, Capture, View
from engine.captures.colmap_model import MODELS
from engine.captures.writers.base import OPENCV_FROM_OPENGL, CaptureFormat, Written, stated_camera

__all__ = ["BINARY", "TEXT", "quaternion"]

_NUMBERS = {name: number for number, (name, _) in MODELS.items()}
_HEADS = {
    "cameras": "# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]",
    "images": "# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME\n# POINTS2D[] as (X, Y, POINT3D_ID)",
    "points3D": "# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)",
}


def _place(view: View, number: int, suffix: str) -> str:
    return f"images/{view.stem}{suffix}"


def _lens(camera: Camera) -> tuple[str, list[float]]:
    """The model's name and its parameters."""
    four = [camera.fl_x, camera.fl_y, camera.cx, camera.cy]
    model, *_, distortion = stated_camera(camera)
    if model == "pinhole":
        return "PINHOLE", four
    if model == "fisheye":
        return "OPENCV_FISHEYE", [*four, *distortion, *[0.0] * (4 - len(distortion))]
    if len(distortion) <= 4:
        return "OPENCV", [*four, *distortion, *[0.0] * (4 - len(distortion))]
    return "FULL_OPENCV", [*four, *distortion, *[0.0] * (8 - len(distortion))]


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """The unit quaternion (w, x, y, z), w >= 0, of a rotation [3, 3], by the eigenvector of Bar-Itzhack (2000)."""
    m = rotation
    k = np.array(
        [
            [m[0, 0] - m[1, 1] - m[2, 2], m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]],
            [m[1, 0] + m[0, 1], m[1, 1] - m[0, 0] - m[2, 2], m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]],
            [m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], m[2, 2] - m[0, 0] - m[1, 1], m[1, 0] - m[0, 1]],
            [m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], m[0, 0] + m[1, 1] + m[2, 2]],
        ]
    )
    x, y, z, w = np.linalg.eigh(k / 3.0)[1][:, -1]
    return np.array([w, x, y, z]) * (-1.0 if w < 0 else 1.0)


def _records(written: Sequence[Written]) -> tuple[list[tuple[str, int, int, list[float]]], list[tuple]]:
    """Lenses (model, width, height, parameters), and (qvec, tvec, lens's number, name) of the photos."""
    numbers: dict[tuple, int] = {}
    lenses, photos = [], []
    for each in written:
        key = stated_camera(each.camera)
        if key not in numbers:
            numbers[key] = len(numbers) + 1
            model, params = _lens(each.camera)
            lenses.append((model, each.camera.width, each.camera.height, params))
        from_world = np.linalg.inv(each.camera.world_from_camera @ OPENCV_FROM_OPENGL)
        name = each.photo.removeprefix("images/")
        photos.append((quaternion(from_world[:3, :3]), from_world[:3, 3], numbers[key], name))
    return lenses, photos


def _write_binary(folder: Path, written: Sequence[Written], capture: Capture) -> list[str]:
    lenses, photos = _records(written)
    points = capture.points
    model = folder / "sparse/0"
    model.mkdir(parents=True)
    with (model / "cameras.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(lenses)))
        for number, (name, width, height, params) in enumerate(lenses, start=1):
            file.write(struct.pack(f"<iiQQ{len(params)}d", number, _NUMBERS[name], width, height, *params))
    with (model / "images.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(photos)))
        for number, (qvec, tvec, lens, name) in enumerate(photos, start=1):
            file.write(struct.pack("<i7di", number, *qvec, *tvec, lens) + name.encode() + b"\0" + bytes(8))
    with (model / "points3D.bin").open("wb") as file:
        file.write(struct.pack("<Q", 0 if points is None else len(points)))
        if points is not None:
            for number, (xyz, rgb) in enumerate(zip(points.xyz, points.rgb, strict=True), start=1):
                file.write(struct.pack("<Q3d3BdQ", number, *xyz, *rgb.tolist(), 0.0, 0))
    return _lost(capture)


def _write_text(folder: Path, written: Sequence[Written], capture: Capture) -> list[str]:
    lenses, photos = _records(written)
    points = capture.points
    model = folder / "sparse/0"
    model.mkdir(parents=True)
    lines: dict[str, list[str]] = {"cameras": [], "images": [], "points3D": []}
    for number, (name, width, height, params) in enumerate(lenses, start=1):
        lines["cameras"].append(_words(number, name, width, height, *params))
    for number, (qvec, tvec, lens, name) in enumerate(photos, start=1):
        lines["images"] += [_words(number, *qvec, *tvec, lens, name), ""]
    if points is not None:
        for number, (xyz, rgb) in enumerate(zip(points.xyz, points.rgb.tolist(), strict=True), start=1):
            lines["points3D"].append(_words(number, *xyz, *rgb, 0.0))
    for name, body in lines.items():
        (model / f"{name}.txt").write_text("\n".join([_HEADS[name], *body]) + "\n", encoding="utf-8")
    return _lost(capture)


def _words(*values: object) -> str:
    return " ".join(repr(float(value)) if isinstance(value, float) else str(value) for value in values)


def _lost(capture: Capture) -> list[str]:
    return ["COLMAP has no splits."] if any(view.split != "train" for view in capture.views) else []


BINARY = CaptureFormat("colmap", "COLMAP, sparse/0/*.bin", _place, list, _write_binary, distorts=True)
TEXT = CaptureFormat("colmap-txt", "COLMAP, sparse/0/*.txt", _place, list, _write_text, distorts=True)
