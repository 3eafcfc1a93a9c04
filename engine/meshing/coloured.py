"""From a mesh and photos to a mesh with coloured vertices: what the photos agree on, and what they show at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import trimesh

from engine.meshing.bake import bake, witnesses
from engine.meshing.colours import PhotoForColour
from engine.meshing.infill import spread_colours
from engine.progress import Job, Stage
from sa3d_blender.protocol.errors import MeshError

__all__ = ["colour_vertices", "coloured"]


def coloured(mesh: trimesh.Trimesh, photos: Sequence[PhotoForColour], job: Job) -> trimesh.Trimesh:
    """The mesh with vertex colours from the photos, uint8 sRGB.

    ``vertex_attributes["observed"]`` float32 [V] is 1 where a photo sees the vertex and 0 where its colour was made up.

    Raises MeshError for photos that don't fit their depth maps.
    """
    with job.stage("Colouring the mesh", 2 * max(1, len(photos))) as stage:
        rgba, unseen = colour_vertices(
            np.asarray(mesh.vertices), np.asarray(mesh.vertex_normals), photos, np.asarray(mesh.faces), stage
        )
    made = mesh.copy()
    made.visual = trimesh.visual.ColorVisuals(made, vertex_colors=rgba)
    made.vertex_attributes["observed"] = (~unseen).astype(np.float32)
    return made


def colour_vertices(
    vertices: np.ndarray,
    normals: np.ndarray,
    photos: Sequence[PhotoForColour],
    faces: np.ndarray,
    stage: Stage | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours of vertices: (uint8 [V, 4] RGBA in sRGB, unseen bool [V]).

    ``vertices`` [V, 3] in the world with outward unit ``normals`` [V, 3] and ``faces`` [F, 3]; ``photos`` of the
    capture, each of which advances the stage by two. They vote as they do on a texture. Whether one sees a vertex is a
    matter of the mesh, which is drawn into it; the field's depth only says what stands before it. A rough field's
    depth is too noisy to tell more: half of a draft's sides would count as unseen.

    Vertices that no photo sees take what their neighbours on the mesh have, without borders; all are grey where nothing
    is seen at all.

    Raises MeshError where the shapes do not fit.
    """
    vertices, normals = np.asarray(vertices, dtype=np.float64), np.asarray(normals, dtype=np.float64)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or vertices.shape != normals.shape or len(vertices) == 0:
        raise MeshError(
            f"Vertices {vertices.shape} and normals {normals.shape} can't be coloured.",
            "Give as many of both as [V, 3].",
        )
    faces = np.asarray(faces, dtype=np.int64)
    baked = bake(vertices, normals, witnesses(photos, vertices, normals, faces, stage), stage)
    colours = spread_colours(baked.colours, baked.certain, vertices, faces)
    rgba = np.full((len(vertices), 4), 255, dtype=np.uint8)
    rgba[:, :3] = np.round(np.clip(colours, 0.0, 1.0) * 255.0).astype(np.uint8)
    return rgba, baked.certain <= 0.0
