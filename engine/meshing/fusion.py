"""A second way to an object's surface: its depth from many virtual cameras, fused into one signed distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from scipy import ndimage

from engine.captures.capture import Camera
from engine.fields.volume import DensityVolume
from engine.lifting.voxels import VoxelGrid
from engine.meshing.extract import extract_mesh
from engine.meshing.from_field import SHOWN_CELLS, DepthView, shown_points
from engine.meshing.object_depth import absorbed_depth, faces_away, facing, object_density, sphere, surroundings
from engine.meshing.solidity import object_solidity
from engine.meshing.tsdf import check_fusion, fused_distance
from engine.progress import Job
from sa3d_blender.protocol.errors import MeshError

__all__ = ["FusionSettings", "fused_surface", "virtual_cameras"]

FAINT = 0.05  # opacity of a cell below which no ray ends there


@dataclass(frozen=True)
class FusionSettings:
    """From where an object is looked at, and how its depths are fused.

    ``own`` cameras stand where the capture's do, others on a sphere of ``around`` directions, those that are less than
    ``reach_degrees`` off a direction from which the object was photographed: what is beyond was never seen, and a
    field holds whatever it likes there. ``shown`` is how much of the object a photo has to show, as a share of the
    one that shows most, to count. Twice as many cameras change scores by less than 0.01.

    ``absorbed`` is the share of light that is gone where a surface is taken to be. A half would be the natural
    choice, but fused half-way depths lie too deep: measured on scans on a table, by 1.2 % of the diagonal for an
    apple, by 0.6 % for a cube. The field's soft skin may be why, and so may the mean over grazing views.

    ``pixel_steps`` is the size of a pixel at the object in steps of the grid, ``march_cells`` a step along a ray in
    cells of the field. Depths are told where nothing of the scene lies more than ``before_cells`` before them, and not
    where a surface is seen at a cosine below ``grazing``. ``truncation_steps`` is the distance from the object at
    which its signed distance is cut off, ``behind_steps`` how deep into what isn't the object a surface is believed to
    go on, for the cap below an object to be held from there.
    """

    own: int = 24
    around: int = 72
    reach_degrees: float = 20.0
    shown: float = 0.2
    absorbed: float = 0.2
    pixel_steps: float = 1.5
    march_cells: float = 0.5
    before_cells: float = 0.25
    grazing: float = 0.2
    truncation_steps: float = 3.0
    behind_steps: float = 8.0


def virtual_cameras(
    box: Float[np.ndarray, "2 3"], seen_from: Float[np.ndarray, "n 3"], side_px: int, settings: FusionSettings
) -> list[Camera]:
    """Square cameras around the ball around a box, each of which sees all of it.

    Args:
        seen_from: places from which photos show the object. Those inside of the ball are left out: from there it isn't
        seen as a whole. The cameras in between stand as far off as these do in the middle.

    Raises:
        MeshError: all photos were taken from inside of the ball.
    """
    centre, radius = box.mean(0), float(np.linalg.norm(box[1] - box[0])) / 2
    away = seen_from - centre
    distance = np.linalg.norm(away, axis=1)
    outside = distance > 1.05 * radius
    if not outside.any():
        raise MeshError(
            "All photos were taken from within the object's box, so it can't be seen from outside.",
            "Make its surface by solidity instead.",
        )
    away, distance = away[outside], distance[outside]
    directions = away / distance[:, None]
    own = _spread(directions, settings.own)
    chosen = [(directions[i], distance[i]) for i in own]
    candidates = sphere(settings.around)
    near = (candidates @ directions.T).max(1) > np.cos(np.radians(settings.reach_degrees))
    between = np.sqrt(4 * np.pi / settings.around) / 2  # radians, half of how far apart they are
    free = (candidates @ directions[own].T).max(1) < np.cos(between)
    chosen += [(direction, float(np.median(distance))) for direction in candidates[near & free]]
    return [facing(centre + each * far, centre, radius, side_px) for each, far in chosen]


def _spread(directions: Float[np.ndarray, "n 3"], count: int) -> list[int]:
    """The numbers of ``count`` directions as far apart as can be."""
    chosen = [0]
    nearest = directions @ directions[0]
    while len(chosen) < min(count, len(directions)):
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, directions @ directions[chosen[-1]])
    return chosen


def fused_surface(
    volume: DensityVolume,
    voxels: VoxelGrid,
    probability: Float[np.ndarray, "x y z"],
    box: Float[np.ndarray, "2 3"],
    step: float,
    views: Sequence[DepthView],
    job: Job,
    level: float = 0.5,
    part_share: float = 1.0,
    settings: FusionSettings | None = None,
) -> trimesh.Trimesh:
    """The object's closed surface, without colours, from its depth seen by `virtual_cameras`.

    Two depths are taken of every camera: that of the object alone, and that of the whole scene. The object's is fused.
    Where a ray meets it behind something else it tells nothing: with a table taken away, rays would come to what lies
    below it, which nobody has ever seen. The scene's tells what is free, and that a place is something else's.
    What stands on something stays open below, and is closed as the other way does it, by the smallest surface that
    holds what was seen (`object_solidity`).

    Args:
        volume: the field's density, cut to the region of interest; ``probability`` of its nodes to be the object's,
            known or guessed everywhere.
        box: around the object, and ``step``, the distance of the grid's nodes.
        views: the capture's, to tell from where the object was seen.
        level: in (0, 1); lower grows the object, higher shrinks it.
        part_share: parts apart from the largest stay from that share of its volume on.

    Raises:
        MeshError: no photo shows the object, or all were taken from within it. EnvironmentFault: the library isn't
        there.
    """
    settings = settings or FusionSettings()
    check_fusion()
    cell = float(voxels.cell_size.mean())
    places = _solid_places(volume, voxels, probability, box)
    diagonal = float(np.linalg.norm(box[1] - box[0]))
    side = int(np.clip(diagonal / (settings.pixel_steps * step), 32, 512))
    cameras = virtual_cameras(box, _seen_from(places, views, cell, settings.shown), side, settings)
    share = 1 - (1 - settings.absorbed) ** (level / (1 - level))
    alone, whole = object_density(volume, probability, box), volume.density
    stride = settings.march_cells * cell
    surfaces, obstacles = [], []
    for camera in cameras:
        hopeful = surroundings(camera, places, 1.5 * cell)
        depth = absorbed_depth(alone, box, camera, stride, share, hopeful, job.check)
        anything = absorbed_depth(whole, box, camera, stride, share, None, job.check)
        hidden = depth > anything + settings.before_cells * cell
        depth[hidden | faces_away(depth, camera, settings.grazing)] = 0
        surfaces.append(depth)
        obstacles.append(anything)
    job.check()
    distance, known, nodes = fused_distance(cameras, surfaces, box, step, settings.truncation_steps * step)
    job.check()
    to_anything, told, _ = fused_distance(cameras, obstacles, box, step, settings.behind_steps * step)
    belongs = _at_nodes(probability, voxels, distance.shape, nodes)
    outside = told & ~known & ((to_anything > 0) | (belongs < 0.5))
    distance[outside] = 1.0
    inside = (0.5 - 0.5 * distance).astype(np.float32)
    solidity = object_solidity(inside, np.ones_like(inside), (known | outside).astype(np.float32))
    return extract_mesh(solidity, nodes, keep_share=part_share)


def _solid_places(
    volume: DensityVolume, voxels: VoxelGrid, probability: Float[np.ndarray, "x y z"], box: Float[np.ndarray, "2 3"]
) -> Float[np.ndarray, "n 3"]:
    """World points of the nodes in the box that may stop light and are the object's."""
    cell = float(voxels.cell_size.mean())
    solid = (probability > 0.5) & ((1 - torch.exp(-volume.densities() * cell)).numpy() > FAINT)
    places = voxels.aabb[0] + np.argwhere(solid) * voxels.cell_size
    inside: np.ndarray = ((places >= box[0]) & (places <= box[1])).all(1)
    return places[inside]


