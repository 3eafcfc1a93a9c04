"""Reads the text files of a COLMAP model: a record a line (a photo has two), numbers apart by spaces, # a comment."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from engine.captures.capture import SparsePoints
from engine.captures.colmap_model import (
    MAX_NAME,
    MAX_POINTS,
    MODELS,
    ColmapImage,
    ColmapLens,
    PointBatch,
    damaged,
)
from engine.captures.validate import MAX_FRAMES

__all__ = ["read_images_txt", "read_lenses_txt", "read_points_txt"]

_COUNTS = dict(MODELS.values())
_LINE = MAX_NAME + 1024  # bytes of a line of numbers and a name
_POINT_LINE = 2**22  # bytes of a line of a point that a hundred thousand photos show
_CHUNK = 2**16


def read_lenses_txt(path: Path) -> dict[int, ColmapLens]:
    """The lenses of cameras.txt by number. Raises CaptureError."""
    lenses = {}
    with _numbers_of(path), path.open("rb") as file:
        for line in _lines(file, path, _LINE):
            number, model, width, height, *params = line.split()
            if _COUNTS.get(model) != len(params):
                raise damaged(path, f"a camera of the model {model!r} has {len(params)} parameters")
            lens = ColmapLens(model, int(width), int(height), tuple(float(value) for value in params))
            lenses[int(number)] = lens
            if len(lenses) > MAX_FRAMES:
                raise damaged(path, f"it has more than {MAX_FRAMES} cameras")
    return lenses


def read_images_txt(path: Path) -> list[ColmapImage]:
    """The photos of images.txt, in its order; the second line of each, which points it shows, is skipped.

    Raises CaptureError.
    """
    images = []
    with _numbers_of(path), path.open("rb") as file:
        for line in _lines(file, path, _LINE):
            _, qw, qx, qy, qz, tx, ty, tz, lens, name = line.split(maxsplit=9)
            w, x, y, z = float(qw), float(qx), float(qy), float(qz)
            images.append(ColmapImage(name, int(lens), (w, x, y, z), (float(tx), float(ty), float(tz))))
            if len(images) > MAX_FRAMES:
                raise damaged(path, f"it has more than {MAX_FRAMES} photos")
            while not (rest := file.readline(_CHUNK)).endswith(b"\n") and rest:
                pass  # a line of points may have megabytes: it is passed over in pieces
    return images


def read_points_txt(path: Path) -> tuple[SparsePoints | None, int]:
    """The points of points3D.txt, the first MAX_POINTS of them, and how many were read. Raises CaptureError."""
    batch = PointBatch()
    with _numbers_of(path), path.open("rb") as file:
        for line in _lines(file, path, _POINT_LINE):
            if len(batch) == MAX_POINTS:
                return batch.points(), len(batch) + 1
            _, x, y, z, r, g, b, _, *track = line.split()
            red, green, blue = (min(255, max(0, int(value))) for value in (r, g, b))
            batch.add((float(x), float(y), float(z)), (red, green, blue), len(track) // 2)
    return batch.points(), len(batch)


def _lines(file: BinaryIO, path: Path, most: int) -> Iterator[str]:
    """The lines of a file, up to ``most`` bytes each, that are neither empty nor a comment."""
    while raw := file.readline(most):
        if len(raw) == most and not raw.endswith(b"\n"):
            raise damaged(path, f"a line has more than {most} bytes")
        line = raw.decode("utf-8", "surrogateescape").strip()
        if line and not line.startswith("#"):
            yield line


@contextlib.contextmanager
def _numbers_of(path: Path) -> Iterator[None]:
    try:
        yield
    except ValueError as error:  # too few words in a line, or one that is no number
        raise damaged(path, "a line of it is not what it should be") from error
