"""A scene's own camera and its rendered frames are a capture: points fall on the pixels that show them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from engine.captures.load import load_capture
from engine.captures.rays import project

RENDER = """
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.extensions.package_install_files(repo="user_default", filepath=archive, enable_on_install=True)
scene = bpy.context.scene
scene.render.engine = "CYCLES"
scene.cycles.samples, scene.cycles.use_denoising = 1, False
scene.cycles.pixel_filter_type = "BOX"
scene.view_settings.view_transform = "Standard"
scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = arguments["size"] + [100]
scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = arguments["aspect"]
scene.frame_start, scene.frame_end = 1, 3
scene.render.filepath = os.path.join(here, "frames", "f_####")
scene.world = bpy.data.worlds.new("dark")
scene.world.use_nodes = True
scene.world.node_tree.nodes["Background"].inputs[0].default_value = (0, 0, 0, 1)
bpy.ops.mesh.primitive_ico_sphere_add(radius=0.12, subdivisions=4, location=arguments["point"])
glow = bpy.data.materials.new("glow")
glow.use_nodes = True
glow.node_tree.nodes.clear()
light, end = glow.node_tree.nodes.new("ShaderNodeEmission"), glow.node_tree.nodes.new("ShaderNodeOutputMaterial")
glow.node_tree.links.new(light.outputs[0], end.inputs[0])
bpy.context.object.data.materials.append(glow)
data = bpy.data.cameras.new("eye")
eye = bpy.data.objects.new("eye", data)
scene.collection.objects.link(eye)
scene.camera = eye
eye.scale = (2, 2, 2)
data.sensor_fit = arguments["fit"]
data.shift_x, data.shift_y = 0.08, -0.05
from mathutils import Vector
for frame, place in enumerate(arguments["places"], start=1):
    eye.location = place
    eye.rotation_euler = (-Vector(place)).to_track_quat("-Z", "Y").to_euler()
    data.lens = 40 + 5 * frame
    eye.keyframe_insert("location", frame=frame)
    eye.keyframe_insert("rotation_euler", frame=frame)
    data.keyframe_insert("lens", frame=frame)
scene.frame_set(2)
"""


@pytest.mark.parametrize(
    ("size", "aspect", "fit"),
    [([80, 60], [1, 1], "AUTO"), ([60, 80], [1, 1], "AUTO"), ([80, 60], [1, 1.5], "VERTICAL")],
)
def test_points_fall_on_the_pixels_that_show_them(in_blender, tmp_path, size, aspect, fit):
    point = [0.2, -0.1, 0.15]
    script = """
bpy.ops.render.render(animation=True)
seen["said"] = said(lambda: bpy.ops.sa3d.export_camera())
seen["frame"] = scene.frame_current
"""
    places = [[4, 0, 1], [3, 3, 2], [0.5, 4, 0.5]]
    seen = in_blender(RENDER + script, size=size, aspect=aspect, fit=fit, point=point, places=places)
    assert seen["said"] == ["FINISHED"]
    capture = load_capture(tmp_path / "frames")
    assert [view.name for view in capture.views] == [f"f_000{i}.png" for i in (1, 2, 3)] and not capture.warnings
    for view, place in zip(capture.views, places, strict=True):
        np.testing.assert_allclose(view.camera.position, place, atol=1e-5)
        bright = np.asarray(Image.open(view.image_path).convert("L")) > 100
        rows, columns = np.nonzero(bright)
        assert len(rows) > 8
        at, _ = project(view.camera, np.array([point]))
        # the middle of a disc of a few pixels, each of which one sample decides
        assert np.abs(at[0] - (columns.mean() + 0.5, rows.mean() + 0.5)).max() < 0.6


def test_frames_that_are_not_rendered_are_left_out_and_none_is_said_in_a_sentence(in_blender, tmp_path):
    script = """
seen["none"] = said(lambda: bpy.ops.sa3d.export_camera())
os.makedirs(os.path.join(here, "frames"), exist_ok=True)
for number in (1, 3):
    open(scene.render.frame_path(frame=number), "wb").write(b"x")
seen["some"] = said(lambda: bpy.ops.sa3d.export_camera())
seen["elsewhere"] = said(lambda: bpy.ops.sa3d.export_camera(filepath=os.path.join(here, "other", "t.json")))
data.type = "ORTHO"
seen["ortho"] = said(lambda: bpy.ops.sa3d.export_camera())
scene.camera = None
seen["no camera"] = said(lambda: bpy.ops.sa3d.export_camera())
"""
    places = [[4, 0, 1], [3, 3, 2], [0.5, 4, 0.5]]
    seen = in_blender(RENDER + script, size=[80, 60], aspect=[1, 1], fit="AUTO", point=[0, 0, 0], places=places)
    assert "Render the animation first" in seen["none"]
    assert seen["some"] == ["FINISHED"]
    frames = json.loads((tmp_path / "frames/transforms.json").read_text())["frames"]
    assert [frame["file_path"] for frame in frames] == ["f_0001.png", "f_0003.png"]
    assert "elsewhere" in seen["elsewhere"] and "perspective" in seen["ortho"]
    assert "no active camera" in seen["no camera"]
