"""A result stands in Blender where the capture has it: cameras, photos, meshes, clicks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.meshing.export import write_glb
from sa3d_blender.protocol.errors import StorageError
from sa3d_blender.scene.description import read_description
from sa3d_blender.scene.glb import read_glb
from sa3d_blender.scene.names import LONGEST, fitting

ROOT = Path(__file__).parents[2]
needs_bpy = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy module")

WORLD_POINTS = np.array([[0.3, -0.2, 0.4], [0.0, 0.3, 0.1], [0.9, -0.6, 0.9], [-0.4, -0.2, 0.0]])


def looking(eye: list[float], target: list[float]) -> np.ndarray:
    back = np.subtract(eye, target) / np.linalg.norm(np.subtract(eye, target))
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    matrix = np.eye(4)
    matrix[:3] = np.stack([right, np.cross(back, right), back, eye], axis=1)
    return matrix


def pinhole(view: dict, point: np.ndarray) -> np.ndarray:
    """Pixel (x, y) of a world point, by the textbook."""
    x, y, z, _ = np.linalg.inv(np.array(view["world_from_camera"])) @ np.append(point, 1.0)
    return np.array([view["cx"] + view["fl_x"] * x / -z, view["cy"] + view["fl_y"] * -y / -z])


def the_ball() -> trimesh.Trimesh:
    """Off the origin and without symmetry, so that no wrong turn can pass."""
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    ball.vertices *= [1.0, 0.8, 0.6]
    ball.vertices[ball.vertices[:, 0] > 0] *= [1.2, 1.0, 1.0]
    ball.vertices += WORLD_POINTS[0]
    share = (ball.vertices - ball.vertices.min(axis=0)) / np.ptp(ball.vertices, axis=0)
    ball.visual.vertex_colors = np.c_[np.round(share * 255), np.full(len(share), 255)].astype(np.uint8)
    return ball


def write_result(folder: Path, missing_photo: bool = False) -> Path:
    """A result of a lying and an upright photo, principal points off the middle, pixels not square either way."""
    (folder / "photos").mkdir(parents=True)
    write_glb(the_ball(), folder / "object.glb")
    views = []
    for stem, size, intrinsics, eye in (
        ("a", (320, 240), (300.0, 330.0, 170.0, 100.0), [2.5, -1.0, 1.5]),
        ("b", (180, 300), (250.0, 200.0, 80.5, 161.25), [-1.5, -2.0, 0.9]),
    ):
        path = folder / "photos" / f"{stem}.png"
        if not (missing_photo and stem == "b"):
            Image.new("RGB", size, (120, 110, 100)).save(path)
        keys = ("fl_x", "fl_y", "cx", "cy")
        views.append(
            {"name": f"photos/{stem}.png", "stem": stem, "image": str(path), "width": size[0], "height": size[1]}
            | dict(zip(keys, intrinsics, strict=True))
            | {"world_from_camera": looking(eye, WORLD_POINTS[0].tolist()).tolist()}
        )
    top = the_ball().vertices[int(np.argmax(the_ball().vertices[:, 2]))]
    x, y = pinhole(views[1], top)
    prompts = [
        {"view": "b", "x_px": x, "y_px": y, "label": 1, "point_world": top.tolist()},
        {"view": "a", "x_px": 30.0, "y_px": 200.0, "label": 0, "point_world": None},
    ]
    tree = {
        "name": "table",
        "capture_root": str(folder),
        "views": views,
        "objects": [{"name": "mug", "mesh": "object.glb", "prompts": prompts}],
    }
    (folder / "scene.json").write_text(json.dumps(tree))
    return folder / "scene.json"


def deliver(*arguments: str | Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sa3d_blender.deliver", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


LOOK = """
import json, os, sys
import bpy, numpy as np
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Vector
sys.path.insert(0, sys.argv[3])
from sa3d_blender.scene.cameras import use_view
bpy.ops.wm.open_mainfile(filepath=sys.argv[1])
points = json.loads(sys.argv[4])
scene = bpy.context.scene
capture = next(c for c in bpy.data.collections if c.name.startswith("Capture: "))
seen = {
    "active": scene.camera.name,
    "children": sorted(c.name for c in capture.children),
    "selected": bpy.context.view_layer.objects.active.name,
    "objects": sorted(o.name for o in bpy.data.objects),
    "perspectives": sorted({s.region_3d.view_perspective for screen in bpy.data.screens for a in screen.areas
                            for s in a.spaces if s.type == "VIEW_3D"}),
    "shading": sorted({s.shading.color_type for screen in bpy.data.screens for a in screen.areas
                       for s in a.spaces if s.type == "VIEW_3D"}),
    "resolution": [scene.render.resolution_x, scene.render.resolution_y],
    "cameras": {}, "prompts": [],
}
for camera in (o for o in capture.objects if o.type == "CAMERA"):
    use_view(scene, camera)
    bpy.context.view_layer.update()
    width, height = scene.render.resolution_x, scene.render.resolution_y
    found = [world_to_camera_view(scene, camera, Vector(p)) for p in points]
    background = camera.data.background_images[0]
    seen["cameras"][camera.name] = {
        "pixels": [[u.x * width, (1 - u.y) * height] for u in found],
        "photo": background.image.filepath,
        "photo_size": list(background.image.size),
        "shown": camera.data.show_background_images,
    }
