"""Lays the masks over the photo that is looked at: what the prompts mean there, or what a job has found there.

Also tells scene/mask_preview.py what each viewport shows, which is what makes it ask.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import bpy
import gpu
import numpy as np
from gpu_extras.batch import batch_for_shader

from ..preferences import preferences
from ..scene import job_masks, mask_preview
from ..scene.cameras import view_of
from ..scene.frame import Frame
from ..scene.viewport import photo_frame
from ..scene.views import capture_of

__all__ = ["Layer", "draw_layers", "layers_of", "painted", "register", "unregister"]

Colour = tuple[float, float, float]

COLOURS: tuple[Colour, ...] = (
    (0.12, 0.56, 1.00),
    (1.00, 0.55, 0.10),
    (0.68, 0.35, 1.00),
    (0.10, 0.75, 0.65),
    (1.00, 0.30, 0.60),
    (0.85, 0.78, 0.15),
)
"""Of a capture's objects in turn; none of them is the green or the red of the prompts."""

REJECTED: Colour = (0.55, 0.55, 0.55)
FAINT = 0.5
"""Of other objects' masks, and of one that newer prompts have made old."""
OUTLINE_PIXELS = 1
MOST_TEXTURES = 12


@dataclass(frozen=True)
class Layer:
    """A mask uint8 [h, w] (255 = the object) over the whole frame, its colour, how opaque it is."""

    mask: np.ndarray
    colour: Colour
    opacity: float


def layers_of(scene: Any, capture: Any, camera: Any) -> list[Layer]:
    """The masks of a capture's objects in a camera's photo, that of the active one last and so on top.

    Where something was said in this photo, its mask is what that means; else what the latest job has found here.
    """
    found = []
    state, view = capture.sa3d, view_of(camera)
    for number in sorted(range(len(state.objects)), key=lambda number: number == state.active):
        prompted, colour = state.objects[number], COLOURS[number % len(COLOURS)]
        opacity = 1.0 if number == state.active else FAINT
        answer = mask_preview.latest_for(scene, capture, prompted, camera)
        if answer is not None:
            mask = answer.shown(prompted.scale, view)
            if mask is not None:
                old = mask_preview.answer_for(scene, capture, prompted, camera) is not answer
                found.append(Layer(mask, colour, opacity * (FAINT if old else 1.0)))
            continue
        seen = job_masks.seen_in(mask_preview.place_of(capture, prompted, camera), view)
        if seen is not None:
            accepted = seen.verdict != "rejected"
            found.append(Layer(seen.mask, colour if accepted else REJECTED, opacity))
    return found


def painted(mask: np.ndarray, colour: Colour, opacity: float) -> np.ndarray:
    """A mask as a picture, float32 [h, w, 4], rows from below: translucent inside, a firm line along its edge."""
    inside = mask > 127
    core = np.pad(inside, OUTLINE_PIXELS, mode="edge")
    for axis in (0, 1):
        steps = [np.roll(core, shift, axis) for shift in (-OUTLINE_PIXELS, OUTLINE_PIXELS)]
        core = core & steps[0] & steps[1]
    core = core[OUTLINE_PIXELS:-OUTLINE_PIXELS, OUTLINE_PIXELS:-OUTLINE_PIXELS]
    picture = np.zeros((*mask.shape, 4), dtype=np.float32)
    picture[..., :3] = np.power(colour, 2.2)  # what is drawn to is linear light
    picture[..., 3] = np.where(core, opacity, np.where(inside, min(1.0, 1.8 * opacity), 0.0))
    return picture[::-1]


_textures: OrderedDict[tuple[int, Colour, float], tuple[np.ndarray, Any]] = OrderedDict()


