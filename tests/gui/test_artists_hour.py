"""The artist's hour: from the zip to edited meshes in a real Blender window, with the real engine on the processor.

A picture is taken of every step (SA3D_SHOTS=FOLDER keeps them); those in docs/pictures/ are this test's.
BLENDER_WINDOW_SUITE=sid has it done in Blender 5.2.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.gui.conftest import Window, needed, zip_in
from tests.gui.gaps import longest_gap
from tests.gui.hands import ADDON, button, look_at_tab, press, until
from tests.gui.still_life import Table, render_table
from tests.helpers.patience import patience

pytestmark = pytest.mark.timeout(3600)

PACKAGE = "bl_ext.user_default.sa3d"
LEFT, MIDDLE, RIGHT = (0.2,), (0.5,), (0.83,)  # of the tab: where a button is, to find it sooner
FAR_APART = 12  # photos of a turntable of 24: a fresh look at the object


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return render_table(tmp_path_factory.mktemp("table") / "scene")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, table: Table) -> Iterator[Window]:
    """A window of a Blender that knows nothing of us; inside it the zip, the capture and this Python can be seen."""
    needed()
    folder = tmp_path_factory.mktemp("studio")
    zip_in(folder)
    opened = Window(folder, "1440x1000")  # the whole tab can be seen
    opened.tool("reset")
    seen = [folder, table.folder, Path(sys.prefix), Path(sys.base_prefix)]
    opened.tool("run", *(word for one in seen for word in ("--bind", str(one))))
    try:
        yield opened
    finally:
        opened.tool("stop")


def frame(window: Window) -> list[float]:
    """Where the photo is on the display: left, top, width, height."""
    return window.py(
        f"""{ADDON}
from bl_ext.user_default.sa3d.sa3d_blender.scene.viewport import camera_frame
window, area, region = view3d()
f = camera_frame(scene, scene.camera, region, area.spaces.active.region_3d)
answer = [region.x + f.left, window.height - region.y - f.bottom - f.height, f.width, f.height]
"""
    )


def click_at(window: Window, place: tuple[float, float], *keys: str) -> tuple[int, int]:
    left, top, width, height = frame(window)
    spot = round(left + place[0] * width), round(top + place[1] * height)
    window.click(*spot, *keys)
    return spot


def install(window: Window) -> None:
    """Preferences, Get Extensions, Install from Disk, by the operator behind that menu entry; then our page in it."""
    (archive,) = window.folder.glob("*.zip")
    window.py(
        f"""
with override():
    bpy.ops.extensions.package_install_files(repo="user_default", filepath={str(archive)!r}, enable_on_install=True)
    bpy.context.preferences.active_section = "ADDONS"
    bpy.context.window_manager.addon_search = "sa3d"
    bpy.ops.preferences.addon_expand(module={PACKAGE!r})
    bpy.ops.screen.userpref_show("INVOKE_DEFAULT")
"""
    )
    window.py("")
    window.picture("hour-01-preferences")
    window.py(
        f"""
chosen = bpy.context.preferences.addons[{PACKAGE!r}].preferences
chosen.engine, chosen.python = "PYTHON", {sys.executable!r}
chosen.device, chosen.cache_folder = "cpu", {str(window.folder / "cache")!r}
manager = bpy.context.window_manager
other = next(one for one in manager.windows if one.screen.areas[0].type == "PREFERENCES")
with bpy.context.temp_override(window=other):
    bpy.ops.wm.window_close()
"""
    )
    assert window.py(f"answer = {PACKAGE!r} in bpy.context.preferences.addons")


def import_capture(window: Window, table: Table) -> None:
    """File > Import > Multi-View Capture, a folder chosen in the file browser."""
    window.py("window, area, region = view3d()\narea.spaces.active.show_region_ui = True\nredraw()")
    window.py('with override():\n    bpy.ops.sa3d.import_capture("INVOKE_DEFAULT")')
    x, y = window.py(
        f"""
other, area = next((w, a) for w in bpy.context.window_manager.windows for a in w.screen.areas
                   if a.type == "FILE_BROWSER")
