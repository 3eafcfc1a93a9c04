"""Where training pictures come from: rendered scenes with identities, photos with one masked object, backgrounds.

Identities are uint8 [H, W, 3]: instance, part within it (0 = it has none), group of things that touch; instance 0 is
the background, which nobody clicks (see sa3d_blender/synthetic).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from skimage import data

from sa3d_blender.protocol.errors import CaptureError

HELD_OUT_EVERY = 20  # every twentieth scene is kept from training, for validation
# Photos that come inside scikit-image's own package and are in the public domain (its README says which).
BACKGROUNDS = ("astronaut", "brick", "chelsea", "coffee", "grass", "gravel", "hubble_deep_field", "rocket")


@dataclass(frozen=True)
class Picture:
    """``rgb`` uint8 [H, W, 3] and ``identity`` uint8 [H, W, 3]."""

    rgb: UInt8[np.ndarray, "h w 3"]
    identity: UInt8[np.ndarray, "h w 3"]


def scene_files(folder: Path, held_out: bool) -> list[Path]:
    """The photos of the rendered scenes that are for training, or for validation.

    Raises:
        CaptureError: there are none.
    """
    found = [path for path in sorted(folder.glob("[0-9]*-*.jpg")) if path.with_suffix(".png").exists()]
    chosen = [path for path in found if (int(path.stem.split("-")[0]) % HELD_OUT_EVERY == 0) == held_out]
    if not chosen:
        raise CaptureError(
            f"There are no rendered scenes in {folder}.", "Render some: python -m sa3d_blender.synthetic --out FOLDER."
        )
    return chosen


def read_scene(path: Path) -> Picture:
    """A rendered photo with its identities."""
    with Image.open(path) as photo, Image.open(path.with_suffix(".png")) as identity:
        return Picture(np.asarray(photo.convert("RGB")), np.asarray(identity.convert("RGB")))


def masked_photos(folder: Path) -> list[Path]:
    """Photos of a capture that has ``masks/`` of one object, one for each photo in name order."""
    photos = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in (".jpg", ".png"))
    masks = sorted((folder / "masks").iterdir())
    if not photos or len(photos) != len(masks):
        raise CaptureError(f"{folder} has {len(photos)} photos and {len(masks)} masks.", "Give one mask a photo.")
    return photos


def read_masked_photo(path: Path, longest: int = 512) -> Picture:
    """A photo, made smaller, whose masked object is instance 1."""
    masks = sorted((path.parent.parent / "masks").iterdir())
    photos = masked_photos(path.parent.parent)
    with Image.open(path) as photo, Image.open(masks[photos.index(path)]) as mask:
        scale = longest / max(photo.size)
        size = round(photo.width * scale), round(photo.height * scale)
        rgb = np.asarray(photo.convert("RGB").resize(size, Image.Resampling.BOX))
        inside = np.asarray(mask.convert("L").resize(size, Image.Resampling.BOX)) > 127
    identity = np.zeros((*inside.shape, 3), np.uint8)
    identity[inside] = (1, 0, 1)
    return Picture(rgb, identity)


def background_photos() -> list[UInt8[np.ndarray, "h w 3"]]:
    """Real photos that things are pasted on."""
    return [np.ascontiguousarray(_colour(getattr(data, name)())) for name in BACKGROUNDS]


def _colour(picture: np.ndarray) -> UInt8[np.ndarray, "h w 3"]:
    return np.repeat(picture[..., None], 3, 2) if picture.ndim == 2 else picture[..., :3]


def instances_of(identity: UInt8[np.ndarray, "h w 3"], least: int) -> Sequence[int]:
    """Instances with at least that many pixels."""
    counts = np.bincount(identity[..., 0].ravel(), minlength=256)
    counts[0] = 0
    return [int(i) for i in np.flatnonzero(counts >= least)]
