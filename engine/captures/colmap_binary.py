"""Reads the binary files of a COLMAP model. All numbers are little-endian; every file starts with a count."""

from __future__ import annotations

import struct
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

__all__ = ["read_images_bin", "read_lenses_bin", "read_points_bin"]

_COUNT, _LENS = struct.Struct("<Q"), struct.Struct("<iiQQ")
_IMAGE, _POINT = struct.Struct("<i7di"), struct.Struct("<Q3d3BdQ")
_POINT_2D, _TRACK_ELEMENT = 24, 8  # bytes
_LEAST = {_LENS: _LENS.size + 16, _IMAGE: _IMAGE.size + 9, _POINT: _POINT.size}  # bytes that a record takes at least


class _Records:
    """A file read record by record, of which nothing lies beyond its end."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path = file, path
        self.size = path.stat().st_size

    def read(self, record: struct.Struct) -> tuple:
        data = self.file.read(record.size)
        if len(data) != record.size:
            raise damaged(self.path, "it ends too early")
        return record.unpack(data)

    def count(self, record: struct.Struct, most: int | None, what: str) -> int:
        (count,) = self.read(_COUNT)
        if count * _LEAST[record] > self.size:
            raise damaged(self.path, f"it claims {count} {what} where it has {self.size} bytes")
        if most is not None and count > most:
            raise damaged(self.path, f"it has {count} {what}, more than the limit of {most}")
        return int(count)

    def skip(self, size: int) -> None:
        if self.file.tell() + size > self.size:
            raise damaged(self.path, "it ends too early")
        self.file.seek(size, 1)

    def text(self) -> str:
        data = bytearray()
        while True:
            byte = self.file.read(1)
            if not byte:
                raise damaged(self.path, "it ends too early")
            if byte == b"\0":
                break
            data += byte
            if len(data) > MAX_NAME:
                raise damaged(self.path, f"a photo's name has more than {MAX_NAME} bytes")
        return data.decode("utf-8", "surrogateescape")


def read_lenses_bin(path: Path) -> dict[int, ColmapLens]:
    """The lenses of cameras.bin by number. Raises CaptureError."""
    lenses = {}
    with path.open("rb") as file:
        records = _Records(file, path)
        for _ in range(records.count(_LENS, MAX_FRAMES, "cameras")):
            number, model, width, height = records.read(_LENS)
            if model not in MODELS:
                raise damaged(path, f"there is no camera model {model}")
            name, count = MODELS[model]
            lenses[number] = ColmapLens(name, width, height, records.read(struct.Struct(f"<{count}d")))
    return lenses


def read_images_bin(path: Path) -> list[ColmapImage]:
    """The photos of images.bin, in its order; which points they show is skipped. Raises CaptureError."""
    images = []
    with path.open("rb") as file:
        records = _Records(file, path)
        for _ in range(records.count(_IMAGE, MAX_FRAMES, "photos")):
            _, qw, qx, qy, qz, tx, ty, tz, lens = records.read(_IMAGE)
            name = records.text()
            (seen,) = records.read(_COUNT)
            records.skip(seen * _POINT_2D)
            images.append(ColmapImage(name, lens, (qw, qx, qy, qz), (tx, ty, tz)))
    return images


def read_points_bin(path: Path) -> tuple[SparsePoints | None, int]:
    """The points of points3D.bin, the first MAX_POINTS of them, and how many it has. Raises CaptureError."""
    batch = PointBatch()
    with path.open("rb") as file:
        records = _Records(file, path)
        total = records.count(_POINT, None, "points")
        for _ in range(min(total, MAX_POINTS)):
            _, x, y, z, r, g, b, _, seen = records.read(_POINT)
            records.skip(seen * _TRACK_ELEMENT)
            batch.add((x, y, z), (r, g, b), seen)
    return batch.points(), total
