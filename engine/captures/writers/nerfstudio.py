"""Writes nerfstudio's transforms.json, every lens as it is, with the photos in images/ and the points in a PLY."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.captures.capture import Camera, Capture, SparsePoints, View
from engine.captures.transforms import SPLITS
from engine.captures.writers.base import CaptureFormat, Written, stated_camera

__all__ = ["NERFSTUDIO"]

POINTS = "sparse_pc.ply"
_FISHEYE = ("k1", "k2", "k3", "k4")
_OPENCV = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")  # in a Camera's order


def _place(view: View, number: int, suffix: str) -> str:
    return f"images/{view.stem}{suffix}"


def _lens(camera: Camera) -> dict[str, object]:
    model, *_, distortion = stated_camera(camera)
    lens: dict[str, object] = {"w": camera.width, "h": camera.height, "fl_x": camera.fl_x, "fl_y": camera.fl_y}
    lens |= {"cx": camera.cx, "cy": camera.cy}
    if model == "pinhole":
        return {"camera_model": "PINHOLE", **lens}
    if model == "fisheye":
        return {"camera_model": "OPENCV_FISHEYE", **lens, **dict(zip(_FISHEYE, distortion, strict=False))}
    # an OPENCV camera's k4 means different things to different programs; FULL_OPENCV's doesn't
    name = "OPENCV" if len(distortion) <= 5 else "FULL_OPENCV"
    return {"camera_model": name, **lens, **dict(zip(_OPENCV, distortion, strict=False))}


def _write(folder: Path, written: Sequence[Written], capture: Capture) -> list[str]:
    lenses = [_lens(each.camera) for each in written]
    shared = all(lens == lenses[0] for lens in lenses)
    data: dict[str, object] = dict(lenses[0]) if shared else {}
    frames = []
    for each, lens in zip(written, lenses, strict=True):
        frame: dict[str, object] = {"file_path": each.photo, "transform_matrix": each.camera.world_from_camera.tolist()}
        if each.mask is not None:
            frame["mask_path"] = each.mask
        frames.append(frame if shared else {**frame, **lens})
    data["frames"] = frames
    if any(each.view.split != "train" for each in written):
        for split in SPLITS:
            data[f"{split}_filenames"] = [each.photo for each in written if each.view.split == split]
    if capture.points is not None:
        _write_points(folder / POINTS, capture.points)
        data["ply_file_path"] = POINTS
    (folder / "transforms.json").write_text(json.dumps(data, indent=1), encoding="utf-8")
    return []


def _write_points(path: Path, points: SparsePoints) -> None:
    names = ("x", "y", "z", "red", "green", "blue")
    table = np.zeros(len(points), [(name, "<f8" if name in "xyz" else "u1") for name in names])
    for i, name in enumerate(names):
        table[name] = points.xyz[:, i] if i < 3 else points.rgb[:, i - 3]
    properties = "".join(f"property {'double' if name in 'xyz' else 'uchar'} {name}\n" for name in names)
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{properties}end_header\n"
    path.write_bytes(head.encode() + table.tobytes())


NERFSTUDIO = CaptureFormat(
    "nerfstudio", "transforms.json, images/ and sparse_pc.ply", _place, list, _write, distorts=True
)
