"""The last step of an object's mesh: what is told of it, and the guessed part left out where that is wished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from engine.meshing.doubts import doubts_of, observed_share
from engine.meshing.opened import without_unobserved
from engine.meshing.soundness import soundness
from engine.options import MeshOptions
from engine.progress import Job
from engine.workspace import Workspace

__all__ = ["FinishedMesh", "finished", "mesh_report"]

SHOWS = 0.2  # of the largest mask's area: views whose mask is smaller see the object by the way


@dataclass(frozen=True)
class FinishedMesh:
    """A mesh as it is written, and what is told of it in the report."""

    mesh: trimesh.Trimesh
    report: dict[str, object]


def finished(
    workspace: Workspace,
    mesh: trimesh.Trimesh,
    masks: Mapping[str, Float[np.ndarray, "h w"]],
    options: MeshOptions,
    job: Job,
) -> FinishedMesh:
    """A closed mesh as it was wished, with a warning in the log and in the report for each thing that is a guess.

    Raises:
        MeshError: it is to be open, and no photo shows any of it.
    """
    area = {stem: float(mask.sum()) for stem, mask in masks.items()}
    least = SHOWS * max(area.values(), default=0.0)
    cameras = [workspace.views[stem].camera for stem in area if area[stem] > 0 and area[stem] >= least]
    voxels = workspace.voxels
    doubts = doubts_of(mesh, voxels.aabb, 0.5 * float(voxels.cell_size.min()), cameras)
    warnings = doubts.warnings()
    for warning in warnings:
        job.log(f"Warning: {warning}")
    told: dict[str, object] = {
        "observed": doubts.observed,
        "cut_at": list(doubts.cut_at),
        "one_sided": doubts.one_sided,
        "warnings": warnings,
    }
    made = without_unobserved(mesh) if options.open else mesh
    if options.open:
        count = len(mesh.faces) - len(made.faces)
        job.log(f"The mesh is left open: {count:,} faces that no photo shows are left out.")
    return FinishedMesh(made, mesh_report(made) | told)


def mesh_report(mesh: trimesh.Trimesh) -> dict[str, object]:
    """Size and soundness of a mesh, its seams aside, and the share of it that photos show; texels a side if it has any.

    An open mesh isn't watertight.
    """
    visual: Any = mesh.visual
    sound = soundness(mesh)
    report: dict[str, object] = {
        "vertices": len(np.unique(np.asarray(mesh.vertices), axis=0)),
        "faces": len(mesh.faces),
        "watertight": sound.closed,
        "components": sound.components,
        "non_manifold_edges": sound.non_manifold_edges,
        "bounds": mesh.bounds.tolist(),
        "observed": observed_share(mesh),
    }
    if visual.kind == "texture":
        report["texture_px"] = visual.material.baseColorTexture.width
    return report
