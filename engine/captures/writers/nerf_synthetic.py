"""Writes transforms_{train,val,test}.json of nerf_synthetic: one angle for all photos, PNGs in train/, val/, test/."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.captures.capture import Camera, Capture, View
from engine.captures.writers.base import CaptureFormat, Written, centred_pinhole, same_lens

__all__ = ["NERF_SYNTHETIC"]


def _place(view: View, number: int, suffix: str) -> str:
    return f"{view.split}/{view.stem}{suffix}"


def _targets(cameras: Sequence[Camera]) -> list[Camera]:
    """Of the same angle as the narrowest of them."""
    straight = [centred_pinhole(camera) for camera in cameras]
    most = max(camera.fl_x / camera.width for camera in straight)
    alike = [replace(camera, fl_x=most * camera.width, fl_y=most * camera.width) for camera in straight]
    return [
        old if abs(old.fl_x - new.fl_x) <= 1e-9 * new.fl_x and same_lens(old, straight[i]) else new
        for i, (old, new) in enumerate(zip(cameras, alike, strict=True))
    ]


def _write(folder: Path, written: Sequence[Written], capture: Capture) -> list[str]:
    angle = 2.0 * math.atan(0.5 * written[0].camera.width / written[0].camera.fl_x)
    for split in sorted({each.view.split for each in written}):
        frames = [
            {
                "file_path": f"./{each.photo.removesuffix('.png')}",
                "transform_matrix": each.camera.world_from_camera.tolist(),
            }
            for each in written
            if each.view.split == split
        ]
        text = json.dumps({"camera_angle_x": angle, "frames": frames}, indent=1)
        (folder / f"transforms_{split}.json").write_text(text, encoding="utf-8")
    told = []
    if capture.points is not None:
        told.append("nerf_synthetic has no sparse points.")
    if any(each.mask for each in written):
        told.append("nerf_synthetic has no masks; they are written but not read back.")
    return told


NERF_SYNTHETIC = CaptureFormat(
    "nerf-synthetic", "transforms_train.json, one angle, PNGs", _place, _targets, _write, png=True
)
