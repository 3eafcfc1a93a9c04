"""Surfaces as Blender meshes with their vertex colours shown."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from .glb import Triangles
from .names import fitting

__all__ = ["COLOUR_ATTRIBUTE", "add_mesh", "base_of", "colour_material", "fill_mesh", "mesh_data"]

COLOUR_ATTRIBUTE = "Color"
MATERIAL = "SA3D Vertex Colours"


def add_mesh(name: str, surface: Triangles, collection: Any) -> Any:
    """An object in ``collection`` whose surface lies where the capture has it.

    Its origin is the middle of its base, so that it turns and scales about where it stands; rotation 0 and scale 1.
    """
    origin = base_of(surface.vertices)
    data = mesh_data(name, surface.vertices - origin, surface.faces, surface.colours)
    data.materials.append(colour_material())
    placed = bpy.data.objects.new(fitting(name, "Object"), data)
    placed.location = origin.tolist()
    collection.objects.link(placed)
    return placed


def base_of(vertices: np.ndarray) -> np.ndarray:
    """The middle of the base [3] of what stands there: half-way across, at its lowest point.

    Of single precision, as Blender stores it: vertices that are told from there make up for its rounding.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    return np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]], dtype=np.float32).astype(np.float64)


def mesh_data(name: str, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None) -> Any:
    """A smooth mesh of ``vertices`` [V, 3], triangles ``faces`` [F, 3] and linear RGBA ``colours`` [V, 4] (or grey)."""
    data = bpy.data.meshes.new(fitting(name, "Object"))
    fill_mesh(data, vertices, faces, colours)
    return data


def fill_mesh(data: Any, vertices: np.ndarray, faces: np.ndarray, colours: np.ndarray | None) -> None:
    """Gives a mesh another surface, as for `mesh_data`. Its materials and its place in the file stay."""
    faces = _sound(faces, len(vertices))
    if len(data.vertices):
        data.clear_geometry()
    data.vertices.add(len(vertices))
    data.loops.add(faces.size)
    data.polygons.add(len(faces))
    # Attributes take whole arrays at once, where foreach_set of vertices and loops asks for each: 0.2 s for 200,000.
    data.attributes["position"].data.foreach_set("vector", np.ascontiguousarray(vertices, dtype=np.float32).ravel())
    data.attributes[".corner_vert"].data.foreach_set("value", np.ascontiguousarray(faces, dtype=np.int32).ravel())
    data.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    data.shade_smooth()
    if colours is None:
        colours = np.tile(np.array([0.5, 0.5, 0.5, 1.0], np.float32), (len(vertices), 1))
    attribute = data.color_attributes.get(COLOUR_ATTRIBUTE)
    if attribute is not None and (attribute.data_type, attribute.domain) != ("FLOAT_COLOR", "POINT"):
        data.color_attributes.remove(attribute)
        attribute = None
    attribute = attribute or data.color_attributes.new(COLOUR_ATTRIBUTE, "FLOAT_COLOR", "POINT")
    attribute.data.foreach_set("color", np.ascontiguousarray(colours, dtype=np.float32).ravel())
    data.color_attributes.active_color = attribute
    data.update(calc_edges=True)


def _sound(faces: np.ndarray, count: int) -> np.ndarray:
    """The triangles that have three corners, all of them there: what Mesh.validate does, in a fiftieth of its time."""
    faces = np.asarray(faces).reshape(-1, 3)
    a, b, c = faces.T
    good = (faces >= 0).all(axis=1) & (faces < count).all(axis=1) & (a != b) & (b != c) & (c != a)
    return faces if good.all() else faces[good]


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
