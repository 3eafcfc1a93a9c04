"""Blender's window closed, or killed, in mid-job: no engine is left running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(600)

# A process of its own that counts until it is stopped, run by the Python that Blender's own system has.
ENGINE = """
import os, sys
from bl_ext.user_default.sa3d.sa3d_blender import link
from bl_ext.user_default.sa3d.sa3d_blender.client.process import EngineCommand, ProcessTransport
import bl_ext.user_default.sa3d as package
source = os.path.dirname(os.path.realpath(package.__file__))
environment = {"PYTHONPATH": os.pathsep.join([source, FOLDER]), "PYTHONDONTWRITEBYTECODE": "1"}
command = EngineCommand(("/usr/bin/python3", "-u", os.path.join(FOLDER, "toy_engine.py")), environment, own=OWN)
sys.sa3d_engines = []
def launch():
    sys.sa3d_engines.append(ProcessTransport(command))
    return sys.sa3d_engines[-1]
link.use(launch)
sys.sa3d_job = link.session().request(KIND, {"to": 1_000_000})
"""
LOOK = """
import os, sys
from bl_ext.user_default.sa3d.sa3d_blender import link
at_work = sys.sa3d_job.progress is not None or KIND == "stuck"
answer = [os.getpid(), sys.sa3d_engines[-1].pid, link.state(), at_work, link.log_lines()[-5:]]
"""


def at_work(window: Any, kind: str, own: bool) -> tuple[int, int]:
    """Has an engine work in the open window; (Blender's process id, the engine's)."""
    shutil.copy(ROOT / "tests/helpers/toy_engine.py", window.folder)
    given = f"KIND = {kind!r}\nOWN = {own}\nFOLDER = {json.dumps(str(window.folder))}\n"
    window.py(given + ENGINE)
    until = time.monotonic() + 120
    while True:
        blender, engine, state, busy, log = window.py(given + LOOK)
        if state == "ready" and busy:
            return blender, engine
        assert state != "dead" and time.monotonic() < until, (state, log)
        time.sleep(0.2)


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it isn't one that is only waiting to be counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# own: Linux ties the engine to Blender; else, as through ssh, the end of its input has to do.
@pytest.mark.parametrize(
    ("how", "kind", "own"),
    [("closed", "count", True), ("closed", "stuck", False), ("killed", "count", True), ("killed", "count", False)],
)
def test_no_engine_is_left_when_the_window_is_closed_or_killed_in_mid_job(window, how, kind, own):
    blender, engine = at_work(window, kind, own)
    assert is_running(blender) and is_running(engine)
    began = time.monotonic()
    if how == "killed":
        os.kill(blender, signal.SIGKILL)
    else:
        window.tool("stop")
    while is_running(engine) or is_running(blender):
        assert time.monotonic() - began < 120, "the engine is still there"
        time.sleep(0.02)
    print(f"{how}, {kind}: gone after {time.monotonic() - began:.2f} s")
    window.tool("stop")
    window.tool("run")
