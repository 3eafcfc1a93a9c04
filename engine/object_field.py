"""A segmented object as a field of its own: to be rendered without its scene, and saved without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from engine.cache import storage_errors
from engine.captures.bounds import SceneBox
from engine.fields.checkpoint import save_field
from engine.fields.crop import cropped
from engine.fields.cut import CutField
from engine.fields.scene_grid import build_grid
from engine.fields.settings import Sampling
from engine.fields.training import TrainedField
from engine.lifting.lifted import FIRM
from engine.lifting.store import StoredObject
from engine.lifting.voxels import VoxelGrid
from engine.meshing.from_field import (
    DepthView,
    SurfaceSettings,
    grid_nodes,
    light_on_grid,
    nearest_filled,
    object_box,
    object_standing,
    spread_views,
)
from engine.meshing.solidity import FillSettings, object_solidity
from engine.objects import reopen
from engine.options import Options
from engine.out_folder import refuse_capture
from engine.progress import Job
from engine.segment import object_probability
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import FieldError

__all__ = ["ObjectField", "cut_result", "object_field"]

SMOOTHED = 0.7  # voxels, a Gaussian's width
STEEP = 2.5
COARSE, FINE = 64, 64  # least intervals along a ray


@dataclass(frozen=True)
class ObjectField:
    """An object alone: its field, and the ball around what is solid of it (``centre`` [3], ``radius``; world)."""

    field: TrainedField
    centre: Float[np.ndarray, " 3"]
    radius: float


def object_field(workspace: Workspace, stored: StoredObject, job: Job) -> ObjectField:
    """The field of a workspace, cut to an object that was lifted in it.

    Voxels that no view has looked at belong to it where the nearest one that was seen does: the inside of an object,
    and its underside.

    Raises:
        MeshError: no part of the field belongs to the object.
    """
    if stored.settings.boundary:
        workspace.prepare(job)
    with job.stage("Cutting the field"):
        voxels = workspace.voxels
        dense = voxels.dense(object_probability(workspace, stored, stored.settings))
        surface = SurfaceSettings()
        operators = [workspace.operator(view) for view in workspace.views.values()]
        views = spread_views([DepthView(each.camera, each.depth) for each in operators], surface.witnesses)
        box = object_box(dense, workspace.cell_opacity, voxels, views, surface, job.log)
        first, last = _nodes_around(box, voxels, 0.0)
        part = tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))
        known = np.zeros(voxels.shape, bool)
        known[voxels.index >= 0] = stored.seen() & ~_doubtful(stored)
        # Farther around: what lies hidden in a neighbour belongs to its surface, which may end outside of the box.
        start, end = _nodes_around(box, voxels, 0.5)
        around = tuple(slice(a, b + 1) for a, b in zip(start, end, strict=True))
        filled = dense.copy()
        filled[around] = nearest_filled(dense[around], known[around])
        # What isn't occupied stays empty: there a network may say anything, since nobody has asked it there.
        occupied = voxels.index[part] >= 0
        aabb = np.stack([voxels.aabb[0] + first * voxels.cell_size, voxels.aabb[0] + last * voxels.cell_size])
        probability = _closed(_smoothed(filled[part], occupied), aabb, workspace, views, job)
        probability = np.where(occupied, probability, np.float32(0))
        trained = workspace.trained
        device = trained.model.aabb.device
        model = CutField(
            cropped(trained.model, aabb),
            torch.from_numpy(aabb).float().to(device),
            torch.from_numpy(probability.astype(np.float32)).to(device),
        )
        model = model.to(device).eval()
        field = TrainedField(
            model,
            build_grid(model, trained.settings.occupancy_side),
            SceneBox(aabb, "object"),
            replace(trained.settings, rendering=_closely(trained.settings.rendering)),
            trained.quality,
            left_out=trained.left_out,
            poses=trained.poses,
        )
        solid = np.argwhere((probability > 0.5) & (workspace.cell_opacity[part] > 0.2))
        points = aabb[0] + solid * voxels.cell_size
    centre = (points.min(0) + points.max(0)) / 2
    radius = float(np.linalg.norm(points - centre, axis=1).max()) + float(voxels.cell_size.max())
    return ObjectField(field, centre, radius)


def _nodes_around(
    box: Float[np.ndarray, "2 3"], voxels: VoxelGrid, margin: float
) -> tuple[Int[np.ndarray, " 3"], Int[np.ndarray, " 3"]]:
    """The first and the last voxel along x, y, z of a world box that is grown on all sides by a share of its own."""
    grown = box + margin * (box[1] - box[0]) * np.array([[-1.0], [1.0]])
    places = (grown - voxels.aabb[0]) / voxels.cell_size
    most = np.array(voxels.shape) - 1
    return np.clip(np.floor(places[0] + 1e-6).astype(int), 0, most), np.clip(
        np.ceil(places[1] - 1e-6).astype(int), 0, most
    )


def _smoothed(
    probability: Float[np.ndarray, "x y z"], occupied: Bool[np.ndarray, "x y z"]
) -> Float[np.ndarray, "x y z"]:
    """Probabilities without what single voxels say against all around them: specks that would be holes in a surface."""
    weight = ndimage.gaussian_filter(occupied.astype(np.float32), SMOOTHED)
    found = ndimage.gaussian_filter(np.where(occupied, probability, np.float32(0)), SMOOTHED)
    smoothed: np.ndarray = np.where(occupied, found / np.maximum(weight, 1e-6), np.float32(0)).astype(np.float32)
    return smoothed


def _closed(
    probability: Float[np.ndarray, "x y z"],
    aabb: Float[np.ndarray, "2 3"],
    workspace: Workspace,
    views: Sequence[DepthView],
    job: Job,
) -> Float[np.ndarray, "x y z"]:
    """Probabilities where light arrives, and elsewhere the fill that the mesh has: they end together.

    Below an object that stands on something a field holds whatever it likes, and its nearest seen neighbours often are
    the object's own foot.
    """
    volume, cell = workspace.volume.to("cpu"), float(workspace.voxels.cell_size.mean())
    extent = aabb[1] - aabb[0]
    step = max(cell, float(extent.max()) / SurfaceSettings().most)  # as fine as the mesh is, of a large object coarser
    x, y, z = (max(8, int(np.ceil(e / step - 1e-6)) + 1) for e in extent)
    rough = _resized(probability, (x, y, z))
    nodes = grid_nodes(aabb, (x, y, z))
    with torch.no_grad():
        absorbed = volume.density(nodes.view(-1, 3)) * SurfaceSettings().absorb_cells * cell
    opacity = (1 - torch.exp(-absorbed)).view(x, y, z).numpy()
    observed = light_on_grid(volume, aabb, (x, y, z), views, cell, job)
    opacity = np.maximum(opacity, 1 - observed)  # as for the mesh: a soft skin counts by what it has stopped
    settings = FillSettings()
    seen = np.clip((observed - settings.leak) / (1 - settings.leak), 0, 1)
    stands = object_standing(torch.from_numpy(rough), aabb, aabb, nodes, step, views, job)
    filled = object_solidity(opacity, rough, observed, settings, stands) - seen * opacity * rough
    # Steeper than the fill, which rises slowly from its half-way surface on: right above it is the object whole.
    filled = np.clip(STEEP * filled - (STEEP - 1) / 2 * (1 - seen), 0, 1 - seen)
    x, y, z = probability.shape
    whole: np.ndarray = _resized(seen, (x, y, z)) * probability + _resized(filled, (x, y, z))  # the field is opaque
    return whole.clip(0, 1).astype(np.float32)


def _resized(values: Float[np.ndarray, "x y z"], shape: tuple[int, int, int]) -> Float[np.ndarray, "i j k"]:
    """Values on another grid over the same box, linear between nodes."""
    if values.shape == shape:
        return values
    planes = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    found: np.ndarray = F.interpolate(planes, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    return found


def _closely(sampling: Sampling) -> Sampling:
    """So many samples that none of what is left of the density is missed: it ends within a cell, unlike a scene's."""
    return replace(sampling, coarse=max(sampling.coarse, COARSE), fine=max(sampling.fine, FINE))


