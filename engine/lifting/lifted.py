"""An object in 3D: its evidence, what each view said, the places the user marked, and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from engine.captures.capture import View
from engine.lifting.evidence import Evidence, Support, exclusive
from engine.lifting.masks import MaskCrop
from engine.lifting.parts import attached
from engine.lifting.settings import LiftingSettings
from engine.lifting.voxels import SparseVoxels, VoxelGrid

ANCHOR = 0.3  # of the prompted view's evidence for a voxel: enough pixels of its mask stop there
FIRM = 1.0  # F + B of a voxel that is surface and not haze: about one whole pixel over all views
Verdict = Literal["prompted", "accepted", "rejected", "not visible"]


@dataclass(frozen=True)
class Seed:
    """What the user showed of an object: its 2D ``mask`` [H, W] (any size) in one view, and the segmenter's ``score``.

    ``points_px`` and ``labels`` are the clicks that it was made from, in pixels of the view's camera, ``refused``
    float64 [K, 3] the world points under those of them that say "not this".
    """

    view: View
    mask: Float[np.ndarray, "h w"]
    score: float | None = None
    points_px: Float[np.ndarray, "n 2"] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    labels: Int[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0, np.int64))
    refused: Float[np.ndarray, "k 3"] = field(default_factory=lambda: np.zeros((0, 3)))


@dataclass(frozen=True)
class ViewResult:
    """What came of one view: its 2D mask on the operator's raster, its agreement with the rendered one, its prompts.

    ``points_px`` and ``labels`` are in pixels of the view's camera. The masks of views that are "prompted" or
    "accepted" vote.
    """

    verdict: Verdict
    iou: float | None = None
    score: float | None = None
    mask: MaskCrop | None = None
    points_px: Float[np.ndarray, "n 2"] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    labels: Int[np.ndarray, " n"] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def votes(self) -> bool:
        """Whether its mask is evidence."""
        return self.verdict in ("prompted", "accepted")


@dataclass(frozen=True)
class Marks:
    """Places in the world of which the user has said what they are: float64 [K, 3], labels int [K] (1 = the object)."""

    points: Float[np.ndarray, "k 3"] = field(default_factory=lambda: np.zeros((0, 3)))
    labels: Int[np.ndarray, " k"] = field(default_factory=lambda: np.zeros(0, np.int64))

    def plus(self, other: Marks) -> Marks:
        """Both together."""
        return Marks(np.concatenate([self.points, other.points]), np.concatenate([self.labels, other.labels]))


@dataclass(frozen=True)
class ObjectVoxels:
    """Where an object may be, and all that decides where it is: enough for another lambda, within milliseconds.

    Args:
        support: F and B. cells: int [n, 3], the support's cells on the grid. anchored: bool [n], what the prompted
        view shows of it. rival: float32 [n], the largest probability of another object there: one half or more where
        the voxel is its own. keep_stray: parts that hang together with nothing anchored stay.
    """

    support: Support
    cells: Int[np.ndarray, "n 3"]
    anchored: Bool[np.ndarray, " n"]
    rival: Float[np.ndarray, " n"]
    keep_stray: bool = False

    def probability(self, lam: float) -> Float[np.ndarray, " n"]:
        """Of each voxel of the support to be the object's: above one half where F > lambda B.

        At most one half in voxels of other objects, and 0 in stray parts.
        """
        values = self.support.probability(lam)
        values = np.where(self.rival >= 0.5, np.minimum(values, 1 - self.rival), values)
        if self.keep_stray:
            return values
        firm = self.support.foreground + self.support.background > FIRM
        return values * attached(self.cells, values > 0.5, firm, self.anchored)


@dataclass
class Lifted:
    """An object as it is being lifted or corrected.

    ``rivals`` are other objects of the scene that it may share no voxel with, ``outside`` float32 [N] is what is
    known of others that aren't at hand (the largest of their probabilities), which keep the voxels that they have;
    ``start`` is the stem of the prompted view.
    """

    seed: Seed
    settings: LiftingSettings
    grid: VoxelGrid
    evidence: Evidence
    views: dict[str, ViewResult] = field(default_factory=dict)
    marks: Marks = field(default_factory=Marks)
    rivals: Sequence[Lifted] = ()
    outside: Float[np.ndarray, " n"] | None = None

    @property
    def start(self) -> str:
        """The stem of the prompted view."""
        return self.seed.view.stem

    def own_probability(self) -> Float[np.ndarray, " n"]:
        """Of each occupied voxel, by this object's evidence alone."""
        support = self.evidence.support()
        return support.scatter(support.probability(self.settings.lam))

    def voxels(self) -> ObjectVoxels:
        """The object on its few voxels."""
        support = self.evidence.support()
        rival = np.zeros(len(support.index), np.float32) if self.outside is None else self.outside[support.index]
        if self.rivals:
            theirs = [other.own_probability()[support.index] for other in self.rivals]
            shares = exclusive(np.stack([support.probability(self.settings.lam), *theirs], 1))
            rival = np.maximum(rival, shares[:, 1:].max(1))
        return ObjectVoxels(
            support, self.grid.cells(support.index), self._anchored(support), rival, not self.settings.anchored
        )

    def _anchored(self, support: Support) -> Bool[np.ndarray, " n"]:
        first = self.evidence.contributions.get(self.start)
        if first is None:
            return np.zeros(len(support.index), bool)
        shown = first.foreground.at(support.index)
        looked = first.weighted_looked.at(support.index)
        return (shown > ANCHOR * self.settings.trust) & (2 * shown > looked)

    def probability(self) -> Float[np.ndarray, " n"]:
        """Of each occupied voxel to be the object's (see `ObjectVoxels.probability`), float32; 0 off its support."""
        voxels = self.voxels()
        return SparseVoxels(voxels.support.index, voxels.probability(self.settings.lam)).scatter(self.evidence.count)

    def single_view(self) -> Float[np.ndarray, " n"]:
        """The paper's single-view baseline: voxel probabilities from the prompted view's mask alone."""
        support = self.evidence.only([self.start]).support()
        return support.scatter(support.probability(self.settings.lam))

    def count(self) -> dict[str, int]:
        """Views by verdict."""
        verdicts: list[Verdict] = [result.verdict for result in self.views.values()]
        return {v: verdicts.count(v) for v in ("prompted", "accepted", "rejected", "not visible")}
