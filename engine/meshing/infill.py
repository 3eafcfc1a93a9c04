"""Colours for what no photo sees, spread over the surface itself, so that the charts of a texture agree."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

__all__ = ["spread_colours"]

_GREY = 0.5  # of a surface that no photo sees at all
_HOLD = 20.0  # how much stronger a surely seen vertex holds its colour than an edge pulls at it
_GUESS = 1e-4  # the same for the nearest seen colour, where nothing is seen on that part of the mesh


def spread_colours(colours: np.ndarray, certain: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Colours [V, 3] of all vertices, from those that are seen.

    ``colours`` [V, 3] count as ``certain`` [V] in [0, 1] says, 0 for vertices that no photo sees. The result minimises

        sum over edges |c_i - c_j|^2  +  sum over vertices h certain_i |c_i - colours_i|^2

    which is a harmonic fill of the unseen part (Laplace's equation on the mesh) and a slight smoothing of what is seen
    badly. Parts of the mesh without a seen vertex take the colours nearest to them; grey if there are none.
    """
    known = np.flatnonzero(certain > 0.0)
    if len(known) == 0:
        return np.full((len(vertices), 3), _GREY)
    nearest = known[cKDTree(vertices[known]).query(vertices)[1]]
    pairs = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    count = len(vertices)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    links = sparse.csr_matrix((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(count, count))
    hold = _HOLD * np.asarray(certain, dtype=np.float64)
    diagonal = np.asarray(links.sum(axis=1)).ravel() + hold + _GUESS
    matrix = (sparse.diags(diagonal) - links).tocsr()
    start = np.asarray(colours, dtype=np.float64)[nearest]
    right = hold[:, None] * np.where(certain[:, None] > 0.0, colours, 0.0) + _GUESS * start
    scale = sparse.diags(1.0 / diagonal)
    found = [
        sparse.linalg.cg(matrix, right[:, k], x0=start[:, k], rtol=1e-5, maxiter=1000, M=scale)[0] for k in range(3)
    ]
    return np.clip(np.stack(found, axis=1), 0.0, 1.0)
