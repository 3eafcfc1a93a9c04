"""The Blenders that the tests run in: this environment's own bpy module, and those that SA3D_BPY_PYTHONS names."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["PYTHONS", "own_environment", "run_in_blender", "version_of"]

PYTHONS: tuple[str, ...] = (
    *((sys.executable,) if importlib.util.find_spec("bpy") is not None else ()),
    *(each for each in os.environ.get("SA3D_BPY_PYTHONS", "").split(os.pathsep) if each),
)
"""Python executables that can import bpy. SA3D_BPY_PYTHONS holds more of them, separated as in PATH."""


def run_in_blender(
    python: str, script: str, folder: Path, leave: bool = False, seconds: float = 240.0, **arguments: Any
) -> Any:
    """Runs ``script`` in a Blender whose settings, and working folder, are ``folder``; returns what it left in
    ``seen``. The script finds ``bpy``, ``json``, ``os``, ``sys`` and its ``arguments`` as variables. ``leave``: Python
    ends as it does by itself, which the bpy module of 4.x never does while a callback is left behind."""
    out = folder / "seen.json"
    out.unlink(missing_ok=True)
    whole = (
        "import json, os, sys\nimport bpy\nimport addon_utils\nseen = {}\nglobals().update(json.loads(sys.argv[1]))\n"
        f"{script}\nwith open(sys.argv[2], 'w') as file:\n    json.dump(seen, file)\n"
    )
    whole += "" if leave else "os._exit(0)\n"
    environment = own_environment(folder)
    command = [python, "-c", whole, json.dumps(arguments), str(out)]
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired as late:
        said = (late.stderr or b"").decode()
        raise AssertionError(f"Blender didn't end; it had{'' if out.is_file() else ' not'} answered. {said}") from late
    assert done.returncode == 0, f"{done.returncode} {done.stdout} {done.stderr}"
    assert out.is_file(), f"{done.returncode} {done.stdout} {done.stderr}"
    return json.loads(out.read_text())


def own_environment(folder: Path) -> dict[str, str]:
    """An environment in which Blender and engine keep everything in ``folder``: the user's own engine and cache are
    neither used nor touched, and what is installed has to stand on its own."""
    places = {"BLENDER_USER_RESOURCES": "user", "SA3D_CACHE": "cache", "XDG_DATA_HOME": "data"}
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return own | {name: str(folder / place) for name, place in places.items()}


@functools.cache
def version_of(python: str) -> str:
    """As "4.5"; the path itself where that Python has no bpy."""
    code = "import bpy, os; print('%d.%d' % bpy.app.version[:2], flush=True); os._exit(0)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60)
    return (done.stdout.split() or [python])[-1]
