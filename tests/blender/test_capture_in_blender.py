"""A capture in the scene, and the prompts on it, in Blender without a window; the zip, not the checkout."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sa3d_blender.scene.description import capture_description
from sa3d_blender.scene.lens import photo_from_frame, shown_in_photo
from sa3d_blender.scene.straight_camera import with_straight_camera
from sa3d_blender.scene.straighten import straight_size

BUILD = """
path = here + "/capture.json"
json.dump(arguments["described"], open(path, "w"))
bpy.ops.sa3d.import_capture(filepath=path)
scene = bpy.context.scene
capture = scene.sa3d.capture
prompted = lambda: prompt_store.active_object(capture)
def told():
    return [[p.kind, p.positive, p.camera.name, prompt_store.places(p).round(4).tolist()] for p in prompted().prompts]
line = [{"name": "", "loc": at, "time": 0} for at in ((0.1, 0.1), (0.2, 0.3), (0.5, 0.3))]
"""


def test_a_capture_stands_in_the_scene(in_blender, described):
    seen = in_blender(
        BUILD
        + """
seen["name"], seen["source"] = capture.name, capture["sa3d_source"]
seen["objects"] = sorted(item.name for item in capture.all_objects)
seen["photos"] = {c.name: [b.image.filepath for b in c.data.background_images] for c in views.cameras_of(capture)}
seen["region"] = [side.tolist() for side in capture_module.region_of(capture)]
points = capture.objects["Sparse Points"].data
seen["points"] = [list(v.co) for v in points.vertices]
seen["colours"] = [list(c.color_srgb) for c in points.color_attributes[0].data]
seen["camera"], seen["hidden"] = scene.camera.name, [o.name for o in scene.objects if o.hide_get()]
box = capture.objects["Region of Interest"]
box.scale = (0.5, 2, 1)
box.location = (1, 0, 0)
bpy.context.view_layer.update()
seen["moved"] = [side.round(5).tolist() for side in capture_module.region_of(capture)]
""",
        described=described,
    )
    assert seen["name"] == "Capture: table" and seen["source"].endswith("transforms.json")
    assert seen["objects"] == ["Region of Interest", "Sparse Points", "a", "b", "c"]
    assert Path(seen["photos"]["a"][0]).name == "a.png" and seen["photos"]["c"] == []  # bent: when it is looked at
    assert seen["region"] == [pytest.approx([-1, -0.5, 0]), pytest.approx([1, 0.5, 0.8])]
    assert seen["points"] == [pytest.approx(point) for point in described["points"]]
    assert seen["colours"] == [pytest.approx([*(n / 255 for n in row), 1], abs=0.01) for row in described["colours"]]
    assert seen["camera"] == "a" and seen["hidden"] == ["Cube"]
    assert seen["moved"] == [[0.5, -2, -1], [1.5, 2, 1]]


def test_views_are_walked_through_with_their_resolutions(in_blender, described):
    seen = in_blender(
        BUILD
        + """
def at():
    return [scene.camera.name, scene.render.resolution_x, scene.render.resolution_y]
seen["walk"] = [at()]
for step in (bpy.ops.sa3d.next_view,) * 3 + (bpy.ops.sa3d.previous_view,) * 2:
    assert step() == {"FINISHED"}
    seen["walk"].append(at())
scene.camera = bpy.data.objects["a"]
bpy.context.view_layer.update()
seen["by_hand"] = at()
scene.render.resolution_x = 33
bpy.context.view_layer.update()
seen["own_resolution"] = at()
scene.camera = bpy.data.objects["Camera"]
bpy.ops.sa3d.previous_view()
seen["from_outside"] = at()
bpy.ops.sa3d.look_through(camera="b")
seen["named"] = at()
seen["wrong"] = said(lambda: bpy.ops.sa3d.look_through(camera="Camera"))
window = bpy.context.window_manager.windows[0]
area = next(a for a in window.screen.areas if a.type == "VIEW_3D")
seen["perspective"] = area.spaces.active.region_3d.view_perspective
region_3d = area.spaces.active.region_3d
region_3d.view_perspective = "PERSP"
region_3d.view_matrix = bpy.data.objects["c"].matrix_world.inverted()
region = next(r for r in area.regions if r.type == "WINDOW")
with bpy.context.temp_override(window=window, area=area, region=region):
    bpy.ops.sa3d.nearest_view()
