"""A contact sheet: captioned pictures and a small table on a dark page; masks and prompts drawn over photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from engine.cache import atomic_file

__all__ = ["Tile", "contact_sheet", "draw_prompts", "overlay_mask"]

_PAGE, _PLATE = (34, 34, 36), (46, 46, 49)
_TEXT, _QUIET, _RULE = (236, 236, 236), (165, 165, 170), (66, 66, 70)
_MARGIN, _GAP = 40, 20
_GREEN, _RED, _RIM = (74, 200, 96), (232, 72, 68), (18, 18, 18)


@dataclass(frozen=True)
class Tile:
    """One picture of the sheet: ``image`` uint8 [H, W, 3] and the caption under it."""

    title: str
    image: np.ndarray


def contact_sheet(
    tiles: Sequence[Tile],
    path: Path | str,
    columns: int = 4,
    heading: str = "",
    table: Sequence[Sequence[str]] = (),
    tile_width: int = 360,
) -> Path:
    """Writes ``tiles`` as a PNG at ``path``, ``columns`` a row, under ``heading`` and over the rows of ``table``.

    All pictures are ``tile_width`` pixels wide at most and keep their proportions; a row is as tall as its tallest.
    Small ones are enlarged by whole multiples first, so that their pixels stay even. The first column of the table is
    quiet, as a label. Text that does not fit is shortened. Raises StorageError where the file can't be written,
    ValueError without tiles or columns.
    """
    if not tiles or columns < 1:
        raise ValueError("a contact sheet needs one tile and one column at least")
    path = Path(path)
    columns = min(columns, len(tiles))
    pictures = [_fitted(tile.image, tile_width) for tile in tiles]
    rows = [range(i, min(i + columns, len(tiles))) for i in range(0, len(tiles), columns)]
    head_font, caption_font, table_font = (ImageFont.load_default(size=size) for size in (30, 17, 17))
    caption, line = 36, 30
    heights = [max(pictures[i].height for i in row) for row in rows]
    top = _MARGIN + (62 if heading else 0)
    width = 2 * _MARGIN + columns * tile_width + (columns - 1) * _GAP
    height = top + sum(heights) + len(rows) * (caption + _GAP) - _GAP + _MARGIN
    if table:
        height += 28 + line * len(table)
    page = Image.new("RGB", (width, height), _PAGE)
    draw = ImageDraw.Draw(page)
    if heading:
        draw.text((_MARGIN, _MARGIN - 6), _shortened(heading, head_font, width - 2 * _MARGIN), _TEXT, font=head_font)
    y = top
    for row, tall in zip(rows, heights, strict=True):
        for place, i in enumerate(row):
            x = _MARGIN + place * (tile_width + _GAP)
            draw.rectangle((x, y, x + tile_width - 1, y + tall + caption - 1), fill=_PLATE)
            page.paste(pictures[i], (x + (tile_width - pictures[i].width) // 2, y + (tall - pictures[i].height) // 2))
            text = _shortened(tiles[i].title, caption_font, tile_width - 24)
            draw.text((x + 12, y + tall + caption // 2), text, _TEXT, font=caption_font, anchor="lm")
        y += tall + caption + _GAP
    if table:
        _draw_table(draw, table, y - _GAP + 28, width, table_font, line)
    _save(page, path)
    return path


def overlay_mask(
    rgb: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int] = (255, 150, 40), fill: float = 0.4
) -> np.ndarray:
    """``rgb`` [H, W, 3] (uint8, or float in [0, 1]) with ``mask`` [H, W] (bool, or in [0, 1]) over it, uint8 [H, W, 3].

    A translucent fill that follows soft masks, and an opaque outline where the mask crosses 0.5, with a thin dark rim
    outside so that it is seen on any photo.
    """
    picture: np.ndarray = _as_bytes(rgb).astype(np.float32)
    soft = np.clip(np.asarray(mask, dtype=np.float32), 0.0, 1.0)
    inside = soft > 0.5
    tint = np.array(colour, dtype=np.float32)
    part = (fill * soft)[..., None]
    picture = picture * (1.0 - part) + tint * part
    width = max(1, round(max(inside.shape) / 400))
    wide = np.ones((3, 3), dtype=bool)
    line = inside & ~ndimage.binary_erosion(inside, wide, iterations=width, border_value=1)
    rim = ndimage.binary_dilation(inside, wide, iterations=width) & ~inside
    picture[rim] *= 0.45
    picture[line] = tint
    return np.round(picture).astype(np.uint8)


def draw_prompts(rgb: np.ndarray, points_px: np.ndarray, labels: np.ndarray, radius: float | None = None) -> np.ndarray:
    """``rgb`` with the clicks ``points_px`` [N, 2] (x right, y down), uint8 [H, W, 3].

    A green disc with a plus where ``labels`` [N] is 1, a red one with a minus where it is 0, each with a dark rim.
    ``radius`` in pixels; by default a 45th of the picture's longer side, 5 at least.
    """
    picture = _as_bytes(rgb)
    points, kinds = np.asarray(points_px, dtype=np.float64).reshape(-1, 2), np.asarray(labels).reshape(-1)
    if len(points) != len(kinds):
        raise ValueError(f"{len(points)} points came with {len(kinds)} labels")
    radius = max(5.0, max(picture.shape[:2]) / 45.0) if radius is None else radius
    # Pillow draws without anti-aliasing: the discs are drawn four times as large and scaled down.
    fine = 4
    side = 2 * math.ceil(radius * 1.3) + 2
    result = Image.fromarray(picture)
    for (x, y), kind in zip(points, kinds, strict=True):
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        left, upper = math.floor(x) - side // 2, math.floor(y) - side // 2
        stamp = Image.new("RGBA", (side * fine, side * fine), (*_RIM, 0))
        pen = ImageDraw.Draw(stamp)
        cx, cy = (x - left) * fine, (y - upper) * fine
        _disc(pen, cx, cy, radius * 1.25 * fine, _RIM)
        _disc(pen, cx, cy, radius * fine, _GREEN if kind else _RED)
        arm, half = radius * 0.58 * fine, radius * 0.15 * fine
        pen.rectangle((cx - arm, cy - half, cx + arm, cy + half), fill=(255, 255, 255))
        if kind:
            pen.rectangle((cx - half, cy - arm, cx + half, cy + arm), fill=(255, 255, 255))
        stamp = stamp.resize((side, side), Image.Resampling.BOX)
        result.paste(stamp, (left, upper), stamp)
    return np.asarray(result).copy()


def _disc(pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, int, int]) -> None:
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _draw_table(
    draw: ImageDraw.ImageDraw,
    table: Sequence[Sequence[str]],
    y: int,
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    line: int,
) -> None:
    """Rows with a hairline over each; columns as wide as their widest cell."""
    count = max(len(row) for row in table)
    widths = [
        max((draw.textlength(row[c], font=font) for row in table if c < len(row)), default=0.0) for c in range(count)
    ]
    for row in table:
        draw.line((_MARGIN, y, width - _MARGIN - 1, y), fill=_RULE)
        x = float(_MARGIN)
        for c, cell in enumerate(row):
            room = width - _MARGIN - x
            if room > 30:
                text = _shortened(cell, font, room)
                draw.text((x, y + line / 2), text, _QUIET if c == 0 else _TEXT, font=font, anchor="lm")
            x += widths[c] + 36
        y += line


def _fitted(image: np.ndarray, width: int) -> Image.Image:
    """A picture scaled to ``width``, or to twice that in height where it is a tall one."""
    picture = Image.fromarray(_as_bytes(image))
    scale = min(width / picture.width, 2 * width / picture.height)
    if scale >= 3.0:
        whole = int(scale)
        return picture.resize((picture.width * whole, picture.height * whole), Image.Resampling.NEAREST)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _as_bytes(image: np.ndarray) -> np.ndarray:
    array = np.asarray(image)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] < 3:
        raise ValueError(f"a picture is [H, W, 3], not {array.shape}")
    if array.dtype != np.uint8:
        array = np.round(np.clip(np.nan_to_num(array.astype(np.float32)), 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.ascontiguousarray(array[..., :3])


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text.rstrip() + "..."


def _save(page: Image.Image, path: Path) -> None:
    with atomic_file(path) as temporary:
        page.save(temporary, format="PNG")
