"""Reads RealityCapture's and RealityScan's "Internal/External camera parameters", a CSV of one line a photo:

    #name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2

Angles are degrees: at zero the camera looks down with the photo's upper side to +Y (north); heading turns it clockwise,
pitch raises it, roll tilts it: world-from-camera, in OpenGL's axes, is Rz(-heading) Rx(pitch) Ry(roll). f, px and py
are for a frame whose longer side is 36 mm; px and py count from the photo's middle. The lens is Brown's, t1 and t2
taken for OpenCV's p1 and p2. Source: Epic's knowledge base, "Registration export and camera orientations" and
"RealityCapture XMP Camera Math". XMP sidecars are not read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from engine.captures.brown import BrownLens, brown_camera
from engine.captures.capture import Capture
from engine.captures.images import PhotoHeader
from engine.captures.labels import Labelled, capture_of
from engine.captures.lens_fit import Fit
from engine.captures.validate import MAX_FRAMES, BadView, limited_size, rigid_pose
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["is_reality", "read_reality"]

_COLUMNS = ("x", "y", "alt", "heading", "pitch", "roll", "f", "px", "py", "k1", "k2", "k3", "k4", "t1", "t2")
_FRAME_MM = 36.0
_AGAIN = 'Export "Internal/External camera parameters" again, as CSV with a header.'


def is_reality(path: Path) -> bool:
    """Whether the file's first line is the header of such an export."""
    try:
        with path.open("rb") as file:
            head = file.readline(1024)
    except OSError:
        return False
    return head.lstrip(b"\xef\xbb\xbf").lower().replace(b" ", b"").startswith(b"#name,x,y,alt,heading,pitch,roll")


def read_reality(path: Path) -> Capture:
    """The capture of the cameras in ``path`` and of the photos beside it or in images/. Raises CaptureError."""
    limited_size(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
        cameras = list(_cameras(csv.reader(lines), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaptureError(f"{path.name} is not a table of cameras.", _AGAIN) from error
    return capture_of(path.parent, path, "reality", cameras, [])


def _cameras(rows: Iterator[list[str]], path: Path) -> Iterator[Labelled]:
    head = [word.strip().lower() for word in next(rows, [])]
    missing = [name for name in ("#name", *_COLUMNS) if name not in head]
    if missing:
        raise CaptureError(f"{path.name} has no column {missing[0]}.", _AGAIN)
    at = {name: head.index(name) for name in ("#name", *_COLUMNS)}
    for number, row in enumerate(rows):
        if number >= MAX_FRAMES:
            raise CaptureError(f"{path.name} has more than the limit of {MAX_FRAMES} cameras.", "Use fewer photos.")
        if not any(word.strip() for word in row):
            continue
        if len(row) < len(head):
            raise CaptureError(f"Line {number + 2} of {path.name} has fewer columns than its header.", _AGAIN)
        try:
            values = {name: float(row[at[name]]) for name in _COLUMNS}
        except ValueError as error:
            raise CaptureError(f"Line {number + 2} of {path.name} holds a word for a number.", _AGAIN) from error
        key = tuple(values[name] for name in _COLUMNS[6:])
        yield Labelled(
            row[at["#name"]].strip(),
            key,
            lambda values=values: _pose(values),
            lambda header, values=values: _fit(values, header),
        )


def _pose(values: dict[str, float]) -> np.ndarray:
    angles = np.array([-values["heading"], values["pitch"], values["roll"]])
    if not (np.isfinite(angles).all() and np.abs(angles).max() < 1e6):
        raise BadView("its angles are not finite")
    (cz, cx, cy), (sz, sx, sy) = np.cos(np.radians(angles)), np.sin(np.radians(angles))
    turn = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    raised = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    tilted = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pose = np.eye(4)
    pose[:3, :3] = turn @ raised @ tilted
    pose[:3, 3] = values["x"], values["y"], values["alt"]
    return rigid_pose(pose)


def _fit(values: dict[str, float], header: PhotoHeader) -> Fit:
    pixels = max(header.width, header.height) / _FRAME_MM
    return brown_camera(
        BrownLens(
            header.width,
            header.height,
            values["f"] * pixels,
            header.width / 2 + values["px"] * pixels,
            header.height / 2 + values["py"] * pixels,
            (values["k1"], values["k2"], values["k3"], values["k4"]),
            (values["t1"], values["t2"]),
        )
    )