seen["nearest"] = at()
bpy.data.objects.remove(bpy.data.objects["a"])
bpy.ops.sa3d.next_view()
seen["without_a"] = at()
seen["nowhere"] = said(bpy.ops.sa3d.nearest_view)
""",
        described=described,
    )
    a, b, c = ["a", 80, 60], ["b", 50, 70], ["c", 90, 60]
    assert seen["walk"] == [a, b, c, a, c, b]
    assert seen["by_hand"] == a and seen["own_resolution"] == ["a", 33, 60]
    assert seen["from_outside"] == c and seen["named"] == b and "no camera of a capture" in seen["wrong"]
    assert seen["perspective"] == "CAMERA" and seen["nearest"] == c
    assert seen["without_a"] == b and "Only in a 3D viewport" in seen["nowhere"]


def test_a_bent_photo_is_straightened_when_it_is_looked_at(in_blender, described):
    seen = in_blender(
        BUILD
        + """
camera = bpy.data.objects["c"]
bpy.ops.sa3d.look_through(camera="c")
image = camera.data.background_images[0].image
pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
image.pixels.foreach_get(pixels)
seen["pixels"] = (pixels.reshape(image.size[1], image.size[0], 4)[::-1] * 255).round().astype(int).tolist()
seen["path"] = image.filepath
bpy.ops.sa3d.look_through(camera="c")
seen["count"] = [len(camera.data.background_images), sorted(os.listdir(os.path.dirname(image.filepath)))]
prompt_store.add_prompt(prompt_store.add_object(capture), "CLICK", camera, [(0.1, 0.9)])
seen["click"] = prompt_store.prompt_request(prompted(), camera)[0]
os.remove(arguments["described"]["views"][2]["image"])
os.remove(image.filepath)
seen["gone"] = views.show_view(bpy.context, camera)
""",
        described=described,
    )
    view = with_straight_camera(capture_description(described).views[2])
    made = np.array(seen["pixels"])
    width, height = straight_size(view, 90, 60)  # larger: bent inwards by the lens, the photo's rim is straightened out
    assert made.shape == (height, width, 4) and width > 90
    assert "straightened" in seen["path"] and str(view.image.parent) not in seen["path"]
    assert seen["count"] == [1, [Path(seen["path"]).name]]  # the copy is kept, nothing half-written lies beside it
    # The edge between red and blue lies where the lens, undone, puts the photo's middle.
    row, middle = 20, 45.0
    centres = np.array([[(x + 0.5) * 90 / width, (row + 0.5) * 60 / height] for x in range(width)])
    places, shown = shown_in_photo(view, centres)
    assert np.all((made[row, :, 2] > 110) == (places[:, 0] > middle) & shown) and shown.sum() > 85
    expected = photo_from_frame(view, np.array([[9.0, 54.0]]))[0]
    assert seen["click"] == {"view": "c", "points": [[*(pytest.approx(v, abs=1e-4) for v in expected), 1]]}
    assert "is not there any more" in seen["gone"]


def test_prompts_are_added_listed_and_removed(in_blender, described):
    seen = in_blender(
        BUILD
        + """
