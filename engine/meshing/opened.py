"""A mesh without its guessed part: open where no photo shows anything, and clean for all that."""

from __future__ import annotations

from typing import Any

import numpy as np
import trimesh
from jaxtyping import Bool, Int
from scipy import sparse

from engine.meshing.doubts import observed_of
from engine.meshing.soundness import welded_places
from sa3d_blender.protocol.errors import MeshError

__all__ = ["without_unobserved"]

SPECK = 0.01  # share of the surface: smaller unseen patches are no holes, smaller seen ones amid nothing no parts


def without_unobserved(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh without faces none of whose corners a photo shows, with all that its vertices and faces have.

    Unseen patches of less than a hundredth of the surface stay: they are gaps between photos. What is then left over
    as a crumb of that size goes as well, and so do vertices without a face. A mesh that is seen all over comes back as
    it is.

    Raises:
        MeshError: no photo shows any of it.
    """
    faces = np.asarray(mesh.faces)
    place = welded_places(mesh)[faces]  # seams of a texture are no borders
    area = np.asarray(mesh.area_faces, np.float64)
    least = SPECK * float(area.sum())
    guessed = (observed_of(mesh)[faces] <= 0.0).all(axis=1)
    guessed &= _patch_areas(place, guessed, area) >= least
    kept = ~guessed
    kept &= _patch_areas(place, kept, area) >= least
    if not kept.any():
        raise MeshError(
            "No photo shows enough of the object for an open mesh.", "Make it closed, or click it where photos show it."
        )
    return mesh if kept.all() else _part(mesh, kept)


def _patch_areas(place: Int[np.ndarray, "f 3"], chosen: Bool[np.ndarray, " f"], area: np.ndarray) -> np.ndarray:
    """For each of the chosen faces the area of the patch of them that it belongs to, across edges; 0 for others."""
    index = np.flatnonzero(chosen)
    found = np.zeros(len(chosen))
    if len(index) == 0:
        return found
    corners = place[index]
    pairs = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), axis=1)
    _, edge = np.unique(pairs, axis=0, return_inverse=True)
    edge = edge.reshape(-1)
    count = int(edge.max()) + 1
    face = np.tile(np.arange(len(index)), 3)
    # Faces and edges are one graph's nodes, each face linked to its edges.
    size = len(index) + count
    links = sparse.coo_matrix((np.ones(len(edge), bool), (face, len(index) + edge)), shape=(size, size))
    label = sparse.csgraph.connected_components(links, directed=False)[1][: len(index)]
    found[index] = np.bincount(label, area[index])[label]
    return found


def _part(mesh: trimesh.Trimesh, kept: Bool[np.ndarray, " f"]) -> trimesh.Trimesh:
    """Some of a mesh's faces and their vertices, with colours or UVs, normals and attributes."""
    used, faces = np.unique(np.asarray(mesh.faces)[kept], return_inverse=True)
    part = trimesh.Trimesh(
        np.asarray(mesh.vertices)[used],
        faces.reshape(-1, 3),
        # Of the closed surface: at the new border they would lean towards what is left.
        vertex_normals=np.asarray(mesh.vertex_normals)[used],
        process=False,
        validate=False,
    )
    visual: Any = mesh.visual
    if visual.kind == "texture":
        part.visual = trimesh.visual.TextureVisuals(uv=np.asarray(visual.uv)[used], material=visual.material)
    elif visual.kind == "vertex":
        part.visual = trimesh.visual.ColorVisuals(part, vertex_colors=np.asarray(visual.vertex_colors)[used])
    for name, values in mesh.vertex_attributes.items():
        part.vertex_attributes[name] = np.asarray(values)[used]
    return part
