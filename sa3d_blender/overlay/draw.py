"""Draws the prompts over the photo that they belong to: dots, boxes and lines, green = this, red = not this."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from ..scene.frame import Frame
from ..scene.prompt_store import places, prompts_in
from ..scene.viewport import photo_frame
from ..scene.views import capture_of
from . import pending
from .shapes import Colour, box_line, dot

__all__ = ["Mark", "draw_marks", "marks_of", "register", "unregister"]

RADIUS = 5.5
THIS: tuple[float, float, float] = (0.10, 0.85, 0.25)
NOT_THIS: tuple[float, float, float] = (0.95, 0.15, 0.12)
OUTLINE: tuple[float, float, float] = (0.02, 0.02, 0.02)
FAINT = 0.4
"""Opacity of other objects' prompts."""


@dataclass(frozen=True)
class Mark:
    """A prompt in pixels of a region: ``points`` [N, 2], y upwards."""

    kind: str
    points: np.ndarray
    positive: bool
    selected: bool = False
    opacity: float = 1.0


def marks_of(capture: Any, camera: Any, frame: Frame) -> list[Mark]:
    """The prompts in a camera's photo, those of the object that is worked on last and so on top."""
    found = []
    state = capture.sa3d
    for which in sorted(range(len(state.objects)), key=lambda number: number == state.active):
        prompted = state.objects[which]
        active = which == state.active
        for number, prompt in prompts_in(prompted, camera):
            points = frame.pixels(places(prompt))
            if len(points):
                chosen = active and number == prompted.active
                found.append(Mark(prompt.kind, points, prompt.positive, chosen, 1.0 if active else FAINT))
    return found


def draw_marks(marks: Iterable[Mark], scale: float, size: tuple[int, int]) -> None:
    """Draws into the current framebuffer of ``size`` pixels, whose matrices are those of its pixels.

    ``scale`` is pixels for one of the interface's. Lines first: a dot must not vanish under one.
    """
    marks = list(marks)
    gpu.state.blend_set("ALPHA")
    try:
        for mark in marks:
            if mark.kind != "CLICK":
                line = box_line(mark.points) if mark.kind == "BOX" else mark.points
                if len(line) > 1:
                    _line(line, mark, scale, size)
        discs = [
            dot(
                float(mark.points[0, 0]),
                float(mark.points[0, 1]),
                RADIUS * scale,
                _shade(mark),
                (*OUTLINE, mark.opacity),
                mark.selected,
            )
            for mark in marks
            if mark.kind == "CLICK"
        ]
        if discs:
            shader = gpu.shader.from_builtin("SMOOTH_COLOR")
            corners, colours = (np.concatenate([one[part] for one in discs]) for part in (0, 1))
            batch_for_shader(shader, "TRIS", {"pos": corners, "color": colours}).draw(shader)
    finally:
        gpu.state.blend_set("NONE")


def _shade(mark: Mark) -> Colour:
    return (*(THIS if mark.positive else NOT_THIS), mark.opacity)


def _line(line: np.ndarray, mark: Mark, scale: float, size: tuple[int, int]) -> None:
    shader = gpu.shader.from_builtin("POLYLINE_UNIFORM_COLOR")
    corners = np.c_[line, np.zeros(len(line))].astype(np.float32)
    batch = batch_for_shader(shader, "LINE_STRIP", {"pos": corners})
    shader.bind()
    shader.uniform_float("viewportSize", size)
    layers: list[tuple[float, Colour]] = [(4.5, (*OUTLINE, 0.7 * mark.opacity)), (2.5, _shade(mark))]
    if mark.selected:
        layers.insert(0, (7.0, (1.0, 1.0, 1.0, 0.9 * mark.opacity)))
    for width, colour in layers:
        shader.uniform_float("lineWidth", width * scale)
        shader.uniform_float("color", colour)
        batch.draw(shader)


def _draw() -> None:
    """Called by Blender after it has drawn a 3D viewport."""
    context = bpy.context
    if not context.space_data.overlay.show_overlays:
        return
    found = photo_frame(context)
    if found is None:
        return
    camera, frame = found
    capture = capture_of(context.scene, camera)
    if capture is None:
        return
    marks = marks_of(capture, camera, frame)
    stroke = pending.in_region(context.region)
    if stroke is not None and len(stroke.points) > 1:
        marks.append(Mark(stroke.kind, np.array(stroke.points), stroke.positive))
    if marks:
        scale = float(context.preferences.system.ui_scale)
        draw_marks(marks, scale, (context.region.width, context.region.height))


_handles: list[Any] = []


def register() -> None:
    """Draws from now on. In the background Blender never calls it."""
    _handles.append(bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_PIXEL"))


def unregister() -> None:
    """Draws no more."""
    while _handles:
        bpy.types.SpaceView3D.draw_handler_remove(_handles.pop(), "WINDOW")
