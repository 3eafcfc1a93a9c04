"""What the writers share: which camera a format can express, and photos taken again through such a camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates

from engine.captures.capture import Camera, Capture, View
from engine.captures.rays import project, rays_through
from engine.captures.shrinking import PART_PIXELS, spans

__all__ = [
    "CaptureFormat",
    "Part",
    "Retaken",
    "Written",
    "centred_pinhole",
    "filling",
    "retaken",
    "same_lens",
    "stated_camera",
]

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_GROWTH, _MOST_GROWTH = 1.01, 200  # a lens grows longer by steps of a hundredth, at most to 7.3 times
_BLOCK, _LEAST_BLOCK = 512, 16  # pixels of a photo's side that are taken again at a time
_MARGIN = 16  # pixels around: a cubic spline feels those farther away by less than a billionth
Part = Callable[[int, int, int, int], np.ndarray]


@dataclass(frozen=True)
class Written:
    """A view that is being written: where its photo (and mask) lie in the new capture, and the camera of it there."""

    view: View
    camera: Camera
    photo: str
    mask: str | None = None


@dataclass(frozen=True)
class Retaken:
    """A block of a photo that was taken again: ``pixels`` float32 [h, w, C] for these rows and columns, and bool [h, w]
    where that looks past what the photo shows (``unseen``), which is 0 in it.
    """

    rows: slice
    columns: slice
    pixels: np.ndarray
    unseen: np.ndarray


@dataclass(frozen=True)
class CaptureFormat:
    """One format that captures are written in.

    ``place``: a view's photo in the new folder, by its number and the suffix that its file has. ``targets``: for all
    cameras those nearest to them that the format can express, of the same poses. ``write``: writes all but the photos,
    and returns in one sentence each what the format can't say. ``distorts``: it holds lens distortion. ``png``: photos
    have to be PNGs.
    """

    name: str
    about: str
    place: Callable[[View, int, str], str]
    targets: Callable[[Sequence[Camera]], list[Camera]]
    write: Callable[[Path, Sequence[Written], Capture], list[str]]
    distorts: bool = False
    png: bool = False


def same_lens(a: Camera, b: Camera) -> bool:
    """Whether both map the same rays of their own axes to the same pixels."""
    return stated_camera(a) == stated_camera(b)


def stated_camera(camera: Camera) -> tuple:
    """All numbers of a camera but its pose, distortion without zeros at its end: equal for equal lenses."""
    distortion = list(camera.distortion)
    while distortion and distortion[-1] == 0.0:
        distortion.pop()
    model = "pinhole" if camera.model == "opencv" and not distortion else camera.model
    return (
        model,
        camera.width,
        camera.height,
        camera.fl_x,
        camera.fl_y,
        camera.cx,
        camera.cy,
        tuple(distortion),
    )


def centred_pinhole(camera: Camera) -> Camera:
    """The camera itself where it is a pinhole with square pixels and the axis in its middle; else such a one whose
    every pixel the photo shows.
    """
    focal = camera.fl_x if abs(camera.fl_x - camera.fl_y) <= 1e-9 * camera.fl_x else max(camera.fl_x, camera.fl_y)
    straight = replace(
        camera,
        fl_x=focal,
        fl_y=focal,
        cx=camera.width / 2,
        cy=camera.height / 2,
        model="pinhole",
        distortion=(),
    )
    return camera if same_lens(straight, camera) else filling(straight, camera)


def filling(target: Camera, source: Camera) -> Camera:
    """``target`` with so much longer a focal length that the photo of ``source`` shows all along its border."""
    along = np.linspace(0.0, 1.0, 33)
    zero, one = np.zeros_like(along), np.ones_like(along)
    border = np.stack([np.concatenate([along, along, zero, one]), np.concatenate([zero, one, along, along])], axis=1)
    border = border * (target.width, target.height)
    slack = 1e-6 * max(source.width, source.height)
    for _ in range(_MOST_GROWTH):
        rays_o, rays_d = rays_through(target, border)
        at, _ = project(source, rays_o + rays_d)
        with np.errstate(invalid="ignore"):
            if bool(((at >= -slack) & (at <= np.array([source.width, source.height]) + slack)).all()):
                break
        target = replace(target, fl_x=target.fl_x * _GROWTH, fl_y=target.fl_y * _GROWTH)
    return target


def retaken(part: Part, source: Camera, target: Camera, smooth: bool = True) -> Iterator[Retaken]:
    """A photo that ``source`` took as ``target``, at the same place, would have taken it, block by block.

    ``part`` gives the photo's pixels, float [bottom - top, right - left, C], within (left, top, right, bottom); about
    a million of them are asked for at a time. ``smooth``: between pixels by cubic splines; else the nearest one, for
    masks. With a fourth channel, opacity, colours are weighted by it meanwhile.
    """
    for top, bottom in spans(target.height, _BLOCK):
        for left, right in spans(target.width, _BLOCK):
            yield from _retaken_block(part, source, target, (left, top, right, bottom), smooth)


def _retaken_block(
    part: Part, source: Camera, target: Camera, block: tuple[int, int, int, int], smooth: bool
) -> Iterator[Retaken]:
    left, top, right, bottom = block
    x, y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
    rays_o, rays_d = rays_through(target, np.stack([x.ravel(), y.ravel()], axis=1))
    at, _ = project(source, rays_o + rays_d)
    with np.errstate(invalid="ignore"):
        shown = ((at >= 0) & (at <= (source.width, source.height))).all(axis=1)
    looked = at[shown] if shown.any() else np.zeros((1, 2))
    low = np.maximum(np.floor(looked.min(0)).astype(int) - _MARGIN, 0)
    high = np.minimum(np.ceil(looked.max(0)).astype(int) + _MARGIN, (source.width, source.height))
    if np.prod(high - low) > PART_PIXELS and max(right - left, bottom - top) > _LEAST_BLOCK:
        across, down = (left + right + 1) // 2, (top + bottom + 1) // 2
        for y0, y1 in ((top, down), (down, bottom)):
            for x0, x1 in ((left, across), (across, right)):
                if x0 < x1 and y0 < y1:
                    yield from _retaken_block(part, source, target, (x0, y0, x1, y1), smooth)
        return
    places = np.where(shown[:, None], at - 0.5 - low, 0.0).T[::-1]
    values = np.asarray(part(*map(int, (*low, *high))), np.float32)
    with_alpha = smooth and values.shape[-1] == 4
    if with_alpha:
        values = np.concatenate([values[..., :3] * values[..., 3:], values[..., 3:]], axis=-1)
    order = 3 if smooth else 0
    planes = [map_coordinates(values[..., c], places, order=order, mode="nearest") for c in range(values.shape[-1])]
    result = np.stack(planes, axis=-1).reshape(bottom - top, right - left, -1)
    if with_alpha:
        alpha = np.clip(result[..., 3:], 0.0, 1.0)
        result = np.concatenate([np.where(alpha > 1e-4, result[..., :3] / np.maximum(alpha, 1e-4), 0.0), alpha], -1)
    shown = shown.reshape(bottom - top, right - left)
    pixels = np.where(shown[..., None], np.clip(result, 0.0, 1.0), 0.0).astype(np.float32)
    yield Retaken(slice(top, bottom), slice(left, right), pixels, ~shown)
