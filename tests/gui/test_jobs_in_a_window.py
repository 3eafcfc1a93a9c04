"""The verbs in a real window, with an engine that is a script: progress, Esc, the mesh, undo, the slider, a crash."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.scripted_engine import FAKE, write_meshes

pytestmark = pytest.mark.timeout(600)


def write_capture(folder: Path) -> dict[str, Any]:
    """Two grey photos of where the scripted results are."""
    views = []
    for stem, x in (("a", 0.2), ("b", 1.2)):
        path = folder / f"{stem}.png"
        Image.new("RGB", (400, 300), (120, 120, 125)).save(path)
        view = {"name": path.name, "stem": stem, "image": str(path), "width": 400, "height": 300}
        view |= {"fl_x": 420, "fl_y": 420, "cx": 200, "cy": 150}
        view |= {"world_from_camera": [[1, 0, 0, x], [0, 0, -1, -5], [0, 1, 0, 0.9], [0, 0, 0, 1]]}
        views.append(view)
    return {
        "name": "table",
        "capture_root": str(folder),
        "capture": str(folder / "t.json"),
        "views": views,
        "objects": [],
    }


@pytest.fixture(scope="module")
def desk(window: Any) -> Any:
    """The window with the scripted engine, its capture imported, the sidebar open at our tab."""
    given = {"described": write_capture(window.folder), **write_meshes(window.folder)}
    script = FAKE.split("path = here")[0]
    window.py(
        f"""
import json, sys, numpy as np
space = sys.sa3d_test = {{"arguments": json.loads({json.dumps(given)!r}), "np": np, "bpy": bpy}}
exec({script!r}, space)
json.dump(space["arguments"]["described"], open({str(window.folder / "capture.json")!r}, "w"))
with override():
    bpy.ops.sa3d.import_capture(filepath={str(window.folder / "capture.json")!r})
    bpy.ops.wm.tool_set_by_id(name="sa3d.click_tool")
    bpy.ops.sa3d.add_click(place=(0.5, 0.5))
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
    return window


SPACE = """
import sys
space = sys.sa3d_test
jobs, link, shaping = (space[name] for name in ("jobs", "link", "shaping"))
"""


def until(window: Any, told: str, seconds: float = 20) -> Any:
    """Waits in the window's own time until an expression holds, and returns its value."""
    end = time.monotonic() + seconds
    while not (found := window.py(f"{SPACE}answer = {told}")):
        assert time.monotonic() < end, window.py(
            f"{SPACE}answer = [[j.title, j.state, j.log] for j in jobs.all_jobs()]"
        )
        time.sleep(0.2)
    return found


def press(window: Any, verb: str) -> None:
    window.py(f"with override():\n    bpy.ops.sa3d.{verb}()")


def over_the_view(window: Any) -> tuple[int, int]:
    return tuple(
        window.py(
            "window, area, region = view3d()\n"
            "answer = [region.x + region.width // 3, window.height - region.y - region.height // 3]"
        )
    )


def test_progress_is_shown_and_escape_cancels_within_a_second(desk):
    desk.py(
        SPACE
        + """
def halfway(request, engine):
    engine.say(space["Progress"](request.id, "Carrying the mask from view to view", 0.4, 75.0, ""))
    space["say_view"](request, engine)
space["plays"]["segment"] = halfway
"""
    )
    press(desk, "segment")
    until(desk, "jobs.running() and jobs.running().view == 'b'")
    desk.picture("running")
    x, y = over_the_view(desk)
    desk.xdo("mousemove", x, y, "sleep", "0.3")
    started = time.monotonic()
    desk.tool("xdo", "key", "Escape")
    until(desk, "jobs.all_jobs()[-1].state == 'cancelled'")
    assert time.monotonic() - started < 3  # each look into the window takes some tenths of a second itself


