"""Depth maps as geometry: the surface points and normals that a view sees."""

from __future__ import annotations

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float
from scipy.sparse.csgraph import connected_components

from engine.captures.capture import Camera
from engine.captures.rays import camera_directions


def surface_points(camera: Camera, depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """World points under the pixels, for a depth along the viewing axis; NaN where the depth is 0."""
    directions = camera_directions(camera).astype(np.float64) @ camera.world_from_camera[:3, :3].T
    points = camera.position + directions * depth[..., None]
    points[depth <= 0] = np.nan
    return points.astype(np.float32)


def surface_normals(points: Float[np.ndarray, "h w 3"], camera: Camera) -> Float[np.ndarray, "h w 3"]:
    """Unit normals of a map of surface points, towards the camera; 0 where they can't be told."""
    right = np.gradient(points, axis=1)
    down = np.gradient(points, axis=0)
    normals = np.cross(right, down)
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.divide(normals, length, out=np.zeros_like(normals), where=np.isfinite(length) & (length > 0))
    towards = ((camera.position - points) * normals).sum(-1, keepdims=True)
    return np.nan_to_num(np.where(towards < 0, -normals, normals)).astype(np.float32)


def connected_surface(
    mask: Bool[np.ndarray, "h w"],
    points: Float[np.ndarray, "h w 3"],
    camera: Camera,
    seeds: Bool[np.ndarray, "h w"],
    reach: float = 8.0,
) -> Bool[np.ndarray, "h w"]:
    """The part of a mask whose surface hangs together with the seeds in space, not only in the picture.

    Neighbouring pixels belong together where their surface points are no further apart than ``reach`` times what
    a pixel spans at that depth (a surface seen at up to about 80 degrees from its normal). What lies behind an
    object and merely touches its silhouette has a gap there. Pixels without a surface point hang together with nothing.
    """
    height, width = mask.shape
    depth = np.linalg.norm(points - camera.position, axis=-1)
    span = reach * depth / min(camera.fl_x, camera.fl_y)
    number = np.arange(height * width).reshape(height, width)
    links = []
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = (slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
        b = (slice(dy, height), slice(max(0, dx), width - max(0, -dx)))
        gap = np.linalg.norm(points[a] - points[b], axis=-1)
        near = mask[a] & mask[b] & (gap < np.minimum(span[a], span[b]))  # NaN compares as false
        links.append(np.stack([number[a][near], number[b][near]]))
    first, second = np.concatenate(links, axis=1)
    graph = scipy.sparse.coo_matrix((np.ones(len(first)), (first, second)), shape=(number.size, number.size))
    _, part = connected_components(graph, directed=False)
    wanted = np.unique(part[(mask & seeds).ravel()])
    return np.isin(part, wanted).reshape(mask.shape) & mask
