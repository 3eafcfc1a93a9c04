"""Fewer faces where the surface is flat: a face budget, and a surface that is still closed afterwards."""

from __future__ import annotations

import fast_simplification
import manifold3d
import numpy as np
import trimesh

from engine.meshing.soundness import soundness, welded_places
from sa3d_blender.protocol.errors import MeshError

__all__ = ["FACE_BUDGETS", "simplified", "unpinched"]

FACE_BUDGETS = {"draft": 5_000, "good": 50_000, "best": 200_000}
"""Faces by quality."""

# How eagerly edges are taken: less so keeps the topology where a thin part would be pinched.
EAGERNESS = (5.0, 3.0, 1.0)
CRUMB = 0.002  # of the surface: what is less, and came off where a part was pinched, may go
DRAWN_IN = 0.2  # of the way to its neighbours' middle: a vertex that shared its place with another one


def simplified(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """The mesh with at most ``faces`` faces, where that leaves it as sound as it is; else with as few as do.

    Quadric edge collapse (Garland and Heckbert 1997) by a library. It doesn't check topology, and so pinches thin parts
    now and then: such edges of four faces are taken apart by another library (`unpinched`). Crumbs that come off go
    (`CRUMB`), so that there aren't more parts than before. Where that doesn't do, it
    is done again less eagerly, and at last with twice the faces, until nothing is worse.
    A mesh within the budget is returned as it is. Colours and other attributes are not carried over.

    Raises:
        MeshError: ``faces`` is no budget (fewer than 4).
    """
    if faces < 4:
        raise MeshError(f"A mesh can't have {faces} faces.", "Give 4 or more.")
    before, budget, fewest = soundness(mesh), faces, mesh
    while budget < len(fewest.faces):
        for eagerness in EAGERNESS:
            fewer = _collapsed(mesh, budget, eagerness)
            after = soundness(fewer)
            if before.closed and not after.closed and len(fewer.faces):
                fewer = _without_crumbs(unpinched(fewer), before.components)
                after = soundness(fewer)
            sound = (after.closed or not before.closed) and after.components <= before.components
            if sound and 0 < len(fewer.faces) < len(fewest.faces):
                fewest = fewer
            if len(fewest.faces) <= budget:
                return fewest
        budget *= 2
    return fewest


def _collapsed(mesh: trimesh.Trimesh, faces: int, eagerness: float) -> trimesh.Trimesh:
    vertices, left = fast_simplification.simplify(
        np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces), target_count=faces, agg=eagerness
    )
    return trimesh.Trimesh(*_used(np.asarray(vertices, np.float64), np.asarray(left)), process=False)


def unpinched(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh with edges of four faces taken apart, so that it is a manifold; as it is where the library can't.

    The library pairs the faces at each edge and gives each pair vertices of its own. Those would lie in one place, and
    be welded again by the next program, so they are drawn a little into the surface that they belong to.
    """
    solid = manifold3d.Manifold(
        manifold3d.Mesh64(
            vert_properties=np.ascontiguousarray(mesh.vertices, np.float64),
            tri_verts=np.ascontiguousarray(mesh.faces, np.uint64),
        )
    )
    if solid.status() != manifold3d.Error.NoError or solid.is_empty():
        return mesh
    parts = solid.to_mesh64()
    vertices = np.asarray(parts.vert_properties, np.float64)[:, :3]
    faces = np.asarray(parts.tri_verts, np.int64)
    apart = trimesh.Trimesh(vertices, faces, process=False)
    place = welded_places(apart)
    drawn = vertices.copy()
    for vertex in np.flatnonzero(np.bincount(place)[place] > 1):
        around = vertices[apart.vertex_neighbors[vertex]].mean(0)
        drawn[vertex] += DRAWN_IN * (around - drawn[vertex])
    return trimesh.Trimesh(drawn, faces, process=False)


def _without_crumbs(mesh: trimesh.Trimesh, components: int) -> trimesh.Trimesh:
    """The mesh with its largest ``components`` parts, if all others are crumbs; else as it is."""
    place = welded_places(mesh)[np.asarray(mesh.faces)]
    labels = trimesh.graph.connected_component_labels(trimesh.graph.face_adjacency(place), node_count=len(place))
    sizes = np.bincount(labels, np.asarray(mesh.area_faces, np.float64))
    kept = np.argsort(-sizes, kind="stable")[:components]
    if len(sizes) <= components or np.delete(sizes, kept).sum() > CRUMB * sizes.sum():
        return mesh
    faces = np.asarray(mesh.faces)[np.isin(labels, kept)]
    return trimesh.Trimesh(*_used(np.asarray(mesh.vertices, np.float64), faces), process=False)


def _used(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without faces that have fallen onto an edge, and without vertices that no face has."""
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    kept, renumbered = np.unique(faces, return_inverse=True)
    return vertices[kept], renumbered.reshape(-1, 3)
