"""A textured result in Blender: one surface, UVs, packed pictures, a material; and what later results do to them."""

from __future__ import annotations

import base64
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.meshing.export import write_glb
from tests.helpers.textured_meshes import face_colour, textured_box

pytestmark = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module")

# What a test may ask of a mesh and its material.
LOOK = """
import base64
def answer(path):
    def say(request, engine):
        folder = request.body.get("result", "/results/1")
        corrections.setdefault(folder, 0)
        engine.say(Result(request.id, {"result": folder, "mesh": folder, "report": report(folder), "scene": scene()},
                          {"glb": numbers(path)}))
    return say
def segment_as(path):
    plays["segment"] = answer(given[path])
    bpy.ops.sa3d.segment()
    return finish()
def nodes_of(material):
    return {node.name: node for node in material.node_tree.nodes}
def source_of(socket):
    (link,) = socket.links
    return link.from_node
def shader_of(material):
    return next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
def picture(image):
    return base64.b64encode(image.packed_file.data).decode()
def colour_bytes(name="Object"):
    return picture(source_of(shader_of(made_of(name).data.materials[0]).inputs["Base Color"]).image)
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
"""


@pytest.fixture
def textured(jobs: Any, tmp_path: Path) -> Any:
    """Runs a script with the scripted engine and the textured results ``red``, ``green`` and ``flat`` to be had."""
    paths = {
        "red": str(write_glb(textured_box(), tmp_path / "red.glb")),
        "green": str(write_glb(textured_box(1.25, shift=5), tmp_path / "green.glb")),
        "flat": str(write_glb(textured_box(relief=False), tmp_path / "flat.glb")),
    }
    return lambda script: jobs(LOOK + script, **paths)


