"""The zip that artists get: builds, validates, installs, imports a result, goes away again."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import trimesh
from PIL import Image

from engine.meshing.export import write_glb

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.find_spec("bpy")
pytestmark = pytest.mark.skipif(SPEC is None, reason="needs the bpy module")


def packer(*arguments: str | Path) -> str:
    assert SPEC is not None and SPEC.origin is not None
    tool = next(Path(SPEC.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    done = subprocess.run([sys.executable, tool, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    packer("build", "--source-dir", ROOT, "--output-dir", folder)
    (built,) = folder.glob("*.zip")
    return built


def test_the_checkout_and_the_zip_validate(archive):
    packer("validate", ROOT)
    packer("validate", archive)


def test_the_zip_holds_both_sides_and_nothing_else(archive):
    names = set(zipfile.ZipFile(archive).namelist())
    needed = {"blender_manifest.toml", "__init__.py", "LICENSE", "pyproject.toml", "engine/__init__.py"}
    needed |= {"engine/lifting/loop.py", "sa3d_blender/protocol/errors.py", "sa3d_blender/scene/build.py"}
    assert needed <= names
    assert {name.split("/")[0] for name in names if "/" in name} == {"engine", "sa3d_blender"}
    forbidden = ("sa3d_blender/demo", "sa3d_blender/synthetic", "Makefile", "constraints.txt", ".")
    assert not [name for name in names if name.startswith(forbidden) or "__pycache__" in name or "/." in name]
    assert archive.stat().st_size < 4_000_000  # source text and clicknet's small weights: no captures or pictures


def small_result(folder: Path) -> Path:
    folder.mkdir()
    box = trimesh.creation.box((0.2, 0.3, 0.4))
    box.visual.vertex_colors = [200, 40, 40, 255]
    write_glb(box, folder / "object.glb")
    Image.new("RGB", (64, 48), (90, 120, 90)).save(folder / "p.png")
    view = {"name": "p.png", "stem": "p", "image": str(folder / "p.png"), "width": 64, "height": 48}
    view |= {"fl_x": 60.0, "fl_y": 60.0, "cx": 32.0, "cy": 24.0}
    view |= {"world_from_camera": [[1, 0, 0, 0], [0, 0, -1, -2], [0, 1, 0, 0], [0, 0, 0, 1]]}
    gone = view | {"name": "q.png", "stem": "q", "image": str(folder / "q.png")}
    prompts = [{"view": "p", "x_px": 32, "y_px": 24, "label": 1, "point_world": [0, -0.15, 0]}]
    objects = [{"name": "box", "mesh": "object.glb", "prompts": prompts}]
    tree = {"name": "tiny", "capture_root": str(folder), "views": [view, gone], "objects": objects}
    (folder / "scene.json").write_text(json.dumps(tree))
    return folder / "scene.json"


USE = """
import json, os, sys
import bpy
import addon_utils  # there only after bpy
archive, scene, out = sys.argv[1:]
seen = {}
bpy.ops.extensions.package_install_files(repo="user_default", filepath=archive, enable_on_install=True)
name = "bl_ext.user_default.sa3d"
seen["enabled"] = name in bpy.context.preferences.addons
before = [o.name for o in bpy.data.objects]
def tried(path):
    try:
        return sorted(bpy.ops.sa3d.import_result(filepath=path))
    except RuntimeError as fault:
        return str(fault)
