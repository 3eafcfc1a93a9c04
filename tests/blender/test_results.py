"""The mesh of an object: replaced, refined, grown and shrunk, made one's own, exported, and how fast it comes."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from engine.meshing.export import write_glb
from tests.helpers.patience import patience


def test_a_second_segmentation_changes_the_surface_and_nothing_that_is_the_artists(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
made = made_of()
made.name, made.location, made.scale = "Mug", (10, 0, 0), (2, 2, 2)
made.modifiers.new("Mine", "SUBSURF").levels = 2
paint = bpy.data.materials.new("Paint")
made.data.materials[0] = paint
made.shape_key_add(name="Basis")
copy = made.copy()
capture.children[0].objects.link(copy)
plays["segment"] = lambda request, engine: (corrections.update({"/results/2": 0}), engine.say(Result(request.id,
    {"result": "/results/2", "report": report("/results/2"), "scene": {}}, {"glb": numbers(given["second"])})))
bpy.ops.sa3d.segment()
finish()
bpy.context.view_layer.update()
made = made_of("Mug")
seen["kept"] = [made.modifiers[0].name, made.data.materials[0].name, list(made.location), list(made.scale)]
seen["extent"], seen["result"] = extent(made), made["sa3d_result"]
seen["objects"] = sorted(item.name for item in capture.all_objects if item.type == "MESH" and "sa3d_result" in item)
seen["keys"] = made.data.shape_keys is None
made.location, made.scale = made["sa3d_origin"], (1, 1, 1)
bpy.ops.sa3d.segment()
finish()
seen["base"] = list(made_of("Mug").location)
""",
    )
    assert seen["kept"] == ["Mine", "Paint", [10, 0, 0], [2, 2, 2]]
    # The surface goes from 0 to 1.25 where the origin is at 0.5: twice as large, seen from x = 10.
    assert seen["extent"] == [[9, -2, 0], [11.5, 2, 2]] and seen["result"] == "/results/2"
    assert seen["objects"] == ["Mug", "Mug.001"] and seen["keys"]
    assert seen["base"] == [0.625, 1, 0.5]  # where nobody has moved it, its origin stays at its base


def test_a_copy_that_the_artist_keeps_is_left_alone_whatever_the_two_are_called(jobs):
    seen = jobs(
        """
blend = here + "/work.blend"
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
made = made_of()
copy = made.copy()
copy.data, copy.name = made.data.copy(), "old"  # a shorter name, and one that comes first
made.users_collection[0].objects.link(copy)
made.name = "The red mug"
plays["segment"] = lambda request, engine: engine.say(Result(request.id, {"result": "/results/2",
    "report": report("/results/2"), "scene": {}}, {"glb": numbers(given["second"])}))
def widths():
    bpy.context.view_layer.update()
    return {name: round(bpy.data.objects[name].dimensions.x, 3) for name in ("old", "The red mug")}
bpy.ops.sa3d.segment()
finish()
seen["first"] = widths()
made.name = "Mug, red"
made.name = "The red mug"
bpy.ops.wm.save_as_mainfile(filepath=blend)
bpy.ops.wm.open_mainfile(filepath=blend)
plays["segment"] = segment
bpy.data.objects["old"].name = "0"
bpy.data.objects["The red mug"].name = "Renamed after opening"
bpy.ops.sa3d.segment()
finish()
bpy.data.objects["0"].name, bpy.data.objects["Renamed after opening"].name = "old", "The red mug"
seen["reopened"] = widths(), bpy.data.objects["old"]["sa3d_result"]
bpy.data.objects.remove(bpy.data.objects["The red mug"])
seen["refine"] = refused(bpy.ops.sa3d.refine)
bpy.ops.sa3d.segment()
finish()
seen["anew"] = sorted(item.name for item in bpy.data.objects if "sa3d_result" in item)
bpy.ops.sa3d.remove_from_capture()
seen["apart"] = [key in made_of() for key in ("sa3d_self", "sa3d_name", "sa3d_object_uid")]
"""
    )
    assert seen["first"] == {"old": 1, "The red mug": 1.25}
    assert seen["reopened"] == [{"old": 1, "The red mug": 1}, "/results/1"]
    assert "press Segment" in seen["refine"] and seen["anew"] == ["Object", "old"]
    assert seen["apart"] == [False, False, False]