def _seen_from(
    places: Float[np.ndarray, "n 3"], views: Sequence[DepthView], cell: float, share: float
) -> Float[np.ndarray, "v 3"]:
    """Where the cameras stand that show enough of the object's places. Raises MeshError where none shows any."""
    count = np.array([shown_points(places, [view], SHOWN_CELLS * cell).sum() for view in views])
    if not count.any():
        raise MeshError("No photo shows the object.", "Prompt it again, in a view that shows it well.")
    return np.stack([v.camera.position for v, n in zip(views, count, strict=True) if n >= share * count.max()])


def _at_nodes(
    values: Float[np.ndarray, "i j k"], voxels: VoxelGrid, shape: tuple[int, ...], ends: Float[np.ndarray, "2 3"]
) -> Float[np.ndarray, "x y z"]:
    """Voxel values, interpolated, at the nodes of a grid between two corners."""
    axes = [np.linspace(ends[0, axis], ends[1, axis], count) for axis, count in enumerate(shape)]
    places = (np.stack(np.meshgrid(*axes, indexing="ij")) - voxels.aabb[0].reshape(3, 1, 1, 1)).astype(np.float32)
    places /= voxels.cell_size.reshape(3, 1, 1, 1)
    found: np.ndarray = ndimage.map_coordinates(values, places, order=1, mode="nearest")
    return found
