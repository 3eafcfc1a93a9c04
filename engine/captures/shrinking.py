"""Big photos shrunk in little memory: as bytes where that is exact enough, else as floats a part at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

__all__ = ["PART_PIXELS", "Rough", "averaged", "is_far_larger", "resampled", "roughly", "spans", "unweighted"]

LARGE = 4_000_000  # pixels from which on a photo is shrunk in parts
_NOTHING = 1e-6  # of a pixel: what rounding makes of lines that lie on pixels' borders
PART_PIXELS = 1_000_000  # of a photo that are floats at a time: 16 MB with opacity, and some copies of that


@dataclass(frozen=True)
class Rough:
    """A decoded photo, shrunk while it was bytes by ``factor`` (1: not at all).

    Its pixels stand for squares of ``factor`` pixels a side. ``extent`` is how many of them (x, y) the photo fills:
    where its sides are no multiples of the factor, less than the whole of the last ones.
    """

    image: Image.Image
    factor: int
    extent: tuple[float, float]


def is_far_larger(stored: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a photo of ``stored`` (width, height) is so much larger than ``size`` that it is shrunk in parts."""
    pixels = stored[0] * stored[1]
    shrinks = 1 <= size[0] <= stored[0] and 1 <= size[1] <= stored[1]
    return shrinks and pixels >= LARGE and pixels >= 4 * size[0] * size[1]


def roughly(image: Image.Image, size: tuple[int, int]) -> Rough:
    """A photo just opened, decoded and shrunk to no less than twice ``size`` (width, height) while it is bytes.

    JPEG is decoded smaller right away (an eighth of the coefficients make an eighth of the picture); what is left of
    the factor is averaged. Photos with opacity, those of 16 bits and those with a palette keep their size.
    """
    stored, least = image.size, (2 * size[0], 2 * size[1])
    factor = 1
    if image.mode in ("RGB", "L", "CMYK") and "transparency" not in image.info:
        if image.width >= 2 * least[0] and image.height >= 2 * least[1]:
            drafted = image.draft(image.mode, least)
            factor = 1 if drafted is None else round(stored[0] / drafted[1][2])
        left = min(image.width // least[0], image.height // least[1])
        if left >= 2:
            factor, image = factor * left, image.reduce(left)
    image.load()
    return Rough(image, factor, (stored[0] / factor, stored[1] / factor))


def averaged(
    part: Callable[[int, int, int, int], np.ndarray], extent: tuple[float, float], size: tuple[int, int]
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """A photo shrunk to ``size`` (width, height) by averaging over areas, in blocks: rows, columns, float32 [h, w, C].

    ``part`` gives its pixels [bottom - top, right - left, C] within (left, top, right, bottom), of which no more than
    about PART_PIXELS are asked for at a time; ``extent`` (x, y) in such pixels is what becomes ``size``.
    """
    across, down = extent[0] / size[0], extent[1] / size[1]
    wide = max(1, min(size[0], int(PART_PIXELS / (across * max(1.0, down)))))
    high = max(1, min(size[1], int(PART_PIXELS / (wide * across * down))))
    for top, bottom in spans(size[1], high):
        for left, right in spans(size[0], wide):
            x, y = across * np.arange(left, right + 1), down * np.arange(top, bottom + 1)
            corner = math.floor(x[0]), math.floor(y[0])
            pixels = part(*corner, math.ceil(x[-1] - _NOTHING), math.ceil(y[-1] - _NOTHING))
            yield slice(top, bottom), slice(left, right), _area_means(pixels, x - corner[0], y - corner[1])


def _area_means(pixels: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Means of pixels [H, W, 3 or 4] between the lines ``x`` [w + 1] and ``y`` [h + 1], float32 [h, w, 3 or 4]; pixels
    that a line cuts count as far as they lie within. Colours are weighted by opacity."""
    if pixels.shape[-1] == 3:
        return np.clip(_means_along(_means_along(pixels, y, 0), x, 1), 0.0, 1.0)
    weighted = np.concatenate([pixels[..., :3] * pixels[..., 3:], pixels[..., 3:]], axis=-1)
    return unweighted(_means_along(_means_along(weighted, y, 0), x, 1))


def _means_along(values: np.ndarray, edges: np.ndarray, axis: int) -> np.ndarray:
    length = values.shape[axis]
    whole = np.minimum((edges + _NOTHING).astype(np.int64), length)
    shape = [1, 1, 1]
    shape[axis] = -1
    cut = (np.clip(edges - whole, 0.0, 1.0)).astype(np.float32).reshape(shape)
    # sums from one line's pixel to the next one's, then what lies before the first line goes and behind the last comes
    sums = np.add.reduceat(values.take(range(whole[-1]), axis) if whole[-1] < length else values, whole[:-1], axis)
    border = values.take(np.minimum(whole, length - 1), axis) * cut
    first, last = (border.take(range(i, i + len(edges) - 1), axis) for i in (0, 1))
    return ((sums - first + last) / np.float32(edges[1] - edges[0])).astype(np.float32)


def spans(length: int, most: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of stretches that make up ``length``, none longer than ``most``."""
    for begin in range(0, length, most):
        yield begin, min(begin + most, length)


def resampled(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixels [H, W, 3 or 4] in [0, 1] at ``size`` (width, height), float32: averages over areas where both sides
    shrink, else bilinear. Colours are weighted by opacity.
    """
    shrinking = size[0] <= pixels.shape[1] and size[1] <= pixels.shape[0]
    how = Image.Resampling.BOX if shrinking else Image.Resampling.BILINEAR

    def resize(channel: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(np.ascontiguousarray(channel)).resize(size, how))

    if pixels.shape[-1] == 3:
        return np.clip(np.stack([resize(pixels[..., i]) for i in range(3)], axis=-1), 0.0, 1.0)
    weighted = [resize(pixels[..., i] * pixels[..., 3]) for i in range(3)]
    return unweighted(np.stack([*weighted, resize(pixels[..., 3])], axis=-1))


def unweighted(pixels: np.ndarray) -> np.ndarray:
    """Pixels [H, W, 4] whose colours are multiplied by their opacity with colours as they are, float32 in [0, 1]; black
    where nothing is seen."""
    alpha = pixels[..., 3:]
    seen = alpha > 1e-6
    colour = np.where(seen, pixels[..., :3] / np.where(seen, alpha, 1.0), 0.0)
    return np.clip(np.concatenate([colour, alpha], axis=-1), 0.0, 1.0).astype(np.float32)
