"""Meshes to and from disk: GLB, so written that Blender shows the object at the capture's coordinates.

glTF is Y-up and the capture's world, as Blender sees it, Z-up. Blender's importer turns every file by (x, y, z) ->
(x, -z, y), so a world point (x, y, z) is stored as (x, z, -y): after the import, coordinates are the capture's, with
no rotation left on the object. glTF says that COLOR_0 is linear light, while photos and our vertex colours are sRGB:
they are converted, and stored as 32-bit floats since 8 bits of linear light band in the shadows. Textures are sRGB in
glTF, too, and are stored as PNG, without loss.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import trimesh
from PIL import Image

from engine.cache import atomic_file
from engine.meshing.srgb import from_linear, to_linear
from engine.meshing.surface_parts import vertex_colours
from sa3d_blender.protocol.errors import MeshError, StorageError

__all__ = ["gltf_from_world", "read_mesh", "world_from_gltf", "write_glb"]

_LINEAR = "_LINEAR_COLOUR"
_OBSERVED = "_OBSERVED"


def gltf_from_world(points: np.ndarray) -> np.ndarray:
    """World points or directions [N, 3] (Z up) in glTF's axes (Y up): (x, z, -y)."""
    points = np.asarray(points)
    return np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)


def world_from_gltf(points: np.ndarray) -> np.ndarray:
    """The inverse of ``gltf_from_world``: (x, -z, y)."""
    points = np.asarray(points)
    return np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)


def write_glb(mesh: trimesh.Trimesh, path: Path | str, name: str = "object") -> Path:
    """Writes a mesh in world coordinates as one GLB file: with normals, and vertex colours (uint8 sRGB) or textures.

    ``vertex_attributes["observed"]`` [V], where the mesh has it, becomes the attribute ``_OBSERVED``. The material is
    rough, not metallic and one-sided. The file appears at once or not at all. Raises MeshError for a mesh without faces
    or with coordinates that are not finite, StorageError where the file can't be written.
    """
    path = Path(path)
    if len(mesh.faces) == 0 or not np.isfinite(mesh.vertices).all():
        raise MeshError("There is no mesh to write.", "Extract one with faces and finite coordinates first.")
    turned = trimesh.Trimesh(
        vertices=gltf_from_world(mesh.vertices),
        faces=np.asarray(mesh.faces),
        vertex_normals=gltf_from_world(mesh.vertex_normals),
        process=False,
    )
    visual: Any = mesh.visual
    if visual is not None and visual.kind == "vertex":
        turned.vertex_attributes[_LINEAR] = _linear(np.asarray(visual.vertex_colors))
    if "observed" in mesh.vertex_attributes:
        turned.vertex_attributes[_OBSERVED] = np.asarray(mesh.vertex_attributes["observed"], dtype=np.float32)
    textures = _textures(visual)
    turned.visual = trimesh.visual.TextureVisuals(
        uv=np.asarray(visual.uv) if textures else None,
        material=trimesh.visual.material.PBRMaterial(
            name=name,
            baseColorFactor=[255, 255, 255, 255],
            metallicFactor=0.0,
            roughnessFactor=1.0,
            doubleSided=False,
            **textures,
        ),
    )
    scene = trimesh.Scene()
    scene.add_geometry(turned, node_name=name, geom_name=name)
    data = trimesh.exchange.gltf.export_glb(scene, include_normals=True, tree_postprocessor=_with_colours)
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return path


def read_mesh(path: Path | str) -> trimesh.Trimesh:
    """A mesh file in world coordinates, with its textures, or with uint8 sRGB vertex colours where it has any.

    GLB and glTF are taken as Y-up and turned back, all other formats (PLY, OBJ, STL) as they are. What ``write_glb``
    wrote comes back whole. Of a file with several parts, textures become vertex colours. Raises StorageError where the
    file is missing or damaged, MeshError where it holds no triangles.
    """
    path = Path(path)
    if not path.is_file():
        raise StorageError(f"There is no mesh file {path}.", "Check the path.")
    gltf = path.suffix.lower() in (".glb", ".gltf")
    try:
        scene = trimesh.load_scene(path, process=False)
        parts = [_placed(scene, node, gltf) for node in scene.graph.nodes_geometry]
    except Exception as fault:  # every reader of trimesh fails in its own way on a damaged file
        raise StorageError(f"The mesh file {path} can't be read: {fault}.", "Write it again.") from fault
    found = [part for part in parts if part is not None]
    if not found:
        raise MeshError(f"The mesh file {path} holds no triangles.", "Give a file with a surface in it.")
    if len(found) == 1:
        return found[0]
    for part in found:
        colours = vertex_colours(part)
        if colours is not None:
            part.visual = trimesh.visual.ColorVisuals(part, vertex_colors=colours)
    return cast(trimesh.Trimesh, trimesh.util.concatenate(found))


