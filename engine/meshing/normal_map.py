"""Tangent-space normals: what a coarse mesh lost of the dense one's shape, as glTF and Blender read it.

glTF 2.0, section 3.9.3: a texel stores x along the tangent (u grows), y along the bitangent (v grows, upwards in the
picture) and z along the normal, as (value + 1) / 2. Frames are those of MikkTSpace: tangents averaged at the vertices,
interpolated with the normals and not normalised in between, bitangent = sign * cross(normal, tangent).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

__all__ = ["DenseSurface", "tangent_space", "tangents"]

_NEIGHBOURS = 6


def tangents(vertices: np.ndarray, faces: np.ndarray, uv: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Unit tangents and signs [V, 4] of vertices [V, 3] with ``uv`` [V, 2], split at the seams, and unit ``normals``.

    The tangent points to where u grows and is at right angles to the normal; triangles count by their angle at the
    vertex. The sign is -1 where the picture is mirrored.
    """
    count = len(vertices)
    corners, places = vertices[faces], uv[faces]
    e1, e2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    d1, d2 = places[:, 1] - places[:, 0], places[:, 2] - places[:, 0]
    area = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    along = (e1 * d2[:, 1:] - e2 * d1[:, 1:]) * np.where(area < 0.0, -1.0, 1.0)[:, None]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-30)
    summed = np.zeros((count, 3))
    mirrored = np.zeros(count)
    for k in range(3):
        side, other = (corners[:, (k + j) % 3] - corners[:, k] for j in (1, 2))
        lengths = np.linalg.norm(side, axis=1) * np.linalg.norm(other, axis=1)
        angle = np.arccos(np.clip(np.einsum("fi,fi->f", side, other) / np.maximum(lengths, 1e-30), -1.0, 1.0))
        normal = normals[faces[:, k]]
        flat = along - normal * np.einsum("fi,fi->f", along, normal)[:, None]
        flat *= (angle / np.maximum(np.linalg.norm(flat, axis=1), 1e-30))[:, None]
        for axis in range(3):
            summed[:, axis] += np.bincount(faces[:, k], flat[:, axis], count)
        mirrored += np.bincount(faces[:, k], np.where(area < 0.0, -angle, angle), count)
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    # Where all triangles are empty any direction at right angles to the normal does.
    spare = np.cross(normals, np.where(np.abs(normals[:, :1]) > 0.9, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    spare /= np.maximum(np.linalg.norm(spare, axis=1, keepdims=True), 1e-30)
    unit = np.where(length > 1e-12, summed / np.maximum(length, 1e-12), spare)
    return np.concatenate([unit, np.where(mirrored < 0.0, -1.0, 1.0)[:, None]], axis=1)


def tangent_space(wanted: np.ndarray, normals: np.ndarray, tangent: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """World directions ``wanted`` [N, 3] as unit vectors (x, y, z) of the frames at their points, [N, 3], z > 0.

    ``normals``, ``tangent`` [N, 3] are interpolated as they are, ``sign`` [N] is 1 or -1. Solves
    x tangent + y bitangent + z normal = wanted up to its length.
    """
    bitangent = sign[:, None] * np.cross(normals, tangent)
    volume = np.einsum("ni,ni->n", tangent, np.cross(bitangent, normals))
    volume = np.where(np.abs(volume) < 1e-12, 1.0, volume)
    axes = (np.cross(bitangent, normals), np.cross(normals, tangent), np.cross(tangent, bitangent))
    found = np.stack([np.einsum("ni,ni->n", wanted, axis) / volume for axis in axes], axis=1)
    found[:, 2] = np.maximum(found[:, 2], 1e-3)  # a texture can't show the back of its surface
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@dataclass(frozen=True)
class DenseSurface:
    """The surface before it was simplified, to be asked for normals; see ``of``."""

    tree: cKDTree
    normals: np.ndarray
    step: float

    @staticmethod
    def of(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray) -> DenseSurface:
        """For vertices [V, 3] with unit normals [V, 3]; ``faces`` [F, 3] tell how far apart vertices lie."""
        edges = np.linalg.norm(vertices[faces[:, 0]] - vertices[faces[:, 1]], axis=1)
        return DenseSurface(cKDTree(vertices), normals, max(float(edges.mean()), 1e-12))

    def normals_near(self, points: np.ndarray, towards: np.ndarray) -> np.ndarray:
        """Unit normals [N, 3] of the dense surface around ``points`` [N, 3] of the coarse one.

        A mean of the nearest vertices, by their distance beyond the nearest; only those that face as ``towards`` [N, 3]
        does, so that a thin wall does not get the normals of its other side. Where none does, ``towards`` itself.
        """
        distance, index = self.tree.query(points, k=min(_NEIGHBOURS, len(self.normals)))
        distance, index = distance.reshape(len(points), -1), index.reshape(len(points), -1)
        found = self.normals[index]
        beyond = (distance**2 - distance[:, :1] ** 2) / self.step**2
        weights = np.exp(-2.0 * beyond) * (np.einsum("nki,ni->nk", found, towards) > 0.0)
        mean = np.einsum("nk,nki->ni", weights, found)
        length = np.linalg.norm(mean, axis=1, keepdims=True)
        return np.where(length > 1e-6, mean / np.maximum(length, 1e-6), towards)
