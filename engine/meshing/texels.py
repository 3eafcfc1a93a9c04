"""Triangles as pixels: which pixel centres lie in which triangle; the texels of a surface; gutters between charts.

Pixels count x right and y down from the top-left corner, centres at +0.5. UVs count v upwards from the bottom-left
corner, as trimesh and Blender have it: texel (row r, column c) of a texture of S texels a side has its centre at
u = (c + 0.5) / S, v = 1 - (r + 0.5) / S.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

__all__ = ["Texels", "barycentric", "filled_outwards", "fragments", "rasterised"]


@dataclass(frozen=True)
class Texels:
    """The texels that a surface covers, one row for each, in order of ``index``.

    ``index`` int64 [N] is row * ``size_px`` + column; ``face`` int32 [N] the triangle there, ``weights`` float32
    [N, 3] the barycentric coordinates of the texel's centre in it. ``overlapping`` texels lie in several triangles.
    """

    size_px: int
    index: np.ndarray
    face: np.ndarray
    weights: np.ndarray
    overlapping: int = 0

    @property
    def face_image(self) -> np.ndarray:
        """The triangle of every texel, int32 [S, S]; -1 where there is none."""
        image = np.full(self.size_px * self.size_px, -1, np.int32)
        image[self.index] = self.face
        return image.reshape(self.size_px, self.size_px)

    def interpolated(self, values: np.ndarray, faces: np.ndarray, part: slice | None = None) -> np.ndarray:
        """Values of vertices [V, C] at the texels' centres [N, C], or at a ``part`` of them."""
        part = part or slice(None)
        corners = faces[self.face[part]]
        weights = self.weights[part]
        return sum(values[corners[:, k]] * weights[:, k, None] for k in range(3))


def fragments(corners_px: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a pixel and a triangle that holds its centre: (pixel int64 [N], triangle int32 [N]).

    ``corners_px`` [F, 3, 2] in pixels (x, y) of a picture of ``shape`` (height, width); triangles with a corner that is
    not finite are left out. A pixel is row * width + column. Of triangles that share an edge exactly one has the
    centres on it, so a mesh without overlaps gives every pixel at most once.
    """
    height, width = shape
    corners = np.asarray(corners_px, dtype=np.float64) - 0.5  # centres at whole numbers
    known = np.flatnonzero(np.isfinite(corners).all(axis=(1, 2)))
    corners = corners[known]
    # By y, then x: an edge is cut by a row in the same order of operations for both of its triangles.
    order = np.lexsort((corners[..., 0], corners[..., 1]), axis=1)
    corners = np.take_along_axis(corners, order[..., None], axis=1)
    first, last = (np.clip(np.ceil(corners[:, k, 1]), 0, height).astype(np.int64) for k in (0, 2))
    face, row = _spread(first, last - first)
    low, middle, high = (corners[face, k] for k in range(3))
    upper = (row < middle[:, 1])[:, None]
    cuts = np.stack([_cut(low, high, row), _cut(np.where(upper, low, middle), np.where(upper, middle, high), row)])
    start, stop = (np.clip(np.ceil(x), 0, width).astype(np.int64) for x in (cuts.min(axis=0), cuts.max(axis=0)))
    span, column = _spread(start, stop - start)
    return row[span] * width + column, known[face[span]].astype(np.int32)


def _spread(start: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of M ranges its whole numbers ``start``, ``start + 1``, ...: (which range, the number)."""
    count = np.maximum(count, 0)
    owner = np.repeat(np.arange(len(start)), count)
    return owner, start[owner] + np.arange(len(owner)) - (np.cumsum(count) - count)[owner]


def _cut(low: np.ndarray, high: np.ndarray, row: np.ndarray) -> np.ndarray:
    """x where the edges from ``low`` to ``high`` [N, 2] meet their rows, which lie between."""
    return low[:, 0] + (row - low[:, 1]) * ((high[:, 0] - low[:, 0]) / (high[:, 1] - low[:, 1]))


def barycentric(corners_px: np.ndarray, face: np.ndarray, pixel: np.ndarray, width: int) -> np.ndarray:
    """Barycentric coordinates float32 [N, 3] of pixels' centres in their triangles."""
    centres = np.stack([pixel % width, pixel // width], axis=1) + 0.5
    a, b, c = (corners_px[face, k] for k in range(3))
    ab, ac, ap = b - a, c - a, centres - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    second = (ap[:, 0] * ac[:, 1] - ap[:, 1] * ac[:, 0]) / area
    third = (ab[:, 0] * ap[:, 1] - ab[:, 1] * ap[:, 0]) / area
    return np.stack([1.0 - second - third, second, third], axis=1).astype(np.float32)


def rasterised(uv: np.ndarray, faces: np.ndarray, size_px: int) -> Texels:
    """The texels of a surface with ``uv`` [V, 2] in [0, 1] and ``faces`` [F, 3] on a square texture.

    A triangle too small to hold a texel's centre has the texel that its own centre lies in, where that is free.
    """
    corners = uv[faces] * (size_px, -size_px) + (0.0, size_px)
    pixel, face = fragments(corners, (size_px, size_px))
    weights = barycentric(corners, face, pixel, size_px)
    index, one = np.unique(pixel, return_index=True)
    overlapping = int((np.bincount(np.searchsorted(index, pixel), minlength=len(index)) > 1).sum())
    face, weights = face[one], weights[one]
    without = np.setdiff1d(np.arange(len(faces)), face)
    if len(without):
        middle = np.clip(np.floor(corners[without].mean(axis=1)).astype(np.int64), 0, size_px - 1)
        place, first = np.unique(middle[:, 1] * size_px + middle[:, 0], return_index=True)
        free = ~np.isin(place, index)
        index = np.concatenate([index, place[free]])
        face = np.concatenate([face, without[first[free]].astype(np.int32)])
        weights = np.concatenate([weights, np.full((int(free.sum()), 3), 1.0 / 3.0, np.float32)])
        order = np.argsort(index)
        index, face, weights = index[order], face[order], weights[order]
    return Texels(size_px, index, face, weights, overlapping)


def filled_outwards(image: np.ndarray, texels: Texels) -> np.ndarray:
    """An image [S, S, C] whose texels between the charts have the values of the nearest texel of a chart.

    So neither bilinear look-ups at a chart's border nor smaller copies of the texture mix in what is no surface.
    """
    empty = np.ones(image.shape[:2], dtype=bool)
    empty.ravel()[texels.index] = False
    if empty.all() or not empty.any():
        return image
    row, column = ndimage.distance_transform_edt(empty, return_distances=False, return_indices=True)
    return image[row, column]
