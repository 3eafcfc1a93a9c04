"""Requests that come before the engine has loaded torch: on three threads at once, and all are answered."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sa3d_blender.client.process import ProcessTransport, python_engine
from sa3d_blender.client.session import Session
from tests.helpers.tiny_capture import write_tiny_capture

ROOT = Path(__file__).resolve().parents[1]


def test_requests_that_come_while_torch_is_loaded_are_answered(tmp_path):
    tiny = write_tiny_capture(tmp_path / "tiny")
    session = Session(lambda: ProcessTransport(python_engine(sys.executable, ROOT, tmp_path / "cache")))
    try:
        session.start()
        opened = session.request("open_capture", {"path": str(tiny.folder / "transforms.json")})
        trained = session.request("train", {"capture": str(tiny.folder), "quality": "perfect"})
        found, failed = session.wait(opened, 60), session.wait(trained, 60)
        until = time.monotonic() + 30
        while session.capabilities is None and time.monotonic() < until:
            session.pump()
            time.sleep(0.01)
    finally:
        session.close()
    assert opened.state == "done" and found.body["name"] == "tiny", found
    assert failed.code == "field" and "perfect" in failed.what  # not "internal": torch was whole when it was asked
    assert session.fault is None and session.capabilities
