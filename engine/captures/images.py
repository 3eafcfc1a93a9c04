"""Photos as arrays: pixels in [0, 1] at any size, masks, and sizes to work at."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from engine.captures.capture import Camera, View
from engine.captures.photo_files import (
    IMAGE_SUFFIXES,
    MAX_PIXELS,
    PhotoHeader,
    has_alpha,
    opened_photo,
    orientation_warning,
    photo_header,
    photo_key,
    said_if_damaged,
)
from engine.captures.shrinking import PART_PIXELS, Rough, averaged, is_far_larger, resampled, roughly, spans
from sa3d_blender.protocol.errors import CaptureError

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "PhotoHeader",
    "StoredPhoto",
    "as_colours",
    "of_mask",
    "orientation_warning",
    "photo_header",
    "photo_key",
    "photos_see_through",
    "read_levels",
    "read_mask",
    "read_rgb",
    "stored_photo",
    "working_key",
    "working_size",
]

_SAVE_AS_PNG = "Save it as an 8-bit RGB PNG or JPEG."


@dataclass(frozen=True)
class StoredPhoto:
    """A photo with its pixels decoded, to be looked at part by part.

    ``rough``: its pixels as bytes, which take up to 4 bytes each. ``silhouette``: uint8 [H, W], its opacity, where that
    is a picture of its own.
    """

    view: View
    rough: Rough
    silhouette: np.ndarray | None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of what was decoded."""
        return self.rough.image.size

    @property
    def levels(self) -> int:
        """The largest number that the photo has for a channel."""
        return 65535 if _is_deep_grey(self.rough.image) else 255

    def part(self, left: int, top: int, right: int, bottom: int) -> np.ndarray:
        """Its pixels within these borders, as read_rgb gives them: float32 [bottom - top, right - left, 3 or 4]."""
        with said_if_damaged(self.view.image_path):
            pixels = _pixels(self.rough.image.crop((left, top, right, bottom)), self.view.image_path)
        if self.silhouette is None:
            return pixels[..., :3] if self.view.opaque else pixels
        return _cut_out(self.view, pixels, self.silhouette[top:bottom, left:right].astype(np.float32) / 255)

    def bands(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All of its pixels, some rows at a time: (rows, float32 [h, W, 3 or 4])."""
        width, height = self.size
        for top, bottom in spans(height, max(1, PART_PIXELS // width)):
            yield slice(top, bottom), self.part(0, top, width, bottom)


@contextlib.contextmanager
def stored_photo(view: View, at_least: tuple[int, int] | None = None) -> Iterator[StoredPhoto]:
    """The photo of ``view``, decoded; shrunk to no less than twice ``at_least`` (width, height) where that is possible
    while it is bytes. Raises CaptureError as read_rgb does.
    """
    path = view.image_path
    with _of_its_camera(view) as image:
        with said_if_damaged(path):
            rough = Rough(image, 1, image.size) if at_least is None else roughly(image, at_least)
            rough.image.load()
        silhouette = _mask_levels(view, rough.factor) if view.silhouette else None
        yield StoredPhoto(view, rough, silhouette)


def read_rgb(view: View, size: tuple[int, int] | None = None) -> np.ndarray:
    """The photo of ``view``, float32 [H, W, 3], or [H, W, 4] with opacity where the photo carries it (and
    its view isn't ``opaque``, or its mask is its ``silhouette``); in [0, 1].

    Colours are as stored (sRGB for usual photos), never multiplied by opacity. ``size`` is (width, height): shrinking
    averages over areas (box filter), enlarging is bilinear; colours are weighted by opacity meanwhile, so that what
    hides under transparent pixels doesn't bleed out. Grey photos become RGB; 16 bits a channel are kept for grey
    photos and read as 8 for colour ones. EXIF orientation is ignored, as the cameras are for the photo as stored.

    A photo that is far larger than ``size`` has the colours of read_levels and takes as little memory as that. Without
    a size it takes 12 to 20 bytes a pixel.

    Raises CaptureError where the file is missing, damaged, too large, of an unusable kind, or not of its camera's size.
    """
    if size is not None and is_far_larger((view.camera.width, view.camera.height), size):
        return as_colours(read_levels(view, size))
    path = view.image_path
    with _of_its_camera(view) as image, said_if_damaged(path):
        pixels = _pixels(image, path)
    if view.opaque:
        pixels = pixels[..., :3]
    if view.silhouette:
        pixels = _cut_out(view, pixels, read_mask(view, (pixels.shape[1], pixels.shape[0])))
    if size is None or size == pixels.shape[1::-1]:
        return pixels
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise CaptureError(f"A photo can't be resampled to {size[0]} x {size[1]} pixels.", "Choose another size.")
    return resampled(pixels, size)


def read_levels(view: View, size: tuple[int, int]) -> np.ndarray:
    """A photo that is far larger than ``size`` (width, height), shrunk to that as read_rgb does and rounded to its own
    levels: uint8, or uint16 for grey photos of 16 bits, [H, W, 3 or 4]. These numbers are what is kept of it.

    It takes the memory of its decoder, 4 bytes a pixel of the photo (for compressed TIFFs 7, for WebPs 16), one more
    for a silhouette, and up to 100 MB. Raises CaptureError as read_rgb does.
    """
    found = None
    with stored_photo(view, size) as photo:
        for rows, columns, block in averaged(photo.part, photo.rough.extent, size):
            if found is None:
                found = np.empty((size[1], size[0], block.shape[2]), np.uint8 if photo.levels == 255 else np.uint16)
            found[rows, columns] = block * photo.levels + 0.5
    assert found is not None
    return found


def as_colours(levels: np.ndarray) -> np.ndarray:
    """What read_levels gives as float32 in [0, 1]."""
    colours: np.ndarray = levels.astype(np.float32) / np.float32(np.iinfo(levels.dtype).max)
    return colours


def read_mask(view: View, size: tuple[int, int] | None = None) -> np.ndarray:
    """The mask of a view that has one, float32 [H, W] in [0, 1], 0 where the photo shows no part of the scene.

    ``size`` as in read_rgb. Raises CaptureError where the file is missing, damaged, or not of its camera's size.
    """
    mask: np.ndarray = read_rgb(of_mask(view), size).mean(-1)
    return mask


def of_mask(view: View) -> View:
    """The mask of a view that has one as if it were a photo."""
    assert view.mask_path is not None
    return replace(view, image_path=view.mask_path, opaque=True, silhouette=False)


def working_size(camera: Camera, max_side: int) -> tuple[int, int]:
    """(width, height) of the camera's photo shrunk so that no side is longer than ``max_side``; never enlarged."""
    scale = min(1.0, max_side / max(camera.width, camera.height))
    return max(1, round(camera.width * scale)), max(1, round(camera.height * scale))


def working_key(view: View, max_side: int, key_of: Callable[[Path], str] = photo_key) -> str:
    """Names a photo's content at working size: what embeddings of it are kept under. ``key_of``: a photo_key that may
    remember."""
    cut_out = f"-{key_of(view.mask_path)}" if view.silhouette and view.mask_path is not None else ""
    return f"{key_of(view.image_path)}{cut_out}-{max_side}"


def photos_see_through(views: Sequence[View], sample: int = 3) -> bool:
    """Whether any pixel is less than opaque in ``sample`` of the photos, spread over ``views``.

    Many programs write an alpha channel that says nothing; only pixels tell. Raises CaptureError as read_rgb does.
    """
    picks = {round(i) for i in np.linspace(0, len(views) - 1, min(sample, len(views)))}
    for i in sorted(picks):
        with stored_photo(views[i]) as photo:
            for _, pixels in photo.bands():
                if pixels.shape[-1] == 3:
                    break
                if float(pixels[..., 3].min()) < 1.0:
                    return True
    return False


@contextlib.contextmanager
def _of_its_camera(view: View) -> Iterator[Image.Image]:
    """The photo, opened, after a look whether it has its camera's size."""
    with opened_photo(view.image_path) as image:
        stored = (view.camera.width, view.camera.height)
        if image.size != stored:
            raise CaptureError(
                f"The photo {view.image_path.name} is {image.width} x {image.height} pixels, its camera is for "
                f"{stored[0]} x {stored[1]}.",
                "Load the capture again if its photos have changed.",
            )
        yield image


def _cut_out(view: View, pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Pixels with the mask as their opacity, beside what opacity of their own counts."""
    own = pixels.shape[-1] == 4 and not view.opaque
    return np.dstack([pixels[..., :3], mask * pixels[..., 3] if own else mask])


def _mask_levels(view: View, factor: int) -> np.ndarray:
    """The view's mask, uint8 [H, W], each of its pixels the mean of ``factor`` x ``factor``."""
    found = np.empty((view.camera.height, view.camera.width), np.uint8)
    with stored_photo(of_mask(view)) as mask:
        for rows, pixels in mask.bands():
            found[rows] = pixels.mean(-1) * 255 + 0.5
    return found if factor == 1 else np.asarray(Image.fromarray(found).reduce(factor))


def _is_deep_grey(image: Image.Image) -> bool:
    return image.mode.startswith("I;16") or image.mode == "I"


def _pixels(image: Image.Image, path: Path) -> np.ndarray:
    mode = image.mode
    if _is_deep_grey(image):
        grey = np.asarray(image).astype(np.float32)
        if grey.size and (grey.max() > 65535 or grey.min() < 0):
            raise CaptureError(f"The photo {path.name} has 32 bits a pixel, which is not supported.", _SAVE_AS_PNG)
        return np.repeat((grey / 65535.0)[..., None], 3, axis=-1)
    if mode == "F":
        raise CaptureError(f"The photo {path.name} holds floating-point pixels, which are not supported.", _SAVE_AS_PNG)
    if mode in ("LAB", "HSV"):
        raise CaptureError(f"The photo {path.name} is stored as {mode}, which is not supported.", _SAVE_AS_PNG)
    converted = image.convert("RGBA" if has_alpha(image) else "RGB")
    return np.asarray(converted).astype(np.float32) / np.float32(255.0)
