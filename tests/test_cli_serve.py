"""`sa3d serve` says nothing but frames on standard output, from its first byte on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sa3d_blender.client.process import ProcessTransport, command_engine
from sa3d_blender.client.session import Session
from sa3d_blender.protocol.framing import MAGIC

ROOT = Path(__file__).resolve().parents[1]
# What a library does that prints while it is imported: on Python's stream, and past it.
NOISE = """
import os, sys
print("noise")
sys.stdout.flush()
os.write(1, b"more noise")
sys.path.remove(os.path.dirname(__file__))  # and then it is the library itself
del sys.modules["typer"]
import typer
sys.modules["typer"] = typer
"""


@pytest.mark.parametrize("module", [["engine.cli", "serve"], ["engine.server_start"]], ids=" ".join)
def test_the_first_byte_is_a_frames_whatever_is_printed_while_it_starts(module, tmp_path, own_cache):
    (tmp_path / "typer.py").write_text(NOISE)
    done = subprocess.run(
        [sys.executable, "-m", *module],
        input=b"",
        capture_output=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout[:8] == MAGIC
    if "engine.cli" in module:
        assert b"noise" in done.stderr
    header = json.loads(done.stdout[24 : 24 + int.from_bytes(done.stdout[12:16], "big")])
    assert header["type"] == "hello"


def test_the_command_serves_a_session(own_cache):
    command = command_engine([sys.executable, "-m", "engine.cli", "serve", "--device", "cpu"])
    session = Session(lambda: ProcessTransport(command, ROOT))
    session.start()
    found = session.wait(session.request("cache_size"), 60)
    assert found.body == {"folder": str(own_cache), "bytes": 0}
    session.close()


def test_bad_options_are_said_in_the_log(own_cache):
    session = Session(
        lambda: ProcessTransport(command_engine([sys.executable, "-m", "engine.cli", "serve", "--x"]), ROOT)
    )
    session.start()
    failure = session.wait(session.request("cache_size"), 60)
    assert failure.code == "engine"
    assert "exit code 2" in failure.what