def test_escape_is_left_to_a_tool_that_wants_it(desk):
    press(desk, "segment")
    until(desk, "jobs.running() and jobs.running().view == 'b'")
    desk.py(
        """
bpy.context.view_layer.objects.active = bpy.data.objects["Cube"]
bpy.data.objects["Cube"].hide_set(False)
for item in bpy.context.view_layer.objects.selected: item.select_set(False)
bpy.data.objects["Cube"].select_set(True)
"""
    )
    x, y = over_the_view(desk)
    desk.xdo("mousemove", x, y, "sleep", "0.3", "key", "g", "sleep", "0.3", "mousemove", x + 40, y, "sleep", "0.3")
    desk.xdo("key", "Escape")
    assert desk.py(f"{SPACE}answer = [jobs.running().state, list(bpy.data.objects['Cube'].location)]") == [
        "running",
        [0, 0, 0],
    ]
    press(desk, "cancel")
    until(desk, "jobs.all_jobs()[-1].is_over")
    desk.py("bpy.data.objects['Cube'].hide_set(True)")


def test_the_mesh_comes_by_itself_and_is_one_step_of_undo(desk):
    desk.py(SPACE + "space['plays']['segment'] = space['segment']")
    press(desk, "segment")
    until(desk, "jobs.all_jobs()[-1].state == 'done'")
    desk.py("bpy.ops.wm.redraw_timer(type='DRAW_WIN_SWAP', iterations=1)\nredraw()")
    desk.picture("delivered")
    there = "answer = 'Object' in bpy.data.objects"
    assert desk.py(there)
    x, y = over_the_view(desk)
    desk.xdo("mousemove", x, y, "sleep", "0.3", "key", "ctrl+z")
    assert not desk.py(there)
    desk.xdo("key", "ctrl+shift+z")
    assert desk.py(there)


def test_the_slider_shapes_the_mesh(desk):
    desk.py("bpy.context.scene.sa3d.capture.sa3d.objects[0].grow = 0.25")
    until(desk, "'sa3d_draft' in bpy.data.objects['Object']")
    assert desk.py("answer = len(bpy.data.objects['Object'].data.polygons)") == 2
    desk.picture("draft")
    press(desk, "apply_shape")
    until(desk, "jobs.all_jobs()[-1].state == 'done'")
    assert desk.py("answer = len(bpy.data.objects['Object'].data.polygons)") == 12


def test_a_job_goes_on_while_another_file_is_opened(desk):
    path = str(desk.folder / "work.blend")
    desk.py(SPACE + "space['held'] = []\nspace['plays']['segment'] = lambda *both: space['held'].append(both)")
    desk.py(f"with override():\n    bpy.ops.wm.save_as_mainfile(filepath={path!r})")
    press(desk, "segment")
    until(desk, "len(space['held'])")
    desk.py(f"with override():\n    bpy.ops.wm.open_mainfile(filepath={path!r})")
    desk.py(SPACE + "space['segment'](*space['held'][0])")
    until(desk, "jobs.all_jobs()[-1].state == 'done'")
    assert desk.py("answer = bpy.data.objects['Object']['sa3d_result']").startswith("/results/")


def test_a_crash_is_said_and_mended_by_a_button(desk):
    desk.py(SPACE + "space['plays']['segment'] = lambda request, engine: engine.crash('signal 9')")
    press(desk, "segment")
    until(desk, "link.state() == 'dead' and jobs.all_jobs()[-1].state == 'failed'")
    desk.picture("crashed")
    press(desk, "restart_engine")
    until(desk, "link.state() == 'ready'")
    desk.py(SPACE + "space['plays']['segment'] = space['segment']")
    desk.py(f"{SPACE}with override():\n    bpy.ops.sa3d.run_again(uid=jobs.all_jobs()[-1].uid)")
    until(desk, "jobs.all_jobs()[-1].state == 'done'")
    desk.py(f"{SPACE}with override():\n    bpy.ops.sa3d.show_log(uid=jobs.all_jobs()[-1].uid)")
    time.sleep(2)
    desk.picture("log")
    assert "Traceback" not in desk.tool("log")
