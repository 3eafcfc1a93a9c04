"""Photos as arrays: headers, pixels in [0, 1], sizes to work at, and keys of their content."""

from __future__ import annotations

import hashlib
import struct
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from engine.captures.capture import Camera, View
from sa3d_blender.protocol.errors import CaptureError

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "PhotoHeader",
    "orientation_warning",
    "photo_header",
    "photo_key",
    "photos_see_through",
    "read_mask",
    "read_rgb",
    "working_size",
]

MAX_PIXELS = 200_000_000
LARGE = 4_000_000  # pixels from which on a photo is shrunk while it is bytes
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})

# Pillow refuses above twice its own limit and warns above it: this makes its refusal ours.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_EXIF_ORIENTATION = 0x0112
_BLOCK = 1 << 22  # bytes
_REPLACE = "Replace the file with an intact copy, or remove it from the capture."
_SAVE_AS_PNG = "Save it as an 8-bit RGB PNG or JPEG."


@dataclass(frozen=True)
class PhotoHeader:
    """What a photo's header says: size in pixels as stored, opacity, EXIF orientation (1 = as stored)."""

    width: int
    height: int
    has_alpha: bool
    orientation: int


def photo_header(path: Path) -> PhotoHeader:
    """The header of the photo at ``path``, without decoding its pixels. Raises CaptureError."""
    with _open(path) as image:
        return PhotoHeader(image.width, image.height, _has_alpha(image), _orientation(image))


def read_rgb(view: View, size: tuple[int, int] | None = None) -> np.ndarray:
    """The photo of ``view``, float32 [H, W, 3], or [H, W, 4] with opacity where the photo carries it (and
    its view isn't ``opaque``, or its mask is its ``silhouette``); in [0, 1].

    Colours are as stored (sRGB for usual photos), never multiplied by opacity. ``size`` is (width, height): shrinking
    averages over areas (box filter), enlarging is bilinear; colours are weighted by opacity meanwhile, so that what
    hides under transparent pixels doesn't bleed out. Grey photos become RGB; 16 bits a channel are kept for grey
    photos and read as 8 for colour ones. EXIF orientation is ignored, as the cameras are for the photo as stored.

    Raises CaptureError where the file is missing, damaged, too large, of an unusable kind, or not of its camera's size.
    """
    path = view.image_path
    with _open(path) as image:
        stored = (view.camera.width, view.camera.height)
        if image.size != stored:
            raise CaptureError(
                f"The photo {path.name} is {image.width} x {image.height} pixels, its camera is for {stored[0]} x "
                f"{stored[1]}.",
                "Load the capture again if its photos have changed.",
            )
        try:
            pixels = _pixels(image if size is None else _roughly(image, size), path)
        except (
            OSError,
            SyntaxError,
            ValueError,
            EOFError,
            struct.error,
            MemoryError,
            NotImplementedError,
        ) as error:
            raise CaptureError(f"The photo {path.name} is damaged: {_first_line(error)}.", _REPLACE) from error
    if view.opaque:
        pixels = pixels[..., :3]
    if view.silhouette:
        alpha = read_mask(view, (pixels.shape[1], pixels.shape[0]))
        pixels = np.dstack([pixels[..., :3], alpha if pixels.shape[-1] == 3 else alpha * pixels[..., 3]])
    return pixels if size is None or size == pixels.shape[1::-1] else _resampled(pixels, size)


def read_mask(view: View, size: tuple[int, int] | None = None) -> np.ndarray:
    """The mask of a view that has one, float32 [H, W] in [0, 1], 0 where the photo shows no part of the scene.

    ``size`` as in read_rgb. Raises CaptureError where the file is missing, damaged, or not of its camera's size.
    """
    assert view.mask_path is not None
    of_mask = replace(view, image_path=view.mask_path, opaque=True, silhouette=False)
    mask: np.ndarray = read_rgb(of_mask, size).mean(-1)
    return mask


def working_size(camera: Camera, max_side: int) -> tuple[int, int]:
    """(width, height) of the camera's photo shrunk so that no side is longer than ``max_side``; never enlarged."""
    scale = min(1.0, max_side / max(camera.width, camera.height))
    return max(1, round(camera.width * scale)), max(1, round(camera.height * scale))


def photo_key(path: Path, check: Callable[[], None] = lambda: None) -> str:
    """The SHA-256 of the file's bytes, 64 hexadecimal digits: the same content has the same key anywhere.

    ``check`` is called every few megabytes; what it raises ends the reading.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
                check()
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def working_key(view: View, max_side: int) -> str:
    """Names a photo's content at working size: what embeddings of it are kept under."""
    cut_out = f"-{photo_key(view.mask_path)}" if view.silhouette and view.mask_path is not None else ""
    return f"{photo_key(view.image_path)}{cut_out}-{max_side}"


def orientation_warning(headers: Sequence[tuple[str, PhotoHeader]]) -> str | None:
    """One sentence if any of the (name, header) photos asks in its EXIF data to be shown turned, else None."""
    turned = [name for name, header in headers if header.orientation != 1]
    if not turned:
        return None
    return (
        f"{len(turned)} of {len(headers)} photos (such as {turned[0]}) carry an EXIF orientation, which is ignored: "
        "the cameras are taken to be for the photos as stored."
    )


