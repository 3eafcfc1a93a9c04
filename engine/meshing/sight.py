"""What one photo shows of a surface: which of its points, how much it is to be trusted there, and in which colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from engine.captures.capture import Camera
from engine.captures.rays import project
from engine.meshing.colours import PhotoForColour
from engine.meshing.texels import fragments

__all__ = ["Samples", "Sight", "emphasis_of", "sight_of"]

_GRAZING = (0.1, 0.3)  # cosines: below the first a pixel covers too much surface; up to the second it counts less
_OUTLINE = 0.02  # what is left of a photo's vote on the outline itself, where colours are mixed
_FEATHER = 0.05  # of the side of the object's picture: so far inside an outline a photo has its full vote
_SHARPNESS = (0.3, 1.5)  # a photo against the middle one
_BEHIND = 4.0  # how much farther the field may be behind the mesh than before it: in a foggy field light stops late


@dataclass(frozen=True)
class Samples:
    """What a photo says of some points: ``index`` int64 [S] of them, ``votes`` float32 [S], ``colours`` float32 [S, 3]
    (sRGB), and ``certain`` float32 [S] in [0, 1], how surely it is the point that is seen there."""

    index: np.ndarray
    votes: np.ndarray
    colours: np.ndarray
    certain: np.ndarray


@dataclass(frozen=True)
class Sight:
    """One photo, cropped to the object, with what is seen in every pixel.

    ``corner`` is the crop's first (column, row). ``depth`` float32 [h, w] is the mesh's own, infinite beside it;
    ``trust`` float32 [h, w] in [0, 1] falls off smoothly to outlines and to where field and mesh disagree; ``shown``
    bool [h, w] says where the object is seen at all. ``sharpness`` is the share of fine detail in the picture.
    """

    camera: Camera
    corner: tuple[int, int]
    rgb: np.ndarray
    depth: np.ndarray
    trust: np.ndarray
    shown: np.ndarray
    sharpness: float
    slack: float

    def samples(self, points: np.ndarray, normals: np.ndarray, rgb: np.ndarray, emphasis: float = 1.0) -> Samples:
        """The photo's votes on ``points`` [N, 3] with unit ``normals`` [N, 3]; colours from ``rgb`` [h, w, 3].

        A vote is (pixels per area of surface) x cos of the viewing angle x trust x ``emphasis``.
        """
        towards = self.camera.position - points
        distance = np.maximum(np.sqrt(np.einsum("ni,ni->n", towards, towards)), 1e-12)
        cosine = np.einsum("ni,ni->n", towards, normals) / distance
        ahead = np.flatnonzero(cosine > _GRAZING[0])
        points_px, depth = project(self.camera, points[ahead])
        points_px = points_px - self.corner
        height, width = self.depth.shape
        with np.errstate(invalid="ignore"):
            inside = (points_px >= 0.0).all(axis=1) & (points_px[:, 0] < width) & (points_px[:, 1] < height)
        inside &= depth > 0.0
        ahead, points_px, depth = ahead[inside], points_px[inside], depth[inside]
        slant = cosine[ahead]
        column, row = points_px.astype(np.int64).T
        # At a grazing angle the surface recedes within the pixel itself.
        recedes = 1.5 * depth / (self.camera.fl_x * slant)
        good = self.shown[row, column] & (depth <= self.depth[row, column] + self.slack + recedes)
        ahead, points_px, depth, slant = ahead[good], points_px[good], depth[good], slant[good]
        found = _bilinear(np.concatenate([rgb, self.trust[..., None]], axis=2), points_px)
        facing = np.clip((slant - _GRAZING[0]) / (_GRAZING[1] - _GRAZING[0]), 0.0, 1.0)
        certain = np.maximum(found[:, 3], _OUTLINE) * facing
        density = self.camera.fl_x * self.camera.fl_y / depth**2 * slant
        votes = density * slant * certain * emphasis
        return Samples(ahead, votes.astype(np.float32), found[:, :3], certain.astype(np.float32))


def sight_of(photo: PhotoForColour, vertices: np.ndarray, faces: np.ndarray, reach: float) -> Sight | None:
    """What ``photo`` shows of the mesh ``vertices`` [V, 3], ``faces`` [F, 3]; None where it is not in the photo.

    A pixel shows the mesh where that is drawn into it, the field's depth is at most ``reach`` before the mesh's own (so
    that nothing else stands in front) and not far behind it, and it lies in the photo's mask. Raises MeshError where
    sizes differ.
    """
    height, width = photo.rgb.shape[:2]
    camera = photo.fitting_camera()
    points_px, depth = project(camera, vertices)
    known = points_px[np.isfinite(points_px).all(axis=1)]
    if len(known) == 0:
        return None
    low = np.maximum(np.floor(known.min(axis=0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(known.max(axis=0)).astype(int) + 2, (width, height))
    if (high <= low).any():
        return None
    crop = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
    nearness = _drawn(points_px - low, depth, faces, (int(high[1] - low[1]), int(high[0] - low[0])))
    hit = nearness > 0.0
    if not hit.any():
        return None
    mesh_depth = np.where(hit, 1.0 / np.where(hit, nearness, 1.0), np.inf)
    field = photo.depth[crop]
    off = (np.where(hit, mesh_depth, 0.0) - field) / reach
    off = np.where(off < 0.0, off / -_BEHIND, off)
    agrees = np.where(hit & (field > 0.0), np.clip(2.0 * (1.0 - off), 0.0, 1.0), 0.0)
    shown = agrees > 0.0
    if photo.mask is not None:
        shown &= photo.mask[crop] > 0.5
    if not shown.any():
        return None
    clear = shown & ~_torn(nearness, reach)
    # The photo's own frame is an outline, too: a photo that ends on the object must fade out before it.
    inwards = ndimage.distance_transform_edt(np.pad(clear, 1))[1:-1, 1:-1]
    feather = max(2.0, _FEATHER * float(np.sqrt(shown.sum())))
    share = np.clip(inwards / feather, 0.0, 1.0)
    trust = (share * share * (3.0 - 2.0 * share) * agrees).astype(np.float32)
    rgb = np.asarray(photo.rgb[crop], dtype=np.float32)
    return Sight(
        camera,
        (int(low[0]), int(low[1])),
        rgb,
        mesh_depth.astype(np.float32),
        trust,
        shown,
        _sharpness(rgb, clear),
        0.25 * reach,
    )


def emphasis_of(sights: list[Sight]) -> list[float]:
    """How much more or less each photo counts because it is sharper or more blurred than the photo in the middle."""
    if not sights:
        return []
    middle = max(float(np.median([s.sharpness for s in sights])), 1e-9)
    return [float(np.clip(s.sharpness / middle, *_SHARPNESS)) ** 2 for s in sights]


def _drawn(points_px: np.ndarray, depth: np.ndarray, faces: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """1 / depth of the nearest triangle in every pixel, float64 [h, w], 0 where there is none.

    Only triangles that face the camera are drawn. 1 / depth, not depth, is linear over a triangle's picture.
    """
    near = np.zeros(shape[0] * shape[1])
    a, b, c = (np.where((depth > 0.0)[:, None], points_px, np.nan)[faces[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    front = np.flatnonzero(area < 0.0)  # y grows downwards; not a number compares as False
    a, b, c, area = a[front], b[front], c[front], area[front]
    pixel, face = fragments(np.stack([a, b, c], axis=1), shape)
    if len(pixel):
        with np.errstate(divide="ignore"):
            at_a, at_b, at_c = (1.0 / depth)[faces[front]].T
        across = ((at_b - at_a) * (c[:, 1] - a[:, 1]) - (at_c - at_a) * (b[:, 1] - a[:, 1])) / area
        down = ((at_c - at_a) * (b[:, 0] - a[:, 0]) - (at_b - at_a) * (c[:, 0] - a[:, 0])) / area
        first = at_a - across * a[:, 0] - down * a[:, 1]
        row, column = np.divmod(pixel, shape[1])
        found = first[face] + across[face] * (column + 0.5) + down[face] * (row + 0.5)
        np.maximum.at(near, pixel, found)
    return near.reshape(shape)


def _torn(nearness: np.ndarray, reach: float) -> np.ndarray:
    """Where the surface jumps by more than ``reach``: second differences of 1 / depth, which is linear on a plane."""
    padded = np.pad(nearness, 1, mode="edge")
    middle = padded[1:-1, 1:-1]
    across = np.abs(padded[1:-1, 2:] + padded[1:-1, :-2] - 2.0 * middle)
    down = np.abs(padded[2:, 1:-1] + padded[:-2, 1:-1] - 2.0 * middle)
    return np.maximum(across, down) > reach * nearness * nearness


def _sharpness(rgb: np.ndarray, clear: np.ndarray) -> float:
    """Fine detail as a share of coarser detail, on the ``clear`` pixels: defocus and motion take the fine one first."""
    if clear.sum() < 64:
        return 0.0
    grey = rgb.mean(axis=2)
    inside = clear.astype(np.float32)

    def smooth(sigma: float) -> np.ndarray:
        # Only of pixels of the object: its outline against the background is no detail of its own.
        weight = np.maximum(ndimage.gaussian_filter(inside, sigma), 1e-6)
        return ndimage.gaussian_filter(grey * inside, sigma) / weight

    fine, coarse = smooth(0.8), smooth(2.4)
    detail = float(np.std((grey - fine)[clear]))
    return detail / max(float(np.std((fine - coarse)[clear])), 1e-3)


def _bilinear(image: np.ndarray, points_px: np.ndarray) -> np.ndarray:
    """An image [h, w, C] at pixels [S, 2], held at its border: [S, C] float32."""
    height, width = image.shape[:2]
    place = np.clip(points_px - 0.5, 0.0, (width - 1.0, height - 1.0))
    low = np.minimum(place.astype(np.int64), (max(width - 2, 0), max(height - 2, 0)))
    part = (place - low).astype(np.float32)
    flat = image.reshape(height * width, -1)
    first = low[:, 1] * width + low[:, 0]
    right, below = (1 if width > 1 else 0), (width if height > 1 else 0)
    x, y = part[:, :1], part[:, 1:]
    top = flat[first] * (1.0 - x) + flat[first + right] * x
    bottom = flat[first + below] * (1.0 - x) + flat[first + below + right] * x
    return (top * (1.0 - y) + bottom * y).astype(np.float32)
