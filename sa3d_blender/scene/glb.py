"""GLB files as the engine writes them, read with numpy alone: triangles, colours and textures, in the capture's world.

glTF is Y-up: a world point (x, y, z) is stored as (x, z, -y) and turned back here. Blender's own importer would do,
but it brings its own materials, orders vertices anew and can't be used without changing the open file.
Format: Khronos glTF 2.0 specification, sections 3.6 (accessors) and 4 (GLB).
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..protocol.errors import StorageError

__all__ = ["Triangles", "glb_triangles", "read_glb"]

_JSON_CHUNK, _BIN_CHUNK = 0x4E4F534A, 0x004E4942
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
_TRIANGLES = 4


@dataclass(frozen=True)
class Triangles:
    """A surface in world coordinates (Z up).

    ``vertices`` float64 [V, 3]; ``faces`` int32 [F, 3], counter-clockwise from outside; ``colours`` linear RGBA
    float32 [V, 4] in [0, 1], or None.

    A textured surface has ``uv`` float32 [F, 3, 2] at its corners (v upwards), and its vertices are one where the file
    has a copy for every chart. ``colour_file`` and ``normal_file`` are its pictures as they lie in the GLB (PNG).
    ``observed`` float32 [V] is 1 where a photo saw the vertex, 0 where its colour was made up.
    """

    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None
    uv: np.ndarray | None = None
    observed: np.ndarray | None = None
    colour_file: bytes | None = None
    normal_file: bytes | None = None


def read_glb(path: Path | str) -> Triangles:
    """All triangles of a GLB as one surface. Raises StorageError where it is missing, damaged or too elaborate."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as fault:
        raise StorageError(
            f"The mesh {path} can't be read: {fault.strerror or fault}.", "Put it back beside its scene.json."
        ) from fault
    return glb_triangles(data, path.name)


def glb_triangles(data: bytes, name: str) -> Triangles:
    """The same of a GLB's bytes; ``name`` is for the StorageError where they are damaged."""
    try:
        return _triangles(*_chunks(data))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, struct.error) as fault:
        raise StorageError(
            f"The mesh {name} is damaged or not one that SA3D writes ({fault}).", "Run the segmentation again."
        ) from fault


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, length = struct.unpack_from("<4sII", data)
    if magic != b"glTF" or version != 2 or length > len(data):
        raise ValueError("no complete GLB of version 2")
    found: dict[int, bytes] = {}
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<II", data, at)
        found.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    return json.loads(found[_JSON_CHUNK]), found.get(_BIN_CHUNK, b"")


@dataclass(frozen=True)
class _Part:
    """One primitive: as in ``Triangles``, but ``uv`` [V, 2] with a vertex for every chart, as stored."""

    places: np.ndarray
    vertices: np.ndarray
    faces: np.ndarray
    colours: np.ndarray | None
    uv: np.ndarray | None
    observed: np.ndarray | None
    material: int | None


def _triangles(tree: dict[str, Any], binary: bytes) -> Triangles:
    if tree.get("extensionsRequired"):
        raise ValueError(f"it needs {', '.join(tree['extensionsRequired'])}")
    parts = [
        _part(tree, binary, primitive, matrix)
        for mesh, matrix in _placed_meshes(tree)
        for primitive in mesh["primitives"]
        if primitive.get("mode", _TRIANGLES) == _TRIANGLES  # points and lines are no surface
    ]
    if not sum(len(part.faces) for part in parts):
        raise ValueError("it holds no triangles")
    firsts = np.cumsum([0, *(len(part.vertices) for part in parts)])[:-1]
    points = np.concatenate([part.vertices for part in parts])
    if not np.isfinite(points).all():
        raise ValueError("it has coordinates that are not finite")
    faces = np.concatenate([part.faces + np.int32(first) for part, first in zip(parts, firsts, strict=True)])
    colours = _joined([part.colours for part in parts], parts, 1.0)
    observed = _joined([part.observed for part in parts], parts, 1.0)
    uv = _joined([part.uv for part in parts], parts, 0.0)
    if uv is None:
        return Triangles(points, faces, colours, None, None if observed is None else observed[:, 0])
    # Compared as stored: what the placing rounds may differ from copy to copy.
    kept, place = _welded(np.concatenate([part.places for part in parts]))
    pictures = _pictures(tree, binary, parts)
    return Triangles(
        points[kept],
        place[faces],
        None if colours is None else colours[kept],
        uv[faces],
        None if observed is None else observed[kept, 0],
        *pictures,
    )


def _part(tree: dict[str, Any], binary: bytes, primitive: dict[str, Any], matrix: np.ndarray) -> _Part:
    attributes = primitive["attributes"]
    stored = _accessor(tree, binary, attributes["POSITION"])
    placed = stored.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    count = len(placed)
    index = (
        _accessor(tree, binary, primitive["indices"])[:, 0]
        if "indices" in primitive
        else np.arange(count, dtype=np.uint32)
    )
    if len(index) % 3 or (len(index) and index.max() >= count):
        raise ValueError("its triangles name vertices that are not there")
    uv = _of_vertices(tree, binary, attributes.get("TEXCOORD_0"), count)
    if uv is not None:
        uv = np.stack([uv[:, 0], 1.0 - uv[:, 1]], axis=1)
    return _Part(
        stored,
        np.stack([placed[:, 0], -placed[:, 2], placed[:, 1]], axis=1),
        index.reshape(-1, 3).astype(np.int32),
        _colours(tree, binary, attributes.get("COLOR_0"), count),
        uv,
        _of_vertices(tree, binary, attributes.get("_OBSERVED"), count),
        primitive.get("material"),
    )


