"""Sparse points from a PLY file, as nerfstudio writes beside its transforms.json: vertices with x y z and colours.

Source: Greg Turk, "The PLY Polygon File Format" (1994). The vertices have to come first, and to have no lists.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import BinaryIO

import numpy as np

from engine.captures.capture import SparsePoints
from engine.captures.colmap_model import MAX_POINTS, good_points
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["read_ply_points"]

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "="}
_HEADER_LINES, _LINE, _MOST_PROPERTIES = 400, 4096, 100
_CURE = "Export the points again, as a PLY of vertices with x, y, z."


def read_ply_points(path: Path) -> SparsePoints | None:
    """The vertices of the PLY at ``path``, at most MAX_POINTS, as points of ``count`` 0; grey without colours.

    None where none of them is finite. Raises CaptureError where it is no such file.
    """
    try:
        with path.open("rb") as file:
            order, count, fields = _header(file)
            count = min(count, MAX_POINTS)
            table = _ascii(file, count, fields) if order == "=" else _binary(file, path, order, count, fields)
    except OSError as error:
        raise CaptureError(f"{path.name} can't be read: {error.strerror or error}.", _CURE) from error
    except (ValueError, KeyError, IndexError, UnicodeDecodeError, OverflowError) as error:
        raise CaptureError(f"{path.name} is not a PLY file of points, or is damaged.", _CURE) from error
    xyz = np.stack([table[axis].astype(np.float64) for axis in "xyz"], axis=1)
    rgb = np.full((len(xyz), 3), 128, np.uint8)
    names = [name for name, _ in fields]
    if all(channel in names for channel in ("red", "green", "blue")):
        with np.errstate(invalid="ignore"):
            stated = np.stack([np.nan_to_num(table[c].astype(np.float64)) for c in ("red", "green", "blue")], axis=1)
        if dict(fields)["red"].startswith("f"):
            stated = stated * 255
        rgb = np.clip(stated.round(), 0, 255).astype(np.uint8)
    return good_points(xyz, rgb, np.zeros(len(xyz), np.int32))


def _header(file: BinaryIO) -> tuple[str, int, list[tuple[str, str]]]:
    """The order of bytes ("=" for text), how many vertices there are, and (name, type) of their properties."""
    if file.readline(_LINE).strip() != b"ply":
        raise ValueError("no PLY")
    order, count, fields, in_vertices = None, None, [], False
    for _ in range(_HEADER_LINES):
        words = file.readline(_LINE).decode("ascii").split()
        if not words:
            raise ValueError("the header has no end")
        if words[0] == "end_header":
            if order is None or count is None or not fields:
                raise ValueError("the header says too little")
            return order, count, fields
        if words[0] == "format":
            order = _ORDERS[words[1]]
        elif words[0] == "element":
            in_vertices = words[1] == "vertex"
            if in_vertices:
                count = int(words[2])
            elif count is None:
                raise ValueError("the vertices don't come first")
        elif words[0] == "property" and in_vertices:
            fields.append((words[2], _TYPES[words[1]]))
            if len(fields) > _MOST_PROPERTIES:
                raise ValueError("too many properties")
    raise ValueError("the header has no end")


def _binary(file: BinaryIO, path: Path, order: str, count: int, fields: list[tuple[str, str]]) -> np.ndarray:
    record = np.dtype([(name, order + kind) for name, kind in fields])
    if count < 0 or path.stat().st_size - file.tell() < count * record.itemsize:
        raise ValueError("it ends too early")
    return np.frombuffer(file.read(count * record.itemsize), record)


def _ascii(file: BinaryIO, count: int, fields: list[tuple[str, str]]) -> np.ndarray:
    numbers = array("d")
    for _ in range(count):
        words = file.readline(_LINE).split()
        if len(words) != len(fields):
            raise ValueError("a line has too few numbers")
        numbers.extend(float(word) for word in words)
    values = np.array(numbers, np.float64).reshape(count, len(fields))
    table = np.zeros(count, [(name, "f8") for name, _ in fields])
    for i, (name, _) in enumerate(fields):
        table[name] = values[:, i]
    return table
