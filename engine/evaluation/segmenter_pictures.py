"""Pictures of what a 2D segmenter made of prompts: outlines, and the prompts as dots and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image
from scipy import ndimage

from engine.cache import atomic_file
from engine.evaluation.page import outlined
from engine.evaluation.trials import Trial
from engine.segmenters.base import Prompts

POSITIVE, NEGATIVE, BOX = (0.2, 1.0, 0.2), (1.0, 0.1, 0.3), (1.0, 1.0, 0.2)
DOT = 160  # of the object's window's longer side to one of a dot's radius
GAP = 4  # white pixels between panels


def with_prompts(
    rgb: Float[np.ndarray, "h w 3"],
    truth: Bool[np.ndarray, "h w"],
    trial: Trial,
    around: Bool[np.ndarray, "h w"] | None = None,
) -> Float[np.ndarray, "i j 3"]:
    """One trial: positive clicks green, negative red, a box yellow, outlines as everywhere (ours orange, true blue)."""
    shown = _shown(truth, [trial]) if around is None else around
    return outlined(_painted(rgb, trial.prompts, shown), trial.mask, truth, shown)


def panels(
    rgb: Float[np.ndarray, "h w 3"], truth: Bool[np.ndarray, "h w"], trials: Sequence[Trial]
) -> Float[np.ndarray, "i j 3"]:
    """All trials on one object side by side, of the same part of the photo."""
    around = _shown(truth, trials)
    found = [with_prompts(rgb, truth, trial, around) for trial in trials]
    gap = np.ones((found[0].shape[0], GAP, 3), np.float32)
    return np.concatenate([part for picture in found for part in (gap, picture)][1:], 1)


def save_picture(path: Path, rgb: Float[np.ndarray, "h w 3"]) -> None:
    """Writes a PNG whole or not at all. Raises StorageError."""
    with atomic_file(path) as temporary:
        Image.fromarray((np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8)).save(temporary, format="PNG")


def _shown(truth: Bool[np.ndarray, "h w"], trials: Sequence[Trial]) -> Bool[np.ndarray, "h w"]:
    """Masks and clicks: what has to be in the picture."""
    shown = np.logical_or.reduce([truth, *(trial.mask for trial in trials)])
    for trial in trials:
        columns, rows = trial.prompts.points_px.astype(int).T
        shown[rows, columns] = True
    return shown


def _painted(
    rgb: Float[np.ndarray, "h w 3"], prompts: Prompts, shown: Bool[np.ndarray, "h w"]
) -> Float[np.ndarray, "h w 3"]:
    """The photo with dots and a box; dots as large as the part of it that is ``shown`` needs."""
    painted = rgb.copy()
    side = 1 + max(int(np.ptp(np.flatnonzero(shown.any(axis)))) for axis in (0, 1))
    radius = max(1.0, side / DOT)
    rows, columns = np.indices(shown.shape)
    for (x, y), label in zip(prompts.points_px.tolist(), prompts.labels.tolist(), strict=True):
        dot = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2
        painted[ndimage.binary_dilation(dot, np.ones((3, 3)))] = 0.0
        painted[dot] = POSITIVE if label else NEGATIVE
    if prompts.box_px is not None:
        x0, y0, x1, y1 = np.round(prompts.box_px).astype(int)
        inside = np.zeros(shown.shape, bool)
        inside[y0:y1, x0:x1] = True
        painted[inside & ~ndimage.binary_erosion(inside)] = BOX
    return painted
