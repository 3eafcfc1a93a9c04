"""Whether a surface is closed, in one part and a manifold: for every mesh alike, with or without UV seams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from scipy import sparse

__all__ = ["Soundness", "soundness", "welded_faces", "welded_places"]


@dataclass(frozen=True)
class Soundness:
    """Whether a surface is one that every program can work with.

    ``watertight``: every edge has exactly two faces. ``components`` is the number of loose parts, as Blender counts
    them: faces that share a vertex belong together. ``non_manifold_edges`` counts edges of three faces or more.
    ``consistently_oriented``: along no edge do faces disagree about which side is the outer one.
    """

    watertight: bool
    components: int
    non_manifold_edges: int
    consistently_oriented: bool

    @property
    def closed(self) -> bool:
        """Whether it has an inside: watertight, and oriented the same way all over."""
        return self.watertight and self.consistently_oriented


def welded_faces(mesh: trimesh.Trimesh) -> np.ndarray:
    """Faces [F, 3] whose vertices are numbered by position: those that were split for UV seams are one again.

    Faces that have two corners in one place are left out.
    """
    if len(mesh.faces) == 0:
        return np.zeros((0, 3), np.int64)
    a, b, c = (faces := welded_places(mesh)[np.asarray(mesh.faces)]).T
    found: np.ndarray = faces[(a != b) & (b != c) & (c != a)]
    return found


def welded_places(mesh: trimesh.Trimesh) -> np.ndarray:
    """The number [V] of each vertex's place: the same for those that were split for UV seams."""
    _, place = np.unique(np.asarray(mesh.vertices, np.float64), axis=0, return_inverse=True)
    found: np.ndarray = place.reshape(-1)
    return found


def soundness(mesh: trimesh.Trimesh) -> Soundness:
    """Whether a mesh is closed, in how many parts it lies, where it isn't a manifold and how its faces are turned.

    A mesh without faces is nothing: not watertight, of no component.
    """
    faces = welded_faces(mesh)
    if len(faces) == 0:
        return Soundness(False, 0, 0, True)
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, edge = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True)
    edge = edge.reshape(-1)
    count = np.bincount(edge)
    # Two faces of an edge agree where they run along it in opposite directions; so do four, two each way.
    turns = np.bincount(edge, np.where(directed[:, 0] < directed[:, 1], 1.0, -1.0))
    return Soundness(
        watertight=bool((count == 2).all()),
        components=_components(faces),
        non_manifold_edges=int(np.count_nonzero(count > 2)),
        consistently_oriented=bool((turns[count > 1] == 0.0).all()),
    )


def _components(faces: np.ndarray) -> int:
    used, corners = np.unique(faces, return_inverse=True)
    corners = corners.reshape(-1, 3)
    links = sparse.coo_matrix(
        (np.ones(2 * len(corners), bool), (corners[:, [0, 1]].ravel(), corners[:, [1, 2]].ravel())),
        shape=(len(used), len(used)),
    )
    return int(sparse.csgraph.connected_components(links, directed=False)[0])
