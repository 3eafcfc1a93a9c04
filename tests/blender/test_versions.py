"""The zip in every Blender at hand: installs, enables, every operator works or says why not, and it goes away cleanly.

The running environment's own bpy module always; others where SA3D_BPY_PYTHONS names Pythons that have one (4.2, 5.2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.bpy_pythons import PYTHONS, run_in_blender, version_of
from tests.helpers.scripted_engine import FAKE, write_meshes

pytestmark = pytest.mark.parametrize("python", PYTHONS, ids=version_of)

START = """
import numpy as np
here = os.getcwd()
arguments = globals().get("arguments", {})
bpy.ops.extensions.package_install_files(repo="user_default", filepath=archive, enable_on_install=True)
name = "bl_ext.user_default.sa3d"
done = {}
def attempt(operator, **given):
    try:
        done[operator] = sorted(getattr(bpy.ops.sa3d, operator)(**given))
    except RuntimeError as fault:
        done[operator] = str(fault)
    return done[operator]
"""


@pytest.fixture
def scripted(python: str, extension_zip: Path, described: dict[str, Any], tmp_path: Path) -> Any:
    """Runs a script in that Blender, with the zip installed, an engine that is a script, and a capture imported."""
    given = {"described": described, **write_meshes(tmp_path)}
    return lambda script, **more: run_in_blender(
        python, START + FAKE + script, tmp_path, archive=str(extension_zip), arguments=given, **more
    )


def is_an_answer(said: Any) -> bool:
    """It ran, or it said in words of ours why it can't: no traceback, and no "context is incorrect"."""
    if isinstance(said, list):
        return set(said) <= {"FINISHED", "CANCELLED"}
    return "Traceback" not in said and "context is incorrect" not in said and len(said.split()) > 4


def unanswered(done: dict[str, Any]) -> dict[str, Any]:
    """The operators that ran into something, with what they said."""
    return {operator: said for operator, said in done.items() if not is_an_answer(said)}


def test_in_an_empty_file_every_operator_does_something_sensible_or_says_why_not(python, extension_zip, tmp_path):
    script = """
seen["enabled"] = name in bpy.context.preferences.addons
seen["version"] = list(bpy.app.version[:2])
for operator in dir(bpy.ops.sa3d):
    attempt(operator)
seen["done"] = done
"""
    seen = run_in_blender(python, START + script, tmp_path, archive=str(extension_zip))
    assert seen["enabled"] and seen["version"] >= [4, 2]
    assert len(seen["done"]) >= 30
    assert not unanswered(seen["done"])


