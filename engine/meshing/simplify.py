"""Fewer faces where the surface is flat: a face budget, and a surface that is still closed afterwards."""

from __future__ import annotations

import fast_simplification
import numpy as np
import trimesh

from engine.meshing.soundness import soundness
from sa3d_blender.protocol.errors import MeshError

__all__ = ["FACE_BUDGETS", "simplified"]

FACE_BUDGETS = {"draft": 5_000, "good": 50_000, "best": 200_000}
"""Faces by quality."""

# How eagerly edges are taken: less so keeps the topology where a thin part would be pinched.
EAGERNESS = (5.0, 3.0, 1.0)


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
    before = soundness(mesh)
    while budget < len(mesh.faces):
        for eagerness in EAGERNESS:
            vertices, left = fast_simplification.simplify(
                np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces), target_count=budget, agg=eagerness
            )
            vertices, left = _used(np.asarray(vertices, np.float64), np.asarray(left))
            fewer = trimesh.Trimesh(vertices, left, process=False)
            after = soundness(fewer)
            if len(left) and (after.closed or not before.closed) and after.components <= before.components:
                return fewer
        budget *= 2
    return mesh


def _used(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without faces that have fallen onto an edge, and without vertices that no face has."""
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    kept, renumbered = np.unique(faces, return_inverse=True)
    return vertices[kept], renumbered.reshape(-1, 3)
