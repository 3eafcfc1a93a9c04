"""Straightened photos in Blender without a window: their cameras, their copies on the disk, what can't be shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sa3d_blender.scene.description import read_description
from sa3d_blender.scene.lens import frame_from_photo
from sa3d_blender.scene.straight_camera import with_straight_camera
from tests.blender.conftest import view
from tests.blender.test_scene import write_result

BUILD = """
from bl_ext.user_default.sa3d.sa3d_blender.scene import photos, straight_copies
from bl_ext.user_default.sa3d.sa3d_blender.scene.cameras import view_of
from bl_ext.user_default.sa3d.sa3d_blender.scene.animated_camera import intrinsics
path = here + "/capture.json"
json.dump(arguments["described"], open(path, "w"))
seen["import"] = said(lambda: bpy.ops.sa3d.import_capture(filepath=path))
scene = bpy.context.scene
capture = scene.sa3d.capture
by_view = {one["sa3d_view"]: one for one in views.cameras_of(capture)}
folder = straight_copies.folder_of_copies()
copies = lambda: sorted(one.name[0] for one in folder.iterdir())
"""
FISHEYE = {"model": "fisheye", "distortion": [0.02, -0.01], "fl_x": 25.0, "fl_y": 25.5}


@pytest.fixture
def bent(described: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """Six photos of one lens, a fisheye of 180 degrees, and one of 5000 pixels across."""
    folder = tmp_path / "bent"
    folder.mkdir()
    lens = {"model": "opencv", "distortion": [-0.2, 0.05, 0.001, -0.002]}
    described["views"] = [view(folder, stem, (90, 60), 0.1 * i, **lens) for i, stem in enumerate("abcdef")]
    described["views"].append(view(folder, "x", (100, 75), 0.0, **FISHEYE))
    described["views"].append(view(folder, "y", (5000, 120), 0.0, **lens))
    return described


def test_blenders_camera_is_the_one_that_the_map_is_made_for(in_blender, bent):
    seen = in_blender(
        BUILD
        + """
for stem in "ax":
    camera = by_view[stem]
    bpy.ops.sa3d.look_through(camera=camera.name)
    found = intrinsics(scene, camera, bpy.context.evaluated_depsgraph_get())
    pinhole = view_of(camera).pinhole
    seen[stem] = [found["w"], found["h"], found["fl_x"], found["fl_y"], found["cx"], found["cy"]]
    seen[stem + " map"] = [*camera["sa3d_resolution"], pinhole.fl_x, pinhole.fl_y, pinhole.cx, pinhole.cy]
    seen[stem + " own"] = [view_of(camera).fl_x, camera.get("sa3d_hidden")]
    seen[stem + " image"] = list(camera.data.background_images[0].image.size)
old = by_view["b"]
del old["sa3d_straight"]
seen["old"] = view_of(old).pinhole.fl_x, view_of(old).fl_x
""",
        described=bent,
    )
    for stem in "ax":
        assert seen[stem] == pytest.approx(seen[f"{stem} map"], rel=1e-5)
        assert seen[stem][2] < 0.97 * seen[f"{stem} own"][0]  # zoomed out
    assert seen["a own"][1] == 0.0 and seen["x own"][1] > 0.05
    assert seen["a image"][0] > 90 and seen["x image"][0] > 130
    assert seen["old"][0] == seen["old"][1]


def test_what_a_fisheye_shows_beyond_the_frame_is_said_once_and_black_takes_no_clicks(in_blender, bent):
    bent["views"] = bent["views"][:1] + bent["views"][6:7]
    seen = in_blender(
        BUILD
        + """
from bl_ext.user_default.sa3d.sa3d_blender.opening import build
from bl_ext.user_default.sa3d.sa3d_blender.ui.panel import SA3D_PT_views
from bl_ext.user_default.sa3d.sa3d_blender.scene.description import read_capture_file
seen["said"] = build(bpy.context, read_capture_file(path), {})[1]
capture = scene.sa3d.capture
by_view = {one["sa3d_view"]: one for one in views.cameras_of(capture)}
class Paper:
    def __init__(self): self.labels = []
    def label(self, text="", icon="NONE"): self.labels.append(text)
    def __getattr__(self, name): return lambda *a, **k: self
    def __setattr__(self, name, value): object.__setattr__(self, name, value)
