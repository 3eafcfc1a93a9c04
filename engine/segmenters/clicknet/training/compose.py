"""Training pictures made on the fly: crops of rendered scenes, and cut-out things pasted on whatever there is."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageEnhance, ImageFilter

from engine.segmenters.clicknet.training.pictures import Picture, instances_of, read_masked_photo, read_scene

LEAST_CUT = 250  # pixels of a thing that is cut out
PASTED = 100  # number of the first pasted instance


@dataclass(frozen=True)
class Material:
    """Files of rendered scenes, files of masked photos (may be none), background photos."""

    scenes: Sequence[Path]
    photos: Sequence[Path]
    backgrounds: Sequence[np.ndarray]


def compose(rng: np.random.Generator, material: Material, side: int) -> Picture:
    """A square training picture of ``side`` pixels."""
    kind = rng.random()
    if kind < 0.5 or not material.scenes:
        picture = _crop(rng, _any_scene(rng, material), side, near_instance=True)
        pasted = int(rng.integers(0, 3)) if rng.random() < 0.35 else 0
    elif kind < 0.58 and material.photos:
        picture = _crop(rng, read_masked_photo(_one(rng, material.photos)), side, near_instance=True)
        pasted = int(rng.integers(0, 4))
    else:
        picture = _crop(rng, _background(rng, material), side, near_instance=False)
        pasted = int(rng.integers(2, 8))
    rgb, identity = picture.rgb.copy(), picture.identity.copy()
    for number in range(pasted):
        _paste(rng, rgb, identity, material, PASTED + number)
    if rng.random() < 0.5:
        rgb, identity = rgb[:, ::-1], identity[:, ::-1]
    return Picture(_spoilt(rng, Image.fromarray(np.ascontiguousarray(rgb))), np.ascontiguousarray(identity))


def _one(rng: np.random.Generator, things: Sequence[Path]) -> Path:
    return things[int(rng.integers(len(things)))]


def _any_scene(rng: np.random.Generator, material: Material) -> Picture:
    return read_scene(_one(rng, material.scenes))


def _background(rng: np.random.Generator, material: Material) -> Picture:
    """A real photo, noise, or a rendered scene whose own things stay clickable."""
    kind = rng.random()
    if kind < 0.35:
        return _any_scene(rng, material)
    if kind < 0.75 and material.backgrounds:
        rgb = material.backgrounds[int(rng.integers(len(material.backgrounds)))]
    else:
        rgb = _noise(rng)
    return Picture(rgb, np.zeros(rgb.shape, np.uint8))


def _noise(rng: np.random.Generator, side: int = 384) -> UInt8[np.ndarray, "h w 3"]:
    """Coloured clouds: noise of several sizes between two or three colours."""
    total = np.zeros((side, side, 3))
    for octave in range(int(rng.integers(1, 7))):
        cells = 2 + 2**octave
        coarse = Image.fromarray((rng.random((cells, cells, 3)) * 255).astype(np.uint8))
        total += np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float) / 1.7**octave
    total = (total - total.min()) / max(float(np.ptp(total)), 1e-6)
    if rng.random() < 0.6:
        total = total.mean(2, keepdims=True).repeat(3, 2)
    low, high = rng.random(3), rng.random(3)
    return (255 * (low + (high - low) * total)).clip(0, 255).astype(np.uint8)


def _crop(rng: np.random.Generator, picture: Picture, side: int, near_instance: bool) -> Picture:
    """A square window, scaled to ``side``: around some instance, or anywhere."""
    height, width = picture.rgb.shape[:2]
    window = min(int(np.exp(rng.uniform(np.log(0.4), np.log(1.1))) * min(height, width)), height, width)
    found = instances_of(picture.identity, 40) if near_instance else []
    if found:
        rows, columns = np.nonzero(picture.identity[..., 0] == found[int(rng.integers(len(found)))])
        at = int(rng.integers(len(rows)))
        top, left = rows[at] - rng.uniform(0.2, 0.8) * window, columns[at] - rng.uniform(0.2, 0.8) * window
    else:
        top, left = rng.uniform(0, height - window + 1), rng.uniform(0, width - window + 1)
    top, left = int(np.clip(top, 0, height - window)), int(np.clip(left, 0, width - window))
    box = (left, top, left + window, top + window)
    rgb = Image.fromarray(picture.rgb).resize((side, side), Image.Resampling.BILINEAR, box)
    identity = Image.fromarray(picture.identity).resize((side, side), Image.Resampling.NEAREST, box)
    return Picture(np.asarray(rgb), np.asarray(identity))


def _paste(rng: np.random.Generator, rgb: np.ndarray, identity: np.ndarray, material: Material, number: int) -> None:
    """Cuts a thing out of another picture and puts it anywhere, with a soft shadow, in place."""
    real = len(material.photos) > 0 and rng.random() < 0.12
    source = read_masked_photo(_one(rng, material.photos)) if real else _any_scene(rng, material)
    found = instances_of(source.identity, LEAST_CUT)
    if not found:
        return
    mask = source.identity[..., 0] == found[int(rng.integers(len(found)))]
    rows, columns = np.nonzero(mask)
    window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    cut = Image.fromarray(source.rgb[window])
    alpha, parts = (
        Image.fromarray(mask[window].astype(np.uint8) * 255),
        Image.fromarray(source.identity[window][..., 1]),
    )
    side = rgb.shape[0]
    longest = np.exp(rng.uniform(np.log(0.1), np.log(0.75))) * side
    scale = longest / max(cut.size) * np.exp(rng.normal(0, 0.15, 2))
    size = max(8, int(cut.width * scale[0])), max(8, int(cut.height * scale[1]))
    turn = float(rng.uniform(0, 360)) if rng.random() < 0.3 else float(rng.normal(0, 6))
    smooth, hard = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
    cut = _jittered(rng, cut.resize(size, smooth), 0.5).rotate(turn, smooth, expand=True)
    cover = np.asarray(alpha.resize(size, smooth).rotate(turn, smooth, expand=True), np.float32) / 255
    part = np.asarray(parts.resize(size, hard).rotate(turn, hard, expand=True))
    height, width = cover.shape
    top, left = int(rng.uniform(-0.2 * height, side - 0.8 * height)), int(rng.uniform(-0.2 * width, side - 0.8 * width))
    here = np.s_[max(top, 0) : top + height, max(left, 0) : left + width]
    rows_cut = slice(max(-top, 0), max(-top, 0) + rgb[here].shape[0])
    there = np.s_[rows_cut, max(-left, 0) : max(-left, 0) + rgb[here].shape[1]]
    opaque = np.zeros((side, side), np.float32)
    opaque[here] = cover[there]
    if rng.random() < 0.6:
        _shade(rng, rgb, opaque)
    patch = np.asarray(cut, np.float32)[there]
    weight = cover[there][..., None]
    rgb[here] = (rgb[here] * (1 - weight) + patch * weight).astype(np.uint8)
    inside = cover[there] > 0.5
    identity[here][inside] = np.stack(
        [np.full(int(inside.sum()), number), part[there][inside], np.full(int(inside.sum()), number)], -1
    )


def _shade(rng: np.random.Generator, rgb: np.ndarray, opaque: Float[np.ndarray, "h w"]) -> None:
    """A blurred shadow beside and under the thing, in place."""
    blur = ImageFilter.GaussianBlur(float(rng.uniform(1, 8)))
    soft = np.asarray(Image.fromarray((opaque * 255).astype(np.uint8)).filter(blur), np.float32) / 255
    down, right = rng.integers(-3, 8), rng.integers(-6, 7)
    shadow = np.roll(soft, (int(down), int(right)), (0, 1)) * rng.uniform(0.1, 0.6)
    rgb[:] = (rgb * (1 - shadow[..., None])).astype(np.uint8)


def _jittered(rng: np.random.Generator, image: Image.Image, strength: float) -> Image.Image:
    """Other brightness, contrast, colourfulness and hue."""
    tools: list[Callable[[Image.Image], ImageEnhance._Enhance]] = [
        ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color,
    ]  # fmt: skip
    for tool in tools:
        image = tool(image).enhance(float(np.exp(rng.normal(0, strength * 0.5))))
    if rng.random() < 0.4 * strength * 2:
        hue, saturation, value = image.convert("HSV").split()
        moved = (np.asarray(hue, np.int16) + int(rng.normal(0, 40 * strength))) % 256
        image = Image.merge("HSV", (Image.fromarray(moved.astype(np.uint8)), saturation, value)).convert("RGB")
    return image


def _spoilt(rng: np.random.Generator, image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """The whole picture as a worse camera gives it: colours, blur, noise, compression."""
    image = _jittered(rng, image, 0.35)
    if rng.random() < 0.25:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.3))))
    if rng.random() < 0.05:
        image = image.convert("L").convert("RGB")
    rgb = np.asarray(image)
    if rng.random() < 0.3:
        noisy = rgb + rng.normal(0, rng.uniform(1, 10), rgb.shape)
        rgb = noisy.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        file = io.BytesIO()
        Image.fromarray(rgb).save(file, "JPEG", quality=int(rng.integers(35, 90)))
        rgb = np.asarray(Image.open(file))
    return rgb
