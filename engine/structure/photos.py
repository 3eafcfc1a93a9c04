"""A folder of photos as structure from motion wants them: upright 8-bit RGB copies of a bounded size, and their lenses.

The folder is untrusted. What can't be used is skipped and named, with one clause that says why. One photo is in
memory at a time, with up to 16 bytes a pixel.
"""

from __future__ import annotations

import math
import os
import shutil
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from engine.captures.images import IMAGE_SUFFIXES, MAX_PIXELS, photo_key
from engine.captures.validate import unique_stems
from engine.progress import Job
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["HEIF_SUFFIXES", "MASKS", "MAX_SIDE", "MOST_PHOTOS", "Photo", "Skipped", "list_photos", "prepare_photos"]

HEIF_SUFFIXES = frozenset({".heic", ".heif"})
MASKS = "masks"
MAX_SIDE = 2000  # pixels; what cameras are found from, and what the capture holds
MOST_PHOTOS = 5_000
LEAST_SIDE = 64
_WIDEST = 2.6  # times the shorter side: wider than any phone or film takes, as stitched pictures are
_NO_HEIF = "HEIC photos need pillow-heif: run `pip install pillow-heif` in the engine's Python"
_JPEG_QUALITY = 95
_DIAGONAL_35MM = math.hypot(36.0, 24.0)
_EXIF = 0x8769
_PLAIN = {"JPEG": ".jpg", "PNG": ".png"}
_FAULTS = (OSError, SyntaxError, ValueError, EOFError, struct.error, MemoryError, NotImplementedError, TypeError)


@dataclass(frozen=True)
class Skipped:
    """A photo that isn't used; ``why`` is a clause that follows its name ("it is damaged")."""

    name: str
    why: str


@dataclass(frozen=True)
class Photo:
    """An upright copy of a photo.

    ``name``: the copy's file name; ``source``: the name that its owner knows. ``lens``: photos with the same text share
    their intrinsics. ``focal_px``: the focal length from the EXIF data in pixels of the copy, None where it says none.
    ``mask``: the file name of its mask, white where the photo shows the scene; "" without one.
    """

    name: str
    source: str
    width: int
    height: int
    lens: str
    focal_px: float | None = None
    mask: str = ""


def list_photos(folder: Path) -> tuple[list[Path], list[Skipped]]:
    """The files of a folder (not of folders in it) that are called like photos, by name; and those left out.

    Raises CaptureError where there are none, or too many to be photos of one scene.
    """
    found, skipped = [], []
    try:
        root = folder.resolve()
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.suffix.lower() not in IMAGE_SUFFIXES | HEIF_SUFFIXES:
                continue
            if not path.resolve().is_relative_to(root):
                skipped.append(Skipped(_printable(path.name), "it is a link that leads out of the folder"))
            elif path.is_file():
                found.append(path)
            if len(found) > MOST_PHOTOS:
                raise CaptureError(
                    f"{folder} holds more than {MOST_PHOTOS} photos.", "Choose a folder with photos of one scene."
                )
    except (OSError, RuntimeError) as error:  # the latter from links that run in circles
        raise CaptureError(
            f"The folder {folder} can't be read: {getattr(error, 'strerror', None) or error}.", "Check its permissions."
        ) from error
    if not found:
        raise CaptureError(f"{folder} holds no photos{_reasons(skipped)}.", "Choose a folder of photos, or a video.")
    return found, skipped


