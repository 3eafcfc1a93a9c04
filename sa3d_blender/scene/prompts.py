"""The clicks that asked for an object, as coloured balls in the scene."""

from __future__ import annotations

from typing import Any

import bmesh
import bpy
import numpy as np

from .description import Prompt, SceneView
from .lens import frame_from_photo
from .meshes import COLOUR_ATTRIBUTE, colour_material
from .names import fitting

__all__ = ["add_prompt", "unproject"]

COLOURS = {1: (0.02, 0.8, 0.05, 1.0), 0: (0.9, 0.02, 0.02, 1.0)}
"""Linear RGBA: green = this, red = not this."""

BALL = 1 / 130
"""Radius of a ball over its distance from the camera: some 3 pixels in a photo 400 wide."""


def add_prompt(prompt: Prompt, view: SceneView, camera: Any, object_name: str, collection: Any) -> Any:
    """A ball at the 3D point under the click, named after the view and the label.

    Where that point is not known the ball floats on the camera's symbol, at the clicked place of the frame. Its
    custom properties keep the camera's name and the click as fractions of the frame, which survive another render
    size: ``sa3d_camera``, ``sa3d_x`` (from the left), ``sa3d_y`` (from the top), ``sa3d_label``, ``sa3d_object``,
    ``sa3d_on_surface``.
    """
    known = prompt.point_world is not None
    clicked = np.array([[prompt.x_px, prompt.y_px]])
    x_px, y_px = (float(value) for value in frame_from_photo(view, clicked)[0][0])
    eye = np.array(view.world_from_camera)[:3, 3]
    place = np.array(prompt.point_world) if known else unproject(view, x_px, y_px, _frame_depth(camera))
    ball = bpy.data.objects.new(fitting(f"{view.stem} {'this' if prompt.label else 'not this'}"), _ball(prompt.label))
    ball.location = place.tolist()
    ball.scale = (float(np.linalg.norm(place - eye)) * BALL,) * 3
    ball.show_in_front = True
    ball.hide_render = True
    ball.color = COLOURS[prompt.label]
    ball["sa3d_camera"] = camera.name
    ball["sa3d_x"] = x_px / view.width
    ball["sa3d_y"] = y_px / view.height
    ball["sa3d_label"] = prompt.label
    ball["sa3d_object"] = object_name
    ball["sa3d_on_surface"] = known
    collection.objects.link(ball)
    return ball


def unproject(view: SceneView, x_px: float, y_px: float, depth: float) -> np.ndarray:
    """The world point [3] seen at pixel (x, y) of the straight picture, ``depth`` along the viewing direction."""
    pinhole = view.pinhole
    in_camera = np.array([(x_px - pinhole.cx) / pinhole.fl_x, -(y_px - pinhole.cy) / pinhole.fl_y, -1.0]) * depth
    matrix = np.array(view.world_from_camera)
    return matrix[:3, :3] @ in_camera + matrix[:3, 3]


def _frame_depth(camera: Any) -> float:
    """How far before its camera the symbol's frame is drawn."""
    return -float(camera.data.view_frame()[0].z) * float(camera.data.display_size)


def _ball(label: int) -> Any:
    """The mesh that all balls of one colour share."""
    name = "SA3D Click: this" if label else "SA3D Click: not this"
    found = bpy.data.meshes.get(name)
    if found is not None:
        return found
    data = bpy.data.meshes.new(name)
    shape = bmesh.new()
    bmesh.ops.create_icosphere(shape, subdivisions=3, radius=1.0)
    shape.to_mesh(data)
    shape.free()
    data.polygons.foreach_set("use_smooth", np.ones(len(data.polygons), dtype=bool))
    colours = np.tile(np.array(COLOURS[label], np.float32), (len(data.vertices), 1))
    attribute = data.color_attributes.new(COLOUR_ATTRIBUTE, "FLOAT_COLOR", "POINT")
    attribute.data.foreach_set("color", colours.ravel())
    data.color_attributes.active_color = attribute
    data.materials.append(_material(name, label))
    return data


def _material(name: str, label: int) -> Any:
    """Vertex colours that are also there where viewports show textures: a ball has none, and this stands for it."""
    material = bpy.data.materials.get(name)
    if material is None:
        material = colour_material().copy()
        material.name = name
        material.diffuse_color = COLOURS[label]
    return material
