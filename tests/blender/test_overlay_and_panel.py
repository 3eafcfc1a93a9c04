"""What the overlay draws and what the panel shows, in Blender without a window: offscreen, and on a layout of paper."""

from __future__ import annotations

import pytest

OFFSCREEN = """
import gpu
from mathutils import Matrix
from bl_ext.user_default.sa3d.sa3d_blender.overlay.draw import Mark, draw_marks
scene = bpy.context.scene
if hasattr(gpu, "init"):
    gpu.init()  # 5.x
else:
    scene.render.engine = "BLENDER_WORKBENCH"  # 4.x has no gpu in the background before its first render
    scene.render.resolution_x = scene.render.resolution_y = 16
    bpy.ops.render.render()
WIDTH, HEIGHT = 200, 100
def picture(marks, scale=1.0):
    target = gpu.types.GPUOffScreen(WIDTH, HEIGHT)
    with target.bind():
        buffer = gpu.state.active_framebuffer_get()
        buffer.clear(color=(0, 0, 1, 1))
        with gpu.matrix.push_pop(), gpu.matrix.push_pop_projection():
            gpu.matrix.load_matrix(Matrix.Identity(4))
            pixels = Matrix.Diagonal((2 / WIDTH, 2 / HEIGHT, 1, 1))
            gpu.matrix.load_projection_matrix(Matrix.Translation((-1, -1, 0)) @ pixels)
            draw_marks(marks, scale, (WIDTH, HEIGHT))
        pixels = buffer.read_color(0, 0, WIDTH, HEIGHT, 4, 0, "UBYTE")
    target.free()
    pixels.dimensions = WIDTH * HEIGHT * 4
    return np.array(pixels, np.uint8).reshape(HEIGHT, WIDTH, 4).astype(int)
"""


def test_marks_land_on_their_pixels_in_their_colours(in_blender):
    seen = in_blender(
        OFFSCREEN
        + """
at = lambda x, y: np.array([[x, y]], float)
shown = picture([Mark("CLICK", at(50.5, 30.5), True), Mark("CLICK", at(150.5, 70.5), False)])
changed = np.argwhere(np.any(shown[..., :3] != (0, 0, 255), axis=2))
left, right = changed[changed[:, 1] < 100], changed[changed[:, 1] >= 100]
seen["middles"] = [((part.min(0) + part.max(0)) / 2).tolist() for part in (left, right)]
seen["widths"] = np.ptp(left, axis=0).tolist()
seen["colours"] = [shown[30, 50, :3].tolist(), shown[70, 150, :3].tolist(), shown[30, 50 + 6, :3].tolist()]
large = picture([Mark("CLICK", at(50.5, 30.5), True)], 2.0)
seen["scaled"] = np.ptp(np.argwhere(np.any(large[..., :3] != (0, 0, 255), axis=2)), axis=0).tolist()
faint = picture([Mark("CLICK", at(50.5, 30.5), True, opacity=0.4)])
seen["faint"] = faint[30, 50, :3].tolist()
chosen = picture([Mark("CLICK", at(50.5, 30.5), True, selected=True)])
seen["ring"] = chosen[30, 50 + 8, :3].tolist()
box = picture([Mark("BOX", np.array([[20.0, 20.0], [120.0, 80.0]]), True)])
seen["box"] = [box[20, 70, :3].tolist(), box[50, 120, :3].tolist(), box[50, 70, :3].tolist()]
line = picture([Mark("SCRIBBLE", np.array([[20.0, 20.0], [120.0, 20.0], [120.0, 90.0]]), False)])
seen["line"] = [line[20, 70, :3].tolist(), line[60, 120, :3].tolist(), line[90, 20, :3].tolist()]
seen["nothing"] = int(picture([])[..., 0].max())
"""
    )
    green, red, blue = [26, 217, 64], [242, 38, 31], [0, 0, 255]
    close = {"abs": 3}
    assert seen["middles"] == [[30.0, 50.0], [70.0, 150.0]]
    assert 12 <= seen["widths"][0] == seen["widths"][1] <= 16
    assert seen["colours"][0] == pytest.approx(green, **close) and seen["colours"][1] == pytest.approx(red, **close)
    assert max(seen["colours"][2]) < 60  # the dark outline
    assert seen["scaled"][0] > 1.7 * seen["widths"][0]
    assert 100 < seen["faint"][2] < 200  # the photo shines through
    assert seen["ring"] == pytest.approx([255, 255, 255], **close)
    assert seen["box"][0] == pytest.approx(green, **close) and seen["box"][1] == pytest.approx(green, **close)
    assert seen["box"][2] == blue
    assert seen["line"][0] == pytest.approx(red, **close) and seen["line"][1] == pytest.approx(red, **close)
    assert seen["line"][2] == blue and seen["nothing"] == 0


