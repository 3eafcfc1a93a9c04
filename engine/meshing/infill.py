"""Colours for what no photo sees, spread over the surface itself, so that the charts of a texture agree."""

from __future__ import annotations

from typing import cast

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

__all__ = ["spread_colours"]

_GREY = 0.5  # of a surface that no photo sees at all
_HOLD = 20.0  # how much stronger a surely seen vertex holds its colour than an edge pulls at it
_GUESS = 1e-4  # the same for the nearest seen colour, where nothing is seen on that part of the mesh
_LEAST = 0.01  # an edge between blunt triangles still joins its ends


def spread_colours(colours: np.ndarray, certain: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Colours [V, 3] of all vertices, from those that are seen.

    ``colours`` [V, 3] count as ``certain`` [V] in [0, 1] says, 0 for vertices that no photo sees. The result minimises

        sum over edges w_ij |c_i - c_j|^2  +  sum over vertices h certain_i^2 |c_i - colours_i|^2

    with w_ij = (cot a + cot b) / 2 of the angles opposite to the edge (Pinkall and Polthier 1993): a harmonic fill of
    the unseen part, whatever its triangles are like, and a slight smoothing of what is seen badly. Parts of the mesh
    without a seen vertex take the colours nearest to them; grey if there are none.
    """
    known = np.flatnonzero(certain > 0.0)
    if len(known) == 0:
        return np.full((len(vertices), 3), _GREY)
    nearest = known[cKDTree(vertices[known]).query(vertices)[1]]
    links = _links(np.asarray(vertices, dtype=np.float64), np.asarray(faces))
    hold = _HOLD * np.square(np.asarray(certain, dtype=np.float64))
    diagonal = np.asarray(links.sum(axis=1)).ravel() + hold + _GUESS
    matrix = (sparse.diags(diagonal) - links).tocsr()
    start = np.asarray(colours, dtype=np.float64)[nearest]
    right = hold[:, None] * np.where(certain[:, None] > 0.0, colours, 0.0) + _GUESS * start
    scale = sparse.diags(1.0 / diagonal)
    found = [
        sparse.linalg.cg(matrix, right[:, k], x0=start[:, k], rtol=1e-5, maxiter=1000, M=scale)[0] for k in range(3)
    ]
    return np.clip(np.stack(found, axis=1), 0.0, 1.0)


def _links(vertices: np.ndarray, faces: np.ndarray) -> sparse.csr_matrix:
    """The weights of the edges, symmetric [V, V], positive."""
    rows, columns, values = [], [], []
    for k in range(3):
        top, left, right = (faces[:, (k + j) % 3] for j in range(3))
        a, b = vertices[left] - vertices[top], vertices[right] - vertices[top]
        area = np.maximum(np.linalg.norm(np.cross(a, b), axis=1), 1e-30)
        values.append(np.clip(0.5 * np.einsum("fi,fi->f", a, b) / area, _LEAST, 1.0 / _LEAST))
        rows.append(left)
        columns.append(right)
    row, column, value = (np.concatenate(each) for each in (rows, columns, values))
    count = len(vertices)
    one_way = sparse.coo_matrix((value, (row, column)), shape=(count, count))
    return cast(sparse.csr_matrix, (one_way + one_way.T).tocsr())