def _doubtful(stored: StoredObject) -> Bool[np.ndarray, " n"]:
    """Voxels that may be the object's but that views have hardly seen: deep inside, where noise decides."""
    support = stored.voxels.support
    return support.scatter((support.foreground + support.background < FIRM).astype(np.float32)) > 0


def cut_result(folder: Path, out: Path, options: Options, job: Job) -> dict[str, Any]:
    """`sa3d cut`: writes the field of a result folder, cut to its object, as a field of its own; returns what it is.

    It loads like any other field and belongs to the same capture.

    Raises:
        FieldError: ``out`` holds the field that it would be cut from. StorageError: ``folder`` is no result, its field
        is no longer there, or ``out`` can't be written. MeshError: no part of the field belongs to the object.
    """
    workspace, trained, kept = reopen(folder, options, job)
    refuse_capture(out, workspace.capture.root)
    if out.resolve() == trained.folder.resolve():
        raise FieldError(f"{out} holds the field that is to be cut.", "Name another folder with --out.")
    found = object_field(workspace, kept.stored, job)
    with job.stage("Writing the field"), storage_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        save_field(found.field, out, workspace.capture_key)
        size = sum(path.stat().st_size for path in out.glob("field.*"))
    return {"field": str(out), "bytes": size, "box": found.field.box.aabb.tolist(), "seconds": job.timings}
