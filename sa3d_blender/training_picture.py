"""How training goes, as one small picture: a photo it doesn't use, as rendered now; below, the PSNR."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["CURVE_PX", "SIDE_PX", "TrainingPreview", "compose", "read_training"]

SIDE_PX = 256
"""Of the whole picture: Blender shows an icon in a square, so it is one."""

CURVE_PX, GAP_PX = 64, 4
PAD_PX = 5  # around the curve, so that its dot at the end isn't cut
DOT_PX, HALF_LINE_PX = 3.5, 1.0

RULE_DB = 5.0  # between two lines across; the curve's range ends at such a line, so that it seldom jumps
MOST_RULES = 6
LEAST_DB, MOST_DB = 0.0, 100.0  # what a PSNR can be, of pictures in 8 bits

GROUND, RULE, CURVE = ((0.11,) * 3, (0.22,) * 3, (0.35, 0.75, 1.0))

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class TrainingPreview:
    """How far training is: ``picture`` uint8 [h, w, 3] (sRGB, row 0 at the top) is ``view`` as the field renders it,
    a photo that training never sees; ``curve`` has (step, PSNR in dB, the mean of such photos), oldest first."""

    view: str
    steps: float
    psnr_db: float
    curve: tuple[tuple[float, float], ...]
    picture: np.ndarray


def read_training(body: Mapping[str, Any], picture: np.ndarray | None) -> TrainingPreview | None:
    """What a preview called "training" says; None where it makes no sense. Points that aren't finite are left out."""
    if picture is None or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        return None
    try:
        steps, psnr_db = float(body["steps"]), float(body["psnr_db"])
        curve = [(float(step), float(psnr)) for step, psnr in body.get("curve") or ()]
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    if not (math.isfinite(steps) and math.isfinite(psnr_db)):
        return None
    return TrainingPreview(str(body.get("view", "")), steps, psnr_db, _finite(curve), picture)


def compose(picture: np.ndarray, curve: Curve, steps: float) -> np.ndarray:
    """The picture above the curve, float32 [SIDE_PX, SIDE_PX, 4] in [0, 1]: sRGB and alpha, the bottom row first.

    ``picture`` uint8 [h, w, 3] with row 0 at the top is fitted into what the curve leaves, in the middle; beside it
    nothing covers the panel. ``curve`` has (step, PSNR in dB): it goes from step 0 on the left to ``steps`` on the
    right. Its lowest CURVE_PX rows are the curve's whether there is one or not.
    """
    whole = np.zeros((SIDE_PX, SIDE_PX, 4), np.float32)
    room = SIDE_PX - CURVE_PX - GAP_PX
    scale = min(room / picture.shape[0], SIDE_PX / picture.shape[1])
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    top, left = (room - height) // 2, (SIDE_PX - width) // 2
    fitted = whole[top : top + height, left : left + width]
    fitted[..., :3] = _resized(picture, height, width)
    fitted[..., 3] = 1.0
    whole[-CURVE_PX:, :, :3] = _drawn(curve, steps)
    whole[-CURVE_PX:, :, 3] = 1.0
    return np.ascontiguousarray(whole[::-1])


def _drawn(curve: Curve, steps: float) -> np.ndarray:
    """The curve float32 [CURVE_PX, SIDE_PX, 3], row 0 at the top."""
    drawn = np.broadcast_to(np.array(GROUND, np.float32), (CURVE_PX, SIDE_PX, 3)).copy()
    points = _finite(curve)
    if not points:
        return drawn
    at, psnr = np.array(sorted(points, key=lambda point: point[0])).T
    psnr = psnr.clip(LEAST_DB, MOST_DB)
    low = RULE_DB * math.floor(psnr.min() / RULE_DB)
    high = max(RULE_DB * math.ceil(psnr.max() / RULE_DB), low + RULE_DB)
    apart = RULE_DB * math.ceil((high - low) / RULE_DB / MOST_RULES)

    def row_of(psnr_db: Any) -> Any:
        return PAD_PX + (high - psnr_db) / (high - low) * (CURVE_PX - 1 - 2 * PAD_PX)

    for psnr_db in np.arange(low, high + 1e-6, apart):
        drawn[round(row_of(psnr_db))] = RULE
    # Steps are never negative; one beyond the last would only be drawn beside the picture.
    columns = PAD_PX + (at / max(steps, at[-1], 1.0)).clip(0.0, 1.0) * (SIDE_PX - 1 - 2 * PAD_PX)
    rows = row_of(psnr)
    shown = np.maximum(_line(columns, rows), _dot(columns[-1], rows[-1]))[..., None]
    drawn += shown * (np.array(CURVE, np.float32) - drawn)
    return drawn


def _line(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How much of each pixel a line through these points covers, float [CURVE_PX, SIDE_PX]: in each column all that
    is between where the line comes in and where it goes out, so that a steep one has no gaps."""
    middles = np.arange(SIDE_PX)
    edges = np.arange(SIDE_PX + 1) - 0.5
    at_edges = np.interp(edges, columns, rows)
    upper = np.minimum(at_edges[:-1], at_edges[1:]) - HALF_LINE_PX
    lower = np.maximum(at_edges[:-1], at_edges[1:]) + HALF_LINE_PX
    each = np.arange(CURVE_PX)[:, None]
    covered = (np.minimum(each + 0.5, lower) - np.maximum(each - 0.5, upper)).clip(0.0, 1.0)
    within = (middles >= columns[0] - 0.5) & (middles <= columns[-1] + 0.5)
    return np.where(within, covered, 0.0)


def _dot(column: float, row: float) -> np.ndarray:
    away = np.hypot(np.arange(SIDE_PX)[None, :] - column, np.arange(CURVE_PX)[:, None] - row)
    return (DOT_PX + 0.5 - away).clip(0.0, 1.0)


def _resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture uint8 [h, w, 3] as float32 [height, width, 3] in [0, 1], between pixels straight from one to the next;
    where it is made much smaller, pixels in between are passed over."""
    values = picture
    for axis, size in enumerate((height, width)):
        last = picture.shape[axis] - 1
        at = ((np.arange(size) + 0.5) * (picture.shape[axis] / size) - 0.5).clip(0, last)
        before = np.floor(at).astype(int)
        share = (at - before).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        after = np.minimum(before + 1, last)
        values = np.take(values, before, axis) * (1 - share) + np.take(values, after, axis) * share
    return (values.astype(np.float32) / 255).clip(0.0, 1.0)


def _finite(curve: Curve) -> tuple[tuple[float, float], ...]:
    return tuple((step, psnr) for step, psnr in curve if math.isfinite(step) and math.isfinite(psnr))