def photos_see_through(views: Sequence[View], sample: int = 3) -> bool:
    """Whether any pixel is less than opaque in ``sample`` of the photos, spread over ``views``.

    Many programs write an alpha channel that says nothing; only pixels tell. Raises CaptureError as read_rgb does.
    """
    picks = {round(i) for i in np.linspace(0, len(views) - 1, min(sample, len(views)))}
    for i in sorted(picks):
        pixels = read_rgb(views[i])
        if pixels.shape[-1] == 4 and float(pixels[..., 3].min()) < 1.0:
            return True
    return False


def _open(path: Path) -> Image.Image:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # a pipe would be waited for, for ever
            raise CaptureError(f"The photo {path.name} is not a file.", _REPLACE)
        return Image.open(path)
    except Image.DecompressionBombError as error:
        raise CaptureError(
            f"The photo {path.name} has more than {MAX_PIXELS // 1_000_000} megapixels.",
            "Shrink the photos before importing them.",
        ) from error
    except (UnidentifiedImageError, NotImplementedError) as error:  # the latter from DDS files of rare kinds
        raise CaptureError(f"The file {path.name} is not an image that can be read.", _REPLACE) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except (SyntaxError, ValueError, EOFError, struct.error, MemoryError) as error:
        raise CaptureError(f"The photo {path.name} is damaged: {_first_line(error)}.", _REPLACE) from error


def _unreadable(path: Path, error: OSError) -> CaptureError:
    reason = error.strerror or _first_line(error)
    return CaptureError(
        f"The photo {path.name} can't be read: {reason}.", "Check that it is there and that you may read it."
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _has_alpha(image: Image.Image) -> bool:
    return image.mode in _ALPHA_MODES or "transparency" in image.info


def _orientation(image: Image.Image) -> int:
    # Not image.getexif(): for a PNG without EXIF data that would decode all of its pixels.
    raw = image.info.get("exif")
    if not raw or image.format == "TIFF":  # Pillow turns TIFFs itself, size included
        return 1
    exif = Image.Exif()
    try:
        exif.load(raw)
        value = exif.get(_EXIF_ORIENTATION, 1)
    except (SyntaxError, ValueError, OSError, EOFError, struct.error, TypeError):
        return 1  # damaged EXIF data asks for nothing
    return value if value in range(1, 9) else 1


def _pixels(image: Image.Image, path: Path) -> np.ndarray:
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        grey = np.asarray(image).astype(np.float32)
        if grey.size and (grey.max() > 65535 or grey.min() < 0):
            raise CaptureError(f"The photo {path.name} has 32 bits a pixel, which is not supported.", _SAVE_AS_PNG)
        return np.repeat((grey / 65535.0)[..., None], 3, axis=-1)
    if mode == "F":
        raise CaptureError(f"The photo {path.name} holds floating-point pixels, which are not supported.", _SAVE_AS_PNG)
    if mode in ("LAB", "HSV"):
        raise CaptureError(f"The photo {path.name} is stored as {mode}, which is not supported.", _SAVE_AS_PNG)
    converted = image.convert("RGBA" if _has_alpha(image) else "RGB")
    return np.asarray(converted).astype(np.float32) / np.float32(255.0)


def _roughly(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A photo many times as large as ``size`` (width, height), shrunk to no less than twice that while it is bytes.

    As floats, 50 megapixels take 0.6 GB and more. JPEG is decoded smaller right away (an eighth of the coefficients
    make an eighth of the picture); what is left of the factor is averaged. Photos with opacity, and those of 16 bits,
    stay as they are.
    """
    least = (2 * size[0], 2 * size[1])
    if image.width * image.height < LARGE or min(least) < 2:
        return image
    if image.mode not in ("RGB", "L", "CMYK") or "transparency" in image.info:
        return image
    if image.width >= 2 * least[0] and image.height >= 2 * least[1]:
        image.draft(image.mode, least)
    factor = min(image.width // least[0], image.height // least[1])
    return image.reduce(factor) if factor >= 2 else image


def _resampled(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise CaptureError(f"A photo can't be resampled to {size[0]} x {size[1]} pixels.", "Choose another size.")
    shrinking = size[0] <= pixels.shape[1] and size[1] <= pixels.shape[0]
    how = Image.Resampling.BOX if shrinking else Image.Resampling.BILINEAR

    def resize(channel: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(np.ascontiguousarray(channel)).resize(size, how))

    if pixels.shape[-1] == 3:
        return np.clip(np.stack([resize(pixels[..., i]) for i in range(3)], axis=-1), 0.0, 1.0)
    alpha = resize(pixels[..., 3])
    weighted = np.stack([resize(pixels[..., i] * pixels[..., 3]) for i in range(3)], axis=-1)
    seen = alpha[..., None] > 1e-6
    colour = np.where(seen, weighted / np.where(seen, alpha[..., None], 1.0), 0.0)
    return np.clip(np.concatenate([colour, alpha[..., None]], axis=-1), 0.0, 1.0).astype(np.float32)