class Panel: pass
def panel(stem):
    bpy.ops.sa3d.look_through(camera=by_view[stem].name)
    drawn = Panel()
    drawn.layout = Paper()
    SA3D_PT_views.draw(drawn, bpy.context)
    return drawn.layout.labels
seen["panels"] = panel("a"), panel("x")
bpy.ops.sa3d.look_through(camera=by_view["a"].name)
seen["black"] = said(lambda: bpy.ops.sa3d.add_click(place=(0.5, 0.001))), len(capture.sa3d.objects)
seen["photo"] = said(lambda: bpy.ops.sa3d.add_click(place=(0.5, 0.5))), len(capture.sa3d.objects)
""",
        described=bent,
    )
    (said,) = seen["said"]
    assert said.startswith("One photo is too wide") and "%" in said and "nearer to the middle" in said
    assert seen["panels"][0] == [] and "can't be shown" in seen["panels"][1][0]
    assert "nothing there" in str(seen["black"][0]) or seen["black"][0] == ["CANCELLED"]
    assert seen["black"][1] == 0 and seen["photo"] == [["FINISHED"], 1]


def test_copies_are_bounded_the_longest_unused_go_first_and_those_in_the_file_stay(in_blender, bent):
    seen = in_blender(
        BUILD
        + """
import time
for number, stem in enumerate("abcdef"):
    photos.ensure_photo(by_view[stem])
    copy = next(one for one in folder.iterdir() if one.name.startswith(stem + "-"))
    os.utime(copy, (1000 + number, 1000 + number))
each = straight_copies.bytes_of_copies() // 6
seen["all"], seen["size"] = copies(), straight_copies.bytes_of_copies()
seen["exact"] = sum(one.stat().st_size for one in folder.iterdir())
for stem in "abcde":  # those that no camera shows any more
    image = by_view[stem].data.background_images[0].image
    by_view[stem].data.background_images.clear()
    bpy.data.images.remove(image)
photos.ensure_photo(by_view["b"])  # used again: now the latest
(folder / "notes.txt").write_text("not ours")
seen["removed"] = straight_copies.make_room(folder, int(3.5 * each))
seen["left"] = copies()
photos.ensure_photo(by_view["c"])
seen["made again"] = copies()
bpy.data.images.remove(by_view["b"].data.background_images[0].image)
seen["cleared"] = said(bpy.ops.sa3d.clear_straight_photos)
seen["stay"] = copies()
stale = by_view["f"].data.background_images[0].image
os.remove(bpy.path.abspath(stale.filepath))
stale.reload()
seen["missed"] = stale.has_data, photos.ensure_photo(by_view["f"])
found = by_view["f"].data.background_images[0].image
seen["back"] = list(found.size), found.has_data, len([i for i in bpy.data.images if i.name.startswith(("f", ".sa3d"))])
straight_copies.make_room.__defaults__ = (0,)
photos.ensure_photo(by_view["d"])
seen["at once"] = copies()
""",
        described=bent,
    )
    assert seen["all"] == list("abcdef") and seen["size"] == seen["exact"] > 0
    assert seen["removed"] == 3 and seen["left"] == ["b", "e", "f", "n"]  # f is shown, e was the latest but b
    assert set(seen["made again"]) == {*seen["left"], "c"}
    assert seen["cleared"] == ["FINISHED"] and seen["stay"] == ["c", "f", "n"]
    assert seen["missed"] == [False, ""] and seen["back"][0][0] > 90 and seen["back"][1:] == [True, 1]
    assert "d" in seen["at once"]  # what is shown stays, whatever the bound


def test_a_very_large_photo_is_shown_no_larger_than_screens_are_and_in_its_colours(in_blender, bent):
    wide = np.zeros((120, 5000, 3), np.uint8)
    wide[:, :2500] = (200, 20, 20)
    wide[:, 2500:] = (20, 20, 200)
    Image.fromarray(wide).save(bent["views"][7]["image"])
    seen = in_blender(
        BUILD
        + """