def _texture(layer: Layer, opacity: float) -> Any:
    key = (id(layer.mask), layer.colour, round(layer.opacity * opacity, 3))
    kept = _textures.get(key)
    if kept is None or kept[0] is not layer.mask:  # the mask is kept too, so that its id stays its own
        picture = np.ascontiguousarray(painted(layer.mask, layer.colour, layer.opacity * opacity))
        height, width = layer.mask.shape
        data = gpu.types.Buffer("FLOAT", picture.size, picture.ravel())
        kept = (layer.mask, gpu.types.GPUTexture((width, height), format="RGBA16F", data=data))
        _textures[key] = kept
        while len(_textures) > MOST_TEXTURES:
            _textures.popitem(last=False)
    _textures.move_to_end(key)
    return kept[1]


_shader: Any = None


def _plain_shader() -> Any:
    """Draws a texture as it is. Blender's own for images takes its colours as linear or as sRGB, by version."""
    global _shader
    if _shader is None:
        varying = gpu.types.GPUStageInterfaceInfo("sa3d_mask_varying")
        varying.smooth("VEC2", "at")
        info = gpu.types.GPUShaderCreateInfo()
        info.push_constant("MAT4", "to_clip")
        info.sampler(0, "FLOAT_2D", "image")
        info.vertex_in(0, "VEC2", "pos")
        info.vertex_in(1, "VEC2", "texCoord")
        info.vertex_out(varying)
        info.fragment_out(0, "VEC4", "colour")
        info.vertex_source("void main() { at = texCoord; gl_Position = to_clip * vec4(pos, 0.0, 1.0); }")
        info.fragment_source("void main() { colour = texture(image, at); }")
        _shader = gpu.shader.create_from_info(info)
    return _shader


def draw_layers(layers: Iterable[Layer], frame: Frame, opacity: float) -> None:
    """Draws into the current framebuffer, whose matrices are those of its pixels."""
    low, high = (frame.left, frame.bottom), (frame.left + frame.width, frame.bottom + frame.height)
    corners = [low, (high[0], low[1]), high, (low[0], high[1])]
    shader = _plain_shader()
    content = {"pos": corners, "texCoord": [(0, 0), (1, 0), (1, 1), (0, 1)]}
    batch = batch_for_shader(shader, "TRIS", content, indices=[(0, 1, 2), (0, 2, 3)])
    gpu.state.blend_set("ALPHA")
    try:
        for layer in layers:
            shader.bind()
            shader.uniform_float("to_clip", gpu.matrix.get_projection_matrix() @ gpu.matrix.get_model_view_matrix())
            shader.uniform_sampler("image", _texture(layer, opacity))
            batch.draw(shader)
    finally:
        gpu.state.blend_set("NONE")


def _has_our_tool(context: Any) -> bool:
    if context.mode != "OBJECT" or context.workspace is None:
        return False
    tool = context.workspace.tools.from_space_view3d_mode("OBJECT", create=False)
    return tool is not None and tool.idname.startswith("sa3d.")


def _draw() -> None:
    """Called by Blender after it has drawn a 3D viewport."""
    context = bpy.context
    viewport = context.region.as_pointer()
    found = photo_frame(context) if context.space_data.overlay.show_overlays else None
    capture = None if found is None else capture_of(context.scene, found[0])
    if found is None or capture is None:
        mask_preview.look_away(viewport)
        return
    camera, frame = found
    mask_preview.look(viewport, context.scene, camera, _has_our_tool(context))
    layers = layers_of(context.scene, capture, camera)
    if layers:
        draw_layers(layers, frame, float(preferences().mask_opacity))


_handles: list[Any] = []


def register() -> None:
    """Draws from now on, below the prompts. In the background Blender never calls it."""
    _handles.append(bpy.types.SpaceView3D.draw_handler_add(_draw, (), "WINDOW", "POST_PIXEL"))


def unregister() -> None:
    """Draws no more."""
    global _shader
    _shader = None
    while _handles:
        bpy.types.SpaceView3D.draw_handler_remove(_handles.pop(), "WINDOW")
    _textures.clear()