def _textures(visual: Any) -> dict[str, Image.Image]:
    """The pictures of a textured visual, without a file format of their own, so that they are written as PNG."""
    if visual is None or visual.kind != "texture" or visual.uv is None:
        return {}
    material = visual.material.to_pbr() if hasattr(visual.material, "to_pbr") else visual.material
    base, relief = material.baseColorTexture, material.normalTexture
    if base is None:
        return {}
    found = {"baseColorTexture": base.convert("RGBA" if "A" in base.getbands() else "RGB")}
    if relief is not None:
        found["normalTexture"] = relief.convert("RGB")
    return found


def _placed(scene: trimesh.Scene, node: str, gltf: bool) -> trimesh.Trimesh | None:
    """One part of a file where its node puts it, in world axes and with sRGB colours; None for points and lines."""
    transform, name = scene.graph[node]
    part = scene.geometry[name]
    if not isinstance(part, trimesh.Trimesh) or len(part.faces) == 0:
        return None
    # Not Scene.dump: it drops vertex colours that come with a material.
    placed: Any = trimesh.Trimesh(vertices=np.asarray(part.vertices), faces=np.asarray(part.faces), process=False)
    textures = _textures(part.visual) if gltf else {}
    colours = _stored_colours(part, linear=gltf)
    if textures:
        # Vertices are split at seams, so their normals can't be worked out anew.
        placed.vertex_normals = np.asarray(part.vertex_normals)
    elif colours is not None:
        placed.visual = trimesh.visual.ColorVisuals(placed, vertex_colors=colours)
    placed.apply_transform(transform)
    if gltf:
        normals = np.asarray(placed.vertex_normals)
        placed.vertices = world_from_gltf(placed.vertices)
        if textures:
            placed.vertex_normals = world_from_gltf(normals)
    if textures:
        material = trimesh.visual.material.PBRMaterial(metallicFactor=0.0, roughnessFactor=1.0, **textures)
        uv = np.asarray(cast(Any, part.visual).uv)
        placed.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    if _OBSERVED in part.vertex_attributes:
        placed.vertex_attributes["observed"] = np.asarray(part.vertex_attributes[_OBSERVED], np.float32).reshape(-1)
    return cast(trimesh.Trimesh, placed)


def _with_colours(tree: dict[str, Any]) -> None:
    """Gives the float colours their standard name; trimesh itself writes vertex colours with 8 bits only."""
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            attributes = primitive["attributes"]
            if _LINEAR in attributes:
                attributes["COLOR_0"] = attributes.pop(_LINEAR)


def _stored_colours(mesh: trimesh.Trimesh, linear: bool) -> np.ndarray | None:
    """Vertex colours as read by trimesh (floats or integers, RGB or RGBA) as uint8 sRGB [V, 4]."""
    visual: Any = mesh.visual
    stored = getattr(visual, "vertex_attributes", {}).get("color")
    if stored is None and visual is not None and visual.kind == "vertex":
        stored = visual.vertex_colors
    if stored is None:
        return None
    stored = np.asarray(stored)
    if stored.dtype.kind in "ui":
        stored = stored / float(np.iinfo(stored.dtype).max)
    rgba = np.ones((len(stored), 4))
    rgba[:, : stored.shape[1]] = np.clip(stored, 0.0, 1.0)
    if linear:
        rgba[:, :3] = from_linear(rgba[:, :3])
    return np.round(rgba * 255.0).astype(np.uint8)


def _linear(colours: np.ndarray) -> np.ndarray:
    """uint8 sRGB [V, 4] to linear float32; alpha is linear already."""
    values = colours.astype(np.float64) / 255.0
    values[:, :3] = to_linear(values[:, :3])
    return values.astype(np.float32)