seen["trouble"] = photos.ensure_photo(by_view["y"])
image = by_view["y"].data.background_images[0].image
pixels = np.empty(image.size[0] * image.size[1] * 4, np.float32)
image.pixels.foreach_get(pixels)
rows = pixels.reshape(image.size[1], image.size[0], 4)
seen["size"] = list(image.size)
middle = rows[image.size[1] // 2]
seen["colours"] = [(255 * middle[int(at * image.size[0])]).round().tolist() for at in (0.3, 0.7)]
seen["edge"] = int((middle[:, 0] > middle[:, 2]).sum()) / image.size[0]
""",
        described=bent,
    )
    assert seen["trouble"] == "" and seen["size"][0] == 4096
    for found, colour in zip(seen["colours"], ((200, 20, 20, 255), (20, 20, 200, 255)), strict=True):
        assert found == pytest.approx(colour, abs=4)
    assert seen["edge"] == pytest.approx(0.5, abs=0.01)


def test_the_cache_page_shows_the_copies_and_clears_them(in_blender, bent):
    from tests.blender.test_preferences import PAGE

    seen = in_blender(
        BUILD
        + PAGE
        + """
photos.ensure_photo(by_view["a"])
paper = drawn("CACHE")
seen["one"] = [paper.buttons, paper.labels]
bpy.ops.sa3d.remove_capture()
for image in [one for one in bpy.data.images if "straightened" in one.filepath]:
    bpy.data.images.remove(image)
bpy.ops.sa3d.clear_straight_photos()
seen["cleared"] = drawn("CACHE").buttons, list(folder.iterdir())
""",
        described=bent,
    )
    assert seen["one"][0] == ["sa3d.clear_straight_photos", "sa3d.refresh_storage"]
    assert any("at most 2.0 GB" in label for label in seen["one"][1])
    assert seen["cleared"] == [["sa3d.refresh_storage"], []]


def test_a_result_of_bent_photos_stands_behind_straightened_ones(in_blender, tmp_path):
    path = write_result(tmp_path / "result")
    tree = json.loads(path.read_text())
    for described in tree["views"]:
        described |= {"model": "opencv", "distortion": [-0.2, 0.05, 0.001, -0.002]}
    path.write_text(json.dumps(tree))
    seen = in_blender(
        """
from bl_ext.user_default.sa3d.sa3d_blender.scene.animated_camera import intrinsics
seen["said"] = said(lambda: bpy.ops.sa3d.import_result(filepath=arguments["scene"]))
camera = bpy.context.scene.camera
seen["camera"] = camera.name
seen["shown"] = [os.path.basename(os.path.dirname(one.image.filepath)) for one in camera.data.background_images]
bpy.context.view_layer.update()
balls = {item["sa3d_label"]: item for item in bpy.data.objects if "sa3d_label" in item}
seen["places"] = {label: [item["sa3d_x"], item["sa3d_y"]] for label, item in balls.items()}
eye = bpy.data.objects["a"]
local = eye.matrix_world.inverted() @ balls[0].location
bpy.ops.sa3d.look_through(camera="a")
found = intrinsics(bpy.context.scene, eye, bpy.context.evaluated_depsgraph_get())
seen["drawn"] = [found["cx"] - found["fl_x"] * local.x / local.z, found["cy"] + found["fl_y"] * local.y / local.z]
""",
        scene=str(path),
    )
    assert seen["said"] == ["FINISHED"] and seen["camera"] == "b" and seen["shown"] == ["straightened"]
    views = {one.stem: with_straight_camera(one) for one in read_description(path).views}
    for prompt in tree["objects"][0]["prompts"]:
        described = views[prompt["view"]]
        expected = frame_from_photo(described, np.array([[prompt["x_px"], prompt["y_px"]]]))[0][0]
        place = np.array(seen["places"][str(prompt["label"])]) * (described.width, described.height)
        assert place == pytest.approx(expected, abs=1e-3)
        if prompt["label"] == 0:  # its surface isn't known: the ball is where the click was
            assert seen["drawn"] == pytest.approx(expected, abs=0.05)
            assert np.abs(expected - (prompt["x_px"], prompt["y_px"])).max() > 1
