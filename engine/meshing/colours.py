"""Vertex colours from the photos: which photos see a vertex, and what colour they agree on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

from engine.captures.capture import Camera
from engine.captures.rays import project
from sa3d_blender.protocol.errors import MeshError

__all__ = ["PhotoForColour", "colour_vertices"]

_GREY = 0.5  # of a mesh that no photo sees at all
_EDGE = 0.05  # how much a pixel at the object's outline counts, which holds some of the background
_DISAGREEMENT = 0.15  # colours further than this from the median count for little: highlights, wrong depths


@dataclass(frozen=True)
class PhotoForColour:
    """One photo to take colours from.

    ``rgb`` float32 [H, W, 3] in [0, 1] as stored (sRGB); ``depth`` float32 [H, W] along the viewing axis, rendered by
    the field, 0 where the ray meets nothing; ``mask`` float32 [H, W] in [0, 1], the object in this photo, or None to
    trust the depth alone.
    """

    camera: Camera
    rgb: np.ndarray
    depth: np.ndarray
    mask: np.ndarray | None = None

    def fitting_camera(self) -> Camera:
        """The camera at the photo's size. Raises MeshError where depth or mask are of another size than the photo."""
        height, width = self.rgb.shape[:2]
        if self.depth.shape != (height, width) or (self.mask is not None and self.mask.shape != (height, width)):
            raise MeshError(
                f"A photo of {width} x {height} pixels came with a depth map or mask of another size.",
                "Render depth and mask at the photo's size.",
            )
        camera = self.camera
        return camera if (camera.width, camera.height) == (width, height) else camera.resized(width, height)


def colour_vertices(
    vertices: np.ndarray,
    normals: np.ndarray,
    photos: Sequence[PhotoForColour],
    faces: np.ndarray | None = None,
    tolerance: float = 0.02,
    keep: int = 8,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours of vertices: (uint8 [V, 4] RGBA in sRGB, unseen bool [V]).

    ``vertices`` [V, 3] in the world with outward unit ``normals`` [V, 3]; ``photos`` of the capture.

    A photo sees a vertex that it looks at from the front, whose depth agrees with the photo's depth map to within
    ``tolerance`` x the diagonal of the vertices' bounding box, and that lies in its mask. A photo counts by (cos of
    the viewing angle)^2 / distance^2, which is about the number of pixels it spends on a patch of surface. Of the
    ``keep`` photos that count most, colours far from their weighted median are played down and the rest is averaged.

    Vertices that no photo sees take the colour of the nearest seen one, along the mesh where ``faces`` [F, 3] are
    given (so that a colour does not jump through a thin wall), smoothed so that no borders show. Where nothing is
    seen at all, they are grey.

    Raises MeshError where the shapes do not fit.
    """
    vertices, normals = np.asarray(vertices, dtype=np.float64), np.asarray(normals, dtype=np.float64)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or vertices.shape != normals.shape or len(vertices) == 0:
        raise MeshError(
            f"Vertices {vertices.shape} and normals {normals.shape} can't be coloured.",
            "Give as many of both as [V, 3].",
        )
    reach = tolerance * float(np.linalg.norm(np.ptp(vertices, axis=0)))
    weights = np.zeros((len(vertices), keep))
    colours = np.zeros((len(vertices), keep, 3), dtype=np.float32)
    for photo in photos:
        seen, weight, colour = _looked_up(photo, vertices, normals, reach)
        # Photo by photo into the weakest of the best few, so memory does not grow with the number of photos.
        slot = np.argmin(weights[seen], axis=1)
        better = weight > weights[seen, slot]
        weights[seen[better], slot[better]] = weight[better]
        colours[seen[better], slot[better]] = colour[better]
    unseen = weights.max(axis=1) <= 0.0
    blended = _agreed(colours, weights)
    if unseen.all():
        blended[:] = _GREY
    elif unseen.any():
        blended = _filled(blended, unseen, vertices, faces)
    rgba = np.full((len(vertices), 4), 255, dtype=np.uint8)
    rgba[:, :3] = np.round(np.clip(blended, 0.0, 1.0) * 255.0).astype(np.uint8)
    return rgba, unseen


def _looked_up(
    photo: PhotoForColour, vertices: np.ndarray, normals: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices of the vertices that the photo sees [S], their weights [S] and colours [S, 3]."""
    height, width = photo.rgb.shape[:2]
    camera = photo.fitting_camera()
    towards = camera.position - vertices
    distance = np.maximum(np.linalg.norm(towards, axis=1), 1e-12)
    cosine = np.einsum("vi,vi->v", towards, normals) / distance
    ahead = np.flatnonzero(cosine > 0.1)  # at a grazing angle one pixel covers many vertices
    points_px, depth = project(camera, vertices[ahead])
    with np.errstate(invalid="ignore"):
        inside = (points_px >= 0.0).all(axis=1) & (points_px[:, 0] < width) & (points_px[:, 1] < height) & (depth > 0.0)
    ahead, points_px, depth = ahead[inside], points_px[inside], depth[inside]
    column, row = np.floor(points_px).astype(np.int64).T
    drawn = photo.depth[row, column]
    good = (drawn > 0.0) & (np.abs(depth - drawn) <= reach)
    # Next to something nearer the photo's colours are mixed with it; next to something farther they are only doubtful.
    solid = np.where(photo.depth > 0.0, photo.depth, np.inf)
    good &= ndimage.minimum_filter(solid, size=3)[row, column] >= drawn - 4.0 * reach
    edge = ndimage.maximum_filter(solid, size=3)[row, column] > drawn + 4.0 * reach
    places = (points_px - 0.5).T[::-1]  # row, column of an array whose pixel centres are whole numbers
    if photo.mask is not None:
        good &= ndimage.map_coordinates(photo.mask.astype(np.float32), places, order=1, mode="nearest") > 0.5
    ahead, places, edge = ahead[good], places[:, good], edge[good]
    colour = np.stack(
        [ndimage.map_coordinates(photo.rgb[..., c], places, order=1, mode="nearest") for c in range(3)], axis=1
    )
    return ahead, np.where(edge, _EDGE, 1.0) * cosine[ahead] ** 2 / distance[ahead] ** 2, colour


