"""Meshes as Wavefront OBJ: text, with a material and pictures beside it where the mesh has a texture.

OBJ knows neither units nor an up axis. Most programs, Blender among them, take it as Y-up, so a world point (x, y, z)
is written as (x, z, -y), as in glTF. Vertex colours stand behind the coordinates, in sRGB, where many programs read
them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import trimesh

from engine.cache import atomic_file, storage_errors
from engine.meshing.export import gltf_from_world
from engine.meshing.surface_parts import Welded, check_mesh, texture_of, welded
from engine.whole_folder import written_together

__all__ = ["plain_name", "write_obj"]


def plain_name(text: str) -> str:
    """A name that every reader of OBJ and USD takes: letters, digits and underscores, no digit first."""
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "object"
    return f"_{name}" if name[0].isdigit() else name


def write_obj(mesh: trimesh.Trimesh, path: Path, name: str = "object") -> Path:
    """Writes a mesh as OBJ; with a texture also ``<name>.mtl`` and PNGs beside it, all of them or none.

    The files beside it are called after ``path``, without spaces. Raises MeshError where there is no mesh,
    StorageError where the folder can't be written.
    """
    check_mesh(mesh)
    surface, texture, name = welded(mesh), texture_of(mesh), plain_name(name)
    if texture is None:
        with atomic_file(path) as temporary:
            temporary.write_text(_text(surface, name, None), encoding="ascii")
        return path
    stem = plain_name(path.stem)
    pictures = {"map_Kd": f"{stem}_colour.png"} | ({"map_Bump": f"{stem}_normal.png"} if texture.normal else {})
    with storage_errors(path), written_together(path.parent) as part:
        (part / path.name).write_text(_text(surface, name, f"{stem}.mtl"), encoding="ascii")
        (part / f"{stem}.mtl").write_text(_material(name, pictures), encoding="ascii")
        texture.colour.convert("RGB").save(part / pictures["map_Kd"], format="PNG")
        if texture.normal is not None:
            texture.normal.convert("RGB").save(part / pictures["map_Bump"], format="PNG")
    return path


def _text(surface: Welded, name: str, library: str | None) -> str:
    """The OBJ file. Its indices count from 1; point and normal have the same one."""
    points = gltf_from_world(surface.points)
    if surface.colours is not None:
        points = np.concatenate([points, surface.colours[:, :3] / 255.0], axis=1)
    lines = [] if library is None else [f"mtllib {library}"]
    lines += [f"o {name}", *_rows("v", points)]
    if surface.uv is not None:
        lines += _rows("vt", surface.uv)
    lines += _rows("vn", gltf_from_world(surface.normals))
    lines += [] if library is None else [f"usemtl {name}"]
    lines.append("s 1")
    corners = surface.faces + 1
    if surface.uv_faces is None:
        lines += ["f {}//{} {}//{} {}//{}".format(*face) for face in np.repeat(corners, 2, axis=1).tolist()]
    else:
        triples = np.stack([corners, surface.uv_faces + 1, corners], axis=-1).reshape(-1, 9)
        lines += ["f {}/{}/{} {}/{}/{} {}/{}/{}".format(*triple) for triple in triples.tolist()]
    return "\n".join(lines) + "\n"


def _rows(keyword: str, values: np.ndarray) -> Iterable[str]:
    form = " ".join([keyword, *["%.9g"] * values.shape[1]])
    return [form % tuple(row) for row in values.tolist()]


def _material(name: str, pictures: dict[str, str]) -> str:
    """A rough surface that isn't metal; Pr and Pm are the PBR extension that Blender and others read.

    A normal map is `map_Bump`, as Blender writes and reads it: `norm`, which others know, it doesn't.
    """
    lines = [f"newmtl {name}", "Kd 1 1 1", "Ks 0 0 0", "illum 1", "Pr 1", "Pm 0"]
    return "\n".join([*lines, *(f"{kind} {file}" for kind, file in pictures.items())]) + "\n"