mesh = next(o for o in capture.children["Objects"].objects)
seen["mesh"] = {
    "name": mesh.name,
    "vertices": [list(mesh.matrix_world @ v.co) for v in mesh.data.vertices],
    "faces": [list(p.vertices) for p in mesh.data.polygons],
    "colours": [list(d.color_srgb) for d in mesh.data.color_attributes.active_color.data],
    "location": list(mesh.location), "scale": list(mesh.scale), "rotation": list(mesh.rotation_euler),
    "material": mesh.data.materials[0].name,
}
for ball in capture.children["Prompts"].objects:
    seen["prompts"].append({k: ball[k] for k in ball.keys()} | {
        "name": ball.name, "at": list(ball.matrix_world.translation), "hide_render": ball.hide_render,
        "colour": list(ball.data.color_attributes.active_color.data[0].color)})
json.dump(seen, open(sys.argv[2], "w"))
os._exit(0)  # the bpy module may hang on leaving
"""


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> tuple[dict, dict]:
    """scene.json as written, and what Blender sees after opening the delivered file."""
    folder = tmp_path_factory.mktemp("result")
    path = write_result(folder / "in")
    done = deliver("blend", "--scene", path, "--out", folder / "out" / "scene.blend")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == ""
    assert [p.name for p in (folder / "out").iterdir()] == ["scene.blend"]  # nothing temporary is left
    seen = folder / "seen.json"
    arguments = [folder / "out" / "scene.blend", seen, ROOT, json.dumps(WORLD_POINTS.tolist())]
    looked = subprocess.run([sys.executable, "-c", LOOK, *arguments], capture_output=True, text=True, timeout=120)
    assert seen.is_file(), looked.stdout + looked.stderr
    return json.loads(path.read_text()), json.loads(seen.read_text())


@needs_bpy
def test_a_known_point_falls_on_the_same_pixel_as_by_the_pinhole_formula(result):
    written, seen = result
    assert set(seen["cameras"]) == {"a", "b"}
    for view in written["views"]:
        expected = [pinhole(view, point) for point in WORLD_POINTS]
        # Blender's 32-bit matrices leave thousandths of a pixel.
        np.testing.assert_allclose(seen["cameras"][view["stem"]]["pixels"], expected, atol=0.01)


@needs_bpy
def test_every_camera_shows_its_photo_by_a_relative_path(result):
    written, seen = result
    for view in written["views"]:
        camera = seen["cameras"][view["stem"]]
        assert camera["photo"] == f"//../in/photos/{view['stem']}.png"
        assert camera["photo_size"] == [view["width"], view["height"]]  # so the file was found
        assert camera["shown"]


@needs_bpy
def test_the_mesh_is_where_the_capture_has_it_with_its_colours(result):
    mesh, true = result[1]["mesh"], the_ball()
    assert mesh["name"] == "mug"
    np.testing.assert_allclose(mesh["vertices"], true.vertices, atol=1e-5)
    np.testing.assert_array_equal(mesh["faces"], true.faces)
    # Blender's own way from linear to sRGB is off by some ten-thousandths, far below 1/255.
    np.testing.assert_allclose(mesh["colours"], true.visual.vertex_colors / 255.0, atol=5e-4)
    base = [*(true.bounds.mean(axis=0)[:2]), true.bounds[0][2]]
    np.testing.assert_allclose(mesh["location"], base, atol=1e-5)  # the origin is under it
    assert mesh["scale"] == [1, 1, 1] and mesh["rotation"] == [0, 0, 0]


@needs_bpy
def test_clicks_are_balls_on_the_surface_and_remember_the_photo(result):
    written, seen = result
    clicks = {one["sa3d_label"]: one for one in seen["prompts"]}
    this, other = written["objects"][0]["prompts"]
    assert clicks[1]["name"] == "b this" and clicks[0]["name"] == "a not this"
    np.testing.assert_allclose(clicks[1]["at"], this["point_world"], atol=1e-5)
    assert clicks[1]["sa3d_on_surface"] and not clicks[0]["sa3d_on_surface"]
    for label, prompt in ((1, this), (0, other)):
        view = next(view for view in written["views"] if view["stem"] == prompt["view"])
        assert clicks[label]["sa3d_camera"] == prompt["view"] and clicks[label]["sa3d_object"] == "mug"
        fractions = [prompt["x_px"] / view["width"], prompt["y_px"] / view["height"]]
        np.testing.assert_allclose([clicks[label]["sa3d_x"], clicks[label]["sa3d_y"]], fractions)
        # Without a known surface too, the ball covers the clicked place of the photo.
        pixel = pinhole(view, np.array(clicks[label]["at"]))
        np.testing.assert_allclose(pixel, [prompt["x_px"], prompt["y_px"]], atol=0.01)
        assert clicks[label]["hide_render"]
    assert np.argmax(clicks[1]["colour"][:3]) == 1 and np.argmax(clicks[0]["colour"][:3]) == 0


@needs_bpy
def test_the_file_opens_on_the_object_seen_from_the_prompted_photo(result):
    _, seen = result
    assert seen["active"] == "b" and seen["resolution"] == [180, 300]
    assert seen["selected"] == "mug"
    assert seen["children"] == ["Objects", "Prompts"]
    assert seen["perspectives"] == ["CAMERA"] and seen["shading"] == ["VERTEX"]
    assert seen["objects"] == ["a", "a not this", "b", "b this", "mug"]  # no cube, light or camera of Blender's own


@needs_bpy
def test_a_picture_from_a_view_covers_the_pixels_that_the_mesh_projects_to(tmp_path):
    path = write_result(tmp_path / "in")
    view = json.loads(path.read_text())["views"][0]
    done = deliver("picture", "--scene", path, "--out", tmp_path / "a.png", "--view", "a", "--size", "160x200")
    assert done.returncode == 0, done.stderr
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == (120, 160, 4)  # the photo's proportions
    rows, columns = np.nonzero(picture[..., 3] > 127)
    pixels = np.array([pinhole(view, vertex) for vertex in the_ball().vertices]) / 2  # rendered at half size
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(box, [*pixels.min(axis=0), *pixels.max(axis=0)], atol=1.0)  # whole pixels
    inside = picture[picture[..., 3] == 255]
    assert inside[:, :3].std(axis=0).min() > 20  # colours, not one grey


@needs_bpy
def test_a_picture_in_orbit_holds_the_whole_object(tmp_path):
    path = write_result(tmp_path / "in")
    done = deliver("picture", "--scene", path, "--out", tmp_path / "o.png", "--orbit", "-30,25", "--size", "160x120")
    assert done.returncode == 0, done.stderr
    alpha = np.asarray(Image.open(tmp_path / "o.png"))[..., 3]
    assert alpha.shape == (120, 160)
    assert not (alpha[0].any() or alpha[-1].any() or alpha[:, 0].any() or alpha[:, -1].any())
    assert 0.15 < (alpha > 127).mean() < 0.9


def test_a_glb_comes_back_with_the_captures_coordinates_and_linear_colours(tmp_path):
    ball = the_ball()
    surface = read_glb(write_glb(ball, tmp_path / "object.glb"))
    np.testing.assert_allclose(surface.vertices, ball.vertices, atol=1e-6)  # 32-bit floats
    np.testing.assert_array_equal(surface.faces, ball.faces)
    srgb = ball.visual.vertex_colors[:, :3] / 255.0
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    np.testing.assert_allclose(surface.colours[:, :3], linear, atol=1e-6)


def test_a_glb_of_placed_parts_and_small_index_types_comes_back_in_place(tmp_path):
    parts = trimesh.Scene()
    parts.add_geometry(trimesh.creation.box((1, 2, 3)), node_name="still")
    turn = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.1, 0.2, 0.3])
    parts.add_geometry(trimesh.creation.icosphere(subdivisions=1), node_name="turned", transform=turn)
    (tmp_path / "parts.glb").write_bytes(trimesh.exchange.gltf.export_glb(parts))
    surface = read_glb(tmp_path / "parts.glb")
    expected = parts.to_geometry().bounds  # trimesh's own placement, still Y-up
    turned = np.stack([surface.vertices[:, 0], surface.vertices[:, 2], -surface.vertices[:, 1]], axis=1)
    np.testing.assert_allclose([turned.min(axis=0), turned.max(axis=0)], expected, atol=1e-6)
    assert len(surface.faces) == 12 + 80


@pytest.mark.parametrize("cut", [0, 11, 40, 300, -40])
def test_a_damaged_glb_is_said_to_be_so(tmp_path, cut):
    data = write_glb(the_ball(), tmp_path / "object.glb").read_bytes()
    (tmp_path / "cut.glb").write_bytes(data[:cut])
    with pytest.raises(StorageError, match=r"cut\.glb") as caught:
        read_glb(tmp_path / "cut.glb")
    assert caught.value.cure


def changed(**values: object):
    return lambda tree: tree | values


def in_view(**values: object):
    return lambda tree: tree | {"views": [tree["views"][0] | values, *tree["views"][1:]]}


def in_prompt(**values: object):
    prompts = lambda one: [p | values for p in one["prompts"]]  # noqa: E731
    return lambda tree: tree | {"objects": [one | {"prompts": prompts(one)} for one in tree["objects"]]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tree: [tree], "object with keys"),
        (lambda tree: {k: v for k, v in tree.items() if k != "views"}, 'lacks "views"'),
        (changed(views=[]), "no views"),
        (changed(name=3), "name of the file"),
        (changed(objects=None), "objects of the file"),
        (in_view(width=0), "view 0"),
        (in_view(width=True), "width of view 0"),
        (in_view(stem="b"), "share a stem"),
        (in_view(fl_x="long"), "fl_x of view 0"),
        (in_view(cx=float("nan")), "cx of view 0"),
        (in_view(world_from_camera=[[1, 0, 0, 0]]), "4 x 4"),
        (in_prompt(view="c"), '"c"'),
        (in_prompt(label=2), "label 2"),
        (in_prompt(point_world=[1, 2]), "three coordinates"),
    ],
)
def test_a_wrong_description_is_named_in_one_sentence(tmp_path, change, said):
    path = write_result(tmp_path / "in")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(StorageError) as caught:
        read_description(path)
    assert said in caught.value.what and caught.value.what.startswith("scene.json")
    assert caught.value.what.endswith(".") and "\n" not in caught.value.what and caught.value.cure


def test_the_folder_of_a_result_stands_for_its_description(tmp_path):
    path = write_result(tmp_path / "in")
    assert read_description(path.parent) == read_description(path)
    with pytest.raises(StorageError, match=r"scene\.json can't be read"):
        read_description(tmp_path)


@needs_bpy
def test_the_command_line_says_what_is_wrong_and_leaves_nothing(tmp_path):
    path = write_result(tmp_path / "in")
    (tmp_path / "wrong.json").write_text("{")
    (tmp_path / "file").write_text("not a folder")
    for arguments, status, said in (
        (("blend", "--scene", tmp_path / "wrong.json", "--out", tmp_path / "o" / "a.blend"), 1, "not a JSON file"),
        (("picture", "--scene", path, "--out", tmp_path / "o" / "a.png", "--view", "c"), 1, 'no view "c"'),
        (("blend", "--scene", path, "--out", tmp_path / "file" / "a.blend"), 1, "can't be written"),
        (("picture", "--scene", path, "--out", tmp_path / "o" / "a.png", "--size", "big"), 2, "--size"),
    ):
        done = deliver(*arguments)
        assert done.returncode == status
        assert said in done.stderr
        if status == 1:
            assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_long_names_are_cut_between_characters():
    cut = fitting("ü" * 80)
    assert set(cut) == {"ü"} and LONGEST - 1 <= len(cut.encode()) <= LONGEST
    assert fitting("  ", "Object") == "Object"
