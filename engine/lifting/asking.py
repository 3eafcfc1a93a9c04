"""Asks the 2D segmenter about one object in one view: which of the masks it offers is meant, and which parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from engine.lifting.masks import MaskCrop, resample, soft_iou
from engine.lifting.settings import LiftingSettings
from engine.segmenters.base import Prediction, Prompts, Segmenter
from engine.segmenters.clicked_parts import only_clicked


def ask(
    segmenter: Segmenter,
    prompts: Prompts,
    settings: LiftingSettings,
    shown: Bool[np.ndarray, "i j"],
    known: Bool[np.ndarray, "i j"] | None = None,
    clicks: Prompts | None = None,
) -> tuple[MaskCrop, float]:
    """The mask on the raster of ``shown``, and the segmenter's own score of it; the photo has been set.

    Where the segmenter offers several masks and the settings say ``agreement``, that one is taken which agrees best
    with the rendered mask: the scale at which the object has been lifted so far, whatever its name was in the view
    where it began. "The part" of one view needn't be "the part" of the next.

    Args:
        prompts: in pixels of the photo. Without ``agreement`` they ask for the settings' ``scale``, if they ask for
            none themselves and the segmenter knows it; with it, a scale of their own stands.
        shown: the rendered mask; ``known`` says where it can be compared (everywhere if None).
        clicks: what the user himself has said here, by clicks in this view or by marks in space: a mask that heeds
            more of it is preferred to any that agrees better.

    Raises:
        PromptError, SegmenterError: as the segmenter.
    """
    if prompts.scale is None and not settings.agreement and settings.scale in segmenter.scales:
        prompts = replace(prompts, scale=settings.scale)
    found = segmenter.predict(prompts)
    if settings.clicked_parts:
        found = only_clicked(found, prompts, resample(shown.astype(np.float32), found.mask.shape) > 0.5)
    offered = [(found.mask, found.score)]
    if settings.agreement and prompts.scale is None and len(found.candidates) > 1:
        offered = [(each.mask, each.score) for each in found.candidates]
    masks = [resample(mask, shown.shape) for mask, _ in offered]
    heeded = [_heeded(mask, clicks) for mask, _ in offered]
    best = _best([soft_iou(mask, shown.astype(np.float32), known) for mask in masks], heeded, found, offered)
    return MaskCrop.of(masks[best]), offered[best][1]


def _best(
    agreement: Sequence[float],
    heeded: Sequence[int],
    found: Prediction,
    offered: Sequence[tuple[Float[np.ndarray, "h w"], float]],
) -> int:
    """The offer that heeds most clicks, among those the one that agrees best; by its score where none agrees at all."""
    if max(agreement) == 0 and len(set(heeded)) == 1:
        return next(k for k, (_, score) in enumerate(offered) if score == max(s for _, s in offered))
    return max(range(len(offered)), key=lambda k: (heeded[k], agreement[k]))


def _heeded(mask: Float[np.ndarray, "h w"], clicks: Prompts | None) -> int:
    """How many of the user's clicks a mask agrees with."""
    if clicks is None or len(clicks.points_px) == 0:
        return 0
    columns: Int[np.ndarray, " n"] = np.clip(clicks.points_px[:, 0].astype(int), 0, mask.shape[1] - 1)
    rows: Int[np.ndarray, " n"] = np.clip(clicks.points_px[:, 1].astype(int), 0, mask.shape[0] - 1)
    return int(((mask[rows, columns] > 0.5) == (clicks.labels == 1)).sum())
