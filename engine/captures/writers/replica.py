"""Writes Replica sequences in the layout of Zhi et al.: rgb/rgb_<i>.png and traj_w_c.txt, 90 degrees across.

A photo of a narrower lens becomes the middle of such a one, black around it, with a mask in masks/ that says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from engine.captures.capture import Camera, Capture, View
from engine.captures.writers.base import OPENCV_FROM_OPENGL, CaptureFormat, Written, same_lens

__all__ = ["REPLICA"]


def _place(view: View, number: int, suffix: str) -> str:
    return f"rgb/rgb_{number}{suffix}"


def _targets(cameras: Sequence[Camera]) -> list[Camera]:
    result = []
    for camera in cameras:
        width = max(2, round(2 * camera.fl_x))  # as fine as the photo in its middle
        height = max(2, round(camera.height * width / (2 * camera.fl_y)))
        target = replace(
            camera,
            width=width,
            height=height,
            fl_x=width / 2,
            fl_y=width / 2,
            cx=width / 2,
            cy=height / 2,
            model="pinhole",
            distortion=(),
        )
        result.append(camera if same_lens(camera, target) else target)
    return result


def _write(folder: Path, written: Sequence[Written], capture: Capture) -> list[str]:
    lines = []
    for each in written:
        pose = each.camera.world_from_camera @ OPENCV_FROM_OPENGL
        lines.append(" ".join(repr(float(value)) for value in pose.ravel()))
    (folder / "traj_w_c.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    told = []
    if capture.points is not None:
        told.append("Replica's layout has no sparse points.")
    if any(view.split != "train" for view in capture.views):
        told.append("Replica's layout has no splits.")
    return told


REPLICA = CaptureFormat("replica", "traj_w_c.txt and rgb/, 90 degrees across", _place, _targets, _write, png=True)
