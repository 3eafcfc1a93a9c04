"""Draws a capture's cameras and sparse points, seen along each axis of its world, into one PNG."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from engine.cache import storage_errors, temporary_prefix
from engine.captures.bounds import scene_box
from engine.captures.capture import Capture
from engine.captures.rays import rays_through
from engine.out_folder import refuse_capture
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["capture_picture", "draw_capture"]

SIDE, MARGIN, TITLE = 480, 16, 20  # pixels of a panel, around what it shows, and of its heading
MOST_POINTS, MOST_CAMERAS = 40_000, 2_000
_PANELS = (("from above", 0, 1), ("from the front", 0, 2), ("from the side", 1, 2))  # the axes that go right and up
_PAPER, _INK, _CAMERA, _TEST, _BOX = (255, 255, 255), (60, 60, 60), (30, 90, 200), (210, 100, 20), (40, 150, 60)


def draw_capture(capture: Capture, path: Path) -> None:
    """Writes ``capture_picture`` to ``path``, whole or not at all. Raises StorageError."""
    refuse_capture(path, capture.root)
    picture = capture_picture(capture)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{temporary_prefix()}{path.name}")
        picture.save(part, "PNG")
        os.replace(part, path)


def capture_picture(capture: Capture) -> Image.Image:
    """Three panels: cameras as pyramids (blue; orange those for testing), points in their colours (darkened where they
    are next to white), the region of interest as a green frame.

    All panels have one scale. Points further away than the cameras and the box by half of their extent are left out.
    """
    frusta, size = _frusta(capture)
    corners = [frusta.reshape(-1, 3)]
    try:
        box = scene_box(capture).aabb
        corners.append(box)
    except CaptureError:
        box = None  # the facts that are printed beside the picture say so
    around = np.concatenate(corners)
    low, high = around.min(axis=0), around.max(axis=0)
    points, colours = _points(capture, low - 0.5 * (high - low).max(), high + 0.5 * (high - low).max())
    if len(points):
        low = np.minimum(low, np.percentile(points, 2, axis=0))
        high = np.maximum(high, np.percentile(points, 98, axis=0))
    middle, scale = (low + high) / 2, (SIDE - 2 * MARGIN) / max(float((high - low).max()), 1e-12)
    picture = Image.new("RGB", (3 * SIDE, SIDE + TITLE), _PAPER)
    for panel, (title, right, up) in enumerate(_PANELS):
        canvas = Image.new("RGB", (SIDE, SIDE), _PAPER)

        def at(xyz: np.ndarray, right: int = right, up: int = up) -> np.ndarray:
            flat = (np.asarray(xyz)[..., [right, up]] - middle[[right, up]]) * scale
            return np.stack([SIDE / 2 + flat[..., 0], SIDE / 2 - flat[..., 1]], axis=-1)

        _draw_points(canvas, at(points), colours)
        pen = ImageDraw.Draw(canvas)
        if box is not None:
            (x0, y1), (x1, y0) = at(box[0]), at(box[1])
            pen.rectangle((x0, y0, x1, y1), outline=_BOX)
        for view, frustum in zip(_some(list(capture.views)), frusta, strict=True):
            _draw_camera(pen, at(frustum), _TEST if view.split == "test" else _CAMERA)
        picture.paste(canvas, (panel * SIDE, TITLE))
        axes = f"{'xyz'[right]} right, {'xyz'[up]} up"
        ImageDraw.Draw(picture).text((panel * SIDE + MARGIN, 4), f"{title}: {axes}", fill=_INK)
    unit = _round_length(100 / scale)
    pen = ImageDraw.Draw(picture)
    pen.line((MARGIN, SIDE + TITLE - 10, MARGIN + unit * scale, SIDE + TITLE - 10), fill=_INK, width=2)
    pen.text((MARGIN, SIDE + TITLE - 26), f"{unit:g} units; pyramids {size:.3g}", fill=_INK)
    return picture


def _some(values: list) -> list:
    return values[:: max(1, -(-len(values) // MOST_CAMERAS))]


def _frusta(capture: Capture) -> tuple[np.ndarray, float]:
    """Tip and four corners of each camera's pyramid, [N, 5, 3], and how long these are: a twelfth of their extent."""
    cameras = [view.camera for view in _some(list(capture.views))]
    centres = np.array([camera.position for camera in cameras])
    size = float(np.ptp(centres, axis=0).max()) / 12
    frusta = []
    for camera in cameras:
        w, h = camera.width, camera.height
        rays_o, rays_d = rays_through(camera, np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float64))
        rays_d = rays_d / np.maximum(np.linalg.norm(rays_d, axis=1, keepdims=True), 1e-12)
        frusta.append(np.concatenate([camera.position[None], rays_o + size * rays_d]))
    return np.array(frusta), size


def _points(capture: Capture, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if capture.points is None:
        return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    xyz, rgb = capture.points.xyz, capture.points.rgb
    near = ((xyz >= low) & (xyz <= high)).all(axis=1)
    xyz, rgb = xyz[near], rgb[near]
    step = max(1, -(-len(xyz) // MOST_POINTS))
    return xyz[::step], np.minimum(rgb[::step], 215).astype(np.uint8)


def _draw_points(canvas: Image.Image, at: np.ndarray, colours: np.ndarray) -> None:
    pixels = np.array(canvas)
    column, row = at.astype(int).T if len(at) else (np.zeros(0, int), np.zeros(0, int))
    inside = (column >= 0) & (column < SIDE) & (row >= 0) & (row < SIDE)
    pixels[row[inside], column[inside]] = colours[inside]
    canvas.paste(Image.fromarray(pixels))


def _draw_camera(pen: ImageDraw.ImageDraw, at: np.ndarray, colour: tuple[int, int, int]) -> None:
    tip, *corners = [(float(x), float(y)) for x, y in at]
    for i, corner in enumerate(corners):
        pen.line((*tip, *corner), fill=colour)
        pen.line((*corner, *corners[(i + 1) % 4]), fill=colour)


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above ``length``."""
    power = 10.0 ** np.floor(np.log10(max(length, 1e-12)))
    return float(max(step for step in (power, 2 * power, 5 * power) if step <= length * (1 + 1e-9)))