def test_refining_tells_only_what_is_new_and_takes_back_what_was_undone(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
prompted = capture.sa3d.objects[0]
bpy.ops.sa3d.add_click(place=(0.25, 0.5), view="b")
bpy.ops.sa3d.refine()
job = finish()
seen["first"] = asked[-1].kind, asked[-1].body, prompted.corrections, extent(made_of())
made_of().data.materials[0].name = "Mine"
prompted.corrections = 0  # as Ctrl-Z leaves it, with the prompt's having been told forgotten
prompted.told = json.dumps(json.loads(prompted.told)[:1])
prompted.grow = 0.5
bpy.ops.sa3d.refine()
finish()
seen["second"] = [[one.kind, one.body] for one in asked[-3:]]
seen["corrections"] = prompted.corrections, made_of()["sa3d_lambda"], prompted.grow
""",
    )
    kind, body, corrections, extent = seen["first"]
    assert kind == "correct" and corrections == 1 and extent[1] == [1.25, 2, 1.5]
    assert body["view"] == "b" and body["points"] == [[12.5, 35, 1]] and body["result"] == "/results/1"
    lam = pytest.approx(0.15 * 10**-1)
    assert [kind for kind, _ in seen["second"]] == ["undo", "correct", "mesh"]
    assert seen["second"][2][1] == {"device": "auto", "result": "/results/1", "lambda": lam}
    assert seen["corrections"] == [1, lam, 0.5]


def test_the_slider_shapes_the_mesh_while_it_moves_and_the_latest_wish_wins(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
prompted = capture.sa3d.objects[0]
made = made_of()
seen["grey"] = refused(bpy.ops.sa3d.apply_shape)
held = []
plays["shape"] = lambda request, engine: held.append((request, engine))
for value in (0.1, 0.2, 0.3, 0.5):
    prompted.grow = value
pump_until(lambda: held)
link.pump()
seen["under way"] = len(held)
shape(*held[0])
pump_until(lambda: len(held) == 2)
seen["first"] = extent(made)[1][0]
shape(*held[1])
pump_until(lambda: not shaping.is_busy())
seen["asked"] = [request.body for request, _ in held[:2]]
colour = list(made.data.color_attributes["Color"].data[0].color)
seen["drawn"] = extent(made), made["sa3d_draft"], list(made.location), colour
prompted.grow = 0.4  # a draft that comes after the good mesh is not drawn over it
prompted.grow = 0.5
pump_until(lambda: len(held) == 3)
bpy.ops.sa3d.apply_shape()
pump_until(lambda: jobs.all_jobs()[-1].is_over)
shape(*held[2])
plays["shape"] = shape
finish()
seen["applied"] = asked[-1].body, extent(made), "sa3d_draft" in made, made["sa3d_lambda"]
bpy.ops.sa3d.reset_shape()
pump_until(lambda: not shaping.is_busy())
seen["reset"] = extent(made)[1][0], prompted.grow
""",
    )
    assert "as the slider says already" in seen["grey"] and seen["under way"] == 1
    lam = [0.15 * 10**-0.2, 0.15 * 10**-1]
    assert [body["lambda"] for body in seen["asked"]] == pytest.approx(lam)
    assert seen["asked"][0]["result"] == "/results/1" and seen["first"] == pytest.approx(0.1 / lam[0], abs=1e-3)
    extent, draft, location, colour = seen["drawn"]
    assert extent[1] == pytest.approx([0.1 / lam[1], 0.1 / lam[1], 0], abs=1e-3) and draft
    assert location == [0.5, 1, 0.5] and colour == pytest.approx([0.5029] * 3 + [188 / 255], abs=1e-3)
    body, extent, draft, kept = seen["applied"]
    assert body == {"device": "auto", "result": "/results/1", "lambda": pytest.approx(lam[1])}
    assert extent[1] == [1.25, 2, 1.5] and not draft and kept == pytest.approx(lam[1])
    assert seen["reset"] == [pytest.approx(0.1 / 0.15, abs=1e-3), 0]


