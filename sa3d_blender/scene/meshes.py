"""Surfaces as Blender meshes with their vertex colours or their textures shown."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from .glb import Triangles
from .names import fitting
from .textures import UV_MAP, is_baked, sampled_colours, show_pictures, texture_material

__all__ = ["COLOUR_ATTRIBUTE", "add_mesh", "base_of", "colour_material", "dress", "fill_mesh"]

COLOUR_ATTRIBUTE = "Color"
OBSERVED_ATTRIBUTE = "observed"
MATERIAL = "SA3D Vertex Colours"
KEPT = "sa3d_kept_material"  # of a mesh that shows a draft: the material of its texture


def add_mesh(name: str, surface: Triangles, collection: Any) -> Any:
    """An object in ``collection`` whose surface lies where the capture has it.

    Its origin is the middle of its base, so that it turns and scales about where it stands; rotation 0 and scale 1.
    """
    origin = base_of(surface.vertices)
    data = bpy.data.meshes.new(fitting(name, "Object"))
    dress(data, name, surface, origin)
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


def dress(data: Any, name: str, surface: Triangles, origin: np.ndarray) -> None:
    """Gives a mesh the surface as seen from ``origin`` [3], and a material that shows its texture or its colours.

    A material that is the artist's stays. One that was made here for an earlier texture stays, too, with whatever the
    artist has changed in it, and shows the new pictures; if another mesh shows it as well, that keeps the old ones.
    """
    colours = surface.colours
    if surface.uv is None or surface.colour_file is None:
        _show_colours(data)
    else:
        _show_texture(data, name, surface)
        if colours is None:
            colours = sampled_colours(surface.colour_file, surface.uv, surface.faces, len(surface.vertices))
    fill_mesh(data, surface.vertices - origin, surface.faces, colours, surface.uv, surface.observed)


def _show_texture(data: Any, name: str, surface: Triangles) -> None:
    kept = data.pop(KEPT, None)
    shown = data.materials[0] if len(data.materials) else None
    if is_baked(kept) and _shows_colours(shown):
        data.materials[0] = shown = kept
    if len(data.materials) == 0 and len(data.vertices) == 0:  # a new one; of another the artist has taken it off
        data.materials.append(texture_material(name, surface))
    elif _shows_colours(shown):
        data.materials[0] = texture_material(name, surface)
    elif shown is not None and is_baked(shown):
        if shown.users > 1:
            data.materials[0] = shown = shown.copy()
        show_pictures(shown, name, surface)


def _show_colours(data: Any) -> None:
    """Vertex colours instead of a texture that the surface has no UVs for; its material waits for the next texture."""
    shown = data.materials[0] if len(data.materials) else None
    if len(data.materials) == 0 and len(data.vertices) == 0:
        data.materials.append(colour_material())
    elif is_baked(shown):
        data[KEPT] = shown
        data.materials[0] = colour_material()


def _shows_colours(material: Any) -> bool:
    return material is not None and material.name.startswith(MATERIAL)


def fill_mesh(
    data: Any,
    vertices: np.ndarray,
    faces: np.ndarray,
    colours: np.ndarray | None,
    uv: np.ndarray | None = None,
    observed: np.ndarray | None = None,
) -> None:
    """Gives a mesh a smooth surface; its materials and its place in the file stay.

    ``vertices`` [V, 3], triangles ``faces`` [F, 3], linear RGBA ``colours`` [V, 4] (or grey), ``uv`` [F, 3, 2] of the
    corners (or no UV map), ``observed`` [V] (or no such attribute).
    """
    sound = _sound(faces, len(vertices))
    faces = np.asarray(faces).reshape(-1, 3)[sound]
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
    if uv is not None:
        if UV_MAP not in data.uv_layers:
            data.uv_layers.new(name=UV_MAP, do_init=False)
        layer = data.attributes[UV_MAP].data
        layer.foreach_set("vector", np.ascontiguousarray(uv[sound], dtype=np.float32).ravel())
        data.uv_layers[UV_MAP].active = True
        data.uv_layers[UV_MAP].active_render = True
    told = data.attributes.get(OBSERVED_ATTRIBUTE)
    if told is not None and (observed is None or (told.data_type, told.domain) != ("FLOAT", "POINT")):
        data.attributes.remove(told)
        told = None
    if observed is not None:
        told = told or data.attributes.new(OBSERVED_ATTRIBUTE, "FLOAT", "POINT")
        told.data.foreach_set("value", np.ascontiguousarray(observed, dtype=np.float32))
    data.update(calc_edges=True)


def _sound(faces: np.ndarray, count: int) -> np.ndarray:
    """Which triangles have three corners, all of them there: what Mesh.validate does, in a fiftieth of its time."""
    faces = np.asarray(faces).reshape(-1, 3)
    a, b, c = faces.T
    return (faces >= 0).all(axis=1) & (faces < count).all(axis=1) & (a != b) & (b != c) & (c != a)


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