def _agreed(colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted mean [V, 3] of colours [V, K, 3] close to their weighted median."""
    share = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
    order = np.argsort(colours, axis=1)
    ordered = np.take_along_axis(colours, order, axis=1)
    behind = np.cumsum(np.take_along_axis(np.broadcast_to(share[..., None], colours.shape), order, axis=1), axis=1)
    middle = np.argmax(behind >= 0.5 - 1e-9, axis=1)[:, None, :]
    median = np.take_along_axis(ordered, middle, axis=1)
    off = np.square(colours - median).sum(axis=2) / _DISAGREEMENT**2
    robust = share / (1.0 + off) ** 2
    return np.einsum("vk,vkc->vc", robust, colours) / np.maximum(robust.sum(axis=1, keepdims=True), 1e-30)


def _filled(colours: np.ndarray, unseen: np.ndarray, vertices: np.ndarray, faces: np.ndarray | None) -> np.ndarray:
    filled = colours.copy()
    source = np.full(len(vertices), -1, dtype=np.int64)
    graph = _edges(vertices, faces) if faces is not None and len(faces) else None
    if graph is not None:
        _, _, nearest = sparse.csgraph.dijkstra(
            graph, directed=False, indices=np.flatnonzero(~unseen), min_only=True, return_predecessors=True
        )
        source = np.where(nearest >= 0, nearest, -1).astype(np.int64)
    lost = unseen & (source < 0)  # in a part of the mesh that no photo sees
    if lost.any():
        known = np.flatnonzero(~unseen)
        source[lost] = known[cKDTree(vertices[known]).query(vertices[lost])[1]]
    filled[unseen] = colours[source[unseen]]
    if graph is not None:
        links = (graph + graph.T).astype(bool).astype(np.float64)
        mean = sparse.diags(1.0 / np.maximum(np.asarray(links.sum(axis=1)).ravel(), 1.0)) @ links
        rows = mean.tocsr()[np.flatnonzero(unseen)]
        lone = np.diff(rows.indptr) == 0
        for _ in range(20):
            filled[unseen] = np.where(lone[:, None], filled[unseen], rows @ filled)
    return filled


def _edges(vertices: np.ndarray, faces: np.ndarray) -> sparse.csr_matrix:
    """Edge lengths as an upper triangular matrix [V, V]."""
    pairs = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    length = np.maximum(np.linalg.norm(vertices[pairs[:, 0]] - vertices[pairs[:, 1]], axis=1), 1e-12)
    return sparse.csr_matrix((length, (pairs[:, 0], pairs[:, 1])), shape=(len(vertices), len(vertices)))
