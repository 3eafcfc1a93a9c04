"""Carries one object through a capture by one method, timed: all that the evaluation knows of the lifting."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from engine.lifting.evidence import Evidence, contribution_of
from engine.lifting.lifted import Seed
from engine.lifting.loop import lift, plant
from engine.lifting.masks import MaskCrop, resample
from engine.lifting.settings import LiftingSettings
from engine.lifting.store import store
from engine.lifting.two_pass import second_pass
from engine.progress import Job
from engine.segment import object_masks, object_probability, render_masks
from engine.segmenters.base import Photo, Prediction, Prompts, Segmenter
from engine.workspace import Workspace


@dataclass(frozen=True)
class Carried:
    """An object as a method found it.

    ``masks`` are rendered probabilities at working size, by stem; ``values`` [N] the probability of each occupied
    voxel, ``seen`` [N] which of them some view has looked at. ``verdicts`` counts the views; ``seconds`` are those of
    the masks (2D and rendered), ``segmenter_seconds`` the part of them that the 2D segmenter took.
    """

    masks: dict[str, Float[np.ndarray, "h w"]]
    values: Float[np.ndarray, " n"]
    seen: Bool[np.ndarray, " n"]
    verdicts: dict[str, int]
    seconds: float
    segmenter_seconds: float


class TimedSegmenter:
    """A segmenter that adds up how long it works."""

    def __init__(self, inner: Segmenter) -> None:
        """``inner`` does the work."""
        self.inner, self.seconds = inner, 0.0
        self.name, self.scales = inner.name, inner.scales

    def set_image(self, photo: Photo) -> None:
        """As the inner one."""
        begun = time.perf_counter()
        self.inner.set_image(photo)
        self.seconds += time.perf_counter() - begun

    def predict(self, prompts: Prompts) -> Prediction:
        """As the inner one."""
        begun = time.perf_counter()
        found = self.inner.predict(prompts)
        self.seconds += time.perf_counter() - begun
        return found


def carry(workspace: Workspace, seed: Seed, segmenter: Segmenter, settings: LiftingSettings, job: Job) -> Carried:
    """The whole method: from the mask of one view to all views."""
    timed = TimedSegmenter(segmenter)
    begun = time.perf_counter()
    lifted = lift(workspace.scene, [seed], timed, settings, job)[0]
    if settings.two_pass:
        lifted = second_pass(workspace.scene, lifted, timed, job).lifted
    values = object_probability(workspace, store(lifted), settings)
    masks = object_masks(workspace, lifted, values, job)
    seconds = time.perf_counter() - begun
    return Carried(masks, values, lifted.evidence.seen, lifted.count(), seconds, timed.seconds)


def single_view(workspace: Workspace, seed: Seed, settings: LiftingSettings, job: Job) -> Carried:
    """The paper's single-view baseline: the prompted view's mask alone, without any other view."""
    return ceiling(workspace, {seed.view.stem: seed.mask}, settings, job)


def one_view_spread(workspace: Workspace, seed: Seed, settings: LiftingSettings, job: Job) -> Carried:
    """Ours before any other view is asked: the prompted view's mask, spread to what it doesn't see."""
    begun = time.perf_counter()
    lifted = plant(workspace.scene, seed, settings)
    values = object_probability(workspace, store(lifted), settings)
    masks = object_masks(workspace, lifted, values, job)
    return Carried(masks, values, lifted.evidence.seen, lifted.count(), time.perf_counter() - begun, 0.0)


def ceiling(
    workspace: Workspace, masks: Mapping[str, Float[np.ndarray, "h w"]], settings: LiftingSettings, job: Job
) -> Carried:
    """What the lifting makes of given masks (by stem, at any size): with true ones of all views, its ceiling."""
    begun = time.perf_counter()
    evidence = Evidence(workspace.voxels.count)
    for stem, mask in masks.items():
        view = workspace.views[stem]
        operator = workspace.operator(view)
        crop = MaskCrop.of(resample(mask, operator.opacity.shape))
        evidence.put(stem, contribution_of(operator, crop.dense(), workspace.scene.looked_of(view)))
    support = evidence.support()
    values = support.scatter(support.probability(settings.lam))
    rendered = render_masks(workspace, values, job)
    return Carried(rendered, values, evidence.seen, {"prompted": len(masks)}, time.perf_counter() - begun, 0.0)