def _joined(values: list[np.ndarray | None], parts: list[_Part], missing: float) -> np.ndarray | None:
    """Values of all parts' vertices, ``missing`` for parts without; None where no part has any."""
    width = next((one.shape[1] for one in values if one is not None), None)
    if width is None:
        return None
    empty = [np.full((len(part.vertices), width), missing, np.float32) for part in parts]
    return np.concatenate([blank if one is None else one for one, blank in zip(values, empty, strict=True)])


def _welded(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of vertices [V, 3] the first at each place [W], in their order, and the number int32 [V] of each one's place."""
    _, first, inverse = np.unique(places, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return first[order], rank[inverse.reshape(-1)]


def _pictures(tree: dict[str, Any], binary: bytes, parts: list[_Part]) -> tuple[bytes | None, bytes | None]:
    """Colour and normal picture of the material, where all parts have the same one and the file holds them."""
    used = {part.material for part in parts}
    if len(used) != 1 or None in used:
        return None, None
    material = tree["materials"][parts[0].material]
    colour = material.get("pbrMetallicRoughness", {}).get("baseColorTexture")
    return _picture(tree, binary, colour), _picture(tree, binary, material.get("normalTexture"))


def _picture(tree: dict[str, Any], binary: bytes, texture: dict[str, Any] | None) -> bytes | None:
    if texture is None or texture.get("texCoord", 0) != 0:
        return None
    image = tree["images"][tree["textures"][texture["index"]]["source"]]
    if "bufferView" not in image:
        return None
    view = tree["bufferViews"][image["bufferView"]]
    start = view.get("byteOffset", 0)
    if view.get("buffer", 0) != 0 or start + view["byteLength"] > len(binary):
        raise ValueError("its data end too early")
    return bytes(binary[start : start + view["byteLength"]])


def _placed_meshes(tree: dict[str, Any]) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Each mesh of the shown scene with the 4 x 4 matrix that places it."""
    nodes = tree["nodes"]
    found = []
    waiting = [(index, np.eye(4), 0) for index in tree["scenes"][tree.get("scene", 0)]["nodes"]]
    while waiting:
        index, parent, depth = waiting.pop()
        if depth > len(nodes):
            raise ValueError("its nodes go round in a circle")
        node = nodes[index]
        matrix = parent @ _local(node)
        if "mesh" in node:
            found.append((tree["meshes"][node["mesh"]], matrix))
        waiting.extend((child, matrix, depth + 1) for child in node.get("children", []))
    return found


def _local(node: dict[str, Any]) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T  # stored column by column
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.asarray(node.get("scale", (1.0, 1.0, 1.0)))
    matrix[:3, 3] = node.get("translation", (0.0, 0.0, 0.0))
    return matrix


def _accessor(tree: dict[str, Any], binary: bytes, number: int) -> np.ndarray:
    """An accessor's values [count, components] in its own number type."""
    accessor = tree["accessors"][number]
    if "sparse" in accessor:
        raise ValueError("it has sparse accessors")
    view = tree["bufferViews"][accessor["bufferView"]]
    if view.get("buffer", 0) != 0 or "uri" in tree["buffers"][0]:
        raise ValueError("its data lie in another file")
    kind = np.dtype(_TYPES[accessor["componentType"]])
    width = _COMPONENTS[accessor["type"]]
    stride = view.get("byteStride", kind.itemsize * width)
    start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
    count = accessor["count"]
    if count and start + stride * (count - 1) + kind.itemsize * width > len(binary):
        raise ValueError("its data end too early")
    return np.ndarray((count, width), kind, binary, start, (stride, kind.itemsize)).copy()


def _colours(tree: dict[str, Any], binary: bytes, number: int | None, count: int) -> np.ndarray | None:
    if number is None:
        return None
    stored = _accessor(tree, binary, number)
    if len(stored) != count:
        raise ValueError("it has not one colour a vertex")
    values = stored.astype(np.float32)
    if stored.dtype.kind in "ui":
        values /= np.iinfo(stored.dtype).max
    rgba = np.ones((count, 4), np.float32)
    rgba[:, : values.shape[1]] = np.clip(values, 0.0, 1.0)
    return rgba


def _of_vertices(tree: dict[str, Any], binary: bytes, number: int | None, count: int) -> np.ndarray | None:
    """An attribute of all vertices, float32 [V, components]; None where there is none."""
    if number is None:
        return None
    stored = _accessor(tree, binary, number)
    if len(stored) != count:
        raise ValueError("it has an attribute that not every vertex has")
    values = stored.astype(np.float32)
    return values / np.float32(np.iinfo(stored.dtype).max) if stored.dtype.kind in "ui" else values
