"""`sa3d captures poses`, and the same as a request to the engine."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from engine.cli import app
from engine.server_lanes import Kind, ServedJob
from engine.server_requests import request_kinds
from sa3d_blender.protocol.errors import CaptureError
from sa3d_blender.protocol.messages import Request


def test_a_folder_without_photos_ends_with_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    command = ["captures", "poses", str(tmp_path / "empty"), "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, [*command, "--cache", str(tmp_path / "cache")])
    assert done.exit_code == 1
    said = json.loads(done.stdout.splitlines()[0])
    assert said["error"] == "capture" and "no photos" in said["what"] and "video" in said["cure"]
    assert not (tmp_path / "out").exists()


def test_a_camera_model_that_there_is_not_is_refused_with_those_there_are(tmp_path):
    command = ["captures", "poses", str(tmp_path), "--out", str(tmp_path / "out"), "--camera", "MAGIC"]
    done = CliRunner().invoke(app, [*command, "--cache", str(tmp_path / "cache")])
    assert done.exit_code == 1 and "SIMPLE_RADIAL" in done.stderr


def test_the_engine_takes_it_as_long_work(tmp_path):
    kind: Kind = request_kinds("cpu", tmp_path / "cache")["find_poses"]
    assert kind.long
    (tmp_path / "empty").mkdir()
    body = {"photos": str(tmp_path / "empty"), "out": str(tmp_path / "out")}

    with pytest.raises(CaptureError, match="no photos"):
        kind.work(Request(1, "find_poses", body), ServedJob())
