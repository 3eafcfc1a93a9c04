"""What one sees: viewport shading, light, colour management."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import bpy
from mathutils import Vector

from .textures import is_baked

__all__ = ["dress_scene", "follow_colours", "show_colours"]


def colour_type(made: Iterable[Any]) -> str:
    """What Solid viewports have to show for results to be in the photos' colours: textures, if all of them have one.

    All have vertex colours; those of a texture are but samples of it. Cameras and clicks among them don't count.
    """
    found = [one for one in made if one.type == "MESH" and "sa3d_label" not in one]
    textured = all(any(is_baked(material) for material in one.data.materials) for one in found)
    return "TEXTURE" if found and textured else "VERTEX"


def follow_colours(made: Iterable[Any], first: bool = False) -> None:
    """Lets Solid viewports go along from textures to the vertex colours of a rough shape, and back.

    With the ``first`` result, those that show objects in plain colours come along. Where the artist has chosen to
    see something else, such as random colours, that stays.
    """
    ours, wanted = {"VERTEX", "TEXTURE"} | ({"MATERIAL"} if first else set()), colour_type(made)
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                shading = area.spaces.active.shading
                if shading.type == "SOLID" and shading.color_type in ours:
                    shading.color_type = wanted


def show_colours(screen: Any, made: Iterable[Any], through_camera: bool) -> None:
    """Lets the 3D viewports of ``screen`` show the results' colours, and look through the scene's camera if asked."""
    shown = colour_type(made)
    for area in screen.areas:
        for space in area.spaces:
            if space.type != "VIEW_3D":
                continue
            space.shading.type = "SOLID"
            space.shading.color_type = shown
            space.shading.light = "STUDIO"
            space.shading.studio_light = "paint.sl"  # the most even of Blender's own: shape stays, colours too
            space.shading.show_specular_highlight = False  # photos hold their own highlights
            if through_camera and space.region_3d is not None:
                space.region_3d.view_perspective = "CAMERA"


def dress_scene(scene: Any, look_at: Vector, size: float) -> None:
    """For a file of our own: even white light, colours as in the photos, views turned to what lies at ``look_at``.

    ``size`` is the radius, in world units, of what should be seen from outside the cameras.
    """
    world = bpy.data.worlds.new("SA3D World")
    if world.node_tree is None:  # from 5.0 on it always has one, and asking for it is deprecated
        world.use_nodes = True
    background = next(node for node in world.node_tree.nodes if node.type == "BACKGROUND")
    background.inputs["Color"].default_value = (1.0, 1.0, 1.0, 1.0)
    background.inputs["Strength"].default_value = 1.0
    scene.world = world
    # The default transform is made for rendered light and would dull colours that come from photos.
    scene.view_settings.view_transform = "Standard"
    for screen in bpy.data.screens:
        for area in screen.areas:
            for space in area.spaces:
                if space.type == "VIEW_3D" and space.region_3d is not None:
                    space.region_3d.view_location = look_at
                    space.region_3d.view_distance = 3.0 * size
                    space.clip_start, space.clip_end = 0.002 * size, 1000.0 * size
