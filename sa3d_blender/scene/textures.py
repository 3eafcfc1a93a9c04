"""Baked textures in the file: packed pictures, the material that shows them, the colours that they give vertices."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from .glb import Triangles
from .names import fitting

__all__ = ["UV_MAP", "is_baked", "sampled_colours", "show_pictures", "texture_material"]

UV_MAP = "UVMap"
COLOUR_NODE, NORMAL_NODE = "SA3D Colour", "SA3D Normals"
MARK = "sa3d_baked"


def is_baked(material: Any) -> bool:
    """Whether a material was made here to show a baked texture, whatever the artist calls it or has done to it."""
    return material is not None and MARK in material


def texture_material(name: str, surface: Triangles) -> Any:
    """A material of its own for a textured surface: the picture, matt, as the photos' light is in it already."""
    material = bpy.data.materials.new(fitting(name, "Object"))
    material[MARK] = True
    if material.node_tree is None:  # from 5.0 on it always has one, and asking for it is deprecated
        material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    shader = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    shader.inputs["Roughness"].default_value = 1.0
    shader.inputs["Metallic"].default_value = 0.0
    shader.inputs["Specular IOR Level"].default_value = 0.0
    colour = nodes.new("ShaderNodeTexImage")
    colour.name = colour.label = COLOUR_NODE
    colour.location = (shader.location.x - 350, shader.location.y)
    links.new(colour.outputs["Color"], shader.inputs["Base Color"])
    if surface.normal_file is not None:
        picture = nodes.new("ShaderNodeTexImage")
        picture.name = picture.label = NORMAL_NODE
        picture.location = (shader.location.x - 600, shader.location.y - 350)
        turned = nodes.new("ShaderNodeNormalMap")
        turned.space = "TANGENT"
        turned.uv_map = UV_MAP
        turned.location = (shader.location.x - 250, shader.location.y - 350)
        links.new(picture.outputs["Color"], turned.inputs["Color"])
        links.new(turned.outputs["Normal"], shader.inputs["Normal"])
    nodes.active = colour  # what viewports show as the texture, and what Blender bakes into
    show_pictures(material, name, surface)
    return material


def show_pictures(material: Any, name: str, surface: Triangles) -> None:
    """Gives the nodes of a baked material the surface's pictures; nodes that the artist has removed stay away.

    Pictures that nothing uses any more leave the file.
    """
    nodes = material.node_tree.nodes
    for node_name, file, what in (
        (COLOUR_NODE, surface.colour_file, "Colour"),
        (NORMAL_NODE, surface.normal_file, "Normals"),
    ):
        node = nodes.get(node_name)
        if node is None or node.type != "TEX_IMAGE":
            continue
        before = node.image
        if file is None:
            nodes.remove(node)  # without it the normals are those of the surface; an empty picture would be black
        else:
            node.image = _packed(f"{name} {what}", file, what == "Colour")
        if before is not None and MARK in before and before.users == 0:
            bpy.data.images.remove(before)


def _packed(name: str, file: bytes, is_colour: bool) -> Any:
    """A picture that lies in the .blend, byte for byte as it came."""
    image = bpy.data.images.new(fitting(name), 8, 8)  # the size is read from the file
    image.pack(data=file, data_len=len(file))
    image.source = "FILE"
    image.colorspace_settings.name = "sRGB" if is_colour else "Non-Color"
    image[MARK] = True
    return image


def sampled_colours(file: bytes, uv: np.ndarray, faces: np.ndarray, count: int) -> np.ndarray | None:
    """Linear RGBA float32 [V, 4] of the ``count`` vertices, from a picture's bytes at one of each one's corners.

    Viewports in solid mode show them. ``uv`` [F, 3, 2], ``faces`` [F, 3]. None for a picture that can't be read.
    """
    image = _packed("SA3D", file, True)
    try:
        width, height = image.size
        if not width or not height:
            return None
        pixels = np.empty(width * height * 4, np.float32)
        image.pixels.foreach_get(pixels)  # from the bottom row on, as stored: sRGB
    finally:
        bpy.data.images.remove(image)
    places = np.zeros((count, 2), np.float32)
    places[faces.reshape(-1)] = uv.reshape(-1, 2)
    column, row = (
        np.clip(np.floor(places[:, k] * side), 0, side - 1).astype(np.int64) for k, side in enumerate((width, height))
    )
    rgba = pixels.reshape(height, width, 4)[row, column]
    rgb = rgba[:, :3]
    rgba[:, :3] = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return rgba
