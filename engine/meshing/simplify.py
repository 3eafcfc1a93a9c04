"""Fewer faces where the surface is flat: a face budget, and a surface that is still closed afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import fast_simplification
import numpy as np
import trimesh

from sa3d_blender.protocol.errors import MeshError

__all__ = ["FACE_BUDGETS", "Soundness", "simplified", "soundness"]

FACE_BUDGETS = {"draft": 5_000, "good": 50_000, "best": 200_000}
"""Faces by quality."""

# How eagerly edges are taken: less so keeps the topology where a thin part would be pinched.
EAGERNESS = (5.0, 3.0, 1.0)


@dataclass(frozen=True)
class Soundness:
    """What a mesh must be to be edited, printed and simulated.

    ``open_edges`` have one face, ``crowded_edges`` more than two, ``turned_edges`` two that go around it the same way.
    ``components`` are parts not connected by vertices.
    """

    open_edges: int
    crowded_edges: int
    turned_edges: int
    components: int

    @property
    def closed(self) -> bool:
        """Whether every edge has two faces that go around it in opposite directions: watertight and oriented."""
        return not (self.open_edges or self.crowded_edges or self.turned_edges)


def soundness(faces: np.ndarray) -> Soundness:
    """Counts what is wrong with faces [F, 3] of vertex numbers, whose vertices are one to a place (no seams)."""
    faces = np.asarray(faces)
    half = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = half[:, 0] < half[:, 1]
    edges, which = np.unique(np.sort(half, axis=1), axis=0, return_inverse=True)
    which = which.reshape(-1)
    count = np.bincount(which, minlength=len(edges))
    ahead = np.bincount(which, forward, len(edges))
    parts = trimesh.graph.connected_component_labels(edges) if len(edges) else np.zeros(0, int)
    return Soundness(
        int((count == 1).sum()),
        int((count > 2).sum()),
        int(((count == 2) & (ahead != 1)).sum()),
        len(np.unique(parts[np.unique(faces)])),
    )


def simplified(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """The mesh with at most ``faces`` faces, where that leaves it as sound as it is; else with as few as do.

    Quadric edge collapse (Garland and Heckbert 1997) by a library. It doesn't check topology, and so pinches thin parts
    now and then: then it is done again less eagerly, and at last with twice the faces, until nothing is worse.
    A mesh within the budget is returned as it is. Colours and other attributes are not carried over.

    Raises:
        MeshError: ``faces`` is no budget (fewer than 4).
    """
    if faces < 4:
        raise MeshError(f"A mesh can't have {faces} faces.", "Give 4 or more.")
    budget = faces
    before = soundness(mesh.faces)
    while budget < len(mesh.faces):
        for eagerness in EAGERNESS:
            vertices, left = fast_simplification.simplify(
                np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces), target_count=budget, agg=eagerness
            )
            vertices, left = _used(np.asarray(vertices, np.float64), np.asarray(left))
            after = soundness(left)
            if len(left) and (after.closed or not before.closed) and after.components <= before.components:
                return trimesh.Trimesh(vertices, left, process=False)
        budget *= 2
    return mesh


def _used(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without faces that have fallen onto an edge, and without vertices that no face has."""
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    kept, renumbered = np.unique(faces, return_inverse=True)
    return vertices[kept], renumbered.reshape(-1, 3)
