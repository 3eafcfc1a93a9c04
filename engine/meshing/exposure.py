"""How bright each photo is against the others: one gain per photo and channel, from the surface they share."""

from __future__ import annotations

import numpy as np

from engine.meshing.srgb import from_linear, to_linear

__all__ = ["balanced", "exposure_gains"]

_USABLE = (0.03, 0.97)  # of a channel in sRGB: outside of it a photo clips or is mostly noise
_UNLIKE = 0.25  # of the logarithm: a place that differs more in one photo shows a highlight or a wrong depth
_HOLD = 0.02  # how strongly gains are pulled to 1, as a share of what holds them together
_MOST = 4.0


def exposure_gains(colours: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Gains [P, 3] for linear light that make photos agree; the photo in the middle keeps its brightness.

    ``colours`` [M, P, 3] in sRGB are M places of the surface as each of P photos has them, ``votes`` [M, P] how well
    each photo sees each place, 0 for not at all. For every channel the logarithms x of the gains minimise

        sum over places t and photos i of w_ti (x_i + log c_ti - m_t)^2  +  h sum x_i^2

    where m_t is the place's own brightness, the weighted mean of x_i + log c_ti. The weights start as the votes; after
    each solution places that a photo shows otherwise than the rest count for less. Photos that share nothing have 1.
    """
    places, photos = votes.shape
    gains = np.ones((photos, 3))
    if photos < 2 or places == 0:
        return gains
    share = votes / np.maximum(votes.max(axis=1, keepdims=True), 1e-30)
    for channel in range(3):
        values = colours[..., channel]
        usable = (votes > 0) & (values > _USABLE[0]) & (values < _USABLE[1])
        usable &= usable.sum(axis=1, keepdims=True) > 1
        known = usable.any(axis=0)
        if known.sum() < 2:
            continue
        logs = np.log(to_linear(np.clip(values, *_USABLE)))
        gains[known, channel] = np.exp(_logarithms(logs[:, known], np.where(usable, share, 0.0)[:, known]))
    return np.clip(gains, 1.0 / _MOST, _MOST)


def _logarithms(logs: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """x [P] for one channel's logarithms [M, P]. The places' m_t are eliminated, P equations stay."""
    weights = votes
    x = np.zeros(logs.shape[1])
    for _ in range(5):
        total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
        mean = (weights * logs).sum(axis=1, keepdims=True) / total
        matrix = np.diag(weights.sum(axis=0)) - weights.T @ (weights / total)
        right = -(weights * (logs - mean)).sum(axis=0)
        hold = _HOLD * float(np.trace(matrix)) / len(x) + 1e-9
        x = np.linalg.solve(matrix + hold * np.eye(len(x)), right)
        off = logs + x - (mean + (weights * x).sum(axis=1, keepdims=True) / total)
        weights = votes / (1.0 + np.square(off / _UNLIKE)) ** 2
    # One dark photo must not make the others brighter: most of them keep what they have.
    return x - np.median(x)


def balanced(rgb: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """A photo [..., 3] in sRGB with its linear light multiplied by ``gain`` [3]; float32."""
    if np.abs(gain - 1.0).max() < 0.005:
        return np.asarray(rgb, dtype=np.float32)
    levels = np.linspace(0.0, 1.0, 4096)
    steps = np.round(np.clip(rgb, 0.0, 1.0) * 4095.0).astype(np.int32)
    tables = [from_linear(to_linear(levels) * g).astype(np.float32) for g in gain]
    return np.stack([tables[k][steps[..., k]] for k in range(3)], axis=-1)
