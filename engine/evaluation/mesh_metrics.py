"""How the normals of a mesh agree with the truth's."""

from __future__ import annotations

import trimesh

from engine.evaluation.metrics import compare_surfaces

__all__ = ["normal_consistency"]


def normal_consistency(
    mesh: trimesh.Trimesh, true_mesh: trimesh.Trimesh, samples: int = 100_000, seed: int = 0
) -> float:
    """How well two outer surfaces are turned alike, in [0, 1]: the mean of |n . n'| over samples and both directions.

    n is the normal of the face that a sample lies on, n' that of the other surface's nearest sample (Mescheder et al.
    2019, "Occupancy Networks"). ``samples`` points on each surface, uniform by area, drawn from ``seed``. Near an edge
    the nearest sample may lie beyond it, so equal meshes with edges come out a little below 1.

    Raises:
        MeshError: a mesh has no surface.
    """
    return compare_surfaces(mesh, true_mesh, samples, seed).normal_consistency()
