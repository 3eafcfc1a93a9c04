"""UVs: the surface is cut into charts and these are packed into a square, by the library xatlas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
import xatlas

from engine.meshing.texels import Texels, rasterised
from sa3d_blender.protocol.errors import MeshError

__all__ = ["Unwrapped", "unwrap", "welded"]

_COSTS = (2.0, 1.0, 0.4)  # how crooked a chart may be; flatter charts can't fold over themselves
_OVERLAP = 1e-4  # of the covered texels
_CHART = 800  # triangles; flattening takes time that grows faster than the chart: 50,000 triangles 5 s instead of 16


@dataclass(frozen=True)
class Unwrapped:
    """A surface that is split at its seams.

    ``source`` int64 [V'] names the vertex of the whole surface that each vertex is a copy of; ``faces`` int64 [F, 3]
    are the same triangles in the same order, of the copies; ``uv`` float64 [V', 2] lie in [0, 1], v upwards.
    ``texels`` are those of the texture of the size it was packed for.
    """

    source: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    texels: Texels


def unwrap(vertices: np.ndarray, faces: np.ndarray, size_px: int, padding_px: int = 4) -> Unwrapped:
    """UVs without overlaps for ``vertices`` [V, 3] and ``faces`` [F, 3]; the same input gives the same UVs.

    Charts are packed for a texture of ``size_px`` texels a side, about ``padding_px`` apart. Raises MeshError where
    the surface has no area, or charts overlap however flat they are asked to be.
    """
    points = np.asarray(vertices, dtype=np.float64)
    faces = np.asarray(faces, dtype=np.int64)
    corners = points[faces]
    edge = float(np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1).mean()) if len(faces) else 0.0
    if not np.isfinite(points).all() or edge <= 0.0:
        raise MeshError("The surface to be textured has no area.", "Segment the object again, with more of it kept.")
    # xatlas takes triangles below an absolute size for empty ones: with edges of length 1 none is.
    points = (points - points.mean(axis=0)) / edge
    for cost in _COSTS:
        found = _packed(points, faces, size_px, padding_px, cost)
        if found.texels.overlapping <= _OVERLAP * len(found.texels.index):
            return found
    raise MeshError(
        "The surface folds so much that no flat map of it was found.", "Choose draft, which colours the vertices."
    )


def _packed(points: np.ndarray, faces: np.ndarray, size_px: int, padding_px: int, cost: float) -> Unwrapped:
    corners = points[faces]
    sides = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = float(np.linalg.norm(sides, axis=1).sum()) / 2.0
    charts = xatlas.ChartOptions()
    charts.max_cost = cost
    charts.max_chart_area = area * min(1.0, _CHART / len(faces))
    charts.fix_winding = True
    pack = xatlas.PackOptions()
    pack.resolution = size_px
    pack.padding = padding_px
    pack.bilinear = True
    pack.rotate_charts = True
    atlas = xatlas.Atlas()
    atlas.add_mesh(points.astype(np.float32), faces.astype(np.uint32))
    atlas.generate(chart_options=charts, pack_options=pack)
    source, split, uv = atlas[0]
    # The atlas is only about as large as asked for, and seldom a square: its longer side becomes the texture's.
    shape = np.array([atlas.width, atlas.height], dtype=np.float64)
    uv = np.clip(uv.astype(np.float64) * shape / max(shape.max(), 1.0), 0.0, 1.0)
    source, split = source.astype(np.int64), split.astype(np.int64).reshape(-1, 3)
    return Unwrapped(source, split, uv, rasterised(uv, split, size_px))


def welded(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The surface alone, with vertices at the same place made one: what was split at the seams is whole again."""
    places, inverse = np.unique(np.asarray(mesh.vertices), axis=0, return_inverse=True)
    return trimesh.Trimesh(places, inverse.reshape(-1)[np.asarray(mesh.faces)], process=False)
