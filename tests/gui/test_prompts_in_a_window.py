"""Clicks, boxes and scribbles with a real mouse in a real window: on the exact pixel, undone, saved, removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

# The steps build on each other, as an artist's do: in the order of this file, in one window.
pytestmark = pytest.mark.timeout(600)

TOLD = """
capture = bpy.context.scene.sa3d.capture
answer = [[p.kind, p.positive, p.camera.name, [list(q.place) for q in p.points]]
          for o in capture.sa3d.objects for p in o.prompts]
"""

# The frame on the display, by Blender's own projection; the add-on computes it in another way.
FRAME = """
from bpy_extras.view3d_utils import location_3d_to_region_2d
window, area, region = view3d()
scene = bpy.context.scene
corners = [location_3d_to_region_2d(region, area.spaces.active.region_3d, scene.camera.matrix_world @ corner)
           for corner in scene.camera.data.view_frame(scene=scene)]
left, right = min(c.x for c in corners), max(c.x for c in corners)
low, high = min(c.y for c in corners), max(c.y for c in corners)
answer = [region.x + left, window.height - region.y - high, right - left, high - low]
"""

# The room between toolbar, sidebar and headers on the display.
FREE = """
window, area, region = view3d()
by = {r.type: r for r in area.regions}
answer = [by["TOOLS"].x + by["TOOLS"].width, window.height - by["TOOL_HEADER"].y, by["UI"].x,
          window.height - region.y]
"""


def is_green(pixel: np.ndarray) -> bool:
    return bool(pixel[1] > 170 and pixel[0] < 80 and pixel[2] < 110)


def is_red(pixel: np.ndarray) -> bool:
    return bool(pixel[0] > 190 and pixel[1] < 90 and pixel[2] < 90)


def place(frame: list[float], x: int, y: int) -> list[Any]:
    """The fraction of the photo at the middle of a display pixel."""
    left, top, width, height = frame
    return [pytest.approx((x + 0.5 - left) / width, abs=1e-4), pytest.approx((y + 0.5 - top) / height, abs=1e-4)]


def spot(frame: list[float], u: float, v: float) -> tuple[int, int]:
    """The display pixel that holds a fraction of the photo."""
    left, top, width, height = frame
    return int(left + u * width), int(top + v * height)


def write_capture(folder: Path) -> Path:
    """Two grey photos, a lying and an upright one."""
    views = []
    for stem, size, x in (("lying", (400, 300), -0.3), ("upright", (240, 360), 0.3)):
        path = folder / f"{stem}.png"
        Image.new("RGB", size, (120, 120, 125)).save(path)
        view = {"name": path.name, "stem": stem, "image": str(path), "width": size[0], "height": size[1]}
        view |= {"fl_x": 1.2 * size[0], "fl_y": 1.2 * size[0], "cx": size[0] / 2 + 7, "cy": size[1] / 2 - 5}
        view |= {"world_from_camera": [[1, 0, 0, x], [0, 0, -1, -2], [0, 1, 0, 0.2], [0, 0, 0, 1]]}
        views.append(view)
    tree = {"name": "table", "capture_root": str(folder), "views": views, "objects": []}
    (folder / "capture.json").write_text(json.dumps(tree))
    return folder / "capture.json"


def test_a_click_lands_on_the_exact_pixel(window):
    path = write_capture(window.folder)
    window.py(
        f"""
with override():
    bpy.ops.sa3d.import_capture(filepath={str(path)!r})
    bpy.ops.wm.tool_set_by_id(name="sa3d.click_tool")
window, area, region = view3d()
area.spaces.active.show_region_ui = True
redraw()
"""
    )
    window.py(
        """
