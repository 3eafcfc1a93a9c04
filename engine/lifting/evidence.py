"""Mask inverse rendering: what 2D masks say about voxels, as sums that can be taken back.

The loss of Eq. 5, ``L = - sum_r m(r) M(r) + lambda sum_r (1 - m(r)) M(r)`` with ``M = A V`` (Eq. 3), is linear in
V, so that

    dL/dV = - A^T (m - lambda (1 - m))

and a gradient step is a weighted scatter-add. Kept apart, the two sums are evidence for and against a voxel:

    F = sum_v A_v^T m_v              B = sum_v A_v^T (1 - m_v)

The paper's V after all its steps is ``eta (F - lambda B)``, its object ``V > 0``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from engine.lifting.projection import ViewOperator

SEEN = 0.02  # F + B below this: no pixel has looked at the voxel (a pixel that stops there hands it up to 1)


@dataclass(frozen=True)
class Contribution:
    """What one view's mask says: ``foreground`` A^T m and ``background`` A^T (1 - m), [N] float32 each."""

    foreground: Float[np.ndarray, " n"]
    background: Float[np.ndarray, " n"]


def contribution_of(operator: ViewOperator, mask: Float[np.ndarray, "h w"]) -> Contribution:
    """One view's evidence; its difference with weight lambda is minus the gradient of Eq. 5."""
    foreground = operator.back_project(mask)
    background = operator.back_project(1 - mask)
    return Contribution(foreground, background)


@dataclass
class Evidence:
    """Evidence of all accepted views for one object, on the occupied voxels.

    Contributions are kept by view, so that one can be replaced or taken out again; the sums are made anew from them,
    which keeps them exact however often that happens.
    """

    count: int
    contributions: dict[str, Contribution] = field(default_factory=dict)

    def put(self, view: str, contribution: Contribution) -> None:
        """Adds a view's evidence, or replaces what it said before."""
        self.contributions[view] = contribution

    def remove(self, view: str) -> None:
        """Takes a view's evidence out again."""
        del self.contributions[view]

    @property
    def foreground(self) -> Float[np.ndarray, " n"]:
        """F: evidence for each voxel."""
        return self._sum("foreground")

    @property
    def background(self) -> Float[np.ndarray, " n"]:
        """B: evidence against each voxel."""
        return self._sum("background")

    def _sum(self, side: str) -> Float[np.ndarray, " n"]:
        total = np.zeros(self.count, np.float32)
        for contribution in self.contributions.values():
            total += getattr(contribution, side)
        return total


def probability(
    foreground: Float[np.ndarray, " n"], background: Float[np.ndarray, " n"], lam: float
) -> Float[np.ndarray, " n"]:
    """``F / (F + lambda B)`` in [0, 1]: above one half exactly where the paper's V is positive; 0 where never seen."""
    total = foreground + lam * background
    return np.where(foreground + background > SEEN, foreground / np.maximum(total, 1e-9), 0).astype(np.float32)


def seen(foreground: Float[np.ndarray, " n"], background: Float[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Voxels that some accepted view has looked at; the others are unknown, not voted out."""
    return foreground + background > SEEN