def test_resetting_the_slider_brings_the_good_mesh_back_at_once_and_leaves_no_other(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
prompted = capture.sa3d.objects[0]
made = made_of()
twin = made.copy()  # the artist's own, of the same mesh
bpy.context.scene.collection.objects.link(twin)
made.data.materials[0].name = "Mine"
count = lambda: [len(made.data.vertices), len(made.data.polygons), made.data.name, made.data.materials[0].name]
before, meshes = count(), len(bpy.data.meshes)
seen["before"] = before
prompted.grow = 0.5
pump_until(lambda: not shaping.is_busy())
seen["rough"] = count()[:2], "sa3d_draft" in made
prompted.grow = 0.25  # its shape is on its way when the slider comes back
bpy.ops.sa3d.reset_shape()
pump_until(lambda: not shaping.is_busy())
seen["reset"] = count(), "sa3d_draft" in made, len(bpy.data.meshes) - meshes, twin.data == made.data
seen["lambda"] = made["sa3d_drawn_lambda"], made["sa3d_lambda"]
seen["grey"] = refused(bpy.ops.sa3d.apply_shape)
prompted.grow = 0.5
pump_until(lambda: not shaping.is_busy())
bpy.ops.sa3d.apply_shape()
finish()
seen["applied"] = "sa3d_draft" in made, "sa3d_good" in made, len(bpy.data.meshes) - meshes
""",
    )
    rough, is_draft = seen["rough"]
    assert rough != seen["before"][:2] and is_draft
    assert seen["reset"] == [seen["before"], False, 0, True]
    assert seen["lambda"][0] == seen["lambda"][1]
    assert "as the slider says already" in seen["grey"]
    assert seen["applied"] == [False, False, 0]


def test_undo_of_the_slider_brings_the_shape_back(jobs):
    seen = jobs(
        """
blend = here + "/work.blend"
bpy.ops.wm.save_as_mainfile(filepath=blend)
bpy.ops.wm.open_mainfile(filepath=blend)
bpy.ops.ed.undo_push(message="Open")
capture = bpy.context.scene.sa3d.capture
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.ed.undo_push(message="Click")
bpy.ops.sa3d.segment()
finish()
for value in (0.25, 0.5):
    bpy.context.scene.sa3d.capture.sa3d.objects[0].grow = value
    bpy.ops.ed.undo_push(message="Grow / Shrink")  # as the slider does when it is let go, before the shape is there
    pump_until(lambda: not shaping.is_busy())
seen["now"] = extent(made_of())[1][0]
bpy.ops.ed.undo()
pump_until(lambda: not shaping.is_busy())
seen["undone"] = extent(made_of())[1][0], bpy.context.scene.sa3d.capture.sa3d.objects[0].grow
bpy.ops.ed.redo()
pump_until(lambda: not shaping.is_busy())
seen["redone"] = extent(made_of())[1][0], bpy.context.scene.sa3d.capture.sa3d.objects[0].grow
""",
    )
    half, quarter = (0.1 / (0.15 * 10 ** (-2 * grow)) for grow in (0.5, 0.25))
    assert seen["now"] == pytest.approx(half, abs=1e-3)
    assert seen["undone"] == [pytest.approx(quarter, abs=1e-3), 0.25]
    assert seen["redone"] == [pytest.approx(half, abs=1e-3), 0.5]


def test_a_shape_that_undo_asked_for_doesnt_come_over_what_redo_brings_back(jobs):
    seen = jobs(
        """
blend = here + "/work.blend"
bpy.ops.wm.save_as_mainfile(filepath=blend)
bpy.ops.wm.open_mainfile(filepath=blend)
bpy.ops.ed.undo_push(message="Open")
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
bpy.context.scene.sa3d.capture.sa3d.objects[0].grow = 0.5
bpy.ops.ed.undo_push(message="Grow / Shrink")
pump_until(lambda: not shaping.is_busy())
made_of().data.vertices[0].co.z += 99
bpy.ops.ed.undo_push(message="Sculpt")
held = []
plays["shape"] = lambda request, engine: held.append((request, engine))
bpy.ops.ed.undo()  # to before the shape was there, so that it is asked for
pump_until(lambda: held)
bpy.ops.ed.redo()
shape(*held[0])
pump_until(lambda: not shaping.is_busy())
seen["tall"] = extent(made_of())[1][2]
"""
    )
    assert seen["tall"] > 90


def test_a_shape_of_an_earlier_result_comes_with_what_that_was_told(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
prompted = capture.sa3d.objects[0]
prompted.grow = 0.5
bpy.ops.sa3d.apply_shape()
shaped = finish()
bpy.ops.sa3d.add_click(place=(0.25, 0.5), view="b")
bpy.ops.sa3d.segment()
finish()
seen["before"] = prompted.result, len(json.loads(prompted.told)), prompted.corrections
bpy.ops.sa3d.run_again(uid=shaped.uid)
finish()
seen["after"] = prompted.result, len(json.loads(prompted.told)), prompted.corrections
seen["refine"] = refused(bpy.ops.sa3d.refine)
finish()
seen["asked"] = asked[-1].kind, asked[-1].body["view"], asked[-1].body["result"]
"""
    )
    assert seen["before"] == ["/results/2", 2, 1] and seen["after"] == ["/results/1", 1, 0]
    assert seen["refine"] == ["FINISHED"]  # the first result doesn't know the second click
    assert seen["asked"] == ["correct", "b", "/results/1"]


