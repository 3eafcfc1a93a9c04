"""What formats write of a mesh: its points once each, and on its corners normals, texture coordinates and colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from PIL import Image

from engine.meshing.srgb import to_linear
from sa3d_blender.protocol.errors import MeshError

__all__ = ["Texture", "Welded", "check_mesh", "linear_colours", "texture_of", "vertex_colours", "welded"]


@dataclass(frozen=True)
class Texture:
    """Pictures on a mesh: ``uv`` float64 [V, 2] of its vertices (v upwards), ``colour`` (sRGB), ``normal`` or None.

    ``normal`` is a tangent-space normal map as glTF has it: +X right, +Y up, linear.
    """

    uv: np.ndarray
    colour: Image.Image
    normal: Image.Image | None = None


@dataclass(frozen=True)
class Welded:
    """A mesh with each of its points once, however many vertices a texture's seams have made of it.

    ``points`` float64 [P, 3] in the world; ``faces`` int [F, 3] of points; ``normals`` float64 [P, 3] of unit length;
    ``colours`` uint8 [P, 4] (sRGB) or None; ``uv`` float64 [V, 2] with ``uv_faces`` int [F, 3] of them, or None.
    """

    points: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    colours: np.ndarray | None
    uv: np.ndarray | None
    uv_faces: np.ndarray | None


def check_mesh(mesh: trimesh.Trimesh) -> None:
    """Raises MeshError where there is nothing to write, or something that no format can hold."""
    if len(mesh.faces) == 0 or not np.isfinite(mesh.vertices).all():
        raise MeshError("There is no mesh to write.", "Extract one with faces and finite coordinates first.")


def texture_of(mesh: trimesh.Trimesh) -> Texture | None:
    """A mesh's pictures, or None where it has none."""
    visual: Any = mesh.visual
    if visual is None or visual.kind != "texture" or np.shape(visual.uv) != (len(mesh.vertices), 2):
        return None
    material = visual.material
    colour = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
    if colour is None:
        return None
    return Texture(np.asarray(visual.uv, np.float64), colour, getattr(material, "normalTexture", None))


def vertex_colours(mesh: trimesh.Trimesh) -> np.ndarray | None:
    """uint8 sRGB [V, 4]: a mesh's own vertex colours, else what its texture shows at the vertices, else None."""
    visual: Any = mesh.visual
    if visual is not None and visual.kind == "vertex":
        return np.asarray(visual.vertex_colors, np.uint8)
    texture = texture_of(mesh)
    if texture is None:
        return None
    picture = np.asarray(texture.colour.convert("RGBA"))
    height, width = picture.shape[:2]
    column = np.clip(np.floor(texture.uv[:, 0] * width), 0, width - 1).astype(np.int64)
    row = np.clip(np.floor((1.0 - texture.uv[:, 1]) * height), 0, height - 1).astype(np.int64)
    found: np.ndarray = picture[row, column]
    return found


def linear_colours(colours: np.ndarray) -> np.ndarray:
    """uint8 sRGB [V, 4] as linear light, float64 [V, 3]."""
    return to_linear(colours[:, :3].astype(np.float64) / 255.0)


def welded(mesh: trimesh.Trimesh) -> Welded:
    """A mesh with vertices of equal place made one point, in the order in which they come first."""
    vertices, faces = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    _, first, point = np.unique(vertices + 0.0, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    point_of = rank[point.reshape(-1)]
    normals = np.zeros((len(order), 3))
    np.add.at(normals, point_of, np.asarray(mesh.vertex_normals, np.float64))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    texture = texture_of(mesh)
    colours = vertex_colours(mesh) if texture is None else None
    at = first[order]
    return Welded(
        points=vertices[at],
        faces=point_of[faces],
        normals=normals,
        colours=None if colours is None else colours[at],
        uv=None if texture is None else texture.uv,
        uv_faces=None if texture is None else faces,
    )
