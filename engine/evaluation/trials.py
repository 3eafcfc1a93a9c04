"""What a 2D segmenter makes of one object in one photo: simulated clicks, several points at once, a tight box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from engine.evaluation.clicks import simulate_clicks
from engine.evaluation.metrics import boundary_iou, iou
from engine.segmenters.base import Prompts, Segmenter
from sa3d_blender.protocol.errors import PromptError

INNER_SHARE = 0.4  # how deep inside points lie, as a share of the deepest
BOX = "box"


@dataclass(frozen=True)
class Trial:
    """One set of prompts and what came of it.

    ``name`` is "1 click", "3 clicks", "6 points" or "box"; ``mask`` bool [H, W]; ``score`` is the segmenter's own
    estimate of the ``iou``.
    """

    name: str
    prompts: Prompts
    mask: Bool[np.ndarray, "h w"]
    score: float
    iou: float
    boundary_iou: float


@dataclass(frozen=True)
class Protocol:
    """What is tried: numbers of ``clicks``, numbers of ``points`` that are given at once, a tight ``box``.

    ``previous``: each further click comes with the mask so far as the previous mask.
    """

    clicks: Sequence[int] = (1, 2, 3, 5)
    points: Sequence[int] = (3, 6)
    box: bool = True
    previous: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of the trials, in their order."""
        clicks = [_clicks(count) for count in self.clicks]
        return (*clicks, *(f"{count} points" for count in self.points), *([BOX] if self.box else []))


def run_trials(segmenter: Segmenter, truth: Bool[np.ndarray, "h w"], protocol: Protocol) -> list[Trial]:
    """All trials on one object; the segmenter's photo has been set.

    Where fewer clicks leave nothing wrong, that mask counts for more clicks, too.

    Raises:
        PromptError: there is no object in the true mask. SegmenterError: as the segmenter.
    """
    found = []
    if protocol.clicks:
        steps = simulate_clicks(segmenter, truth, max(protocol.clicks), protocol.previous)
        for count in protocol.clicks:
            step = steps[min(count, len(steps)) - 1]
            prompts = Prompts(step.points_px, step.labels)
            found.append(_trial(_clicks(count), prompts, step.mask, step.score, truth))
    asked = [(f"{n} points", Prompts(p, np.ones(len(p), np.int64))) for n, p in _at_once(truth, protocol.points)]
    if protocol.box:
        asked.append((BOX, Prompts(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), tight_box(truth))))
    for name, prompts in asked:
        answer = segmenter.predict(prompts)
        found.append(_trial(name, prompts, answer.mask, answer.score, truth))
    return found


def interior_points(truth: Bool[np.ndarray, "h w"], count: int) -> Float[np.ndarray, "n 2"]:
    """Up to ``count`` pixel centres (x, y) well inside an object and far from each other, float32 [N, 2].

    As the self-prompting of the lifting gives them: the first is the deepest pixel, each further one the one farthest
    from all so far among the pixels of the eroded mask. Fewer only where the eroded mask has fewer pixels.

    Raises:
        PromptError: the mask is empty.
    """
    if not truth.any():
        raise PromptError("There is nothing to click on in this view.", "Choose a view that shows the object.")
    depth = ndimage.distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1]
    rows, columns = np.nonzero(depth >= INNER_SHARE * depth.max())
    centres = np.stack([columns, rows], 1).astype(np.float32) + np.float32(0.5)
    chosen = [int(np.argmax(depth[rows, columns]))]
    nearest = np.linalg.norm(centres - centres[chosen[0]], axis=1)
    while len(chosen) < count and nearest.max() > 0:
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.linalg.norm(centres - centres[chosen[-1]], axis=1))
    return centres[chosen]


def tight_box(truth: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, " 4"]:
    """The box (x0, y0, x1, y1) in pixels that just holds a mask, float32."""
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _at_once(truth: Bool[np.ndarray, "h w"], counts: Sequence[int]) -> list[tuple[int, np.ndarray]]:
    """The points of each count: fewer are the first of more."""
    if not counts:
        return []
    points = interior_points(truth, max(counts))
    return [(count, points[:count]) for count in counts]


def _clicks(count: int) -> str:
    return f"{count} click{'s' if count > 1 else ''}"


def _trial(
    name: str, prompts: Prompts, mask: Float[np.ndarray, "h w"], score: float, truth: Bool[np.ndarray, "h w"]
) -> Trial:
    ours = mask > 0.5
    return Trial(name, prompts, ours, score, iou(ours, truth), boundary_iou(ours, truth))
