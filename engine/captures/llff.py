"""Reads LLFF's poses_bounds.npy: N x 17, or N x 14 with hwf_cxcy.npy beside it.

A row is a 3 x 5 matrix [R | t | (h, w, f)] (3 x 4 without the last column) and two depths, near and far. R's columns
are (down, right, back) in the world; OpenGL's (right, up, back) are (c1, -c0, c2). h, w and f are in pixels of the
original photos; rows follow the sorted names of the photos.
"""

from __future__ import annotations

import re
import tokenize
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.captures.capture import Camera, Capture, SparsePoints
from engine.captures.colmap import find_model, points_of, same_world
from engine.captures.images import IMAGE_SUFFIXES, MAX_PIXELS, photo_header
from engine.captures.scene_masks import masked
from engine.captures.validate import (
    MAX_FRAMES,
    BadView,
    Draft,
    assemble,
    examples,
    fitted,
    inside,
    keep_good,
    limited_size,
    rigid_pose,
)
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["TEST_EVERY", "read_llff"]

TEST_EVERY = 8  # by habit of the papers, views 0, 8, 16, ... are held out
_FOLDER = re.compile(r"images(_\d+(x\d+)?)?")
_AGAIN = "Make poses_bounds.npy again from these photos."
# What np.load raises for files that are damaged, or not its own: it takes "PK" for a zip, and tokenizes odd headers.
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    SyntaxError,
    MemoryError,
    KeyError,
    OverflowError,
    tokenize.TokenError,
    zipfile.BadZipFile,
)


def read_llff(root: Path, images: str | None = None) -> Capture:
    """The capture in ``root``'s poses_bounds.npy and its photos in the folder ``images``.

    ``images`` is "images", "images_4", "images_8" or another folder in ``root``; None takes, of those that hold
    photos, the one with the largest. Every 8th view is of the split "test". ``near_far`` is in units of the world.
    Sparse points come from a COLMAP model in ``root`` whose cameras are the same ones. Raises CaptureError.
    """
    table = _numbers(root / "poses_bounds.npy")
    if table.ndim != 2 or table.shape[1] not in (14, 17):
        raise CaptureError(
            f"poses_bounds.npy has the shape {' x '.join(map(str, table.shape))}, not N x 17 or N x 14.", _AGAIN
        )
    if len(table) > MAX_FRAMES:
        raise CaptureError(
            f"poses_bounds.npy has {len(table)} rows, more than the limit of {MAX_FRAMES}.", "Use fewer photos."
        )
    folder, photos = _photos(root, images)
    if len(photos) != len(table):
        raise CaptureError(
            f"poses_bounds.npy has {len(table)} rows where the folder {folder} has {len(photos)} photos.",
            "Keep exactly the photos that the poses were made from.",
        )
    lenses = _lenses(root, table)
    drafts, bad, unbounded = [], [], []
    for index, (row, lens) in enumerate(zip(table, lenses, strict=True)):
        name = f"{folder}/{photos[index]}"
        try:
            name, path = inside(root, name)
            camera = _camera(row, lens)
            header = photo_header(path)
        except BadView as reason:
            bad.append((name, str(reason)))
            continue
        near, far = float(row[-2]), float(row[-1])
        good = bool(np.isfinite((near, far)).all()) and 0 < near < far
        if not good:
            unbounded.append(name)
        split = "train" if index % TEST_EVERY else "test"
        drafts.append(Draft(name, path, header, fitted(name, camera, header), split, (near, far) if good else None))
    warnings = keep_good(len(table), bad)
    if unbounded:
        warnings.append(
            f"{len(unbounded)} of {len(table)} views have no usable near and far depth: {examples(unbounded)}."
        )
    drafts, told = masked(root, drafts)
    points = _points(root, drafts, warnings)
    return replace(assemble(root, "llff", drafts, [*warnings, *told], {"images": folder}), points=points)


