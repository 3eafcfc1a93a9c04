"""The rough shape of a segmented object at any lambda, fast enough for a slider: what `mesh` then makes properly.

The object stays in memory from one request to the next. Its surface is taken on the field's own voxels: no finer grid,
no test of what light reaches, colours from the nearest place of the mesh that is there.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree

from engine import api
from engine.lifting.store import StoredObject
from engine.meshing.export import read_mesh
from engine.meshing.extract import extract_mesh
from engine.meshing.surface_parts import vertex_colours
from engine.options import Options
from engine.progress import Job
from engine.results import EVIDENCE, MESH
from engine.server_lanes import Answer
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import MeshError

__all__ = ["LiveShapes"]

OPAQUE = 0.2  # of the light, that a voxel has to stop to be solid, as the proper mesh's box has it
MARGIN = 2  # voxels around what is the object's


@dataclass(frozen=True)
class _Opened:
    """An object in memory, with the places and colours of the mesh that it had."""

    stamp: tuple[Any, ...]
    workspace: Workspace
    stored: StoredObject
    places: cKDTree | None
    colours: np.ndarray


class LiveShapes:
    """Keeps the latest object that was asked for; it is read again where its file has changed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: _Opened | None = None

    def shape(self, folder: Path, lam: float | None, level: float, options: Options, job: Job) -> Answer:
        """Arrays ``vertices`` float32 [V, 3] in the world, ``faces`` int32 [F, 3], ``colours`` uint8 sRGB [V, 4].

        Raises:
            StorageError: the folder is no result, or its field is gone. MeshError: nothing is left at that lambda.
        """
        with self._lock, job.stage("Shaping the object"):
            opened = self._open(folder, options, job)
            settings = opened.stored.settings
            settings = settings if lam is None else replace(settings, lam=lam)
            values = api.object_probability(opened.workspace, opened.stored, settings)
            job.check()
            mesh = rough_mesh(opened.workspace, values, level)
        arrays = {"vertices": mesh.vertices.astype(np.float32), "faces": mesh.faces.astype(np.int32)}
        if opened.places is not None:
            _, nearest = opened.places.query(mesh.vertices)
            arrays["colours"] = opened.colours[nearest]
        return Answer({"result": folder, "lambda": settings.lam, "level": level}, arrays)

    def _open(self, folder: Path, options: Options, job: Job) -> _Opened:
        path = folder / EVIDENCE
        found = path.stat() if path.is_file() else None
        stamp = (folder, options.device, *((found.st_mtime_ns, found.st_size) if found else ()))
        if self._opened is None or self._opened.stamp != stamp:
            self._opened = None  # its memory is free before the next one takes as much
            workspace, _, kept = api.reopen(folder, options, job)
            self._opened = _Opened(stamp, workspace, kept.stored, *_colours_there(folder / MESH))
        return self._opened


def rough_mesh(workspace: Workspace, values: Float[np.ndarray, " n"], level: float) -> trimesh.Trimesh:
    """The surface of the voxels that are opaque and, by their probability ``values``, the object's.

    Raises:
        MeshError: there are none.
    """
    voxels = workspace.voxels
    solid = np.minimum(voxels.dense(values), workspace.cell_opacity * (level / OPAQUE))
    where = np.argwhere(solid > level)
    if len(where) == 0:
        raise MeshError("Nothing of the object is left at this setting.", "Choose a smaller lambda, or click again.")
    low = np.maximum(where.min(0) - MARGIN, 0)
    high = np.minimum(where.max(0) + MARGIN, np.array(voxels.shape) - 1)
    # At least two nodes along every axis, also for an object one voxel thick at the border.
    low = np.minimum(low, high - 1)
    part = solid[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))]
    box = np.stack([voxels.aabb[0] + low * voxels.cell_size, voxels.aabb[0] + high * voxels.cell_size])
    return extract_mesh(part, box, level, smoothing=4, keep_share=0.05)


def _colours_there(path: Path) -> tuple[cKDTree | None, np.ndarray]:
    """(places in the world, their colours uint8 sRGB [V, 4]) of the result's mesh; nothing where it has none."""
    if path.is_file():
        mesh = read_mesh(path)
        colours = vertex_colours(mesh)
        if colours is not None:
            return cKDTree(mesh.vertices), colours
    return None, np.zeros((0, 4), np.uint8)
