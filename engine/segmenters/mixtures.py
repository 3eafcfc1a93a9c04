"""Small Gaussian mixtures, fitted deterministically: the colour models of foreground and background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Mixture", "fit_mixture"]

_MAX_SAMPLES = 2500
_LLOYD_ROUNDS = 4
# Share of every mixture that is flat: one odd pixel can't make the likelihood ratio explode.
_FLAT_SHARE = 0.02


@dataclass(frozen=True)
class Mixture:
    """K weighted Gaussians: ``means`` [K, D], ``whiten`` [K, D, D] (inverse Cholesky factors, transposed),
    ``log_norm`` [K] (log weight minus log normaliser), ``log_flat`` the log density of the flat share."""

    means: np.ndarray
    whiten: np.ndarray
    log_norm: np.ndarray
    log_flat: float

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Log density at ``x`` [N, D], float32 [N]."""
        logs = np.empty((len(self.means) + 1, len(x)), np.float32)
        for k, (mean, whiten) in enumerate(zip(self.means, self.whiten, strict=True)):
            z = (x - mean) @ whiten
            logs[k] = self.log_norm[k] - 0.5 * np.einsum("nd,nd->n", z, z)
        logs[-1] = self.log_flat
        top = logs.max(axis=0)
        return top + np.log(np.exp(logs - top).sum(axis=0))


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
    means, whitens, norms = [], [], []
    dims = x.shape[1]
    for k in range(len(centres)):
        mine = x[owner == k]
        if len(mine) == 0:
            continue
        mean = mine.mean(axis=0)
        covariance = (mine - mean).T @ (mine - mean) / len(mine) + np.diag(floor)
        factor = np.linalg.cholesky(covariance)
        means.append(mean)
        whitens.append(np.linalg.inv(factor).T)
        log_root = float(np.log(np.diag(factor)).sum())
        norms.append(np.log((1 - _FLAT_SHARE) * len(mine) / len(x)) - log_root - 0.5 * dims * np.log(2 * np.pi))
    log_flat = float(np.log(_FLAT_SHARE) - np.log(span).sum())
    return Mixture(
        np.asarray(means, np.float32), np.asarray(whitens, np.float32), np.asarray(norms, np.float32), log_flat
    )


def _owners(x: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the nearest of ``centres`` [K, D] for every row of ``x`` [N, D]."""
    return np.argmin((centres**2).sum(axis=1) - 2 * (x @ centres.T), axis=1)