PAPER = """
import types
from bl_ext.user_default.sa3d.sa3d_blender.ui import lists, panel, status
path = here + "/capture.json"
json.dump(arguments["described"], open(path, "w"))
ICONS = set(bpy.types.UILayout.bl_rna.functions["prop"].parameters["icon"].enum_items.keys())
lines = []
class Paper:
    '''Takes what a panel draws and checks it as Blender's layout would: icons, properties, operators, lists.'''
    def _icon(self, icon):
        assert icon in ICONS, icon
    def label(self, text="", icon="NONE"):
        self._icon(icon); lines.append(text)
    def prop(self, data, name, text=None, icon="NONE", **more):
        self._icon(icon); assert name in data.bl_rna.properties, name; lines.append(name)
    def operator(self, name, text=None, icon="NONE", emboss=True):
        self._icon(icon)
        module, verb = name.split(".")
        made = getattr(getattr(bpy.ops, module), verb)
        lines.append(name if text is None else text or name)
        made.get_rna_type()
        return types.SimpleNamespace()
    def template_list(self, kind, uid, data, items, active_data, active, rows=5):
        assert hasattr(bpy.types, kind), kind
        drawn = getattr(bpy.types, kind)
        for index, item in enumerate(getattr(data, items)):
            getattr(lists, kind).draw_item(None, bpy.context, self, data, item, 0, active_data, active, index)
        lines.append(len(getattr(data, items)))
    def separator(self, factor=1.0):
        pass
    def row(self, **more):
        return self
    column = row
def shown():
    lines.clear()
    for one in panel.CLASSES:
        if one.__name__.startswith("SA3D_PT") and (not hasattr(one, "poll") or one.poll(bpy.context)):
            one.draw(types.SimpleNamespace(layout=Paper()), bpy.context)
    return list(lines)
"""


def test_the_panel_shows_what_there_is(in_blender, described):
    seen = in_blender(
        PAPER
        + """
seen["empty"] = shown()
bpy.ops.sa3d.import_capture(filepath=path)
seen["imported"] = shown()
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.add_click(place=(0.5, 0.5), positive=False)
bpy.ops.sa3d.add_box(low=(0, 0), high=(1, 1))
seen["prompted"] = shown()
from bl_ext.user_default.sa3d.sa3d_blender.tools.prompt_tools import TOOLS
seen["hints"] = []
for tool in TOOLS:
    lines.clear()
    found = types.SimpleNamespace(idname=tool.bl_idname)
    tools = types.SimpleNamespace(from_space_view3d_mode=lambda mode, create: found)
    context = types.SimpleNamespace(workspace=types.SimpleNamespace(tools=tools), mode="OBJECT")
    status._draw(types.SimpleNamespace(layout=Paper()), context)
    seen["hints"].append([line for line in lines if line])
    tool.draw_settings(bpy.context, Paper(), found)
bpy.data.objects.remove(bpy.data.objects["b"])
shown()
seen["keys"] = [sorted({item[0] for item in tool.bl_keymap}) for tool in TOOLS]
seen["known"] = all(hasattr(bpy.types, name.replace("sa3d.", "SA3D_OT_")) for one in seen["keys"] for name in one)
""",
        described=described,
    )
    assert seen["empty"] == ["No capture in this scene", "sa3d.import_capture"]
    assert "a  (1 of 3)" in seen["imported"] and "sa3d.segment" in seen["imported"] and 0 in seen["imported"]
    assert seen["prompted"].count("sa3d.show_prompt") == 3 and 3 in seen["prompted"]
    assert {"words", "sa3d.find_words", "quality"} <= set(map(str, seen["prompted"]))
    assert seen["hints"][0][:2] == ["This", "Not This"] and seen["hints"][1][0] == "Box around It"
    assert seen["known"] and "sa3d.remove_prompt" in seen["keys"][0]


def test_the_frame_in_a_viewport_follows_the_camera_and_the_resolution(in_blender, described):
    seen = in_blender(
        """
import types
from bpy_extras.object_utils import world_to_camera_view
from bl_ext.user_default.sa3d.sa3d_blender.scene.viewport import camera_frame
path = here + "/capture.json"
json.dump(arguments["described"], open(path, "w"))
bpy.ops.sa3d.import_capture(filepath=path)
scene = bpy.context.scene
region = types.SimpleNamespace(width=900, height=700)
seen["off"] = []
for name, size in (("a", (80, 60)), ("b", (50, 70)), ("b", (140, 70)), ("a", (80, 200))):
    camera = bpy.data.objects[name]
    scene.camera = camera
    bpy.context.view_layer.update()
    scene.render.resolution_x, scene.render.resolution_y = size
    camera.data.shift_x, camera.data.shift_y = 0.07, -0.04
    camera.matrix_world.translation.z += 0.1
    bpy.context.view_layer.update()
    # As the viewport has it: the camera's window matrix, zoomed and moved in the region.
    depsgraph = bpy.context.evaluated_depsgraph_get()
    window = np.array(camera.calc_matrix_camera(depsgraph, x=size[0], y=size[1]))
    zoom = np.diag([0.6, 0.45, 1, 1])
    zoom[:2, 3] = 0.2, -0.1
    perspective = zoom @ window @ np.array(camera.matrix_world.inverted())
    region_3d = types.SimpleNamespace(perspective_matrix=perspective)
    frame = camera_frame(scene, camera, region, region_3d)
    for point in ((0.1, 0, 0.4), (-0.6, 0.3, 0.1), (0.4, 2, -0.2)):
        clip = perspective @ (*point, 1)
        drawn = (clip[:2] / clip[3] + 1) / 2 * (900, 700)
        there = world_to_camera_view(scene, camera, __import__("mathutils").Vector(point))
        u, v = frame.fraction(*drawn)
        seen["off"].append([u - there.x, v - (1 - there.y)])
""",
        described=described,
    )
    for off in seen["off"]:
        assert off == pytest.approx([0, 0], abs=1e-4)
