"""Textured models from a folder of the user's, as further things for the training scenes."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sa3d_blender.protocol.errors import CaptureError


@dataclass(frozen=True)
class Model:
    """A model's name and the meshes of its parts, about one unit large, standing on z = 0 in the middle of x and y."""

    name: str
    parts: tuple[Any, ...]


def load_models(folder: Path, scratch: Path) -> list[Model]:
    """Every OBJ, glTF and Suzanne; a zip is unpacked into ``scratch`` first. Empties the open file.

    Raises:
        CaptureError: the folder does not exist.
    """
    import bpy

    if not folder.is_dir():
        raise CaptureError(
            f"There is no folder {folder}.", "Give a folder with textured models, or leave --models out."
        )
    sources = []
    for path in sorted(folder.iterdir()):
        inside = path
        if path.is_dir():
            for archive in sorted(path.glob("*.zip")):
                inside = scratch / path.name
                _unpack(archive, inside)
            found = sorted(inside.rglob("*.gltf")) + sorted(inside.rglob("*.glb")) + sorted(inside.rglob("*.obj"))
            if found:
                sources.append((path.name, found[-1]))
    models = []
    for name, source in sources:
        before = set(bpy.data.objects)
        if source.suffix == ".obj":
            bpy.ops.wm.obj_import(filepath=str(source))
        else:
            bpy.ops.import_scene.gltf(filepath=str(source))
        models.append(_model(name, [o for o in bpy.data.objects if o not in before]))
    bpy.ops.mesh.primitive_monkey_add()
    monkey = bpy.context.object
    monkey.modifiers.new("Smooth", "SUBSURF").levels = 2
    models.append(_model("suzanne", [monkey]))
    return models


def _unpack(archive: Path, folder: Path) -> None:
    """Flat: only the names of the files count, so that no path leads out of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            name = Path(entry.filename).name
            if not entry.is_dir() and not name.startswith("._") and entry.file_size < 50_000_000:
                (folder / name).write_bytes(opened.read(entry))


def _model(name: str, objects: list[Any]) -> Model:
    import bpy
    from mathutils import Matrix, Vector

    depsgraph = bpy.context.evaluated_depsgraph_get()
    meshes = []
    for item in objects:
        if item.type != "MESH":
            continue
        mesh = bpy.data.meshes.new_from_object(item.evaluated_get(depsgraph))
        mesh.transform(item.matrix_world)
        mesh.use_fake_user = True
        meshes.append(mesh)
    for item in objects:
        bpy.data.objects.remove(item)
    corners = [vertex.co for mesh in meshes for vertex in mesh.vertices]
    low = Vector([min(c[k] for c in corners) for k in range(3)])
    high = Vector([max(c[k] for c in corners) for k in range(3)])
    centre = Vector(((low.x + high.x) / 2, (low.y + high.y) / 2, low.z))
    place = Matrix.Scale(1.0 / max(high - low), 4) @ Matrix.Translation(-centre)
    for mesh in meshes:
        mesh.transform(place)
    return Model(name, tuple(meshes))