def prepare_photos(
    paths: Sequence[Path], masks: Path | None, into: Path, max_side: int, job: Job
) -> tuple[list[Photo], list[Skipped]]:
    """Writes upright copies, no side longer than ``max_side``, into ``into``'s folders "images" and "masks".

    A photo that is plain already (8-bit RGB JPEG or PNG, upright, small enough) is copied as it is. Copies that an
    earlier run has written stay; of files that are the same, byte by byte, the first is taken. ``masks``: a folder with
    a picture for each photo, by its name without suffix. Raises Cancelled; OSError where the copies can't be written.
    """
    (into / "images").mkdir(parents=True, exist_ok=True)
    photos, skipped = [], []
    stems = unique_stems([_safe(path.name) for path in paths])
    there = _masks_in(masks)
    taken: set[str] = set()
    with job.stage("Preparing photos", len(paths)) as stage:
        for path, stem in zip(paths, stems, strict=True):
            try:
                content = photo_key(path, job.check)
                if content in taken:
                    raise _Unusable("it is an exact copy of another")
                photo = _prepare(path, stem, into / "images", max_side)
                mask = there.get(path.name) or there.get(path.stem)
                photos.append(photo if mask is None else _with_mask(photo, mask, into / MASKS))
                taken.add(content)
            except _Unusable as reason:
                skipped.append(Skipped(_printable(path.name), str(reason)))
            stage.advance(1, _printable(path.name))
    return photos, skipped


class _Unusable(Exception):
    """A photo can't be used; the text says why, as in `Skipped`."""