def decoded(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_it_is_one_surface_with_uvs_pictures_and_a_matt_material(textured, tmp_path):
    seen = textured(
        """
segment_as("red")
made = made_of()
data = made.data
seen["counts"] = len(data.vertices), len(data.edges), len(data.polygons)
seen["extent"] = extent(made)
seen["layers"] = [layer.name for layer in data.uv_layers]
seen["uv"] = [list(item.vector) for item in data.uv_layers["UVMap"].uv]
seen["corners"] = [list(data.vertices[loop.vertex_index].co + made.location) for loop in data.loops]
seen["observed"] = [[item.value, vertex.co.z] for item, vertex in zip(data.attributes["observed"].data, data.vertices)]
seen["colours"] = [list(item.color_srgb)[:3] for item in data.color_attributes["Color"].data]
seen["materials"] = len(data.materials)
material = data.materials[0]
shader = shader_of(material)
colour = source_of(shader.inputs["Base Color"])
relief = source_of(shader.inputs["Normal"])
normals = source_of(relief.inputs["Color"])
seen["shader"] = [shader.inputs[name].default_value for name in ("Roughness", "Metallic")]
seen["output"] = source_of(nodes_of(material)["Material Output"].inputs["Surface"]).name == shader.name
seen["space"] = relief.space, relief.uv_map
seen["images"] = [[image.colorspace_settings.name, list(image.size), image.filepath, picture(image)]
                  for image in (colour.image, normals.image)]
seen["count"] = len(bpy.data.images)
seen["active"] = material.node_tree.nodes.active.name == colour.name
""",
    )
    assert seen["counts"] == [8, 18, 12]  # of a closed box
    assert seen["extent"] == [[0, 0, 0.5], [1, 2, 1.5]]
    box = textured_box()
    assert seen["layers"] == ["UVMap"]
    np.testing.assert_allclose(seen["uv"], box.visual.uv[box.faces].reshape(-1, 2), atol=1e-6)
    np.testing.assert_allclose(seen["corners"], box.triangles.reshape(-1, 3), atol=1e-6)
    assert all(value == (z > 0.1) for value, z in seen["observed"])
    palette = np.array([face_colour(k) for k in range(6)]) / 255.0
    found = np.array(seen["colours"])
    assert np.abs(found[:, None] - palette).max(axis=2).min(axis=1).max() < 2e-3
    assert seen["materials"] == 1 and seen["shader"] == [1.0, 0.0] and seen["output"] and seen["active"]
    assert seen["space"] == ["TANGENT", "UVMap"]
    (kind, size, path, colour), (other, _, _, normals) = seen["images"]
    assert (kind, other) == ("sRGB", "Non-Color") and size == [24, 16] and path == ""
    np.testing.assert_array_equal(decoded(colour), np.asarray(box.visual.material.baseColorTexture))
    np.testing.assert_array_equal(decoded(normals), np.asarray(box.visual.material.normalTexture))


def test_a_texture_without_normals_leaves_the_surfaces_own(textured):
    seen = textured(
        """
segment_as("flat")
material = made_of().data.materials[0]
seen["normal"] = len(shader_of(material).inputs["Normal"].links)
seen["colour"] = source_of(shader_of(material).inputs["Base Color"]).type
segment_as("red")
segment_as("flat")
"""
    )
    assert seen == {"normal": 0, "colour": "TEX_IMAGE"}


def test_a_later_result_changes_the_pictures_and_keeps_what_the_artist_did_to_the_material(textured, tmp_path):
    seen = textured(
        """
segment_as("red")
material = made_of().data.materials[0]
shader_of(material).inputs["Roughness"].default_value = 0.25
material.name = "Glazed"
before = sorted(image.name for image in bpy.data.images)
segment_as("green")
made = made_of()
shader = shader_of(made.data.materials[0])
seen["material"] = made.data.materials[0].name, round(shader.inputs["Roughness"].default_value, 3)
seen["picture"] = colour_bytes()
seen["extent"] = extent(made)
seen["layers"] = [layer.name for layer in made.data.uv_layers], len(made.data.uv_layers[0].uv)
seen["images"] = len(bpy.data.images) - len(before)
seen["materials"] = len([one for one in bpy.data.materials if "sa3d_baked" in one])
"""
    )
    assert seen["material"] == ["Glazed", 0.25] and seen["extent"][1] == [1.25, 2, 1.5]
    green = textured_box(1.25, shift=5).visual.material.baseColorTexture
    np.testing.assert_array_equal(decoded(seen["picture"]), np.asarray(green))
    assert seen["layers"] == [["UVMap"], 36]
    assert seen["images"] == 0 and seen["materials"] == 1  # the old pictures don't stay in the file


def test_undo_brings_the_earlier_pictures_back(textured):
    seen = textured(
        """
bpy.ops.wm.save_as_mainfile(filepath=here + "/work.blend")
bpy.ops.wm.open_mainfile(filepath=here + "/work.blend")
bpy.ops.ed.undo_push(message="Open")
segment_as("red")
seen["first"] = colour_bytes()
segment_as("green")
seen["second"] = colour_bytes()
bpy.ops.ed.undo()
bpy.context.view_layer.update()
seen["undone"] = colour_bytes(), extent(made_of())[1][0], len(made_of().data.uv_layers["UVMap"].uv)
bpy.ops.ed.redo()
seen["redone"] = colour_bytes(), extent(made_of())[1][0]
"""
    )
    assert seen["first"] != seen["second"]
    assert seen["undone"] == [seen["first"], 1, 36] and seen["redone"] == [seen["second"], 1.25]


def test_pictures_travel_in_the_blend_file(textured):
    seen = textured(
        """
segment_as("red")
seen["before"] = colour_bytes()
bpy.ops.wm.save_as_mainfile(filepath=here + "/work.blend")
bpy.ops.wm.open_mainfile(filepath=here + "/work.blend")
seen["after"] = colour_bytes()
material = made_of().data.materials[0]
image = source_of(shader_of(material).inputs["Base Color"]).image
seen["drawn"] = len(image.pixels), image.colorspace_settings.name
"""
    )
    assert seen["before"] == seen["after"] and seen["drawn"] == [24 * 16 * 4, "sRGB"]


def test_the_artists_own_material_and_a_copys_pictures_stay(textured):
    seen = textured(
        """
segment_as("red")
made = made_of()
copy = made.copy()
copy.data, copy.name = made.data.copy(), "Kept"
capture.children[0].objects.link(copy)
seen["red"] = colour_bytes("Kept")
segment_as("green")
seen["now"] = colour_bytes("Kept"), colour_bytes("Object")
paint = bpy.data.materials.new("Paint")
made_of().data.materials[0] = paint
segment_as("red")
seen["own"] = made_of().data.materials[0].name, len(made_of().data.materials)
seen["colour"] = list(made_of().data.color_attributes["Color"].data[0].color_srgb)[:3]
made_of().data.materials.clear()
segment_as("green")
seen["none"] = len(made_of().data.materials)
"""
    )
    assert seen["now"][0] == seen["red"] != seen["now"][1]
    assert seen["own"] == ["Paint", 1] and seen["none"] == 0
    assert min(np.abs(np.array(seen["colour"]) - np.array(face_colour(k)) / 255).max() for k in range(6)) < 2e-3


def test_a_draft_shows_its_colours_and_the_texture_comes_back_with_the_good_mesh(textured):
    seen = textured(
        """
segment_as("red")
made = made_of()
made.data.materials[0].name = "Glazed"
prompted = capture.sa3d.objects[0]
prompted.grow = 0.5
pump_until(lambda: not shaping.is_busy())
seen["draft"] = made.data.materials[0].name, "sa3d_draft" in made, "observed" in made.data.attributes
plays["mesh"] = answer(given["green"])
bpy.ops.sa3d.apply_shape()
finish()
seen["good"] = made.data.materials[0].name, "sa3d_draft" in made, colour_bytes()
seen["left"] = [key for key in made.data.keys() if key.startswith("sa3d")]
"""
    )
    assert seen["draft"] == ["SA3D Vertex Colours", True, False]
    green = textured_box(1.25, shift=5).visual.material.baseColorTexture
    assert seen["good"][:2] == ["Glazed", False] and seen["left"] == []
    np.testing.assert_array_equal(decoded(seen["good"][2]), np.asarray(green))


def test_solid_viewports_show_textures_and_a_drafts_colours_meanwhile(textured):
    seen = textured(
        """
shading = next(area.spaces.active.shading for window in bpy.context.window_manager.windows
               for area in window.screen.areas if area.type == "VIEW_3D")
seen["types"] = [(shading.type, shading.color_type)]
def note():
    seen["types"].append(shading.color_type)
segment_as("red")
note()
prompted = capture.sa3d.objects[0]
prompted.grow = 0.5
pump_until(lambda: not shaping.is_busy())
note()
plays["mesh"] = answer(given["green"])
bpy.ops.sa3d.apply_shape()
finish()
note()
plays["segment"] = segment
bpy.ops.sa3d.segment()
finish()
note()
shading.color_type = "RANDOM"
segment_as("red")
note()
"""
    )
    assert seen["types"] == [["SOLID", "MATERIAL"], "TEXTURE", "VERTEX", "TEXTURE", "VERTEX", "RANDOM"]


def test_results_with_and_without_textures_may_follow_each_other(textured):
    seen = textured(
        """
plays["segment"] = segment
bpy.ops.sa3d.segment()
finish()
seen["plain"] = made_of().data.materials[0].name
segment_as("red")
seen["textured"] = made_of().data.materials[0].name, len(made_of().data.uv_layers), len(made_of().data.materials)
plays["segment"] = segment
bpy.ops.sa3d.segment()
finish()
seen["again"] = made_of().data.materials[0].name, "observed" in made_of().data.attributes
seen["orange"] = list(made_of().data.color_attributes["Color"].data[0].color_srgb)[:3]
"""
    )
    assert seen["plain"] == "SA3D Vertex Colours" and seen["textured"] == ["Object", 1, 1]
    assert seen["again"] == ["SA3D Vertex Colours", False]
    assert seen["orange"] == pytest.approx([1.0, 128 / 255, 0.0], abs=2e-3)