def test_no_shape_is_drawn_under_a_render_and_the_latest_comes_after_it(jobs):
    seen = jobs(
        """
from bl_ext.user_default.sa3d.sa3d_blender import handover
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
prompted, made = capture.sa3d.objects[0], made_of()
before = extent(made)
rendering = [False]
handover.is_rendering = lambda: rendering[0]
held = []
plays["shape"] = lambda request, engine: held.append((request, engine))
prompted.grow = 0.25
pump_until(lambda: held)
rendering[0] = True  # it begins while the shape is on its way
shape(*held[0])
pump_until(lambda: not shaping.is_busy())
prompted.grow = 0.5
for _ in range(20):
    link.pump()
seen["meanwhile"] = extent(made) == before, len(held)
rendering[0] = False
pump_until(lambda: len(held) == 2)
shape(*held[1])
pump_until(lambda: not shaping.is_busy())
seen["after"] = extent(made)[1][0]
"""
    )
    assert seen["meanwhile"] == [True, 1]
    assert seen["after"] == pytest.approx(0.1 / (0.15 * 10**-1), abs=1e-3)


def test_a_mesh_that_was_removed_from_its_capture_is_the_artists(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
bpy.ops.sa3d.remove_from_capture()
mine = made_of()
seen["where"] = [c.name for c in mine.users_collection], mine["sa3d_segmenter"], "sa3d_object_uid" in mine
seen["refine"] = refused(bpy.ops.sa3d.refine)
bpy.ops.sa3d.segment()
finish()
seen["meshes"] = sorted(item.name for item in bpy.data.objects if "sa3d_result" in item)
bpy.ops.sa3d.remove_capture()
seen["left"] = sorted(item.name for item in bpy.data.objects if "sa3d_result" in item)
""",
    )
    assert seen["where"] == [["Scene Collection"], "clicked", False] and "press Segment" in seen["refine"]
    assert seen["meshes"] == ["Object", "Object.001"] and seen["left"] == ["Object"]


def test_blender_exports_a_result_in_its_own_formats(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
bpy.ops.sa3d.select_result()
stem = here + "/out"
bpy.ops.export_scene.gltf(filepath=stem + ".glb", use_selection=True, export_vertex_color="ACTIVE",
                          export_all_vertex_colors=True)
bpy.ops.wm.obj_export(filepath=stem + ".obj", export_selected_objects=True, export_colors=True)
bpy.ops.wm.ply_export(filepath=stem + ".ply", export_selected_objects=True, export_colors="SRGB", ascii_format=True)
bpy.ops.wm.usd_export(filepath=stem + ".usda", selected_objects_only=True)
for kind, importer in (("glb", bpy.ops.import_scene.gltf), ("obj", bpy.ops.wm.obj_import),
                       ("ply", bpy.ops.wm.ply_import), ("usda", bpy.ops.wm.usd_import)):
    before = set(bpy.data.objects)
    if kind == "ply":
        importer(filepath=stem + ".ply", forward_axis="Y", up_axis="Z")
    else:
        importer(filepath=stem + "." + kind)
    bpy.context.view_layer.update()
    (back,) = [item for item in set(bpy.data.objects) - before if item.type == "MESH"]
    seen[kind] = extent(back), len(back.data.color_attributes)
""",
    )
    for kind in ("glb", "obj", "ply", "usda"):
        extent, colours = seen[kind]
        assert extent[0] == pytest.approx([0, 0, 0.5], abs=1e-3), kind
        assert extent[1] == pytest.approx([1, 2, 1.5], abs=1e-3) and colours >= 1, kind


def test_a_mesh_of_200000_faces_is_delivered_within_half_a_second(jobs, tmp_path):
    ball = trimesh.creation.uv_sphere(1.0, count=[225, 225])
    ball.visual = trimesh.visual.ColorVisuals(ball, vertex_colors=np.full((len(ball.vertices), 4), 200, np.uint8))
    path = write_glb(ball, tmp_path / "ball.glb")
    seen = jobs(
        """
given["first"] = given["ball"]
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
seen["seconds"], seen["pump"] = [], []
for _ in range(3):
    bpy.ops.sa3d.segment()
    longest = 0.0
    while not jobs.all_jobs()[-1].is_over:
        started = time.perf_counter()
        link.pump()
        longest = max(longest, time.perf_counter() - started)
        time.sleep(0.01)
    seen["pump"].append(longest)
    seen["seconds"].append(float(jobs.all_jobs()[-1].log[-2].split("within ")[1].split(" s")[0]))
seen["faces"] = len(made_of().data.polygons)
""",
        ball=str(path),
    )
    print(seen)
    assert seen["faces"] > 199_000 and min(seen["seconds"]) < patience(0.5) and min(seen["pump"]) < patience(0.5)