ALL = """
attempt("look_through", camera="b"); attempt("next_view"); attempt("previous_view")
attempt("add_object", name="Bowl"); attempt("add_box", low=(0.2, 0.2), high=(0.8, 0.8))
attempt("add_scribble", line=[{"name": "", "loc": (0.2, 0.5), "time": 0}, {"name": "", "loc": (0.6, 0.5), "time": 1}])
attempt("remove_prompt"); attempt("clear_prompts", everywhere=True); attempt("remove_object")
attempt("add_click", place=(0.25, 0.5)); attempt("show_prompt", number=0)
attempt("train"); finish()
attempt("segment"); job = finish()
seen["mesh"] = len(made_of().data.vertices), made_of().data.materials[0].name, extent(made_of())
attempt("select_result")
capture.sa3d.objects[0].grow = 0.4
finish()
attempt("apply_shape"); finish()
capture.sa3d.objects[0].grow = 0.2
attempt("reset_shape"); finish()
attempt("add_click", place=(0.5, 0.5), view="c")
attempt("refine"); finish()
attempt("run_again", uid=job.uid); finish()
attempt("show_log", uid=job.uid)
seen["log"] = "2D segmenter: clicked." in bpy.data.texts["SA3D Log"].as_string()
attempt("dismiss_job", uid=job.uid)
plays["segment"] = lambda request, engine: engine.say(Progress(request.id, "Training field", 0.5, 60.0, ""))
attempt("segment"); pump_until(lambda: jobs.running().stage)
attempt("cancel"); finish()
attempt("segment"); pump_until(lambda: jobs.running().stage)
attempt("cancel_by_key"); finish()
plays["segment"] = lambda request, engine: engine.crash("signal 9")
attempt("segment"); finish()
seen["dead"] = link.state()
attempt("restart_engine"); pump_until(lambda: link.state() == "ready")
plays["segment"] = segment
attempt("segment"); seen["again"] = finish().state
held = []
plays["segment"] = lambda request, engine: held.append((request, engine))
attempt("segment"); pump_until(lambda: held)
bpy.ops.wm.save_as_mainfile(filepath=here + "/kept.blend")
bpy.ops.wm.read_homefile()
segment(*held[0])
job = finish()
seen["homeless"] = job.state
attempt("import_job_result", uid=job.uid)
seen["home"] = sorted(item.name for item in bpy.data.objects if item.type == "MESH")
attempt("remove_from_capture")
attempt("remove_capture")
bpy.ops.wm.open_mainfile(filepath=here + "/kept.blend")
objects = bpy.data.collections["Capture: table"].sa3d.objects
seen["reopened"] = [(one.name, len(one.prompts), bool(one.result)) for one in objects]
ours = set(done)
for operator in set(dir(bpy.ops.sa3d)) - ours - {"import_capture"}:
    attempt(operator)
seen["done"], seen["not named"] = done, sorted(set(done) - ours)
"""


def test_with_a_capture_every_operator_does_its_work(scripted):
    seen = scripted(ALL)
    assert not unanswered(seen["done"])
    named = {operator: said for operator, said in seen["done"].items() if operator not in seen["not named"]}
    assert len(named) >= 24 and {operator: said for operator, said in named.items() if said != ["FINISHED"]} == {}
    assert seen["mesh"] == [8, "SA3D Vertex Colours", [[0, 0, 0.5], [1, 2, 1.5]]]
    assert seen["log"] and seen["dead"] == "dead" and seen["again"] == "done"
    assert seen["homeless"] == "homeless" and "Object" in seen["home"]
    assert seen["reopened"] == [["Object", 2, True]]


TRACES = """
import threading
kinds = [getattr(bpy.types, one) for one in dir(bpy.types) if "SA3D" not in one]
menus = [one for one in kinds if hasattr(one, "_dyn_ui_initialize") and hasattr(one, "draw")]
KINDS = (bpy.types.Scene, bpy.types.Collection, bpy.types.Object, bpy.types.WindowManager, bpy.types.Camera)
def tools():
    from bl_ui.space_toolsystem_toolbar import VIEW3D_PT_tools_active
    return [str(getattr(one, "idname", one)) for one in VIEW3D_PT_tools_active._tools["OBJECT"]]
def traces():
    found = {"types": [one for one in dir(bpy.types) if "sa3d" in one.lower()], "tools": tools()}
    found["operators"] = list(dir(bpy.ops.sa3d))
    found["menus"] = [
        f"{menu.__name__} {each.__module__}" for menu in menus for each in menu._dyn_ui_initialize()
        if "sa3d" in str(each.__module__)]
    found["handlers"] = [
        f"{kind} {each.__module__}" for kind in dir(bpy.app.handlers)
        if isinstance(getattr(bpy.app.handlers, kind), list) for each in getattr(bpy.app.handlers, kind)
        if "sa3d" in str(getattr(each, "__module__", ""))]
    found["properties"] = [
        f"{kind.__name__}.{one}" for kind in KINDS for one in kind.bl_rna.properties.keys() if "sa3d" in one]
    found["threads"] = sorted(one.name for one in threading.enumerate())
    found["preferences"] = name in bpy.context.preferences.addons
    return found
"""