def _prepare(path: Path, stem: str, folder: Path, max_side: int) -> Photo:
    with _opened(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _Unusable(f"it has more than {MAX_PIXELS // 1_000_000} megapixels")
        if min(width, height) < LEAST_SIDE:
            raise _Unusable(f"it has {width} x {height} pixels only")
        if max(width, height) > _WIDEST * min(width, height) or _is_panorama(image):
            raise _Unusable("it is a panorama, stitched from several photos")
        kind, mode = image.format or "", image.mode
        try:
            exif = image.getexif()
            turned = exif.get(ExifTags.Base.Orientation, 1) not in (1, None) and kind != "TIFF"
            lens, focal_35 = _lens(exif)
            plain = kind in _PLAIN and mode == "RGB" and not turned and max(width, height) <= max_side
            if kind == "JPEG" and max(width, height) >= 2 * max_side:
                image.draft("RGB", (max_side, max_side))  # decodes a large JPEG at a fraction of its size
            pixels = _eight_bits(ImageOps.exif_transpose(image) if turned else image)
            pixels.load()
        except _FAULTS as error:
            raise _Unusable("it is damaged, or ends too early") from error
    scale = min(1.0, max_side / max(width, height))
    if turned and (pixels.width > pixels.height) != (width > height):
        width, height = height, width
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    name = stem + (_PLAIN[kind] if plain else ".png" if kind == "PNG" else ".jpg")
    if not (folder / name).exists():
        partial = folder / f".partial-{name}"
        if plain:
            shutil.copyfile(path, partial)
        else:
            if pixels.size != size:
                pixels = pixels.resize(size, Image.Resampling.BOX if scale < 0.5 else Image.Resampling.LANCZOS)
            pixels.save(partial, "PNG" if name.endswith(".png") else "JPEG", quality=_JPEG_QUALITY)
        os.replace(partial, folder / name)
    focal = None if focal_35 is None else focal_35 / _DIAGONAL_35MM * math.hypot(*size)
    return Photo(name, _printable(path.name), *size, f"{lens}|{size[0]}x{size[1]}", focal)


def _opened(path: Path) -> Image.Image:
    if path.suffix.lower() in HEIF_SUFFIXES:
        try:
            import pillow_heif
        except ImportError as error:
            raise _Unusable(_NO_HEIF) from error
        pillow_heif.register_heif_opener()
    try:
        return Image.open(path)
    except Image.DecompressionBombError as error:
        raise _Unusable(f"it has more than {MAX_PIXELS // 1_000_000} megapixels") from error
    except UnidentifiedImageError as error:
        raise _Unusable("it is not a picture that can be read") from error
    except _FAULTS as error:
        raise _Unusable("it is damaged, or can't be read") from error


def _is_panorama(image: Image.Image) -> bool:
    """Whether a picture's XMP data say so (Google's "GPano"), as those of a full sphere do, which is but 2 to 1."""
    xmp = image.info.get("xmp", b"")
    return b"GPano:ProjectionType" in (xmp if isinstance(xmp, bytes) else str(xmp).encode("utf-8", "replace"))


def _eight_bits(image: Image.Image) -> Image.Image:
    """As 8-bit RGB; transparent parts on grey, where no features are found. Raises ValueError for kinds that aren't."""
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        grey = np.asarray(image)
        if grey.size and (grey.max() > 65535 or grey.min() < 0):
            raise ValueError("32 bits a pixel")
        return Image.fromarray((grey // 257).astype(np.uint8)).convert("RGB")
    if mode == "F":
        raise ValueError("floating-point pixels")
    if mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        see_through = image if mode == "RGBA" else image.convert("RGBA")
        paper = Image.new("RGB", see_through.size, (128, 128, 128))
        paper.paste(see_through, (0, 0), see_through)
        return paper
    return image.convert("RGB")


def _lens(exif: Image.Exif) -> tuple[str, float | None]:
    """(what identifies camera and lens, the 35 mm equivalent of the focal length in mm or None)."""
    inner = exif.get_ifd(_EXIF)
    tags = ExifTags.Base
    parts = [exif.get(tags.Make), exif.get(tags.Model), inner.get(tags.LensModel)]
    focal = _positive(inner.get(tags.FocalLength))
    equivalent = _positive(inner.get(tags.FocalLengthIn35mmFilm))
    parts.append(None if focal is None else f"{focal:.2f}")  # a zoomed photo has a lens of its own
    digital = _positive(inner.get(tags.DigitalZoomRatio))
    parts.append(None if digital in (None, 1.0) else f"x{digital:.2f}")
    if equivalent is not None and not 4 <= equivalent <= 2000:
        equivalent = None
    parts.append(None if equivalent is None else f"{equivalent:.0f} of 35")  # phones note a digital zoom there only
    return "|".join(_printable(str(part)).strip() for part in parts if part is not None), equivalent


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _masks_in(folder: Path | None) -> dict[str, Path]:
    """The pictures in a folder of masks by their stems ("IMG_1", or "IMG_1.jpg" for IMG_1.jpg.png)."""
    if folder is None or not folder.is_dir():
        return {}
    root = folder.parent.resolve()
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_SUFFIXES]
    return {path.stem: path for path in files if path.is_file() and path.resolve().is_relative_to(root)}


def _with_mask(photo: Photo, path: Path, folder: Path) -> Photo:
    """The photo with its mask, black and white and of its size, written beside the copies."""
    folder.mkdir(exist_ok=True)
    name = f"{photo.name}.png"  # as COLMAP wants it
    if not (folder / name).exists():
        with _opened(path) as image:
            try:
                levels = ImageOps.exif_transpose(image).convert("L")
            except _FAULTS as error:
                raise _Unusable("its mask is damaged") from error
        if abs(levels.width / levels.height - photo.width / photo.height) > 0.02:
            raise _Unusable(f"its mask has another shape, {levels.width} x {levels.height} pixels")
        levels = levels.resize((photo.width, photo.height), Image.Resampling.BILINEAR)
        partial = folder / f".partial-{name}"
        levels.point(lambda level: 255 if level > 127 else 0).save(partial, "PNG")
        os.replace(partial, folder / name)
    return Photo(photo.name, photo.source, photo.width, photo.height, photo.lens, photo.focal_px, name)


def _printable(name: str) -> str:
    """A name that can be shown in one line and written to JSON."""
    shown = name.encode("utf-8", "replace").decode("utf-8")
    return "".join(each if each.isprintable() else "?" for each in shown)[:200]


def _safe(name: str) -> str:
    """A file name that every program can read: letters, digits, and a few signs; others become "_"."""
    path = PurePosixPath(name)
    stem = "".join(each if each.isascii() and (each.isalnum() or each in "-_.") else "_" for each in path.stem)
    return (stem.strip(".")[:100] or "photo") + path.suffix.lower()


def _reasons(skipped: Sequence[Skipped]) -> str:
    return f" that can be used ({skipped[0].name}: {skipped[0].why})" if skipped else ""
