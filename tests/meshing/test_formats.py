"""Each format holds the mesh at the capture's coordinates, for us and for Blender, and appears whole or not at all."""

from __future__ import annotations

import errno
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from textured_box import SIDES, textured_box

from engine.meshing.export import read_mesh, world_from_gltf
from engine.meshing.formats import SUFFIXES, check_mesh_path, write_mesh
from engine.meshing.surface_parts import linear_colours, vertex_colours, welded
from sa3d_blender.protocol.errors import EnvironmentFault, MeshError, StorageError
from tests.helpers.bpy_pythons import PYTHONS, run_in_blender, version_of

HAS_USD = importlib.util.find_spec("pxr") is not None
WRITABLE = [suffix for suffix in SUFFIXES if suffix != ".usdc" or HAS_USD]


def wedge() -> trimesh.Trimesh:
    """Without any symmetry, so that no wrong turn can pass."""
    vertices = np.array([[1.0, 2.0, 3.0], [1.5, 2.0, 3.0], [1.0, 2.7, 3.1], [1.1, 2.2, 4.3]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    mesh.visual.vertex_colors = np.array(
        [[255, 0, 0, 255], [0, 128, 0, 255], [3, 5, 250, 255], [200, 100, 50, 255]], dtype=np.uint8
    )
    return mesh


def lines_of(path: Path, keyword: str) -> np.ndarray:
    rows = [line.split()[1:] for line in path.read_text().splitlines() if line.split()[:1] == [keyword]]
    return np.array(rows, dtype=float)


def test_welding_makes_one_point_of_the_vertices_at_a_seam_and_changes_no_surface():
    mesh = textured_box()
    found = welded(mesh)
    assert (len(mesh.vertices), len(found.points)) == (24, 8)
    np.testing.assert_array_equal(found.points[found.faces], mesh.vertices[mesh.faces])
    assert trimesh.Trimesh(found.points, found.faces, process=False).is_watertight
    np.testing.assert_array_equal(found.uv[found.uv_faces], mesh.visual.uv[mesh.faces])
    outwards = found.points - found.points.mean(axis=0)
    assert (np.einsum("pi,pi->p", found.normals, outwards) > 0).all()


def test_what_has_no_seam_keeps_its_order_its_colours_and_its_normals():
    mesh = wedge()
    found = welded(mesh)
    np.testing.assert_array_equal(found.points, mesh.vertices)
    np.testing.assert_array_equal(found.faces, mesh.faces)
    np.testing.assert_array_equal(found.colours, mesh.visual.vertex_colors)
    np.testing.assert_allclose(found.normals, mesh.vertex_normals, atol=1e-12)


def test_a_texture_is_looked_up_where_vertices_lie_on_it():
    np.testing.assert_array_equal(vertex_colours(textured_box())[:, :3], np.repeat(SIDES, 4, axis=0))


@pytest.mark.parametrize("suffix", [".ply", ".stl"])
def test_ply_and_stl_hold_the_world_as_it_is(tmp_path, suffix):
    mesh = wedge()
    back = read_mesh(write_mesh(mesh, tmp_path / f"a b{suffix}"))
    assert back.volume == pytest.approx(mesh.volume, rel=1e-5)
    np.testing.assert_allclose(back.bounds, mesh.bounds, atol=1e-6)  # 32-bit floats
    assert [path.name for path in tmp_path.iterdir()] == [f"a b{suffix}"]


def test_ply_holds_colours_and_what_is_known_of_vertices(tmp_path):
    mesh = wedge()
    mesh.vertex_attributes["seen"] = np.array([True, False, True, True])
    path = write_mesh(mesh, tmp_path / "object.ply")
    back = trimesh.load(path, process=False)
    np.testing.assert_array_equal(back.visual.vertex_colors, mesh.visual.vertex_colors)
    stored = back.metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_array_equal(stored["seen"], [1, 0, 1, 1])
    assert set(mesh.vertex_attributes) == {"seen"}  # the mesh itself is left alone


def test_stl_is_binary(tmp_path):
    path = write_mesh(wedge(), tmp_path / "object.stl")
    assert path.stat().st_size == 80 + 4 + 4 * 50


def test_obj_is_y_up_with_colours_behind_the_coordinates(tmp_path):
    mesh = wedge()
    path = write_mesh(mesh, tmp_path / "object.obj", name="my mug")
    stored = lines_of(path, "v")
    np.testing.assert_allclose(world_from_gltf(stored[:, :3]), mesh.vertices, atol=1e-7)
    np.testing.assert_allclose(stored[:, 3:], mesh.visual.vertex_colors[:, :3] / 255.0, atol=1e-7)
    assert "o my_mug\n" in path.read_text()
    assert [each.name for each in tmp_path.iterdir()] == ["object.obj"]


def test_an_obj_with_a_texture_names_files_beside_it_without_spaces(tmp_path):
    folder = tmp_path / "with a space"
    path = write_mesh(textured_box(), folder / "mein Würfel 2.obj")
    names = {each.name for each in folder.iterdir()}
    assert names == {path.name, "mein_W_rfel_2.mtl", "mein_W_rfel_2_colour.png", "mein_W_rfel_2_normal.png"}
    assert "mtllib mein_W_rfel_2.mtl\n" in path.read_text()
    material = (folder / "mein_W_rfel_2.mtl").read_text()
    assert "map_Kd mein_W_rfel_2_colour.png\n" in material
    assert len(lines_of(path, "v")) == 8
    assert len(lines_of(path, "vt")) == 24
    with Image.open(folder / "mein_W_rfel_2_colour.png") as picture:
        assert np.array_equal(np.unique(np.asarray(picture).reshape(-1, 3), axis=0), np.unique(SIDES, axis=0))


def test_usd_says_what_is_up_and_how_long_a_unit_is(tmp_path):
    text = write_mesh(wedge(), tmp_path / "object.usd", name="2 mugs").read_text()
    assert text.startswith("#usda 1.0\n")
    assert 'upAxis = "Z"' in text
    assert "metersPerUnit = 1\n" in text
    assert 'defaultPrim = "_2_mugs"' in text
    assert 'subdivisionScheme = "none"' in text
    assert "(1, 2, 3), (1.5, 2, 3), (1, 2.7" in text


@pytest.mark.skipif(not HAS_USD, reason="needs OpenUSD's Python package")
@pytest.mark.parametrize("suffix", [".usda", ".usdc"])
@pytest.mark.parametrize("make", [wedge, textured_box])
def test_openusd_reads_what_was_written(tmp_path, suffix, make):
    from pxr import Usd, UsdGeom, UsdShade

    mesh = make()
    stage = Usd.Stage.Open(str(write_mesh(mesh, tmp_path / f"object{suffix}", name="thing")))
    assert UsdGeom.GetStageUpAxis(stage) == "Z"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    prim = UsdGeom.Mesh(stage.GetDefaultPrim().GetChild("mesh"))
    points, corners = np.array(prim.GetPointsAttr().Get()), np.array(prim.GetFaceVertexIndicesAttr().Get())
    np.testing.assert_allclose(points[corners].reshape(-1, 3, 3), mesh.vertices[mesh.faces], atol=1e-6)
    material, _ = UsdShade.MaterialBindingAPI(prim).ComputeBoundMaterial()
    assert bool(material) == (make is textured_box)


IMPORT = """
IMPORTERS = {
    ".glb": bpy.ops.import_scene.gltf, ".obj": bpy.ops.wm.obj_import, ".ply": bpy.ops.wm.ply_import,
    ".stl": bpy.ops.wm.stl_import, ".usd": bpy.ops.wm.usd_import, ".usda": bpy.ops.wm.usd_import,
    ".usdc": bpy.ops.wm.usd_import,
}
for path in paths:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    IMPORTERS[os.path.splitext(path)[1]](filepath=path)
    objects = [o for o in bpy.data.objects if o.type == "MESH"]
    o = objects[0]
    colour = next(iter(o.data.color_attributes), None)
    uv = o.data.uv_layers.active
    images = {}
    for slot in o.material_slots:
        for node in slot.material.node_tree.nodes:
            if node.type == "TEX_IMAGE" and node.image is not None:
                targets = [link.to_socket.name for out in node.outputs for link in out.links]
                images[os.path.basename(bpy.path.abspath(node.image.filepath))] = (targets, list(node.image.size))
    seen[os.path.basename(path)] = {
        "objects": len(objects),
        "vertices": [list(o.matrix_world @ v.co) for v in o.data.vertices],
        "faces": [list(p.vertices) for p in o.data.polygons],
        "normals": [list((o.matrix_world.to_3x3() @ p.normal).normalized()) for p in o.data.polygons],
        "colours": None if colour is None else [list(d.color_srgb) for d in colour.data],
        "domain": None if colour is None else colour.domain,
        "corners": [l.vertex_index for l in o.data.loops],
        "uv": None if uv is None else [list(d.uv) for d in uv.data],
        "images": images,
        "subdivided": [m.type for m in o.modifiers],
    }
"""

needs_blender = pytest.mark.skipif(not PYTHONS, reason="needs the bpy module")


@pytest.fixture(scope="module", params=PYTHONS, ids=version_of)
def in_blender(request, tmp_path_factory):
    """What Blender's own importers make of each format, with their default settings."""
    folder = tmp_path_factory.mktemp("formats")
    paths = [write_mesh(wedge(), folder / f"wedge{suffix}") for suffix in WRITABLE]
    paths += [write_mesh(textured_box(), folder / f"box{suffix}") for suffix in WRITABLE if suffix != ".glb"]
    return run_in_blender(request.param, IMPORT, folder, paths=[str(path) for path in paths])


@needs_blender
@pytest.mark.parametrize("suffix", WRITABLE)
def test_blender_shows_it_at_the_captures_coordinates(in_blender, suffix):
    mesh, seen = wedge(), in_blender[f"wedge{suffix}"]
    assert seen["objects"] == 1
    assert seen["subdivided"] == []
    vertices = np.array(seen["vertices"])
    order = np.linalg.norm(vertices[:, None] - mesh.vertices[None], axis=2).argmin(axis=1)
    assert set(order) == {0, 1, 2, 3}
    np.testing.assert_allclose(vertices, mesh.vertices[order], atol=1e-5)
    triangles = vertices[np.array(seen["faces"])]
    outwards = triangles.mean(axis=1) - mesh.vertices.mean(axis=0)
    assert (np.einsum("fi,fi->f", np.array(seen["normals"]), outwards) > 0).all()
    if suffix == ".stl":
        return  # which has no colours
    of_vertex = order if seen["domain"] == "POINT" else order[seen["corners"]]
    expected = mesh.visual.vertex_colors[of_vertex] / 255.0
    np.testing.assert_allclose(np.array(seen["colours"])[:, :3], expected[:, :3], atol=1.5 / 255.0)  # 8 bits


@needs_blender
@pytest.mark.parametrize("suffix", [s for s in WRITABLE if s == ".obj" or s.startswith(".usd")])
def test_blender_shows_the_texture_where_it_belongs(in_blender, suffix):
    mesh, seen = textured_box(), in_blender[f"box{suffix}"]
    assert len(seen["vertices"]) == 8
    targets, size = seen["images"]["box_colour.png"]
    assert targets == ["Base Color"]
    assert size == [48, 8]
    assert "box_normal.png" in seen["images"]
    corners = np.array(seen["vertices"])[seen["corners"]]
    # place and texture coordinate of a corner belong together as in the mesh
    known = np.concatenate([mesh.vertices, mesh.visual.uv], axis=1)
    found = np.concatenate([corners, np.array(seen["uv"])], axis=1)
    assert np.linalg.norm(found[:, None] - known[None], axis=2).min(axis=1).max() < 1e-5


def test_linear_light_is_that_of_srgb():
    values = linear_colours(np.array([[0, 10, 188, 255], [255, 0, 0, 0]], dtype=np.uint8))
    np.testing.assert_allclose(values, [[0, 0.003035, 0.502886], [1, 0, 0]], atol=1e-6)


@pytest.mark.parametrize("name", ["object.fbx", "object", "object.glb.zip"])
def test_an_unknown_suffix_is_told_before_anything_is_done(tmp_path, name):
    with pytest.raises(MeshError, match="names no format") as caught:
        check_mesh_path(tmp_path / name)
    assert ".glb, .ply, .obj, .stl, .usd, .usda, .usdc" in caught.value.cure


def test_binary_usd_without_its_library_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.meshing.usd.importlib.util.find_spec", lambda name: None)
    for call in (lambda: check_mesh_path("a.usdc"), lambda: write_mesh(wedge(), tmp_path / "a.usdc")):
        with pytest.raises(EnvironmentFault, match="OpenUSD") as caught:
            call()
        assert "pip install usd-core" in caught.value.cure
    check_mesh_path("a.usda")


@pytest.mark.parametrize("suffix", WRITABLE)
def test_nothing_is_written_of_what_is_no_mesh(tmp_path, suffix):
    broken = wedge()
    broken.vertices[0] = np.nan
    for mesh in (broken, trimesh.Trimesh()):
        with pytest.raises(MeshError):
            write_mesh(mesh, tmp_path / f"object{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".obj", ".usda"])
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, suffix):
    path = write_mesh(textured_box(), tmp_path / f"object{suffix}")
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def full(*args: object, **kw: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    other = textured_box()
    other.vertices = other.vertices + 1.0
    with pytest.raises(StorageError, match="is full"):
        write_mesh(other, path)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