seen["wrong"] = tried(archive)
seen["unchanged"] = before == [o.name for o in bpy.data.objects] and not bpy.data.collections.get("Capture: tiny")
bpy.ops.mesh.primitive_cube_add(size=1, location=(50, 0, 0))
bpy.context.object.name = "far away"
before.append("far away")
seen["right"] = tried(scene)
seen["hidden"] = sorted(o.name for o in bpy.data.objects if o.hide_get())
capture = bpy.data.collections["Capture: tiny"]
seen["objects"] = sorted(o.name for o in capture.all_objects)
seen["missing"] = capture["sa3d_missing_photos"]
seen["kept"] = set(before) <= {o.name for o in bpy.data.objects}
seen["again"] = tried(scene)
seen["hidden_again"] = sorted(o.name for o in bpy.data.objects if o.hide_get())
seen["captures"] = sorted(c.name for c in bpy.data.collections if c.name.startswith("Capture"))
menu = bpy.types.TOPBAR_MT_file_import
drawn = lambda: sum("sa3d" in f.__module__ for f in menu._dyn_ui_initialize())
seen["menu"] = drawn()
addon_utils.disable(name, default_set=True)
seen["menu_after"] = drawn()
seen["operator_after"] = hasattr(bpy.types, "SA3D_OT_import_result")
json.dump(seen, open(out, "w"))
os._exit(0)  # the bpy module may hang on leaving
"""


def test_it_installs_imports_a_result_and_goes_away(archive, tmp_path):
    scene = small_result(tmp_path / "result")
    out = tmp_path / "seen.json"
    environment = os.environ | {"BLENDER_USER_RESOURCES": str(tmp_path / "user")}
    environment.pop("PYTHONPATH", None)  # the zip has to stand on its own
    done = subprocess.run(
        [sys.executable, "-c", USE, archive, scene, out],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert out.is_file(), done.stdout + done.stderr
    seen = json.loads(out.read_text())
    assert seen["enabled"]
    assert "is not a JSON file" in seen["wrong"] and "Traceback" not in seen["wrong"]
    assert seen["unchanged"]
    assert seen["right"] == ["FINISHED"] and seen["kept"]
    assert seen["objects"] == ["box", "p", "p this", "q"]
    assert seen["missing"] == 1
    # The cube of Blender's start-up file stands around the box; what stands elsewhere or was imported stays.
    assert seen["hidden"] == seen["hidden_again"] == ["Cube"]
    assert seen["captures"] == ["Capture: tiny", "Capture: tiny.001"]  # a second import stands beside the first
    assert seen["menu"] == 2  # of a capture, of a result
    assert seen["menu_after"] == 0 and not seen["operator_after"]


UNDO = """
import json, os, sys
import bpy
archive, scene, blend, out = sys.argv[1:]
bpy.ops.extensions.package_install_files(repo="user_default", filepath=archive, enable_on_install=True)
bpy.ops.wm.save_as_mainfile(filepath=blend)
bpy.ops.wm.open_mainfile(filepath=blend)  # a fresh session has no undo before a file is opened
for _ in range(2):
    bpy.ops.ed.undo_push(message="start")
def state():
    render = bpy.context.scene.render
    return [sorted(o.name for o in bpy.data.objects), sorted(c.name for c in bpy.data.collections), render.resolution_x]
states = [state()]
for step in (
    lambda: bpy.ops.sa3d.import_result("EXEC_DEFAULT", True, filepath=scene),
    bpy.ops.ed.undo,
    bpy.ops.ed.redo,
):
    step()
    states.append(state())
json.dump(states, open(out, "w"))
os._exit(0)
"""


def test_an_import_is_one_step_of_undo_and_redo(archive, tmp_path):
    scene, out = small_result(tmp_path / "result"), tmp_path / "states.json"
    environment = os.environ | {"BLENDER_USER_RESOURCES": str(tmp_path / "user")}
    done = subprocess.run(
        [sys.executable, "-c", UNDO, archive, scene, tmp_path / "a.blend", out],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert out.is_file(), done.stdout + done.stderr
    before, imported, undone, redone = json.loads(out.read_text())
    assert "Capture: tiny" in imported[1] and imported[2] == 64
    assert undone == before
    assert redone == imported


def test_the_package_imports_without_blender():
    code = "import sys; sys.modules['bpy'] = None; import sa3d_blender, sa3d_blender.deliver, sa3d_blender.scene.glb"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
