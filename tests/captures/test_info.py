"""The facts of a capture and the picture of its cameras and points."""

from __future__ import annotations

import json

import numpy as np
import pytest
from colmap_models import write_colmap
from PIL import Image
from small_captures import write_llff, write_transforms
from typer.testing import CliRunner

from engine.captures.info import capture_facts, capture_info
from engine.captures.load import load_capture
from engine.captures.picture import SIDE, TITLE, capture_picture
from engine.cli import app
from engine.progress import Job
from sa3d_blender.protocol.errors import StorageError


def test_facts_name_format_sizes_lenses_splits_and_points(tmp_path):
    facts = capture_facts(load_capture(write_colmap(tmp_path, count=6)))
    assert facts["format"] == "colmap" and facts["views"] == 6 and facts["points"] == 40
    assert facts["sizes"] == {"16 x 12": 6} and facts["lens_models"] == {"pinhole": 6}
    assert facts["splits"] == {"train": 6} and facts["different_lenses"] == 1
    assert facts["field_of_view_degrees"] == [pytest.approx(43.6, abs=0.01)] * 2
    assert facts["box_kind"] == "inward" and np.shape(facts["box"]) == (2, 3)
    assert json.loads(json.dumps(facts)) == facts


def test_facts_say_what_is_missing(tmp_path):
    write_transforms(tmp_path, count=5)
    (tmp_path / "images/3.png").unlink()
    assert "1 of 5 listed photos are missing" in capture_facts(load_capture(tmp_path))["warnings"][0]


def test_splits_and_depth_bounds_are_counted(tmp_path):
    facts = capture_facts(load_capture(write_llff(tmp_path)))
    assert facts["splits"] == {"test": 2, "train": 7} and facts["near_far"] == 9


def test_cameras_points_and_box_are_in_the_picture(tmp_path):
    pixels = np.asarray(capture_picture(load_capture(write_colmap(tmp_path))))
    assert pixels.shape == (SIDE + TITLE, 3 * SIDE, 3)
    for panel in range(3):
        here = pixels[TITLE:, panel * SIDE : (panel + 1) * SIDE].reshape(-1, 3)
        for colour in ((30, 90, 200), (40, 150, 60)):
            assert (here == colour).all(axis=1).sum() > 50
        points = (here[:, 0] == 10) & (here[:, 1] == 20)
        assert 10 < points.sum() <= 40


def test_a_ring_of_cameras_is_as_wide_as_high_from_above(tmp_path):
    pixels = np.asarray(capture_picture(load_capture(write_transforms(tmp_path, count=12))))[TITLE:, :SIDE]
    rows, columns = np.nonzero((pixels == (30, 90, 200)).all(axis=-1))
    assert abs(np.ptp(rows) - np.ptp(columns)) < 12
    assert abs(rows.mean() - SIDE / 2) < 12 and abs(columns.mean() - SIDE / 2) < 12


def test_a_picture_never_goes_into_the_capture(tmp_path):
    write_transforms(tmp_path / "scene")
    with pytest.raises(StorageError):
        capture_info(tmp_path / "scene", Job(), tmp_path / "scene/picture.png")
    assert not (tmp_path / "scene/picture.png").exists()


def test_the_command_prints_facts_and_json(tmp_path):
    write_transforms(tmp_path / "scene")
    told = CliRunner().invoke(app, ["captures", "info", str(tmp_path / "scene"), "--picture", str(tmp_path / "a.png")])
    assert told.exit_code == 0 and "Format: transforms" in told.output and "Views: 4" in told.output
    assert Image.open(tmp_path / "a.png").size == (3 * SIDE, SIDE + TITLE)
    told = CliRunner().invoke(app, ["captures", "info", str(tmp_path / "scene"), "--json"])
    assert json.loads(told.stdout)["views"] == 4


def test_the_command_converts(tmp_path):
    write_transforms(tmp_path / "scene")
    arguments = ["captures", "convert", str(tmp_path / "scene"), "--to", "colmap", "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(app, [*arguments, "--distortion", "0.1,0,0,0", "--json"])
    assert json.loads(told.stdout)["retaken"] == 4
    assert load_capture(tmp_path / "out").views[0].camera.distortion[0] == 0.1
    assert CliRunner().invoke(app, [*arguments, "--distortion", "0.1,0,x,0"]).exit_code == 2
    assert CliRunner().invoke(app, arguments).exit_code == 1  # the folder holds a capture by now


def test_the_command_straightens_what_it_has_bent(tmp_path):
    write_transforms(tmp_path / "scene")
    bend = ["captures", "convert", str(tmp_path / "scene"), "--to", "nerfstudio", "--out", str(tmp_path / "bent")]
    assert CliRunner().invoke(app, [*bend, "--distortion=-0.2,0,0,0"]).exit_code == 0
    back = ["captures", "convert", str(tmp_path / "bent"), "--to", "colmap", "--out", str(tmp_path / "out")]
    told = CliRunner().invoke(app, [*back, "--straighten", "--json"])
    assert json.loads(told.stdout)["retaken"] == 4
    assert load_capture(tmp_path / "out").views[0].camera.model == "pinhole"


def test_no_capture_is_one_line_and_exit_code_1(tmp_path):
    told = CliRunner().invoke(app, ["captures", "info", str(tmp_path)])
    assert told.exit_code == 1 and "not a known kind" in told.stderr and "Traceback" not in told.output
