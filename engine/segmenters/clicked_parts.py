"""The parts of a mask that hold a positive click: all that hangs together with none is likely to be something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from engine.segmenters.base import Photo, Prediction, Prompts, Segmenter

__all__ = ["OnlyClicked", "clicked_parts", "only_clicked"]

_EIGHT = np.ones((3, 3), bool)  # a part goes on across a corner
_LEVEL = 0.5
_MOSTLY = 0.5  # share of a part
_RIM = 2  # pixels around a part that is left out: its soft edge goes with it


def clicked_parts(
    mask: Float[np.ndarray, "h w"], prompts: Prompts, shown: Bool[np.ndarray, "h w"] | None = None
) -> Float[np.ndarray, "h w"]:
    """``mask`` with 0 wherever it exceeds one half in a connected part that holds no positive click.

    Where there is no positive click, a part that lies in the box for the most part stays. The mask stays as it is
    where nothing that was said lies on it: then nothing tells which part is meant.

    Args:
        shown: where the object is known to show: a part that lies there for the most part stays without a click, as
            what stands before an object may cut it in two.
    """
    parts, count = ndimage.label(mask > _LEVEL, _EIGHT)
    if count < 2:
        return mask
    clicks = np.asarray(prompts.points_px)[np.asarray(prompts.labels) == 1].reshape(-1, 2)
    columns = np.clip(clicks[:, 0].astype(int), 0, mask.shape[1] - 1)
    rows = np.clip(clicks[:, 1].astype(int), 0, mask.shape[0] - 1)
    held = np.zeros(count + 1, bool)
    held[parts[rows, columns]] = True
    if shown is not None:
        held |= ndimage.mean(shown, parts, np.arange(count + 1)) > _MOSTLY
    if len(clicks) == 0 and prompts.box_px is not None:
        x0, y0, x1, y1 = np.round(prompts.box_px).astype(int)
        inside = np.zeros(mask.shape, bool)
        inside[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
        held |= ndimage.mean(inside, parts, np.arange(count + 1)) > _MOSTLY
    held[0] = False
    if not held.any():
        return mask
    kept = held[parts]
    lost = (parts > 0) & ~kept
    near = _grown(lost) & ~_grown(kept)
    return np.where(near | lost, np.float32(0), mask)


def _grown(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The mask with a rim around it (a square's dilation, as two passes of a running maximum)."""
    size = 2 * _RIM + 1
    grown: Bool[np.ndarray, "h w"] = ndimage.maximum_filter(mask, size, mode="constant")
    return grown


def only_clicked(found: Prediction, prompts: Prompts, shown: Bool[np.ndarray, "h w"] | None = None) -> Prediction:
    """The prediction and all its candidates, each with its clicked parts only (see `clicked_parts`)."""
    candidates = tuple(replace(each, mask=clicked_parts(each.mask, prompts, shown)) for each in found.candidates)
    return replace(found, mask=clicked_parts(found.mask, prompts, shown), candidates=candidates)


class OnlyClicked:
    """A segmenter whose masks keep only the parts that hold a positive click."""

    def __init__(self, inner: Segmenter) -> None:
        """``inner`` makes the masks."""
        self.inner = inner
        self.name, self.scales = inner.name, inner.scales

    def set_image(self, photo: Photo) -> None:
        """As the inner one."""
        self.inner.set_image(photo)

    def predict(self, prompts: Prompts) -> Prediction:
        """As the inner one, without the parts that hold no positive click."""
        return only_clicked(self.inner.predict(prompts), prompts)
