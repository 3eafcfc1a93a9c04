"""How well a mesh's colours agree with the photos, where the object shows and the mesh covers it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from engine.captures.capture import Camera
from engine.captures.rays import project, rays_through
from engine.evaluation.field_quality import BEST_PSNR_DB

__all__ = ["SeenMesh", "TextureFigures", "ViewTexture", "compare_texture", "straight_photo"]

COVERED = 0.5  # of a pixel: the mesh's colour is compared where it covers more


@dataclass(frozen=True)
class SeenMesh:
    """One view: the ``photo`` and where the object truly is in it, the mesh's colours there and its ``coverage``.

    All of one size; colours in [0, 1], sRGB.
    """

    stem: str
    photo: Float[np.ndarray, "h w 3"]
    mask: Bool[np.ndarray, "h w"]
    rgb: Float[np.ndarray, "h w 3"]
    coverage: Float[np.ndarray, "h w"]


@dataclass(frozen=True)
class ViewTexture:
    """One view's ``psnr_db`` (NaN where nothing is covered), ``coverage`` of the true mask, and its ``pixels``."""

    stem: str
    psnr_db: float
    coverage: float
    pixels: int


@dataclass(frozen=True)
class TextureFigures:
    """Of all views: ``psnr_db`` of the mean squared error over all compared pixels, ``coverage`` of all true masks.

    ``mean_psnr_db`` is the mean of the views' own, in which small views count as much as large ones. At most 100 dB.
    """

    psnr_db: float
    mean_psnr_db: float
    coverage: float
    views: tuple[ViewTexture, ...]


def compare_texture(views: Iterable[SeenMesh]) -> TextureFigures:
    """PSNR over the pixels that lie in the true mask and are covered by the mesh, and the covered share of the mask.

    What the mesh lacks is in the coverage alone, what it has too much in neither: shapes are judged by the other
    figures.
    """
    found, errors, compared, inside = [], 0.0, 0, 0
    for view in views:
        covered = view.mask & (view.coverage > COVERED)
        error = np.square(view.rgb[covered].astype(np.float64) - view.photo[covered])
        pixels, there = int(np.count_nonzero(view.mask)), int(np.count_nonzero(covered))
        found.append(ViewTexture(view.stem, _decibels(error.sum(), there), there / max(pixels, 1), pixels))
        errors, compared, inside = errors + float(error.sum()), compared + there, inside + pixels
    known = [view.psnr_db for view in found if np.isfinite(view.psnr_db)]
    mean = float(np.mean(known)) if known else float("nan")
    return TextureFigures(_decibels(errors, compared), mean, compared / max(inside, 1), tuple(found))


def _decibels(squares: float, pixels: int) -> float:
    """PSNR of a sum of squared errors over pixels of three channels; NaN for none."""
    if pixels == 0:
        return float("nan")
    mean = float(squares) / (3 * pixels)
    return BEST_PSNR_DB if mean <= 0.0 else min(BEST_PSNR_DB, -10.0 * float(np.log10(mean)))


def straight_photo(
    camera: Camera, rgb: Float[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """A photo and a mask of it as a pinhole with the same intrinsics would have taken them.

    Where that sees what the photo doesn't show, the mask is empty.
    """
    if camera.model == "pinhole" or (camera.model == "opencv" and not any(camera.distortion)):
        return rgb, mask
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    pinhole = replace(camera, model="pinhole", distortion=())
    rays_o, rays_d = rays_through(pinhole, np.stack([x.ravel(), y.ravel()], 1))
    points_px, _ = project(camera, rays_o + rays_d)
    with np.errstate(invalid="ignore"):  # NaN where the lens can't see
        shown = (points_px >= 0.0).all(1) & (points_px < (camera.width, camera.height)).all(1)
    places = np.where(shown[:, None], points_px - 0.5, 0.0).T[::-1]
    planes = [ndimage.map_coordinates(rgb[..., c], places, order=1, mode="nearest") for c in range(3)]
    inside = ndimage.map_coordinates(mask.astype(np.uint8), places, order=0, mode="nearest").astype(bool) & shown
    return np.stack(planes, -1).reshape(rgb.shape).astype(np.float32), inside.reshape(mask.shape)
