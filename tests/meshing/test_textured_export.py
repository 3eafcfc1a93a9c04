"""A textured mesh keeps its pictures, UVs and what was observed, in the file and back."""

from __future__ import annotations

import io

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.finished_mesh import mesh_report
from engine.meshing.export import gltf_from_world, read_mesh, write_glb
from engine.meshing.surface_parts import vertex_colours
from engine.server_live import _colours_there
from sa3d_blender.protocol.errors import StorageError
from sa3d_blender.scene.glb import read_glb
from tests.helpers.textured_meshes import face_colour, glb_parts, textured_box


@pytest.fixture
def box() -> trimesh.Trimesh:
    return textured_box()


def test_the_file_has_uvs_pngs_and_the_observed_attribute_and_no_vertex_colours(box, tmp_path):
    tree, binary = glb_parts(write_glb(box, tmp_path / "box.glb", "mug"))
    (primitive,) = tree["meshes"][0]["primitives"]
    assert set(primitive["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0", "_OBSERVED"}
    assert tree["accessors"][primitive["attributes"]["_OBSERVED"]]["type"] == "SCALAR"
    material = tree["materials"][primitive["material"]]
    assert material["pbrMetallicRoughness"]["roughnessFactor"] == 1.0 and material["name"] == "mug"
    assert material["pbrMetallicRoughness"]["metallicFactor"] == 0.0
    wanted = box.visual.material
    for texture, image in (
        (material["pbrMetallicRoughness"]["baseColorTexture"], wanted.baseColorTexture),
        (material["normalTexture"], wanted.normalTexture),
    ):
        stored = tree["images"][tree["textures"][texture["index"]]["source"]]
        assert stored["mimeType"] == "image/png"
        view = tree["bufferViews"][stored["bufferView"]]
        found = Image.open(io.BytesIO(binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]))
        assert found.format == "PNG"
        np.testing.assert_array_equal(np.asarray(found), np.asarray(image))


def test_what_is_written_is_read_back_whole(box, tmp_path):
    back = read_mesh(write_glb(box, tmp_path / "box.glb"))
    np.testing.assert_allclose(back.vertices, box.vertices, atol=1e-6)  # 32-bit floats
    np.testing.assert_array_equal(back.faces, box.faces)
    np.testing.assert_allclose(back.vertex_normals, box.vertex_normals, atol=1e-6)
    np.testing.assert_allclose(back.visual.uv, box.visual.uv, atol=1e-6)
    np.testing.assert_array_equal(back.vertex_attributes["observed"], box.vertex_attributes["observed"])
    for name in ("baseColorTexture", "normalTexture"):
        first, second = (np.asarray(getattr(mesh.visual.material, name)) for mesh in (box, back))
        np.testing.assert_array_equal(first, second)
    again = read_mesh(write_glb(back, tmp_path / "again.glb"))
    np.testing.assert_array_equal(
        np.asarray(again.visual.material.baseColorTexture), np.asarray(box.visual.material.baseColorTexture)
    )


def test_a_texture_gives_vertices_their_colours(box, tmp_path):
    expected = np.array([[*face_colour(k), 255] for k in range(6) for _ in range(4)])
    np.testing.assert_array_equal(vertex_colours(box), expected)
    places, colours = _colours_there(write_glb(box, tmp_path / "object.glb"))  # for the slider's draft
    np.testing.assert_allclose(places.data, box.vertices, atol=1e-6)
    np.testing.assert_array_equal(colours, expected)
    assert vertex_colours(trimesh.Trimesh(box.vertices, box.faces, visual=trimesh.visual.TextureVisuals())) is None


def test_parts_of_one_file_become_one_mesh_with_vertex_colours(box, tmp_path):
    scene = trimesh.Scene()
    for name, moved in (("a", 0.0), ("b", 5.0)):
        part = box.copy()
        part.vertices = gltf_from_world(part.vertices + np.array([moved, 0.0, 0.0]))
        scene.add_geometry(part, node_name=name, geom_name=name)
    (tmp_path / "two.glb").write_bytes(trimesh.exchange.gltf.export_glb(scene))
    both = read_mesh(tmp_path / "two.glb")
    assert len(both.faces) == 24 and both.visual.kind == "vertex"
    assert {tuple(c) for c in both.visual.vertex_colors[:, :3]} == {face_colour(k) for k in range(6)}


def test_a_report_sees_the_surface_whole(box):
    report = mesh_report(box)
    assert report["watertight"] is True and report["vertices"] == 8 and report["faces"] == 12
    assert report["texture_px"] == 24 and report["observed"] == pytest.approx(0.5)


def test_blenders_side_reads_it_welded_with_uvs_at_the_corners(box, tmp_path):
    path = write_glb(box, tmp_path / "box.glb")
    surface = read_glb(path)
    assert surface.vertices.shape == (8, 3) and surface.colours is None
    np.testing.assert_allclose(surface.vertices[surface.faces], box.triangles, atol=1e-6)
    assert trimesh.Trimesh(surface.vertices, surface.faces, process=False).is_watertight
    np.testing.assert_allclose(surface.uv, box.visual.uv[box.faces], atol=1e-6)
    np.testing.assert_array_equal(surface.observed, surface.vertices[:, 2] > 0.6)
    material = box.visual.material
    for file, image in (
        (surface.colour_file, material.baseColorTexture),
        (surface.normal_file, material.normalTexture),
    ):
        assert file is not None
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file))), np.asarray(image))


def test_a_texture_cut_short_is_a_damaged_file(box, tmp_path):
    path = write_glb(box, tmp_path / "box.glb")
    tree, _ = glb_parts(path)
    size = str(tree["bufferViews"][tree["images"][0]["bufferView"]]["byteLength"])
    data = path.read_bytes()
    longer = data.replace(f'"byteLength":{size}'.encode(), b'"byteLength":' + b"9" * len(size))
    assert longer != data
    path.write_bytes(longer)
    with pytest.raises(StorageError, match=r"box\.glb"):
        read_glb(path)