window, area, region = view3d()
next(r for r in area.regions if r.type == "UI").active_panel_category = "SA3D"
"""
    )
    frame = window.py(FRAME)
    x, y = spot(frame, 0.3, 0.4)
    window.click(x, y)
    assert window.py(TOLD) == [["CLICK", True, "lying", [place(frame, x, y)]]]
    shown = window.picture("click")
    assert is_green(shown[y, x])
    marked = np.argwhere([[is_green(pixel) for pixel in row[x - 15 : x + 16]] for row in shown[y - 15 : y + 16]])
    middle = (marked.min(axis=0) + marked.max(axis=0)) / 2
    assert middle == pytest.approx([15, 15], abs=0.5)  # the dot's own middle, not only its inside


def test_ctrl_click_says_not_this_in_red(window):
    frame = window.py(FRAME)
    x, y = spot(frame, 0.7, 0.6)
    window.click(x, y, "ctrl")
    told = window.py(TOLD)
    assert told[1] == ["CLICK", False, "lying", [place(frame, x, y)]] and len(told) == 2
    shown = window.picture("ctrl-click")
    assert is_red(shown[y, x])
    x, y = spot(frame, 0.3, 0.4)
    assert is_green(shown[y, x])


def test_undo_takes_one_prompt_and_redo_brings_it_back(window):
    x, y = spot(window.py(FRAME), 0.7, 0.6)
    window.xdo("mousemove", x, y - 60, "sleep", "0.2", "key", "ctrl+z")
    assert [one[1] for one in window.py(TOLD)] == [True]
    assert not is_red(window.picture("undone")[y, x])
    window.xdo("key", "ctrl+shift+z")
    assert [one[1] for one in window.py(TOLD)] == [True, False]


def test_a_click_beside_the_photo_or_on_the_panel_marks_nothing(window):
    before = window.py(TOLD)
    window.click(*spot(window.py(FRAME), -0.02, 0.5))
    panel = window.py(
        """
