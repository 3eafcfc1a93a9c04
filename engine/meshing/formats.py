"""Meshes to disk in the format that a file's suffix names, each so that Blender shows them where the capture has them.

| suffix | up | unit | colours |
|---|---|---|---|
| .glb | Y | metre | texture, or vertex colours in linear light |
| .obj | Y | none | texture with .mtl and .png, or vertex colours |
| .ply | Z, as the world | none | vertex colours (a texture's at the vertices), texture coordinates |
| .stl | Z, as the world | none | none |
| .usda, .usd, .usdc | Z, as the world | metre | texture with .png, or vertex colours in linear light |

With default settings Blender's importers turn each of them back to the capture's coordinates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from engine.cache import atomic_file
from engine.meshing.export import write_glb
from engine.meshing.obj import write_obj
from engine.meshing.surface_parts import check_mesh, texture_of, vertex_colours
from engine.meshing.usd import check_usd, write_usd
from sa3d_blender.protocol.errors import MeshError

__all__ = ["SUFFIXES", "check_mesh_path", "write_mesh"]

SUFFIXES = (".glb", ".ply", ".obj", ".stl", ".usd", ".usda", ".usdc")


def check_mesh_path(path: Path | str) -> None:
    """Says before the work begins what would stop it at its end.

    Raises MeshError for a suffix that names no format, EnvironmentFault where one needs what isn't installed.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        told = f"The suffix '{suffix}'" if suffix else "A name without suffix"
        raise MeshError(f"{told} names no format for meshes.", f"Choose one of: {', '.join(SUFFIXES)}.")
    if suffix.startswith(".usd"):
        check_usd(Path(path))


def write_mesh(mesh: trimesh.Trimesh, path: Path | str, name: str = "object") -> Path:
    """Writes a mesh in world coordinates (Z up) in the format of ``path``'s suffix; whole or not at all.

    Raises:
        MeshError: the suffix names no format, or there is no mesh. EnvironmentFault: the format needs what isn't
        installed. StorageError: the file can't be written.
    """
    path = Path(path)
    check_mesh_path(path)
    check_mesh(mesh)
    suffix = path.suffix.lower()
    if suffix == ".glb":
        return write_glb(mesh, path, name)
    if suffix == ".obj":
        return write_obj(mesh, path, name)
    if suffix.startswith(".usd"):
        return write_usd(mesh, path, name)
    data = _ply(mesh) if suffix == ".ply" else trimesh.exchange.stl.export_stl(mesh)
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return path


def _ply(mesh: trimesh.Trimesh) -> bytes:
    """Binary PLY with normals, colours, texture coordinates, and the numbers that the mesh keeps for its vertices."""
    colours, texture = vertex_colours(mesh), texture_of(mesh)
    written = trimesh.Trimesh(
        vertices=np.asarray(mesh.vertices),
        faces=np.asarray(mesh.faces),
        vertex_normals=np.asarray(mesh.vertex_normals),
        process=False,
    )
    if colours is not None:
        written.visual = trimesh.visual.ColorVisuals(written, vertex_colors=colours)
    if texture is not None:
        written.vertex_attributes["s"] = texture.uv[:, 0].astype(np.float32)
        written.vertex_attributes["t"] = texture.uv[:, 1].astype(np.float32)
    for kind, values in mesh.vertex_attributes.items():
        numbers = np.asarray(values)
        if numbers.shape == (len(mesh.vertices),) and kind.isidentifier() and numbers.dtype.kind in "bf":
            written.vertex_attributes[kind] = numbers.astype(np.float32 if numbers.dtype.kind == "f" else np.uint8)
    data: bytes = trimesh.exchange.ply.export_ply(written, vertex_normal=True)
    return data
