"""A GLB keeps coordinates and colours, for us and for Blender."""

from __future__ import annotations

import importlib.util
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from engine.meshing.export import gltf_from_world, read_mesh, world_from_gltf, write_glb
from sa3d_blender.protocol.errors import MeshError, StorageError


@pytest.fixture
def wedge() -> trimesh.Trimesh:
    """Without any symmetry, so that no wrong turn can pass."""
    vertices = np.array([[1.0, 2.0, 3.0], [1.5, 2.0, 3.0], [1.0, 2.7, 3.1], [1.1, 2.2, 4.3]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.visual.vertex_colors = np.array(
        [[255, 0, 0, 255], [0, 128, 0, 255], [3, 5, 250, 255], [200, 100, 50, 255]], dtype=np.uint8
    )
    assert mesh.volume > 0
    return mesh


def head_of(path: Path) -> dict:
    data = path.read_bytes()
    assert data[:4] == b"glTF"
    length = struct.unpack("<I", data[12:16])[0]
    return json.loads(data[20 : 20 + length])


def test_the_two_turns_undo_each_other_and_put_up_along_y():
    points = np.random.default_rng(0).normal(size=(10, 3))
    np.testing.assert_array_equal(world_from_gltf(gltf_from_world(points)), points)
    np.testing.assert_array_equal(gltf_from_world(np.array([[0.0, 0.0, 1.0]])), [[0.0, 1.0, 0.0]])


def test_what_is_written_is_read_back(wedge, tmp_path):
    back = read_mesh(write_glb(wedge, tmp_path / "a" / "object.glb"))
    np.testing.assert_allclose(back.vertices, wedge.vertices, atol=1e-6)  # 32-bit floats
    np.testing.assert_array_equal(back.faces, wedge.faces)
    np.testing.assert_array_equal(back.visual.vertex_colors, wedge.visual.vertex_colors)
    assert back.volume == pytest.approx(wedge.volume, rel=1e-5)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["object.glb"]  # nothing temporary is left


def test_the_file_has_linear_colours_normals_and_a_plain_material(wedge, tmp_path):
    tree = head_of(write_glb(wedge, tmp_path / "object.glb", name="mug"))
    primitive = tree["meshes"][0]["primitives"][0]
    assert {"POSITION", "NORMAL", "COLOR_0"} <= set(primitive["attributes"])
    colour = tree["accessors"][primitive["attributes"]["COLOR_0"]]
    assert (colour["componentType"], colour["type"]) == (5126, "VEC4")
    material = tree["materials"][primitive["material"]]
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0.0
    assert material["pbrMetallicRoughness"]["roughnessFactor"] == 1.0
    assert not material.get("doubleSided", False)
    assert "mug" in {node.get("name") for node in tree["nodes"]}


IMPORT = """
import json, os, sys
import bpy
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[1])
objects = [o for o in bpy.data.objects if o.type == "MESH"]
o = objects[0]
colour = o.data.color_attributes[0]
json.dump({
    "objects": len(objects),
    "vertices": [list(o.matrix_world @ v.co) for v in o.data.vertices],
    "normals": [list(o.matrix_world.to_3x3() @ p.normal) for p in o.data.polygons],
    "centres": [list(o.matrix_world @ p.center) for p in o.data.polygons],
    "colours": [list(d.color_srgb) for d in colour.data],
    "domain": colour.domain,
    "corners": [l.vertex_index for l in o.data.loops],
}, open(sys.argv[2], "w"))
os._exit(0)  # the bpy module may hang on leaving
"""


@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module")
def test_blender_imports_it_at_the_captures_coordinates(wedge, tmp_path):
    path = write_glb(wedge, tmp_path / "object.glb")
    out = tmp_path / "out.json"
    done = subprocess.run([sys.executable, "-c", IMPORT, path, out], capture_output=True, text=True, timeout=120)
    assert out.is_file(), done.stdout + done.stderr
    seen = json.loads(out.read_text())
    assert seen["objects"] == 1
    vertices = np.array(seen["vertices"])
    # The importer may reorder vertices: match each with its nearest true one.
    order = np.linalg.norm(vertices[:, None] - wedge.vertices[None], axis=2).argmin(axis=1)
    assert sorted(order) == [0, 1, 2, 3]
    np.testing.assert_allclose(vertices, wedge.vertices[order], atol=1e-5)
    outwards = np.array(seen["centres"]) - wedge.vertices.mean(axis=0)
    assert (np.einsum("fi,fi->f", np.array(seen["normals"]), outwards) > 0).all()
    of_vertex = order if seen["domain"] == "POINT" else order[seen["corners"]]
    expected = wedge.visual.vertex_colors[of_vertex] / 255.0
    np.testing.assert_allclose(np.array(seen["colours"]), expected, atol=1.5 / 255.0)  # Blender may keep 8 bits


def test_a_ply_is_taken_as_it_stands(wedge, tmp_path):
    wedge.export(tmp_path / "true.ply")
    np.testing.assert_allclose(read_mesh(tmp_path / "true.ply").vertices, wedge.vertices, atol=1e-6)


def test_what_can_not_be_written_or_read_has_a_sentence_and_a_cure(wedge, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "broken.glb").write_bytes(b"glTF" + bytes(40))
    broken = wedge.copy()
    broken.vertices[0] = np.nan
    for wrong, call in (
        (StorageError, lambda: write_glb(wedge, tmp_path / "file" / "object.glb")),
        (StorageError, lambda: read_mesh(tmp_path / "missing.glb")),
        (StorageError, lambda: read_mesh(tmp_path / "broken.glb")),
        (MeshError, lambda: write_glb(broken, tmp_path / "object.glb")),
        (MeshError, lambda: write_glb(trimesh.Trimesh(), tmp_path / "object.glb")),
    ):
        with pytest.raises(wrong) as caught:
            call()
        assert caught.value.what and caught.value.cure
    assert not (tmp_path / "object.glb").exists()