window, area, region = view3d()
ui = next(r for r in area.regions if r.type == "UI")
answer = [ui.x + ui.width // 2, window.height - 1 - (ui.y + ui.height - 12), region.x, region.width]
"""
    )
    assert panel[2] < panel[0] < panel[2] + panel[3]  # the sidebar does lie over the viewport
    for _ in range(2):  # the first panel's title: it folds, and unfolds. Where no panel is, the photo is clicked.
        window.click(panel[0], panel[1])
    assert window.py(TOLD) == before


def test_prompts_follow_zoom_and_pan_of_the_camera_view(window):
    before = window.py(FRAME)
    window.py(
        """
window, area, region = view3d()
area.spaces.active.region_3d.view_camera_zoom += 12
area.spaces.active.region_3d.view_camera_offset = (0.05, -0.04)
redraw()
"""
    )
    frame = window.py(FRAME)
    x, y = spot(frame, *window.py(TOLD)[0][3][0])
    shown = window.picture("zoomed")
    assert frame[2] > 1.1 * before[2] and is_green(shown[y, x])
    window.click(x + 60, y + 35)
    assert window.py(TOLD)[2][3] == [place(frame, x + 60, y + 35)]


def test_the_next_photo_has_its_own_resolution_and_prompts(window):
    window.xdo("mousemove", *spot(window.py(FRAME), 0.5, 0.5), "sleep", "0.2", "key", "Next")
    window.py("redraw()")
    assert window.py(
        "s = bpy.context.scene\nanswer = [s.camera.name, s.render.resolution_x, s.render.resolution_y]"
    ) == [
        "upright",
        240,
        360,
    ]
    left, top, width, height = frame = window.py(FRAME)
    assert width / height == pytest.approx(240 / 360, rel=0.01)
    # It is another shape, so it is fitted into what the bars leave free, whatever the zoom was.
    free = window.py(FREE)
    assert free[0] < left and left + width < free[2] and free[1] < top and top + height < free[3]
    assert max(width / (free[2] - free[0]), height / (free[3] - free[1])) == pytest.approx(0.96, abs=0.01)
    shown = window.picture("next")
    for prompt in window.py(TOLD):  # the other photo's
        x, y = spot(frame, *prompt[3][0])
        assert not is_green(shown[y, x]) and not is_red(shown[y, x])
    x, y = spot(frame, 0.3, 0.5)
    window.click(x, y)
    assert window.py(TOLD)[3] == ["CLICK", True, "upright", [place(frame, x, y)]]


def test_a_box_and_a_scribble_are_drawn_with_the_mouse(window):
    frame = window.py(FRAME)
    (x0, y0), (x1, y1) = spot(frame, 0.2, 0.15), spot(frame, 0.8, 0.85)
    window.py('with override():\n    bpy.ops.wm.tool_set_by_id(name="sa3d.box_tool")')
    window.drag((x1, y0), ((x0 + x1) // 2, y1 - 20), (x0, y1))
    box = window.py(TOLD)[4]
    assert box[:3] == ["BOX", True, "upright"]
    assert [round(v, 4) for v in box[3][0]] == place(frame, x0, y0) and box[3][1] == place(frame, x1, y1)
    window.py('with override():\n    bpy.ops.wm.tool_set_by_id(name="sa3d.scribble_tool")')
    middle = (y0 + y1) // 2
    line = [(x0 + 30, middle), (x0 + 60, middle), (x0 + 90, middle), (x0 + 90, middle + 50)]
    window.drag(*line)
    scribble = window.py(TOLD)[5]
    assert scribble[0] == "SCRIBBLE" and scribble[1]
    assert scribble[3][0] == place(frame, *line[0]) and scribble[3][-1] == place(frame, *line[-1])
    assert len(scribble[3]) == 3  # a line with one corner needs no more
    shown = window.picture("box-and-scribble")
    assert is_green(shown[y0, (x0 + x1) // 2]) and is_green(shown[(y0 + y1) // 2, x1])
    assert is_green(shown[middle, x0 + 75])
    window.drag((x0 + 20, y1 - 20), (x0 + 70, y1 - 30))
    window.xdo("key", "ctrl+z")
    assert len(window.py(TOLD)) == 6


def test_escape_gives_a_box_up(window):
    before = window.py(TOLD)
    x, y = spot(window.py(FRAME), 0.1, 0.1)
    window.py('with override():\n    bpy.ops.wm.tool_set_by_id(name="sa3d.box_tool")')
    words = ["mousemove", x, y, "sleep", "0.3", "mousedown", "1", "sleep", "0.1", "mousemove", x + 50, y + 60]
    window.xdo(*words, "sleep", "0.2", "key", "Escape", "sleep", "0.2", "mouseup", "1")
    assert window.py(TOLD) == before


def test_a_click_on_a_dot_selects_it_and_x_removes_it(window):
    window.py('with override():\n    bpy.ops.wm.tool_set_by_id(name="sa3d.click_tool")')
    window.xdo("mousemove", *spot(window.py(FRAME), 0.5, 0.5), "sleep", "0.2", "key", "Prior")
    window.py("redraw()")
    before = window.py(TOLD)
    x, y = spot(window.py(FRAME), *before[1][3][0])
    window.click(x + 3, y - 2)
    assert window.py(TOLD) == before
    assert window.py("answer = bpy.context.scene.sa3d.capture.sa3d.objects[0].active") == 1
    window.xdo("key", "x")
    assert window.py(TOLD) == [before[0], *before[2:]]
    assert window.py("answer = 'Cube' in bpy.data.objects")  # X was not Blender's own


def test_saved_and_opened_again_they_are_all_there(window):
    before = window.py(TOLD)
    path = str(window.folder / "table.blend")
    window.py(f"with override():\n    bpy.ops.wm.save_as_mainfile(filepath={path!r})")
    window.py(f"with override():\n    bpy.ops.wm.open_mainfile(filepath={path!r})")
    window.py("redraw()")
    assert window.py(TOLD) == before
    x, y = spot(window.py(FRAME), *before[0][3][0])
    assert is_green(window.picture("opened-again")[y, x])
    assert "Traceback" not in window.tool("log")
