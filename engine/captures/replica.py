"""Reads Replica sequences in the layout of Zhi et al.: ``rgb/rgb_<i>.png`` beside ``traj_w_c.txt``.

A line of the trajectory holds the 16 numbers of a camera-to-world matrix, row by row, in OpenCV's axes (+Y down,
looking along +Z); line i belongs to ``rgb_<i>.png``. All photos have a horizontal field of view of 90 degrees.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from engine.captures.capture import Camera, Capture
from engine.captures.images import photo_header
from engine.captures.scene_masks import masked
from engine.captures.validate import MAX_FRAMES, BadView, Draft, assemble, inside, keep_good, limited_size, rigid_pose
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["TRAJECTORY", "read_replica"]

TRAJECTORY = "traj_w_c.txt"
_PHOTO = re.compile(r"rgb_(\d{1,6})\.png")
_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


def read_replica(root: Path) -> Capture:
    """The sequence in ``root``, the folder that holds ``traj_w_c.txt`` and ``rgb``. Raises CaptureError."""
    poses = _trajectory(root / TRAJECTORY)
    folder = root / "rgb"
    if not folder.is_dir():
        raise CaptureError(f"There is no folder rgb beside {TRAJECTORY}.", "Put the photos rgb_0.png, ... there.")
    numbers = sorted(int(found[1]) for path in folder.iterdir() if (found := _PHOTO.fullmatch(path.name)))
    drafts, bad = [], []
    for number in numbers:
        name = f"rgb/rgb_{number}.png"
        try:
            name, path = inside(root, name)
            if number >= len(poses):
                raise BadView(f"{TRAJECTORY} has only {len(poses)} poses")
            pose = rigid_pose(poses[number] @ _OPENGL_FROM_OPENCV)
            header = photo_header(path)
        except BadView as reason:
            bad.append((name, str(reason)))
            continue
        width, height = header.width, header.height
        focal = width / 2  # half the width over the tangent of 45 degrees
        camera = Camera(width, height, focal, focal, width / 2, height / 2, pose)
        drafts.append(Draft(name, path, header, camera))
    drafts, told = masked(root, drafts)
    return assemble(root, "replica", drafts, [*keep_good(len(numbers), bad), *told])


def _trajectory(path: Path) -> np.ndarray:
    """Camera-to-world matrices as written, float64 [N, 4, 4]."""
    limited_size(path)
    cure = "Take the file from the data set again: a line has 16 numbers."
    try:
        lines = path.read_text("utf-8").splitlines()
        values = np.loadtxt(lines, dtype=np.float64, ndmin=2) if any(map(str.strip, lines)) else np.zeros((0, 0))
    except (OSError, ValueError) as error:
        raise CaptureError(f"{path.name} is not a table of numbers.", cure) from error
    if values.ndim != 2 or values.shape[1] != 16:
        raise CaptureError(f"{path.name} has {values.shape[-1]} numbers a line, not 16.", cure)
    if len(values) > MAX_FRAMES:
        raise CaptureError(f"{path.name} has {len(values)} lines, more than the limit of {MAX_FRAMES}.", cure)
    return values.reshape(-1, 4, 4)
