"""The part of a photo that a click model looks at, brought to the model's size, and its answer brought back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from engine.segmenters.click_description import InputSize

__all__ = ["Box", "Frame", "box_of", "crop_around", "overlap", "resize"]

Box = tuple[int, int, int, int]  # rows and columns of a photo: first row, first column, and both ends (exclusive)


@dataclass(frozen=True)
class Frame:
    """``crop`` of a photo, resized to ``inner`` (height, width), which lies in the top-left corner of ``outer``."""

    crop: Box
    inner: tuple[int, int]
    outer: tuple[int, int]
    align_corners: bool

    @staticmethod
    def fit(crop: Box, size: InputSize, align_corners: bool, pixels: int | None = None) -> Frame:
        """The frame of ``crop`` by the rule of ``size``; ``pixels`` instead of the rule's own, then also to enlarge."""
        height, width = crop[2] - crop[0], crop[3] - crop[1]
        wanted = size.pixels if pixels is None else pixels
        if size.rule == "stretch":
            return Frame(crop, (wanted, wanted), (wanted, wanted), align_corners)
        side = min(height, width) if size.side == "shortest" and size.rule == "multiple" else max(height, width)
        scale = wanted / side
        if pixels is None and not size.enlarge:
            scale = min(1.0, scale)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        if size.rule == "square":
            return Frame(crop, inner, (wanted, wanted), align_corners)
        outer = tuple(-(-length // size.multiple) * size.multiple for length in inner)
        return Frame(crop, inner, (outer[0], outer[1]), align_corners)

    def shrink(self, picture: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "i j c"]:
        """The crop of a picture at the inner size."""
        top, left, bottom, right = self.crop
        return resize(picture[top:bottom, left:right], self.inner, self.align_corners)

    def pad(self, picture: Float[np.ndarray, "i j c"]) -> Float[np.ndarray, "y x c"]:
        """A picture of the inner size with zeros to the right and below, up to the outer size."""
        (height, width), (rows, columns) = self.inner, self.outer
        return np.pad(picture, ((0, rows - height), (0, columns - width), (0, 0)))

    def clicks(self, points_px: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Clicks (x, y) in the photo as (row, column) of the frame, where whole numbers are centres of pixels."""
        top, left, bottom, right = self.crop
        scale = np.array([self.inner[0] / (bottom - top), self.inner[1] / (right - left)])
        points = np.asarray(points_px, np.float64)[:, ::-1] - [top, left]
        # The published code that aligns corners scales a pixel's number; else its centre has to be scaled.
        return (points - 0.5) * scale if self.align_corners else points * scale - 0.5

    def back(self, mask: Float[np.ndarray, "y x"], height: int, width: int) -> Float[np.ndarray, "h w"]:
        """A mask of the outer size in the photo of ``height`` x ``width``; 0 beside the crop."""
        top, left, bottom, right = self.crop
        inner = mask[: self.inner[0], : self.inner[1], None]
        found = np.zeros((height, width), np.float32)
        found[top:bottom, left:right] = resize(inner, (bottom - top, right - left), self.align_corners)[..., 0]
        return np.clip(found, 0, 1)


def resize(
    picture: Float[np.ndarray, "h w c"], size: tuple[int, int], align_corners: bool
) -> Float[np.ndarray, "i j c"]:
    """Bilinear: the corners' pixels on each other, or pixels as areas and smoothed where the picture shrinks."""
    if picture.shape[:2] == size:
        return picture
    planes = torch.from_numpy(np.ascontiguousarray(picture, np.float32)).permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(
        planes, size, mode="bilinear", align_corners=align_corners, antialias=not align_corners
    )
    return planes[0].permute(1, 2, 0).numpy()


def box_of(mask: np.ndarray) -> Box | None:
    """The box of what is True in a mask [H, W]; None where nothing is."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def crop_around(box: Box, expansion: float, least: int, height: int, width: int) -> Box:
    """A box about its middle with its sides times ``expansion``, at least ``least`` pixels, cut at the photo.

    Rounded as the published predictors do it, by the middles of the first and the last pixel.
    """
    ends = []
    for start, stop, limit in ((box[0], box[2], height), (box[1], box[3], width)):
        middle, half = (start + stop - 1) / 2, max(expansion * (stop - start), least) / 2
        ends.append((max(0, round(middle - half)), min(limit, round(middle + half) + 1)))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    rows = min(first[2], second[2]) - max(first[0], second[0])
    columns = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0, rows) * max(0, columns)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)