def test_disabled_it_leaves_nothing_behind_and_blender_can_quit(python, extension_zip, tmp_path):
    script = """
on = traces()
seen["on"] = {key: bool(value) for key, value in on.items()}
addon_utils.disable(name, default_set=True)
seen["off"] = traces()
for _ in range(3):
    addon_utils.enable(name, default_set=True)
    seen["same"] = traces() == on
    addon_utils.disable(name, default_set=True)
seen["off again"] = traces() == seen["off"]
"""
    seen = run_in_blender(python, START + TRACES + script, tmp_path, leave=True, archive=str(extension_zip))
    off = seen["off"]
    assert all(seen["on"].values())
    assert seen["same"] and seen["off again"]
    assert off.pop("threads") == ["MainThread"]
    assert not [tool for tool in off.pop("tools") if "sa3d" in tool]
    assert off == {key: False if key == "preferences" else [] for key in off}


def test_disabled_in_mid_job_it_stops_the_engine_and_blender_can_quit(scripted):
    seen = scripted(
        TRACES
        + """
plays["segment"] = lambda request, engine: engine.say(Progress(request.id, "Training field", 0.5, 60.0, ""))
attempt("add_click", place=(0.25, 0.5))
attempt("segment")
pump_until(lambda: jobs.running().stage)
started = time.monotonic()
addon_utils.disable(name, default_set=True)
seen["took"] = time.monotonic() - started
while [one for one in traces()["threads"] if one.startswith("sa3d")] and time.monotonic() < started + 60:
    time.sleep(0.01)  # they are told, and go by themselves
seen["off"] = traces()
seen["kept"] = sorted(item.name for item in bpy.data.objects)
addon_utils.enable(name, default_set=True)
from bl_ext.user_default.sa3d.sa3d_blender import jobs as fresh
seen["prompts"] = len(bpy.data.collections["Capture: table"].sa3d.objects[0].prompts), len(fresh.all_jobs())
addon_utils.disable(name, default_set=True)
""",
        leave=True,
    )
    assert seen["took"] < 10  # it is given one second; a busy machine takes more
    assert [one for one in seen["off"]["threads"] if one.startswith("sa3d")] == []
    assert not (seen["off"]["types"] or seen["off"]["handlers"] or seen["off"]["menus"] or seen["off"]["properties"])
    assert {"a", "b", "c"} <= set(seen["kept"])
    assert seen["prompts"] == [1, 0]


@pytest.mark.parametrize("later", PYTHONS[1:], ids=version_of)
def test_a_file_goes_from_one_version_to_another(scripted, python, later, extension_zip, tmp_path):
    if python == later or version_of(python) >= "5" > version_of(later):
        pytest.skip("the same version, or one that reads no later files")
    kept = """
attempt("add_click", place=(0.25, 0.5)); attempt("add_box", low=(0.2, 0.2), high=(0.8, 0.8))
attempt("segment"); finish()
bpy.ops.wm.save_as_mainfile(filepath=here + "/kept.blend")
"""
    look = """
bpy.ops.wm.open_mainfile(filepath=here + "/kept.blend")
(prompted,) = bpy.data.collections["Capture: table"].sa3d.objects
seen["prompts"] = [(one.kind, one.positive, one.camera.name) for one in prompted.prompts]
seen["object"] = prompted.name, prompted.result, bpy.data.objects["Object"]["sa3d_result"]
attempt("next_view"); attempt("add_click", place=(0.5, 0.5)); attempt("select_result")
seen["done"], seen["count"] = done, len(prompted.prompts)
"""
    scripted(kept)
    seen = run_in_blender(later, START + look, tmp_path, archive=str(extension_zip))
    assert seen["prompts"] == [["CLICK", True, "a"], ["BOX", True, "a"]]
    assert seen["object"] == ["Object", "/results/1", "/results/1"]
    assert set(map(tuple, seen["done"].values())) == {("FINISHED",)} and seen["count"] == 3
