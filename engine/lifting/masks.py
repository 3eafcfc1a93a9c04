"""2D masks as they are kept: 8 bits, the part that isn't empty. Also masks at other sizes, and their agreement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8


@dataclass(frozen=True)
class MaskCrop:
    """A mask in [0, 1] in steps of 1/255: ``values`` [h, w] at ``corner`` (row, column) of a picture of ``shape``.

    What a view votes is worked out from this, never from the finer mask it was made of: so a vote can be worked out
    again.
    """

    shape: tuple[int, int]
    corner: tuple[int, int]
    values: UInt8[np.ndarray, "h w"]

    @staticmethod
    def of(mask: Float[np.ndarray, "h w"]) -> MaskCrop:
        """Rounds and crops a mask."""
        steps = (np.clip(mask, 0, 1) * 255 + 0.5).astype(np.uint8)
        rows, columns = np.flatnonzero(steps.any(1)), np.flatnonzero(steps.any(0))
        shape = (mask.shape[0], mask.shape[1])
        if len(rows) == 0:
            return MaskCrop(shape, (0, 0), np.zeros((0, 0), np.uint8))
        corner = (int(rows[0]), int(columns[0]))
        return MaskCrop(shape, corner, steps[corner[0] : rows[-1] + 1, corner[1] : columns[-1] + 1].copy())

    def dense(self) -> Float[np.ndarray, "h w"]:
        """The whole mask, float32."""
        full = np.zeros(self.shape, np.float32)
        row, column = self.corner
        height, width = self.values.shape
        full[row : row + height, column : column + width] = self.values / np.float32(255)
        return full


def resample(image: Float[np.ndarray, "h w *c"], size: tuple[int, ...]) -> Float[np.ndarray, "i j *c"]:
    """An image at another size (height, width): means of areas when it shrinks, bilinear when it grows."""
    if image.shape[:2] == tuple(size):
        return image.astype(np.float32)
    planes = torch.from_numpy(np.ascontiguousarray(image, np.float32)).reshape(*image.shape[:2], -1).permute(2, 0, 1)
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    found = torch.nn.functional.interpolate(planes[None], size=size, mode="area" if shrinks else "bilinear")[0]
    return found.permute(1, 2, 0).reshape(*size, *image.shape[2:]).numpy()


def soft_iou(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"], where: np.ndarray | None = None) -> float:
    """IoU of two masks at one half, over the pixels of ``where`` if given."""
    p, q = a > 0.5, b > 0.5
    if where is not None:
        p, q = p & where, q & where
    union = int((p | q).sum())
    return float((p & q).sum() / union) if union else 0.0
