"""Surfaces as Blender meshes with their vertex colours shown."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from .glb import Triangles
from .names import fitting

__all__ = ["COLOUR_ATTRIBUTE", "add_mesh", "colour_material", "mesh_data"]

COLOUR_ATTRIBUTE = "Color"
MATERIAL = "SA3D Vertex Colours"


def add_mesh(name: str, surface: Triangles, collection: Any) -> Any:
    """An object in ``collection`` whose surface lies where the capture has it.

    Its origin is the middle of its base, so that it turns and scales about where it stands; rotation 0 and scale 1.
    """
    low, high = surface.vertices.min(axis=0), surface.vertices.max(axis=0)
    # Of single precision, as Blender stores it: the vertices then make up for its rounding.
    origin = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], dtype=np.float32).astype(np.float64)
    data = mesh_data(name, surface.vertices - origin, surface.faces, surface.colours)
    data.materials.append(colour_material())
    placed = bpy.data.objects.new(fitting(name, "Object"), data)
    placed.location = origin.tolist()
    collection.objects.link(placed)
    return placed


def mesh_data(name: str, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None) -> Any:
    """A smooth mesh of ``vertices`` [V, 3], triangles ``faces`` [F, 3] and linear RGBA ``colours`` [V, 4] (or grey)."""
    data = bpy.data.meshes.new(fitting(name, "Object"))
    data.vertices.add(len(vertices))
    data.vertices.foreach_set("co", np.ascontiguousarray(vertices, dtype=np.float32).ravel())
    data.loops.add(faces.size)
    data.loops.foreach_set("vertex_index", np.ascontiguousarray(faces, dtype=np.int32).ravel())
    data.polygons.add(len(faces))
    data.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    data.polygons.foreach_set("use_smooth", np.ones(len(faces), dtype=bool))
    if colours is None:
        colours = np.tile(np.array([0.5, 0.5, 0.5, 1.0], np.float32), (len(vertices), 1))
    attribute = data.color_attributes.new(COLOUR_ATTRIBUTE, "FLOAT_COLOR", "POINT")
    attribute.data.foreach_set("color", np.ascontiguousarray(colours, dtype=np.float32).ravel())
    data.color_attributes.active_color = attribute
    data.update(calc_edges=True)
    data.validate()
    return data


def colour_material() -> Any:
    """The one material that shows vertex colours, matt: the photos' light is in the colours already."""
    found = bpy.data.materials.get(MATERIAL)
    if found is not None:
        return found
    material = bpy.data.materials.new(MATERIAL)
    if material.node_tree is None:  # from 5.0 on it always has one, and asking for it is deprecated
        material.use_nodes = True
    nodes = material.node_tree.nodes
    surface = next(node for node in nodes if node.type == "BSDF_PRINCIPLED")
    surface.inputs["Roughness"].default_value = 1.0
    surface.inputs["Specular IOR Level"].default_value = 0.0
    colour = nodes.new("ShaderNodeVertexColor")
    colour.layer_name = COLOUR_ATTRIBUTE
    colour.location = (surface.location.x - 250, surface.location.y)
    material.node_tree.links.new(colour.outputs["Color"], surface.inputs["Base Color"])
    return material
