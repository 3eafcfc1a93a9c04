"""The usual way to a mesh, to compare ours with: marching cubes at one density level, colours from all photos."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import trimesh
from jaxtyping import Float, UInt8
from scipy import ndimage
from skimage import measure

from engine.captures.capture import Camera
from engine.captures.rays import project
from engine.fields.volume import DensityVolume
from engine.lifting.voxels import VoxelGrid
from sa3d_blender.protocol.errors import MeshError

__all__ = ["half_absorbing_density", "mean_colours", "one_level_mesh"]

GREY = 0.5  # of a vertex that falls into no photo


def half_absorbing_density(cell: float) -> float:
    """The density, per world unit, at which one cell of the field stops half of the light: ln 2 / ``cell``.

    Implementations of radiance fields take a constant that was found by eye on scenes of one scale. This rule says the
    same of every scale: a surface is where a cell begins to stop more light than it lets through.
    """
    return math.log(2.0) / cell


def one_level_mesh(
    volume: DensityVolume,
    voxels: VoxelGrid,
    probability: Float[np.ndarray, " n"],
    photos: Iterable[tuple[Camera, Float[np.ndarray, "h w 3"]]],
) -> trimesh.Trimesh:
    """Marching cubes of the field's density where the object is likelier than not, at one level, as research code does.

    The density stands on the field's own nodes, 0 where ``probability``, that of the occupied voxels to be the
    object's, is at most one half. Nothing is filled, smoothed, thrown away or simplified. Vertex colours are
    `mean_colours` of the photos.

    Raises:
        MeshError: the level is reached nowhere in the object.
    """
    densities = volume.densities().cpu().numpy()
    kept = np.where(voxels.dense(probability) > 0.5, densities, np.float32(0))
    level = half_absorbing_density(float(voxels.cell_size.mean()))
    if not (kept > level).any():
        raise MeshError("The object reaches the one density level nowhere.", "Train the field longer.")
    vertices, faces, _, _ = measure.marching_cubes(
        np.pad(kept, 1), level, spacing=tuple(voxels.cell_size), gradient_direction="ascent", allow_degenerate=False
    )
    vertices = vertices.astype(np.float64) + (voxels.aabb[0] - voxels.cell_size)
    mesh = trimesh.Trimesh(vertices=vertices, faces=faces, process=False)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=mean_colours(vertices, photos))
    return mesh


def mean_colours(
    vertices: Float[np.ndarray, "v 3"], photos: Iterable[tuple[Camera, Float[np.ndarray, "h w 3"]]]
) -> UInt8[np.ndarray, "v 4"]:
    """The mean colour, sRGB, of what all photos show where a vertex falls into them, hidden or not; grey for none."""
    total, count = np.zeros((len(vertices), 3)), np.zeros(len(vertices))
    for camera, rgb in photos:
        points_px, depth = project(camera, vertices)
        with np.errstate(invalid="ignore"):  # NaN where the lens can't see
            inside = (points_px >= 0.0).all(1) & (points_px < (camera.width, camera.height)).all(1) & (depth > 0.0)
        places = (points_px[inside] - 0.5).T[::-1]  # row, column of an array whose pixel centres are whole numbers
        for channel in range(3):
            total[inside, channel] += ndimage.map_coordinates(rgb[..., channel], places, order=1, mode="nearest")
        count[inside] += 1
    mean = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], GREY)
    rgba = np.full((len(vertices), 4), 255, np.uint8)
    rgba[:, :3] = np.round(np.clip(mean, 0.0, 1.0) * 255.0).astype(np.uint8)
    return rgba
