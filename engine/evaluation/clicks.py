"""Simulated clicks: the user of the k-click protocol, who knows the truth and clicks where the mask is most wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from engine.segmenters.base import Prompts, Segmenter
from sa3d_blender.protocol.errors import PromptError


@dataclass(frozen=True)
class Clicked:
    """The first clicks and what came of them.

    ``points_px`` float32 [k, 2] in pixels of the photo, ``labels`` [k] (1 = the object), ``mask`` [H, W] after the last
    click with the segmenter's ``score``.
    """

    points_px: Float[np.ndarray, "k 2"]
    labels: np.ndarray
    mask: Float[np.ndarray, "h w"]
    score: float


def simulate_clicks(
    segmenter: Segmenter, truth: Bool[np.ndarray, "h w"], count: int, previous: bool = False
) -> list[Clicked]:
    """What a user would click, after 1, 2, ..., ``count`` clicks; the segmenter's photo has been set.

    The first click is where the object is deepest; each further one in the middle of the largest region in which the
    mask is wrong: positive where the object was missed, negative where the mask goes too far. Ends early once nothing
    is wrong.

    Args:
        previous: the segmenter gets the mask of the click before as a previous mask; without, all clicks anew.

    Raises:
        PromptError: there is no object in the true mask.
    """
    if not truth.any():
        raise PromptError("There is nothing to click on in this view.", "Choose a view that shows the object.")
    points, labels = [_middle(truth)], [1]
    found: list[Clicked] = []
    for _ in range(count):
        at, kinds = np.array(points, np.float32), np.array(labels, np.int64)
        prediction = segmenter.predict(Prompts(at, kinds, mask=found[-1].mask if previous and found else None))
        found.append(Clicked(at, kinds, prediction.mask, prediction.score))
        mask = prediction.mask > 0.5
        missed, extra = _largest(truth & ~mask), _largest(mask & ~truth)
        if not missed.any() and not extra.any():
            break
        positive = missed.sum() >= extra.sum()
        points.append(_middle(missed if positive else extra))
        labels.append(int(positive))
    return found


def _largest(region: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    parts, count = ndimage.label(region)
    if count == 0:
        return region
    largest: Bool[np.ndarray, "h w"] = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return largest


def _middle(region: Bool[np.ndarray, "h w"]) -> tuple[float, float]:
    """The centre of the pixel that lies deepest inside, (x, y)."""
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return float(column) + 0.5, float(row) + 0.5