bpy.ops.sa3d.add_click(place=(0.5, 0.25))
bpy.ops.sa3d.add_click(place=(0.25, 1), positive=False)
bpy.ops.sa3d.add_box(low=(0.5, 0.2), high=(0.1, 0.4))
bpy.ops.sa3d.add_scribble(line=line, positive=False)
seen["told"] = told()
body, arrays = prompt_store.prompt_request(prompted(), scene.camera)
seen["body"] = body
picture = arrays["scribble"]
seen["painted"] = [list(picture.shape), str(picture.dtype), picture[18, 24].tolist(), picture[50, 50].tolist()]
bpy.ops.sa3d.add_box(low=(0, 0), high=(1, 1))
seen["one_box"] = [one[0] for one in told()]
bpy.ops.sa3d.next_view()
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
seen["elsewhere"] = prompt_store.prompt_request(prompted(), scene.camera)[0]
seen["cameras"] = [c.name for c in prompt_store.prompted_cameras(prompted())]
seen["not_here"] = said(lambda: bpy.ops.sa3d.show_prompt(number=0)), scene.camera.name
seen["unseen"] = said(lambda: bpy.ops.sa3d.remove_prompt(seen_only=True)), len(prompted().prompts)
bpy.ops.sa3d.next_view()
seen["kept"] = said(lambda: bpy.ops.sa3d.remove_prompt(seen_only=True))
bpy.ops.sa3d.previous_view()
bpy.ops.sa3d.clear_prompts()
seen["cleared"] = [one[2] for one in told()]
bpy.ops.sa3d.clear_prompts(everywhere=True)
seen["empty"] = told(), said(bpy.ops.sa3d.remove_prompt), said(bpy.ops.sa3d.clear_prompts)
bpy.ops.sa3d.add_object(name="mug")
bpy.ops.sa3d.add_object(name="mug")
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
seen["names"] = [[one.name, len(one.prompts)] for one in capture.sa3d.objects]
seen["uids"] = len({one.uid for one in capture.sa3d.objects})
bpy.ops.sa3d.remove_object()
seen["left"] = [one.name for one in capture.sa3d.objects], capture.sa3d.active
seen["bad"] = [
    said(lambda: bpy.ops.sa3d.add_box(low=(0.5, 0.2), high=(0.5, 0.4))),
    said(lambda: bpy.ops.sa3d.add_scribble(line=line[:1])),
    said(lambda: bpy.ops.sa3d.add_click(place=(0.5, 0.2), view="nobody")),
]
""",
        described=described,
    )
    assert seen["told"][:3] == [
        ["CLICK", True, "a", [[0.5, 0.25]]],
        ["CLICK", False, "a", [[0.25, 1.0]]],
        ["BOX", True, "a", [[0.1, 0.2], [0.5, 0.4]]],  # whatever corner it was begun at
    ]
    assert seen["told"][3][0] == "SCRIBBLE" and len(seen["told"][3][3]) == 3 and not seen["told"][3][1]
    assert seen["body"]["view"] == "a" and seen["body"]["points"] == [[40.0, 15.0, 1], [20.0, 60.0, 0]]
    assert seen["body"]["box"] == pytest.approx([8, 12, 40, 24], abs=1e-4)
    assert seen["painted"] == [[60, 80, 3], "uint8", [255, 0, 0], [0, 0, 0]]
    assert seen["one_box"] == ["CLICK", "CLICK", "SCRIBBLE", "BOX"]
    assert seen["elsewhere"] == {"view": "b", "points": [[25.0, 35.0, 1]]}
    assert seen["cameras"] == ["a", "b"] and seen["not_here"] == [["FINISHED"], "a"]
    assert seen["unseen"] == [["FINISHED"], 4]  # the shown one was selected and is seen
    assert seen["kept"] == ["CANCELLED"]
    assert seen["cleared"] == ["b"]
    assert seen["empty"][0] == [] and seen["empty"][1] == seen["empty"][2] == ["CANCELLED"]
    assert seen["names"] == [["Object", 0], ["mug", 0], ["mug.001", 1]] and seen["uids"] == 3
    assert seen["left"] == [["Object", "mug"], 1]
    assert seen["bad"][0] == seen["bad"][1] == ["CANCELLED"] and "no camera" in seen["bad"][2]


def test_each_prompt_is_one_step_of_undo_and_all_are_saved(in_blender, described):
    seen = in_blender(
        """
bpy.ops.wm.save_as_mainfile(filepath=here + "/a.blend")
bpy.ops.wm.open_mainfile(filepath=here + "/a.blend")  # a fresh session has no undo before a file is opened
for _ in range(2):
    bpy.ops.ed.undo_push(message="start")
path = here + "/capture.json"
json.dump(arguments["described"], open(path, "w"))
call = lambda operator, **more: operator("EXEC_DEFAULT", True, **more)
call(bpy.ops.sa3d.import_capture, filepath=path)
def told():
    capture = bpy.context.scene.sa3d.capture
    return capture and [[p.kind, p.positive] for o in capture.sa3d.objects for p in o.prompts]
line = [{"name": "", "loc": at, "time": 0} for at in ((0.1, 0.1), (0.2, 0.3), (0.5, 0.3))]
states = [told()]
call(bpy.ops.sa3d.add_click, place=(0.5, 0.5))
call(bpy.ops.sa3d.add_click, place=(0.1, 0.5), positive=False)
call(bpy.ops.sa3d.add_box, low=(0, 0), high=(1, 1))
call(bpy.ops.sa3d.add_scribble, line=line)
states.append(told())
for step in (bpy.ops.ed.undo,) * 4 + (bpy.ops.ed.redo,) * 3 + (bpy.ops.ed.undo,):
    step()
    states.append(told())
seen["states"] = states
call(bpy.ops.sa3d.next_view)
call(bpy.ops.sa3d.next_view)
bpy.ops.ed.undo()
seen["two_steps_in_one"] = bpy.context.scene.camera.name
bpy.context.scene.sa3d.capture.sa3d.objects[0].name = "mug"
bpy.ops.wm.save_mainfile()
bpy.ops.wm.open_mainfile(filepath=here + "/a.blend")
capture = bpy.context.scene.sa3d.capture
one = capture.sa3d.objects[0]
seen["opened"] = [one.name, told(), one.prompts[0].camera.name, prompt_store.places(one.prompts[0]).tolist()]
addon_utils.disable("bl_ext.user_default.sa3d")
bpy.ops.wm.save_mainfile()
bpy.ops.wm.open_mainfile(filepath=here + "/a.blend")
addon_utils.enable("bl_ext.user_default.sa3d")
seen["after_a_save_without_the_addon"] = told()
""",
        described=described,
    )
    this, other, box, line = ["CLICK", True], ["CLICK", False], ["BOX", True], ["SCRIBBLE", True]
    full = [this, other, box, line]
    assert seen["states"] == [[], full, full[:3], full[:2], full[:1], [], full[:1], full[:2], full[:3], full[:2]]
    assert seen["two_steps_in_one"] == "a"
    assert seen["opened"] == ["mug", full[:2], "a", [[0.5, 0.5]]]
    assert seen["after_a_save_without_the_addon"] == full[:2]


def test_nothing_pretends_to_work(in_blender, described):
    seen = in_blender(
        """
