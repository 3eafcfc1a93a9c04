"""Small Gaussian mixtures, fitted deterministically: the colour models of foreground and background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Mixture", "fit_mixture", "quadratic"]

_MAX_SAMPLES = 2500
_LLOYD_ROUNDS = 4
# Share of every mixture that is flat: one odd pixel can't make the likelihood ratio explode.
_FLAT_SHARE = 0.02


@dataclass(frozen=True)
class Mixture:
    """K weighted Gaussians and a flat share.

    The log density of a Gaussian is a quadratic form, so all K are one product with the monomials of ``quadratic``:
    ``coefficients`` is [F, K]. ``log_flat`` is the log density of the flat share.
    """

    coefficients: np.ndarray
    log_flat: float

    def log_density(self, monomials: np.ndarray) -> np.ndarray:
        """Log density at the samples behind ``monomials`` [N, F], [N]; the strongest part stands for the sum."""
        return np.maximum((monomials @ self.coefficients).max(axis=1), self.log_flat)


def quadratic(x: np.ndarray) -> np.ndarray:
    """The monomials up to degree two of ``x`` [N, D], float32 [N, (D + 1)(D + 2) / 2]."""
    dims = x.shape[1]
    result = np.empty((len(x), (dims + 1) * (dims + 2) // 2), np.float32)
    result[:, 0] = 1.0
    result[:, 1 : dims + 1] = x
    for column, (i, j) in enumerate(_pairs(dims), start=dims + 1):
        np.multiply(x[:, i], x[:, j], out=result[:, column])
    return result


def _pairs(dims: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(dims) for j in range(i, dims)]


def fit_mixture(x: np.ndarray, components: int, floor: np.ndarray, span: np.ndarray) -> Mixture:
    """A mixture for samples ``x`` [N, D], N >= 1, without any random numbers.

    Centres start at the farthest-point sequence (the mean first), move by Lloyd's algorithm and get the
    full covariance of their cluster plus ``floor`` [D] (a variance: what noise explains). ``span`` [D] is the
    extent over which the flat share is spread.
    """
    x = x[:: max(1, -(-len(x) // _MAX_SAMPLES))].astype(np.float32)
    scaled = x / np.sqrt(floor)
    centres = scaled.mean(axis=0, keepdims=True)
    nearest = ((scaled - centres) ** 2).sum(axis=1)
    for _ in range(min(components, len(x)) - 1):
        # The 95th percentile instead of the maximum: the farthest pixel of all is mostly an outlier.
        pick = int(np.argsort(nearest, kind="stable")[int(0.95 * (len(x) - 1))])
        if nearest[pick] < 1.0:
            break
        centres = np.concatenate([centres, scaled[pick : pick + 1]])
        nearest = np.minimum(nearest, ((scaled - scaled[pick]) ** 2).sum(axis=1))
    for _ in range(_LLOYD_ROUNDS):
        owner = _owners(scaled, centres)
        counts = np.bincount(owner, minlength=len(centres))
        sums = np.stack([np.bincount(owner, column, len(centres)) for column in scaled.T], axis=1)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres).astype(np.float32)
    owner = _owners(scaled, centres)
    columns = []
    dims = x.shape[1]
    for k in range(len(centres)):
        mine = x[owner == k].astype(np.float64)
        if len(mine) == 0:
            continue
        mean = mine.mean(axis=0)
        covariance = (mine - mean).T @ (mine - mean) / len(mine) + np.diag(floor)
        precision = np.linalg.inv(covariance)
        log_root = 0.5 * np.linalg.slogdet(covariance)[1]
        norm = np.log((1 - _FLAT_SHARE) * len(mine) / len(x)) - log_root - 0.5 * dims * np.log(2 * np.pi)
        squares = [-0.5 * precision[i, j] * (1.0 if i == j else 2.0) for i, j in _pairs(dims)]
        columns.append(np.concatenate([[norm - 0.5 * mean @ precision @ mean], precision @ mean, squares]))
    log_flat = float(np.log(_FLAT_SHARE) - np.log(span).sum())
    return Mixture(np.stack(columns, axis=1).astype(np.float32), log_flat)


def _owners(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the nearest of ``centres`` [K, D] for every row of ``x`` [N, D]."""
    return np.argmin((centres**2).sum(axis=1) - 2 * (x @ centres.T), axis=1)
