"""Replica sequences are read with their poses turned to our axes and a field of view of 90 degrees."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from benchmark_layouts import write_replica
from tiny_capture import TinyCapture

from engine.captures.load import load_capture
from sa3d_blender.protocol.errors import CaptureError


@pytest.fixture
def sequence(tiny_capture: TinyCapture, tmp_path: Path) -> Path:
    write_replica(tiny_capture, tmp_path)
    return tmp_path / "office_0" / "Sequence_1"


def test_cameras_are_those_that_were_written(tiny_capture, sequence):
    capture = load_capture(sequence)
    assert capture.format == "replica"
    assert len(capture) == 20
    for view in capture.views:
        number = int(view.stem.removeprefix("rgb_"))
        np.testing.assert_allclose(view.camera.world_from_camera, tiny_capture.world_from_camera[number], atol=1e-6)
        assert (view.camera.fl_x, view.camera.fl_y) == (40.0, 40.0)  # 90 degrees over 80 pixels
        assert (view.camera.cx, view.camera.cy) == (40.0, 30.0)


def test_views_come_in_the_order_of_their_numbers_not_of_their_names(sequence):
    assert [view.stem for view in load_capture(sequence).views] == [f"rgb_{i}" for i in range(20)]


@pytest.mark.parametrize("where", ["", "Sequence_1", "Sequence_1/traj_w_c.txt"])
def test_the_scene_its_sequence_or_the_trajectory_may_be_named(sequence, where):
    assert len(load_capture(sequence.parent / where)) == 20


def test_photos_without_a_pose_are_left_out_with_a_warning(sequence):
    path = sequence / "traj_w_c.txt"
    path.write_text("\n".join(path.read_text(encoding="utf-8").splitlines()[:18]) + "\n", encoding="utf-8")
    capture = load_capture(sequence)
    assert len(capture) == 18
    assert any("18 poses" in warning for warning in capture.warnings)


@pytest.mark.parametrize(
    ("text", "words"),
    [("1 2 3\n", "3 numbers a line"), ("a b c\n", "no table|not a table"), ("", "numbers")],
)
def test_a_damaged_trajectory_is_refused_with_a_sentence(sequence, text, words):
    (sequence / "traj_w_c.txt").write_text(text, encoding="utf-8")
    with pytest.raises(CaptureError, match=words) as caught:
        load_capture(sequence)
    assert caught.value.cure


def test_without_photos_there_is_no_capture(sequence):
    shutil.rmtree(sequence / "rgb")
    with pytest.raises(CaptureError, match="no folder rgb"):
        load_capture(sequence)
