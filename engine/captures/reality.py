"""Reads RealityCapture's and RealityScan's "Internal/External camera parameters", a CSV of one line a photo:

    #name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2

RealityScan 2 writes yaw for heading, f_35mm for f, px_norm and py_norm for px and py; what follows f may be left out.
Angles are degrees: at zero the camera looks down with the photo's upper side to +Y (north); heading turns it clockwise,
pitch raises it, roll tilts it: world-from-camera, in OpenGL's axes, is Rz(-heading) Rx(pitch) Ry(roll). Source: Epic's
knowledge base, "Registration export and camera orientations"; the header and a line of Postshot's sample.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from engine.captures.capture import Capture
from engine.captures.far_away import brought_near
from engine.captures.images import PhotoHeader
from engine.captures.labels import Labelled, capture_of
from engine.captures.lens_fit import Fit
from engine.captures.reality_lens import reality_lens
from engine.captures.validate import MAX_FRAMES, BadView, limited_size, rigid_pose
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["is_reality", "read_reality"]

_OTHER_NAMES = {"yaw": "heading", "f_35mm": "f", "px_norm": "px", "py_norm": "py"}
_POSE = ("x", "y", "alt", "heading", "pitch", "roll")
_LENS = ("px", "py", "k1", "k2", "k3", "k4", "t1", "t2")
_COLUMNS = (*_POSE, "f", *_LENS)
_AGAIN = 'Export "Internal/External camera parameters" again, as CSV with a header.'


def is_reality(path: Path) -> bool:
    """Whether the file starts as the programs' tables of cameras do; not all of them say where cameras look."""
    try:
        with path.open("rb") as file:
            head = file.readline(1024)
    except OSError:
        return False
    return head.lstrip(b"\xef\xbb\xbf").lower().replace(b" ", b"").startswith((b"#name,", b"#cameras"))


def read_reality(path: Path) -> Capture:
    """The capture of the cameras in ``path`` and of the photos beside it or in images/. Raises CaptureError.

    Cameras with a map's coordinates are brought to the origin; ``Capture.extra`` has "brought_near" then.
    """
    limited_size(path)
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
        rows = list(_rows(csv.reader(lines), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CaptureError(f"{path.name} is not a table of cameras.", _AGAIN) from error
    positions = np.array([[row[1][name] for name in _POSE[:3]] for row in rows]).reshape(-1, 3)
    near, told = brought_near(positions)
    cameras = [_camera(label, values, near) for label, values in rows]
    capture = capture_of(path.parent, path, "reality", cameras, [*told, *_degrees(positions)])
    return replace(capture, extra={**capture.extra, "brought_near": near.tolist()}) if told else capture


def _rows(table: Iterator[list[str]], path: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """Label and numbers of each line."""
    first, head = 2, next(table, [])
    if head and head[0].strip().lower().startswith("#cameras"):  # "#cameras 31" comes before the header in some tables
        first, head = 3, next(table, [])
    head = [word.strip().lower().lstrip("#") for word in head]
    head = [_OTHER_NAMES.get(word, word) for word in head]
    for name in ("name", *_POSE, "f"):
        if name not in head:
            raise CaptureError(f"{path.name} has no column {name}.", _AGAIN)
    at = {name: head.index(name) for name in ("name", *_COLUMNS) if name in head}
    for number, row in enumerate(table):
        if number >= MAX_FRAMES:
            raise CaptureError(f"{path.name} has more than the limit of {MAX_FRAMES} cameras.", "Use fewer photos.")
        if not any(word.strip() for word in row):
            continue
        if len(row) < len(head):
            raise CaptureError(f"Line {number + first} of {path.name} has fewer columns than its header.", _AGAIN)
        try:
            values = {name: float(row[at[name]]) if name in at else 0.0 for name in _COLUMNS}
        except ValueError as error:
            raise CaptureError(f"Line {number + first} of {path.name} holds a word for a number.", _AGAIN) from error
        yield row[at["name"]].strip(), values


def _degrees(positions: np.ndarray) -> list[str]:
    """What to tell where x and y seem to be longitude and latitude: they hardly change while alt does."""
    good = positions[np.isfinite(positions).all(axis=1)]
    if len(good) < 3 or np.abs(good[:, 0]).max() > 180 or np.abs(good[:, 1]).max() > 90:
        return []
    wide = np.ptp(good, axis=0)
    if not 0 < 100 * wide[:2].max() < wide[2]:
        return []
    return [
        "x and y look like degrees of longitude and latitude; if so, export with a local or metric coordinate system."
    ]


def _camera(label: str, values: dict[str, float], near: np.ndarray) -> Labelled:
    key = tuple(values[name] for name in ("f", *_LENS))
    return Labelled(label, key, partial(_pose, values, near), partial(_fit, values))


def _pose(values: dict[str, float], near: np.ndarray) -> np.ndarray:
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
    return rigid_pose(near @ pose)


def _fit(values: dict[str, float], header: PhotoHeader) -> Fit:
    px, py, *coefficients = (values[name] for name in _LENS)
    return reality_lens(header, values["f"], (px, py), coefficients)
