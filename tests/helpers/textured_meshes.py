"""A small textured mesh whose every number is known: a box that a texture of six colours lies around."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image

__all__ = ["face_colour", "glb_parts", "textured_box"]

CELL = 8  # texels a side of each of the 3 x 2 faces in the picture


def textured_box(width: float = 1.0, shift: int = 0, relief: bool = True) -> trimesh.Trimesh:
    """A box from (0, 0, 0.5) to (width, 2, 1.5), split at all its edges: 24 vertices, 12 triangles.

    Face k (of those sorted by their normals) shows one colour, ``face_colour(k, shift)``; its corners lie in the middle
    of the outer texels of its cell. Vertices at z = 0.5 are not observed.
    """
    box = trimesh.creation.box((width, 2.0, 1.0)).apply_translation((width / 2, 1.0, 1.0))
    # Two triangles for each of the six faces, whatever their order.
    _, side = np.unique(np.round(box.face_normals), axis=0, return_inverse=True)
    pairs = np.argsort(side.reshape(-1), kind="stable").reshape(6, 2)
    vertices, faces, uv = [], [], []
    picture = np.zeros((16, 24, 3), np.uint8)
    for k, pair in enumerate(pairs):
        corners, local = np.unique(box.faces[pair], return_inverse=True)
        places = box.vertices[corners]
        axis = int(np.argmin(np.ptp(places, axis=0)))
        flat = np.delete(places, axis, axis=1)
        unit = (flat - flat.min(axis=0)) / np.ptp(flat, axis=0)
        column, row = (k % 3) * CELL, (k // 3) * CELL
        pixels = np.stack([column + 0.5 + unit[:, 0] * (CELL - 1), row + 0.5 + unit[:, 1] * (CELL - 1)], axis=1)
        faces.append(local.reshape(-1, 3) + sum(map(len, vertices)))
        vertices.append(places)
        uv.append(pixels / (24, 16))
        picture[16 - row - CELL : 16 - row, column : column + CELL] = face_colour(k, shift)
    normals = np.concatenate([np.tile(box.face_normals[pair[0]], (4, 1)) for pair in pairs])
    mesh = trimesh.Trimesh(np.concatenate(vertices), np.concatenate(faces), vertex_normals=normals, process=False)
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.fromarray(picture),
        normalTexture=Image.fromarray(np.full((16, 24, 3), (100 + shift, 150, 240), np.uint8)) if relief else None,
        metallicFactor=0.0,
        roughnessFactor=1.0,
    )
    mesh.visual = trimesh.visual.TextureVisuals(uv=np.concatenate(uv), material=material)
    mesh.vertex_attributes["observed"] = (mesh.vertices[:, 2] > 0.6).astype(np.float32)
    return mesh


def face_colour(k: int, shift: int = 0) -> tuple[int, int, int]:
    return 40 * k + shift, 250 - 30 * k, 10 + 7 * k


def glb_parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The tree and the bytes of a GLB."""
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]
