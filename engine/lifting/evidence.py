"""Mask inverse rendering: what 2D masks say about voxels, as sums that can be taken back.

The loss of Eq. 5, ``L = - sum_r m(r) M(r) + lambda sum_r (1 - m(r)) M(r)`` with ``M = A V`` (Eq. 3), is linear in V, so
that

    dL/dV = - A^T (m - lambda (1 - m))

and a gradient step is a weighted scatter-add. Kept apart, the two sums are evidence for and against a voxel:

    F = sum_v A_v^T m_v              B = sum_v A_v^T (1 - m_v)

The paper's V after all its steps is ``eta (F - lambda B)``, its object ``V > 0``. What a view looks at, ``A_v^T 1``,
does not depend on the object: it is kept once for all of them, and ``B = sum_v A_v^T 1 - F``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from engine.lifting.projection import LEAST_EVIDENCE, ViewOperator
from engine.lifting.voxels import SparseVoxels

SEEN = 0.02  # F + B below this: no pixel has looked at the voxel (a pixel that stops there hands it up to 1)
LEAST_FOREGROUND = 0.01  # F of a voxel that any lambda may make the object's: a hundredth of one pixel over all views


@dataclass(frozen=True)
class Contribution:
    """What one view's mask m says: ``foreground`` is w A^T m, ``looked`` A^T 1 (shared by all objects).

    The view counts as ``weight`` (w) many.
    """

    foreground: SparseVoxels
    looked: SparseVoxels
    weight: float = 1.0

    @property
    def weighted_looked(self) -> SparseVoxels:
        """w A^T 1, made when it is asked for: it isn't shared."""
        return self.looked if self.weight == 1 else self.looked.times(self.weight, LEAST_EVIDENCE)


def contribution_of(
    operator: ViewOperator,
    mask: Float[np.ndarray, "h w"],
    looked: SparseVoxels | None = None,
    weight: float = 1.0,
) -> Contribution:
    """One view's evidence: ``foreground - lambda (looked - foreground)`` is minus the gradient of Eq. 5.

    With a ``weight`` the view counts as so many.
    """
    foreground, seen = operator.back_project_mask(mask), operator.looked if looked is None else looked
    if weight != 1:
        foreground = foreground.times(weight, LEAST_EVIDENCE)
    return Contribution(foreground, seen, weight)


class Evidence:
    """F and B of one object on the occupied voxels, and what each accepted view has added to them.

    The sums are kept in float64. Contributions are float32 numbers between 2^-19 and 2^11, whose sums float64 holds
    without rounding: the order of the views leaves no trace, nor does a view that has been taken out again.
    """

    def __init__(self, count: int) -> None:
        """``count``: occupied voxels."""
        self.count = count
        self.contributions: dict[str, Contribution] = {}
        self._foreground = np.zeros(count, np.float64)
        self._looked = np.zeros(count, np.float64)
        self._seen = np.zeros(count, np.float32)
        self._may_be = np.zeros(count, bool)  # voxels that some contribution, past or present, has marked

    def put(self, view: str, contribution: Contribution) -> None:
        """Adds a view's evidence, or replaces what it said before."""
        if view in self.contributions:
            self.remove(view)
        self.contributions[view] = contribution
        self._add(contribution, 1.0)

    def remove(self, view: str) -> Contribution:
        """Takes a view's evidence out again, and returns it."""
        contribution = self.contributions.pop(view)
        self._add(contribution, -1.0)
        return contribution

    def _add(self, contribution: Contribution, sign: float) -> None:
        foreground, looked = contribution.foreground, contribution.weighted_looked
        self._foreground[foreground.index] += sign * foreground.values
        now = self._looked[looked.index] + sign * looked.values
        self._looked[looked.index] = now
        self._seen[looked.index] = now > SEEN
        self._may_be[foreground.index] = True

    def only(self, views: Sequence[str]) -> Evidence:
        """The evidence of some of the accepted views alone."""
        part = Evidence(self.count)
        for view in views:
            part.put(view, self.contributions[view])
        return part

    @property
    def foreground(self) -> Float[np.ndarray, " n"]:
        """F: evidence for each voxel, float32."""
        return self._foreground.astype(np.float32)

    @property
    def background(self) -> Float[np.ndarray, " n"]:
        """B: evidence against each voxel, float32."""
        return np.maximum(self._looked - self._foreground, 0).astype(np.float32)

    @property
    def seen(self) -> Bool[np.ndarray, " n"]:
        """Voxels that some accepted view has looked at; the others are unknown, not voted out."""
        return self._seen > 0

    @property
    def seen_values(self) -> Float[np.ndarray, " n"]:
        """The same as 0 and 1, to be rendered. Not to be written to."""
        return self._seen

    def support(self) -> Support:
        """F and B where the object may be: everywhere else F is next to nothing."""
        index = np.flatnonzero(self._may_be)
        index = index[self._foreground[index] >= LEAST_FOREGROUND].astype(np.int32)
        foreground = self._foreground[index]
        return Support(
            self.count,
            index,
            foreground.astype(np.float32),
            np.maximum(self._looked[index] - foreground, 0).astype(np.float32),
        )

    @property
    def nbytes(self) -> int:
        """Memory of the views' own contributions (what they looked at is the scene's)."""
        return sum(c.foreground.nbytes for c in self.contributions.values())


@dataclass(frozen=True)
class Support:
    """An object's evidence on the few voxels where it may be: all that is needed for another lambda or threshold.

    ``index`` int32 [n] of ``count`` occupied voxels, ascending; ``foreground`` (F) and ``background`` (B) float32 [n].
    """

    count: int
    index: Int[np.ndarray, " n"]
    foreground: Float[np.ndarray, " n"]
    background: Float[np.ndarray, " n"]

    def probability(self, lam: float) -> Float[np.ndarray, " n"]:
        """``F / (F + lambda B)`` of the support's voxels: above one half exactly where the paper's V is positive."""
        return probability(self.foreground, self.background, lam)

    def v(self, lam: float) -> Float[np.ndarray, " n"]:
        """The paper's V = F - lambda B (Eq. 5 summed up, without its step width)."""
        return self.foreground - np.float32(lam) * self.background

    def scatter(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " count"]:
        """Values of the support on all occupied voxels, 0 elsewhere."""
        return SparseVoxels(self.index, values).scatter(self.count)

    @property
    def nbytes(self) -> int:
        """Memory of index, F and B."""
        return self.index.nbytes + self.foreground.nbytes + self.background.nbytes


def probability(
    foreground: Float[np.ndarray, " n"], background: Float[np.ndarray, " n"], lam: float
) -> Float[np.ndarray, " n"]:
    """``F / (F + lambda B)`` in [0, 1]: above one half exactly where the paper's V is positive; 0 where never seen."""
    total = foreground + lam * background
    return np.where(foreground + background > SEEN, foreground / np.maximum(total, 1e-9), 0).astype(np.float32)


def exclusive(probabilities: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Probabilities of K objects such that none but the likeliest stays above one half: no voxel is in two objects.

    Where an object and its strongest rival together claim more than there is, each gets its share of the two. Where
    they tie, neither has the voxel.
    """
    if probabilities.shape[1] < 2:
        return probabilities
    ordered = np.sort(probabilities, axis=1)
    best, second = ordered[:, -1:], ordered[:, -2:-1]
    rival = np.where(probabilities == best, second, best)
    return np.where(probabilities + rival > 1, probabilities / np.maximum(probabilities + rival, 1e-9), probabilities)