from bl_ext.user_default.sa3d.sa3d_blender import jobs, link
steps = [getattr(bpy.ops.sa3d, name) for name in ("train", "segment", "refine", "cancel")]
seen["empty"] = [said(step) for step in steps]
seen["no_view"] = [said(bpy.ops.sa3d.next_view), said(lambda: bpy.ops.sa3d.add_click(place=(0, 0)))]
seen["no_object"] = [said(bpy.ops.sa3d.add_object), said(bpy.ops.sa3d.remove_prompt)]
"""
        + BUILD
        + """
seen["unprompted"] = [said(step) for step in steps[1:]]
bpy.ops.sa3d.add_click(place=(0.5, 0.5), positive=False)
seen["only_not"] = said(bpy.ops.sa3d.segment)
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
seen["ready"] = [said(step) for step in steps[1:]]
for _ in range(500):
    link.pump()
    if jobs.all_jobs()[-1].is_over:
        break
    time.sleep(0.01)
seen["without an engine"] = [jobs.all_jobs()[-1].state, jobs.all_jobs()[-1].cure]
""",
        described=described,
    )
    assert "import one first" in seen["empty"][0] and "Nothing is running" in seen["empty"][3]
    assert all("import one" in line for line in seen["no_view"] + seen["no_object"])
    assert "Nothing says what the object is" in seen["unprompted"][0]
    assert "Nothing is running" in seen["unprompted"][2]
    assert "click it too" in seen["only_not"]
    assert seen["ready"][0] == ["FINISHED"]
    assert "no mesh to correct" in seen["ready"][1] or "being worked on" in seen["ready"][1]
    assert seen["without an engine"][0] == "failed"
    assert "preferences" in seen["without an engine"][1]


def test_a_capture_that_goes_in_mid_work_crashes_nothing(in_blender, described):
    seen = in_blender(
        BUILD
        + """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
capture.name = "renamed"
seen["renamed"] = views.active_capture(scene).name
bpy.ops.sa3d.import_capture(filepath=path)
second = scene.sa3d.capture
seen["two"] = [one.name for one in views.captures_in(scene)]
prompt = capture.sa3d.objects[0].prompts[0]
bpy.data.objects.remove(prompt.camera)
scene.sa3d.capture = capture
seen["camera_gone"] = prompt.camera is None, said(lambda: bpy.ops.sa3d.show_prompt(number=0))
seen["removed"] = said(bpy.ops.sa3d.remove_capture)
seen["left"] = [one.name for one in views.captures_in(scene)], views.active_capture(scene) == second
bpy.ops.sa3d.remove_capture()
seen["none"] = views.active_capture(scene), [o.name for o in bpy.data.objects if "sa3d_view" in o]
seen["still_there"] = all(os.path.isfile(view["image"]) for view in arguments["described"]["views"])
seen["scene"] = sorted(o.name for o in scene.objects)
""",
        described=described,
    )
    assert seen["renamed"] == "renamed" and seen["two"] == ["renamed", "Capture: table"]
    assert seen["camera_gone"] == [True, ["CANCELLED"]]
    assert seen["removed"] == ["FINISHED"] and seen["left"] == [["Capture: table"], True]
    assert seen["none"] == [None, []] and seen["still_there"]
    assert seen["scene"] == ["Camera", "Cube", "Light"]


def test_a_wrong_file_changes_nothing(in_blender, described):
    del described["views"][1]["fl_x"]
    seen = in_blender(
        """
before = len(bpy.data.objects), len(bpy.data.collections)
path = here + "/capture.json"
json.dump(arguments["described"], open(path, "w"))
seen["said"] = said(lambda: bpy.ops.sa3d.import_capture(filepath=path))
seen["same"] = before == (len(bpy.data.objects), len(bpy.data.collections))
""",
        described=described,
    )
    assert 'lacks "fl_x"' in seen["said"] and "Traceback" not in seen["said"] and seen["same"]


def test_the_result_import_makes_a_capture_too(in_blender, described, tmp_path):
    (tmp_path / "scene.json").write_text(json.dumps(described))
    seen = in_blender(
        """
bpy.ops.sa3d.import_result(filepath=here + "/scene.json")
bpy.ops.sa3d.next_view()
seen["camera"] = bpy.context.scene.camera.name
""",
    )
    assert seen["camera"] == "b"