def _points(root: Path, drafts: Sequence[Draft], warnings: list[str]) -> SparsePoints | None:
    """The sparse points of the COLMAP model beside poses_bounds.npy, where it is of the same world."""
    try:
        model = find_model(root)
        if model is None:
            return None
        if same_world({Path(draft.name).stem: draft.camera for draft in drafts}, root, model):
            return points_of(root, model, warnings)
        reason = "its cameras stand elsewhere than those of poses_bounds.npy"
    except CaptureError as error:  # the cameras don't need it
        reason = error.what.rstrip(".")
    warnings.append(f"The sparse points of the COLMAP model are left out: {reason}.")
    return None


def _numbers(path: Path) -> np.ndarray:
    limited_size(path)
    try:
        with path.open("rb") as file:
            values = np.load(file, allow_pickle=False)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu":
            raise TypeError("not real numbers")
        return values.astype(np.float64)
    except _UNREADABLE as error:
        raise CaptureError(f"{path.name} is not an array of numbers in NumPy's format.", _AGAIN) from error


def _photos(root: Path, images: str | None) -> tuple[str, list[str]]:
    """The folder to read and its photos' file names, sorted as the rows are."""
    if images is not None:
        try:
            name, folder = inside(root, images)
        except BadView as error:
            raise CaptureError(f"{images!r} is not the name of a folder.", "Choose a folder of photos.") from error
        names = _listed(folder) if folder.is_dir() else []
        if not names:
            raise CaptureError(f"The folder {name} of the capture holds no photos.", "Choose another folder.")
        return name, names
    found: list[tuple[int, str, list[str]]] = []
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and _FOLDER.fullmatch(folder.name):
            inside(root, folder.name)
            names = _listed(folder)
            if names:
                header = photo_header(inside(root, f"{folder.name}/{names[0]}")[1])
                found.append((header.width * header.height, folder.name, names))
    if not found:
        raise CaptureError(
            "There are no photos beside poses_bounds.npy; looked in images, images_4, images_8 and the like.",
            "Put the photos into a folder named images.",
        )
    _, name, names = max(found, key=lambda entry: entry[0])
    return name, names


def _listed(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _lenses(root: Path, table: np.ndarray) -> np.ndarray:
    """(h, w, f_x, f_y, cx, cy) of the original photos for every row, float64 [N, 6]."""
    if table.shape[1] == 17:
        h, w, f = table[:, 4], table[:, 9], table[:, 14]
        return np.stack([h, w, f, f, 0.5 * w, 0.5 * h], axis=1)
    path = root / "hwf_cxcy.npy"
    if not path.is_file():
        raise CaptureError(
            "poses_bounds.npy is N x 14 and so has no focal length, and there is no hwf_cxcy.npy beside it.",
            "Put hwf_cxcy.npy into the same folder.",
        )
    values = _numbers(path).ravel()
    if len(values) == 3:
        h, w, f = values
        lens = [h, w, f, f, 0.5 * w, 0.5 * h]
    elif len(values) == 5:
        h, w, f, cx, cy = values
        lens = [h, w, f, f, cx, cy]
    elif len(values) == 6:
        lens = list(values)
    else:
        raise CaptureError(f"hwf_cxcy.npy holds {len(values)} numbers, not 3, 5 or 6.", _AGAIN)
    return np.tile(np.array(lens, dtype=np.float64), (len(table), 1))


def _camera(row: np.ndarray, lens: np.ndarray) -> Camera:
    if not np.isfinite(lens).all():
        raise BadView("its size or focal length is not finite")
    h, w, fl_x, fl_y, cx, cy = map(float, lens)
    if min(h, w) < 1 or max(h, w) > MAX_PIXELS:
        raise BadView(f"its camera is for a photo of {w:g} x {h:g} pixels")
    if min(fl_x, fl_y) <= 0:
        raise BadView(f"its focal length is {min(fl_x, fl_y):g}")
    c0, c1, c2, t = (row[:-2].reshape(3, -1)[:, i] for i in range(4))
    pose = rigid_pose(np.stack([c1, -c0, c2, t], axis=1))
    return Camera(round(w), round(h), fl_x, fl_y, cx, cy, pose)
