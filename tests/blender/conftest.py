"""What tests with the bpy module share: the built zip, and scripts run with it in a Blender of their own."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.helpers.bpy_pythons import own_environment
from tests.helpers.scripted_engine import FAKE, write_meshes

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.find_spec("bpy")

START = """
import json, os, sys
import bpy
import addon_utils  # there only after bpy
import numpy as np
archive, here, out, arguments = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
bpy.ops.extensions.package_install_files(repo="user_default", filepath=archive, enable_on_install=True)
from bl_ext.user_default.sa3d.sa3d_blender.scene import capture as capture_module, prompt_store, views
def said(run):
    try:
        return sorted(run())
    except RuntimeError as fault:
        return str(fault)
seen = {}
"""
END = """
json.dump(seen, open(out, "w"))
os._exit(0)  # the bpy module may hang on leaving
"""


@pytest.fixture(scope="session")
def extension_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The zip that an artist gets, built from the checkout."""
    if SPEC is None or SPEC.origin is None:
        pytest.skip("needs the bpy module")
    tool = next(Path(SPEC.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    folder = tmp_path_factory.mktemp("zip")
    command = [sys.executable, str(tool), "build", "--source-dir", str(ROOT), "--output-dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.zip")
    return built


@pytest.fixture
def in_blender(extension_zip: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a script with the zip installed; it fills the dict ``seen``, which is returned."""

    def run(script: str, **arguments: Any) -> dict[str, Any]:
        out = tmp_path / "seen.json"
        out.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", START + script + END, extension_zip, tmp_path, out, json.dumps(arguments)],
            cwd=tmp_path,
            env=own_environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert out.is_file(), f"{done.returncode} {done.stdout} {done.stderr}"
        found: dict[str, Any] = json.loads(out.read_text())
        return found

    return run


def view(folder: Path, stem: str, size: tuple[int, int], x: float, **more: Any) -> dict[str, Any]:
    """A view from (x, -2, 0.2) along +Y, with its photo in ``folder``: left half red, right half blue."""
    path = folder / f"{stem}.png"
    picture = Image.new("RGB", size, (200, 20, 20))
    picture.paste((20, 20, 200), (size[0] // 2, 0, *size))
    picture.save(path)
    found = {"name": path.name, "stem": stem, "image": str(path), "width": size[0], "height": size[1]}
    found |= {"fl_x": 1.1 * size[0], "fl_y": 1.1 * size[0], "cx": size[0] / 2, "cy": size[1] / 2}
    found |= {"world_from_camera": [[1, 0, 0, x], [0, 0, -1, -2], [0, 1, 0, 0.2], [0, 0, 0, 1]]}
    return found | more


@pytest.fixture
def described(tmp_path: Path) -> dict[str, Any]:
    """A capture's description as the engine gives it: a lying, an upright and a bent photo, three points, a box."""
    folder = tmp_path / "Fotos mit Ümlaut"
    folder.mkdir()
    views = [
        view(folder, "a", (80, 60), -0.5),
        view(folder, "b", (50, 70), 0.0),
        view(folder, "c", (90, 60), 0.5, model="opencv", distortion=[-0.2, 0.05, 0.001, -0.002]),
    ]
    return {
        "name": "table",
        "capture_root": str(folder),
        "capture": str(folder / "transforms.json"),
        "views": views,
        "objects": [],
        "box": {"low": [-1, -0.5, 0], "high": [1, 0.5, 0.8], "kind": "inward"},
        "points": [[0, 0, 0], [0.5, 0, 0.1], [0, 0.25, 0.5]],
        "colours": [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
        "warnings": [],
    }


@pytest.fixture
def jobs(in_blender: Any, described: dict[str, Any], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a script with an engine that is a script too, and with the described capture imported."""
    meshes = write_meshes(tmp_path)
    return lambda script, **more: in_blender(FAKE + script, described=described, **meshes, **more)
