"""Files of photos: opened as what they are, headers without pixels, keys of their content, and what is refused."""

from __future__ import annotations

import contextlib
import hashlib
import struct
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from sa3d_blender.protocol.errors import CaptureError

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "PhotoHeader",
    "has_alpha",
    "opened_photo",
    "orientation_warning",
    "photo_header",
    "photo_key",
    "said_if_damaged",
]

MAX_PIXELS = 200_000_000
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})

# Pillow refuses above twice its own limit and warns above it: this makes its refusal ours.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_ALPHA_MODES = frozenset({"RGBA", "LA", "PA", "La", "RGBa"})
_EXIF_ORIENTATION = 0x0112
_BLOCK = 1 << 22  # bytes
_REPLACE = "Replace the file with an intact copy, or remove it from the capture."


@dataclass(frozen=True)
class PhotoHeader:
    """What a photo's header says: size in pixels as stored, opacity, EXIF orientation (1 = as stored)."""

    width: int
    height: int
    has_alpha: bool
    orientation: int


def photo_header(path: Path) -> PhotoHeader:
    """The header of the photo at ``path``, without decoding its pixels. Raises CaptureError."""
    with opened_photo(path) as image:
        return PhotoHeader(image.width, image.height, has_alpha(image), _orientation(image))


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


def orientation_warning(headers: Sequence[tuple[str, PhotoHeader]]) -> str | None:
    """One sentence if any of the (name, header) photos asks in its EXIF data to be shown turned, else None."""
    turned = [name for name, header in headers if header.orientation != 1]
    if not turned:
        return None
    return (
        f"{len(turned)} of {len(headers)} photos (such as {turned[0]}) carry an EXIF orientation, which is ignored: "
        "the cameras are taken to be for the photos as stored."
    )


def opened_photo(path: Path) -> Image.Image:
    """The photo at ``path``, its pixels not yet decoded. Raises CaptureError where it is none that can be read."""
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


@contextlib.contextmanager
def said_if_damaged(path: Path) -> Iterator[None]:
    """Turns what decoders say of wrong bytes into a CaptureError with one sentence."""
    try:
        yield
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, MemoryError, NotImplementedError) as error:
        raise CaptureError(f"The photo {path.name} is damaged: {_first_line(error)}.", _REPLACE) from error


def _unreadable(path: Path, error: OSError) -> CaptureError:
    reason = error.strerror or _first_line(error)
    return CaptureError(
        f"The photo {path.name} can't be read: {reason}.", "Check that it is there and that you may read it."
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def has_alpha(image: Image.Image) -> bool:
    """Whether a photo's file says how opaque its pixels are."""
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
