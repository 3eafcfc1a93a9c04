"""A photo made ready for graph cuts: colour, likeness of neighbours and planes, at two resolutions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab

from engine.segmenters.base import Photo
from engine.segmenters.field_geometry import break_channel, dominant_planes, plane_offset
from engine.segmenters.pixel_grid import PixelGrid, likeness

__all__ = ["STRIDE_COST", "Level", "Scene", "nearest_offset", "pick_pixels", "prepare_scene", "resize_image"]

# What a step of one pixel costs on a path along a perfectly even surface; crossing an edge costs up to 1.
STRIDE_COST = 0.03
# How many typical differences between neighbours make an edge; a field's normals are the noisiest.
_COLOUR_STEP = 2.0
_GEOMETRY_STEP = 2.5
_NORMAL_STEP = 4.0


@dataclass(frozen=True)
class Level:
    """The photo at one resolution: ``lab`` [h, w, 3], ``depth`` [h, w] or None, ``alike`` [4, h, w]."""

    lab: np.ndarray
    depth: np.ndarray | None
    alike: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return self.lab.shape[0], self.lab.shape[1]


@dataclass(frozen=True)
class Scene:
    rgb: np.ndarray
    fine: Level
    coarse: Level
    grid: PixelGrid
    planes: list[np.ndarray]


def prepare_scene(photo: Photo, work_size: int) -> Scene:
    """Colour, edges and planes of a checked ``photo``, the finer level with a longest side of ``work_size`` pixels."""
    height, width = photo.rgb.shape[:2]
    scale = min(1.0, work_size / max(height, width))
    size = max(2, round(height * scale)), max(2, round(width * scale))
    rgb = resize_image(photo.rgb, size)
    depth = None if photo.depth is None else pick_pixels(photo.depth, size)
    normals = None if photo.normals is None else pick_pixels(photo.normals, size)
    half = max(2, (size[0] + 1) // 2), max(2, (size[1] + 1) // 2)
    coarse = _level(
        resize_image(rgb, half),
        None if depth is None else pick_pixels(depth, half),
        None if normals is None else pick_pixels(normals, half),
    )
    planes = [] if coarse.depth is None else dominant_planes(coarse.depth)
    return Scene(photo.rgb, _level(rgb, depth, normals), coarse, PixelGrid.of(coarse.alike, STRIDE_COST), planes)


def resize_image(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``values`` [H, W] or [H, W, C] averaged (or interpolated) to ``size`` (h, w), float32."""
    if values.shape[:2] == size:
        return values.astype(np.float32)
    planes = values[..., None] if values.ndim == 2 else values
    shrinking = size[0] <= values.shape[0]
    method = Image.Resampling.BOX if shrinking else Image.Resampling.BILINEAR
    out = [
        np.asarray(Image.fromarray(np.ascontiguousarray(planes[..., k], np.float32)).resize((size[1], size[0]), method))
        for k in range(planes.shape[2])
    ]
    return out[0] if values.ndim == 2 else np.stack(out, axis=2)


def pick_pixels(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest pixels of ``values`` [H, W, ...] at ``size`` (h, w): depths must not be mixed across edges."""
    rows = ((np.arange(size[0]) + 0.5) * values.shape[0] / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * values.shape[1] / size[1]).astype(int)
    return values[rows][:, columns]


def _level(rgb: np.ndarray, depth: np.ndarray | None, normals: np.ndarray | None) -> Level:
    lab = rgb2lab(rgb).astype(np.float32)
    calm = np.stack([ndimage.gaussian_filter(lab[..., k], 0.7, truncate=2) for k in range(3)], axis=2)
    channels = [(calm, _COLOUR_STEP * _typical_step(calm, 2.0))]
    if depth is not None:
        jumps = ndimage.gaussian_filter(break_channel(depth), 0.7, truncate=2)
        channels.append((jumps, _GEOMETRY_STEP * _typical_step(jumps, 0.004)))
    if normals is not None:
        smooth = np.stack([ndimage.gaussian_filter(normals[..., k], 1.2, truncate=2) for k in range(3)], axis=2)
        channels.append((smooth, _NORMAL_STEP * _typical_step(smooth, 0.1)))
    return Level(lab, depth, likeness(channels))


def _typical_step(values: np.ndarray, floor: float) -> float:
    """The difference between neighbours that counts as an edge: above what texture and noise make almost everywhere."""
    planes = values[..., None] if values.ndim == 2 else values
    steps = ((planes[:, 1:] - planes[:, :-1]) ** 2).sum(axis=2)[::2, ::2]
    return max(floor, float(np.sqrt(np.quantile(steps, 0.75))))


def nearest_offset(depth: np.ndarray, planes: list[np.ndarray]) -> np.ndarray:
    """Offset of ``depth`` [h, w] from the nearest of ``planes`` (at least one), float32 [h, w]."""
    offsets = np.stack([plane_offset(depth, plane) for plane in planes])
    return np.take_along_axis(offsets, np.abs(offsets).argmin(axis=0)[None], axis=0)[0]