area.spaces.active.params.directory = {str(table.folder / "capture")!r}.encode()
area.spaces.active.params.filename = ""
answer = [other.x + other.width // 2, bpy.context.window_manager.windows[0].height - other.y - other.height // 2]
"""
    )
    window.picture("browser")
    window.tool("xdo", "mousemove", str(x), str(y), "sleep", "0.5", "key", "Return", "sleep", "0.5")
    until(window, "capture is not None and views.cameras_of(capture)", 60)
    look_at_tab(window)
    window.picture("hour-02-imported")
    assert window.py(f"{ADDON}answer = len(views.cameras_of(capture))") >= 24


ANSWER = "mask_preview.answer_for(scene, capture, capture.sa3d.objects[capture.sa3d.active], scene.camera)"


def click_object(window: Window, table: Table, name: str, picture: str) -> float:
    """Twice on the object in the photo that is looked at; the mask appears. Returns the seconds that it took."""
    view = window.py(f'{ADDON}answer = scene.camera["sa3d_view"]')
    before = window.picture(f"{picture}-before")
    slowest = 0.0
    spots = []
    for place in table.spots(view, name):
        spots.append(click_at(window, place))
        until(window, f"{ANSWER} is not None", 10)
        said = window.py(f"{ADDON}a = {ANSWER}\nanswer = [a.what, a.segmenter, a.seconds]")
        assert said[:2] == ["", "clicknet"], said
        slowest = max(slowest, said[2])
    shown = window.picture(picture)
    # Beside a dot, on the object: the mask's colour has come over the photo.
    (x, y), change = spots[0], shown - before
    there = change[y + 14 : y + 22, x - 6 : x + 6].mean(axis=(0, 1))
    assert np.abs(there).max() > 15, there
    left, top, width, _ = frame(window)
    empty = change[round(top) + 8 : round(top) + 20, round(left + 0.5 * width) : round(left + 0.6 * width)]
    assert np.abs(empty).mean() < 3  # nothing on the wall behind
    return slowest


def train(window: Window) -> dict[str, float]:
    """Train, Cancel within a second, Train again to the end."""
    press(window, "sa3d.train", columns=LEFT)
    until(window, 'jobs.running() and jobs.running().stage == "Training field" and jobs.running().fraction > 0', 60)
    window.picture("hour-04-training")
    place = button(window, "sa3d.cancel", columns=MIDDLE)
    asked = time.monotonic()
    window.click(*place)
    until(window, 'jobs.all_jobs()[-1].state == "cancelled"')
    stopped = time.monotonic() - asked
    assert stopped < patience(2)  # the click and the look into the window take a second themselves
    press(window, "sa3d.train", columns=LEFT)
    began = time.monotonic()
    until(window, 'jobs.running() and jobs.running().stage == "Training field" and jobs.running().fraction > 0', 60)
    gap = longest_gap(window, 15)
    assert gap < patience(0.2)
    until(window, "jobs.running() and jobs.running().training and len(jobs.running().training.curve) > 2", 300)
    window.picture("hour-04-training-preview")
    until(window, 'jobs.all_jobs()[-1].state in ("done", "failed")', 1200)
    assert window.py(f"{ADDON}answer = [jobs.all_jobs()[-1].state, jobs.all_jobs()[-1].what]") == ["done", ""]
    return {"cancelled in": stopped, "longest gap while training": gap, "trained in": time.monotonic() - began}


def stop_by_escape(window: Window) -> None:
    """Segment, and Esc over the photo: nothing has come of it."""
    press(window, "sa3d.segment", columns=MIDDLE)
    left, top, width, _ = frame(window)
    window.tool("xdo", "mousemove", str(round(left + width / 2)), str(round(top + 40)))
    until(window, "jobs.running() and jobs.running().handle", 60)
    window.tool("xdo", "key", "Escape")
    until(window, 'jobs.all_jobs()[-1].state == "cancelled"', 2)
    assert not window.py(f"{ADDON}answer = len(results_of(capture))")


def segment(window: Window, picture: str, operator: str = "sa3d.segment") -> float:
    """The verb, to the end, watching; returns the seconds."""
    before = window.py(f"{ADDON}scene.sa3d.watch = True\nanswer = scene.camera.name")
    press(window, operator, columns=RIGHT if operator == "sa3d.refine" else MIDDLE)
    began = time.monotonic()
    until(window, "jobs.running() and jobs.running().accepted > 3 or jobs.all_jobs()[-1].is_over", 200)
    window.picture(f"{picture}-running")
    until(window, 'jobs.all_jobs()[-1].state in ("done", "failed")', 400)
    assert window.py(f"{ADDON}answer = [jobs.all_jobs()[-1].state, jobs.all_jobs()[-1].what]") == ["done", ""]
    seconds = time.monotonic() - began
    window.py(f"{ADDON}with override():\n    views.show_view(bpy.context, bpy.data.objects[{before!r}])")
    window.picture(picture)
    return seconds


def orbit(window: Window, picture: str) -> None:
    """Away from the camera: the objects alone, from the side."""
    window.py(
        f"""{ADDON}
window, area, region = view3d()
for one in results_of(capture):
    one.select_set(True)
with override():
    bpy.ops.view3d.view_axis(type="FRONT")
    bpy.ops.view3d.view_orbit(angle=0.6, type="ORBITRIGHT")
    bpy.ops.view3d.view_orbit(angle=0.5, type="ORBITUP")
    bpy.ops.view3d.view_selected()
"""
    )
    window.py("redraw()")
    window.picture(picture)


def edit_a_vertex(window: Window) -> None:
    """Tab, one vertex moved with G, Ctrl-Z, Ctrl-Shift-Z, Tab."""
    orbit(window, "hour-07-mesh")
    window.py(
        f"""{ADDON}
made = results_of(capture)[0]
for one in bpy.context.view_layer.objects.selected: one.select_set(False)
made.select_set(True)
bpy.context.view_layer.objects.active = made
with override():
    bpy.ops.wm.tool_set_by_id(name="builtin.select_box")
"""
    )
    x, y = window.py(
        "window, area, region = view3d()\n"
        "answer = [region.x + region.width // 3, window.height - region.y - region.height // 2]"
    )
    highest = f"""{ADDON}
import bmesh
made = results_of(capture)[0]
mesh = bmesh.from_edit_mesh(made.data) if made.mode == "EDIT" else None
points = mesh.verts if mesh else made.data.vertices
answer = [round(max(p.co.z for p in points), 4), len(points)]
"""
    whole = window.py(highest)
    window.xdo("mousemove", x, y, "sleep", "0.3", "key", "Tab")
    assert window.py(f"{ADDON}answer = results_of(capture)[0].mode") == "EDIT"
    window.xdo("key", "1", "sleep", "0.2", "key", "alt+a")
    window.py(
        f"""{ADDON}
import bmesh
made = results_of(capture)[0]
mesh = bmesh.from_edit_mesh(made.data)
max(mesh.verts, key=lambda v: v.co.z).select_set(True)
mesh.select_flush_mode()
bmesh.update_edit_mesh(made.data)
bpy.ops.ed.undo_push(message="Select")
"""
    )
    window.xdo("mousemove", x, y, "sleep", "0.2", "key", "g", "sleep", "0.2", "key", "z", "sleep", "0.2")
    window.xdo("key", "0", "key", "period", "key", "1", "sleep", "0.2", "key", "Return")
    moved = window.py(highest)
    assert moved[0] == pytest.approx(whole[0] + 0.1, abs=2e-3) and moved[1] == whole[1]
    window.picture("hour-08-edited")
    window.xdo("key", "ctrl+z")
    assert window.py(highest) == whole
    window.xdo("key", "ctrl+shift+z")
    assert window.py(highest) == moved
    window.xdo("key", "Tab")
    assert window.py(f"{ADDON}answer = results_of(capture)[0].mode") == "OBJECT"


def grow_and_shrink(window: Window) -> float:
    """The slider both ways, then back; the mesh follows. Returns the seconds of the last change."""
    faces = f"{ADDON}made = results_of(capture)[0]\nanswer = [len(made.data.polygons), 'sa3d_draft' in made]"
    sizes, seconds = [], 0.0
    for value in (-0.4, 0.4):
        began = time.monotonic()
        window.py(
            f"""{ADDON}
made = results_of(capture)[0]
made["waiting"] = True
was = len(made.data.polygons), made.data.vertices[0].co.copy()
capture.sa3d.objects[0].grow = {value}
"""
        )
        until(window, "not shaping.is_busy() and 'sa3d_draft' in results_of(capture)[0]", 30)
        seconds = time.monotonic() - began
        assert window.py(faces)[1]
        sizes.append(window.py(f"{ADDON}answer = max(results_of(capture)[0].dimensions)"))
        window.picture(f"hour-09-{'grown' if value > 0 else 'shrunk'}")
    assert sizes[0] < sizes[1]
    press(window, "sa3d.reset_shape", columns=RIGHT)
    until(window, "not shaping.is_busy()", 30)
    assert window.py(f"{ADDON}answer = 'sa3d_draft' not in results_of(capture)[0]")  # the good mesh again, at once
    return seconds


def save_and_reopen(window: Window) -> None:
    path = str(window.folder / "Stillleben mit Äpfeln.blend")
    window.py(f"with override():\n    bpy.ops.wm.save_as_mainfile(filepath={path!r})")
    window.py(f"with override():\n    bpy.ops.wm.open_mainfile(filepath={path!r})")
    told = window.py(f"{ADDON}answer = [[o.name, len(o.prompts)] for o in capture.sa3d.objects]")
    assert [count for _, count in told] == [2, 2]
    assert window.py(f"{ADDON}answer = len(results_of(capture))") == 2
    look_at_tab(window)


def refine(window: Window, table: Table) -> float:
    """One more click in a photo from another side, then Refine."""
    window.py(
        f"""{ADDON}
capture.sa3d.active = 0
camera = views.cameras_of(capture)[{FAR_APART}]
with override():
    bpy.ops.wm.tool_set_by_id(name="sa3d.click_tool")
    views.show_view(bpy.context, camera)
"""
    )
    window.py("redraw()")
    view = window.py(f'{ADDON}answer = scene.camera["sa3d_view"]')
    click_at(window, table.spots(view, "brick")[0])
    until(window, f"{ANSWER} is not None", 20)
    window.picture("hour-11-refine")
    seconds = segment(window, "hour-12-refined", "sa3d.refine")
    assert window.py(f"{ADDON}answer = capture.sa3d.objects[0].corrections") == 1
    return seconds


def kill_and_restart(window: Window) -> None:
    """The engine is killed in mid-job; the panel says so, Restart and Run Again mend it."""
    meshes = window.py(f"{ADDON}answer = [len(one.data.polygons) for one in results_of(capture)]")
    press(window, "sa3d.segment", columns=MIDDLE)
    until(window, "jobs.running() and jobs.running().accepted > 1", 200)
    engines = window.py(
        """
import os
from pathlib import Path
mine = [p for p in Path("/proc").iterdir() if p.name.isdigit()]
answer = []
for process in mine:
    try:
        words = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        continue
    if int(words[1]) == os.getpid():
        answer.append(int(process.name))
"""
    )
    assert engines
    for pid in engines:
        os.kill(pid, signal.SIGKILL)
    until(window, 'link.state() == "dead" and jobs.all_jobs()[-1].state == "failed"', 10)
    window.picture("hour-13-killed")
    assert window.py(f"{ADDON}answer = [len(one.data.polygons) for one in results_of(capture)]") == meshes
    press(window, "sa3d.restart_engine", columns=LEFT)
    until(window, 'link.state() == "ready"', 60)
    segment(window, "hour-14-again")


def test_the_artists_hour(studio, table, capsys):
    told: dict[str, Any] = {}
    install(studio)
    import_capture(studio, table)
    press(studio, "sa3d.click_tool", region="TOOLS")
    press(studio, "sa3d.next_view", columns=RIGHT)
    told["click to mask"] = click_object(studio, table, "brick", "hour-03-mask")
    told |= train(studio)
    stop_by_escape(studio)
    told["segmented in"] = segment(studio, "hour-05-segmented")
    edit_a_vertex(studio)
    told["grown in"] = grow_and_shrink(studio)
    studio.py(f"{ADDON}\nwith override():\n    views.show_view(bpy.context, scene.camera)")
    press(studio, "sa3d.click_tool", region="TOOLS")
    press(studio, "sa3d.add_object", columns=RIGHT)
    told["second click to mask"] = click_object(studio, table, "ball", "hour-06-second")
    told["second segmented in"] = segment(studio, "hour-10-both")
    orbit(studio, "hour-10-both-meshes")
    save_and_reopen(studio)
    told["refined in"] = refine(studio, table)
    kill_and_restart(studio)
    assert "Traceback" not in studio.tool("log")
    with capsys.disabled():
        print("\n" + ", ".join(f"{what} {seconds:.1f} s" for what, seconds in told.items()))
