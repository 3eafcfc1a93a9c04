"""From a mesh and photos to a textured mesh: UVs, the colours of all texels, and a normal map of the dense surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import trimesh
from PIL import Image

from engine.meshing.bake import Witness, bake, witnesses
from engine.meshing.colours import PhotoForColour
from engine.meshing.infill import spread_colours
from engine.meshing.normal_map import DenseSurface, tangent_space, tangents
from engine.meshing.texels import Texels, filled_outwards
from engine.meshing.unwrap import Unwrapped, unwrap
from engine.progress import Job, Stage
from sa3d_blender.protocol.errors import MeshError

__all__ = ["TEXTURES", "TextureSettings", "textured"]

_BLOCK = 400_000  # texels at a time: memory does not grow with the size of the texture
_SURE = 0.2  # how certain a texel must be to show the photos alone, and not what was spread from around it
_LEAST, _MOST = 16, 8192


@dataclass(frozen=True)
class TextureSettings:
    """``size_px`` texels a side, charts about ``padding_px`` apart, and a ``normal_map`` of the dense surface."""

    size_px: int = 1024
    normal_map: bool = True
    padding_px: int = 4


TEXTURES: dict[str, TextureSettings] = {
    "draft": TextureSettings(512, normal_map=False),
    "good": TextureSettings(1024),
    "best": TextureSettings(2048),
}
"""By the field's quality. A draft's is small, and its surface is too rough for relief to say anything."""


def textured(
    mesh: trimesh.Trimesh,
    dense: trimesh.Trimesh | None,
    photos: Sequence[PhotoForColour],
    settings: TextureSettings,
    job: Job,
) -> trimesh.Trimesh:
    """The mesh, split at the seams of its UVs, with a texture baked from the photos.

    Its visual is a ``TextureVisuals`` with a rough PBR material: ``baseColorTexture`` (sRGB) and, where there is a
    ``dense`` surface that ``mesh`` was simplified from, ``normalTexture``. ``vertex_attributes["observed"]`` float32
    [V] is 1 where a photo sees the vertex and 0 where its colour was made up. Normals are those of the whole surface:
    they agree at the seams.

    Raises MeshError for a mesh without area, a size that makes no sense, or photos that don't fit their depth maps.
    """
    if not _LEAST <= settings.size_px <= _MOST:
        raise MeshError(
            f"A texture of {settings.size_px} texels a side can't be made.", f"Choose from {_LEAST} to {_MOST}."
        )
    vertices, faces = np.asarray(mesh.vertices, dtype=np.float64), np.asarray(mesh.faces, dtype=np.int64)
    normals = np.asarray(mesh.vertex_normals, dtype=np.float64)
    with job.stage("Unwrapping"):
        flat = unwrap(vertices, faces, settings.size_px, settings.padding_px)
    blocks = _blocks(flat.texels)
    with job.stage("Baking the texture", len(photos) * (2 + len(blocks)) + len(blocks)) as stage:
        seen_by = witnesses(photos, vertices, normals, faces, stage)
        at_vertices = bake(vertices, normals, seen_by, stage)
        spread = spread_colours(at_vertices.colours, at_vertices.certain, vertices, faces)
        colour = _colour_image(flat, vertices, normals, spread, seen_by, blocks, stage)
        relief = None
        if settings.normal_map and dense is not None and dense is not mesh:
            relief = _normal_image(flat, vertices, normals, dense, blocks, stage)
    made = trimesh.Trimesh(
        vertices[flat.source], flat.faces, vertex_normals=normals[flat.source], process=False, validate=False
    )
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=colour, normalTexture=relief, metallicFactor=0.0, roughnessFactor=1.0, doubleSided=False
    )
    made.visual = trimesh.visual.TextureVisuals(uv=flat.uv, material=material)
    made.vertex_attributes["observed"] = (at_vertices.certain > 0.0).astype(np.float32)[flat.source]
    return made


def _blocks(texels: Texels) -> list[slice]:
    return [slice(at, at + _BLOCK) for at in range(0, len(texels.index), _BLOCK)]


def _colour_image(
    flat: Unwrapped,
    vertices: np.ndarray,
    normals: np.ndarray,
    spread: np.ndarray,
    seen_by: Sequence[Witness],
    blocks: Sequence[slice],
    stage: Stage,
) -> Image.Image:
    """The colours of all texels, those between the charts included; what no photo sees is ``spread`` [V, 3]."""
    size, texels = flat.texels.size_px, flat.texels
    faces = flat.source[flat.faces]
    image = np.zeros((size * size, 3), np.uint8)
    for part in blocks:
        points = texels.interpolated(vertices, faces, part)
        baked = bake(points, _unit(texels.interpolated(normals, faces, part)), seen_by, stage)
        sure = np.clip(baked.certain / _SURE, 0.0, 1.0)[:, None]
        mixed = sure * baked.colours + (1.0 - sure) * texels.interpolated(spread, faces, part)
        image[texels.index[part]] = np.round(np.clip(mixed, 0.0, 1.0) * 255.0).astype(np.uint8)
    return Image.fromarray(filled_outwards(image.reshape(size, size, 3), texels))


def _normal_image(
    flat: Unwrapped,
    vertices: np.ndarray,
    normals: np.ndarray,
    dense: trimesh.Trimesh,
    blocks: Sequence[slice],
    stage: Stage,
) -> Image.Image:
    """The dense surface's normals in the frames of the mesh's; between the charts as in their nearest texel."""
    size, texels = flat.texels.size_px, flat.texels
    surface = DenseSurface.of(np.asarray(dense.vertices), np.asarray(dense.vertex_normals), np.asarray(dense.faces))
    frames = tangents(vertices[flat.source], flat.faces, flat.uv, normals[flat.source])
    image = np.tile(np.array([128, 128, 255], np.uint8), (size * size, 1))
    for part in blocks:
        points = texels.interpolated(vertices, flat.source[flat.faces], part)
        around = texels.interpolated(normals, flat.source[flat.faces], part)
        frame = texels.interpolated(frames, flat.faces, part)
        wanted = surface.normals_near(points, _unit(around))
        local = tangent_space(wanted, around, frame[:, :3], np.where(frame[:, 3] < 0.0, -1.0, 1.0))
        image[texels.index[part]] = np.round((local + 1.0) * 127.5).astype(np.uint8)
        stage.advance()
    return Image.fromarray(filled_outwards(image.reshape(size, size, 3), texels))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
