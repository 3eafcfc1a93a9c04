"""A checkpoint becomes the field of the capture that the user names: found by segmenting, measured on the photos."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from foreign_checkpoints import PublishedDVGO, PublishedTensoRF
from PIL import Image
from small_captures import look_at, write_transforms
from tiny_capture import BALL_CENTRE, BALL_RADIUS, BOX_CENTRE, BOX_HALF, TinyCapture
from typer.testing import CliRunner, Result

from engine import api
from engine.captures.bounds import SceneBox
from engine.captures.load import load_capture
from engine.cli import app
from engine.fields.checkpoint import load_field, save_field
from engine.fields.imports.imported import ImportedField
from engine.fields.scene_grid import build_grid
from engine.fields.settings import PRESETS
from engine.fields.training import TrainedField
from engine.progress import Job
from sa3d_blender.protocol.errors import FieldError

CPU = torch.device("cpu")


def tiny_dvgo(folder: Path) -> Path:
    """The tiny capture's ball, box and ground as a DirectVoxGO of the coarse stage, as if it had learned them."""
    aabb = np.array([[-3.2, -3.2, -0.1], [3.2, 3.2, 0.9]])
    published = PublishedDVGO(fine=False, aabb=aabb, voxels=80**3, voxels_base=80**3, alpha_init=1e-6)
    axes = [np.linspace(low, high, n) for low, high, n in zip(*aabb, published.shape, strict=True)]
    xyz = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    ball = np.linalg.norm(xyz - BALL_CENTRE, axis=-1) - BALL_RADIUS  # signed distances
    box = (np.abs(xyz - BOX_CENTRE) - BOX_HALF).max(-1)
    nearest = np.stack([ball, box, xyz[..., 2]])
    hues = np.array([[0.75, 0.3, 0.12], [0.2, 0.38, 0.75], [0.45, 0.48, 0.43]])
    colours = hues[nearest.argmin(0)].transpose(3, 0, 1, 2)
    known = PublishedDVGO(
        fine=False,
        aabb=aabb,
        voxels=80**3,
        voxels_base=80**3,
        alpha_init=1e-6,
        values=20 - 600 * nearest.min(0),
        colours=np.log(colours / (1 - colours)),
    )
    known.mask = nearest.min(0) < 0.2  # where there was something to learn
    return known.save(folder / "fine_last.tar")


@pytest.fixture
def capture(tiny_capture):
    return load_capture(tiny_capture.folder)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def job(said) -> Job:
    return Job(log=said.append)


@pytest.fixture
def options(own_cache) -> api.Options:
    return api.Options(own_cache, "cpu")


def test_segmenting_finds_the_import_in_the_cache(capture, options, job, said, tmp_path):
    trained = api.import_field(capture, tiny_dvgo(tmp_path), options, job)
    assert trained.field.mean_heldout_psnr_db > 18  # the sky is missing, and the patterns
    assert len(trained.field.heldout_psnr_db) > 1
    assert not any("Warning" in line for line in said)
    found = api.train(capture, "good", options, job)  # what segmenting does first
    assert found.from_cache
    assert found.folder == trained.folder
    assert found.key == trained.key
    assert isinstance(found.field.model, ImportedField)
    assert found.field.heldout_psnr_db == trained.field.heldout_psnr_db
    workspace, same = api.open_workspace(capture, options, api.SegmentOptions(quality="good"), job)
    assert same.key == trained.key
    assert 0 < workspace.voxels.count < 80**3 / 2  # nothing that the checkpoint says is empty


def test_a_checkpoint_of_another_scene_is_noticed(capture, options, job, said, tmp_path):
    trained = api.import_field(
        capture, PublishedTensoRF().save(tmp_path / "other.th"), options, job, tmp_path / "field"
    )
    assert trained.field.mean_heldout_psnr_db < 15
    assert any(line.startswith("Warning: the field hardly shows") for line in said)
    assert trained.folder == tmp_path / "field"
    load_field(tmp_path / "field", CPU)


def test_the_box_is_the_checkpoints(capture, options, job, tmp_path):
    published = PublishedTensoRF()
    trained = api.import_field(capture, published.save(tmp_path / "field.th"), options, job)
    np.testing.assert_allclose(trained.field.box.aabb, published.aabb)
    assert not trained.field.model.space.unbounded


def test_the_background_is_what_the_user_says(capture, options, job, tmp_path):
    path = PublishedTensoRF().save(tmp_path / "field.th")
    rays = torch.zeros(2, 3)
    for name, value in (("white", 1.0), ("black", 0.0)):
        model = api.import_field(capture, path, options, job, background=name).field.model
        assert (model.background(rays, rays) == value).all()
    with pytest.raises(FieldError, match=r"'grey'.*white, black"):
        api.import_field(capture, path, options, job, background="grey")


def test_photos_with_alpha_are_compared_on_that_background(options, job, tmp_path):
    usual = {"w": 16, "h": 12, "fl_x": 20.0, "fl_y": 20.0, "cx": 8.0, "cy": 6.0}
    write_transforms(tmp_path / "capture", **usual)
    for photo in (tmp_path / "capture").rglob("*.png"):
        Image.fromarray(np.zeros((12, 16, 4), np.uint8)).save(photo)  # nothing at all
    capture = load_capture(tmp_path / "capture")
    nothing = PublishedDVGO(fine=False)
    nothing.mask[:] = False
    path = nothing.save(tmp_path / "field.tar")
    for background in ("white", "black"):
        trained = api.import_field(capture, path, options, job, background=background)
        assert trained.field.mean_heldout_psnr_db > 90


def test_what_took_training_is_not_replaced_unasked(capture, options, job, tmp_path, make_field):
    model = make_field()
    out = tmp_path / "field"
    out.mkdir()
    settings = replace(PRESETS["good"], occupancy_side=8)
    save_field(TrainedField(model, build_grid(model, 8), SceneBox(model.aabb.numpy(), "inward"), settings), out, "k")
    path = PublishedTensoRF().save(tmp_path / "field.th")
    with pytest.raises(FieldError, match=r"trained here already.*--again"):
        api.import_field(capture, path, options, job, out)
    assert load_field(out, CPU).model.kind == "tensorf"
    api.import_field(capture, path, options, job, out, again=True)
    first = api.import_field(capture, path, options, job, out)  # imports give way to others
    assert first.field.model.kind == "imported"
    assert first.key == api.import_field(capture, path, options, job, out).key  # and the same file is the same field


def test_tensorf_of_a_capture_from_the_front_is_refused(tmp_path, options, job):
    usual = {"w": 16, "h": 12, "fl_x": 20.0, "fl_y": 20.0, "cx": 8.0, "cy": 6.0}
    beside = [look_at([0.2 * i, -3.0, 0.5]) for i in range(4)]
    write_transforms(tmp_path / "front", frames=[{"transform_matrix": pose.tolist()} for pose in beside], **usual)
    capture = load_capture(tmp_path / "front")
    with pytest.raises(FieldError, match="seen from the front"):
        api.import_field(capture, PublishedTensoRF().save(tmp_path / "field.th"), options, job)
    api.import_field(capture, PublishedDVGO().save(tmp_path / "field.tar"), options, job)  # bounded, whatever the view


def test_a_checkpoint_of_neither_program_is_told(capture, options, job, tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(FieldError, match="neither a checkpoint of TensoRF nor one of DirectVoxGO"):
        api.import_field(capture, tmp_path / "other.pt", options, job)


def sa3d(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_from_the_command_line_to_an_object(tiny_capture: TinyCapture, own_cache, tmp_path):
    result = sa3d("train", tiny_capture.folder, "--from", tiny_dvgo(tmp_path), "--json", "--device", "cpu")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["heldout_psnr_db"] > 18
    assert not found["from_cache"]
    assert Path(found["field"]).is_relative_to(own_cache)
    x, y = tiny_capture.centre_px("ball", 4)
    out = tmp_path / "ball"
    words = ["--view", "004.png", "--point", f"{x},{y}", "--segmenter", "graph-cut", "--quality", "good", "--json"]
    result = sa3d("segment", tiny_capture.folder, *words, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "Training" not in result.stderr
    mesh = trimesh.load(next(out.glob("*.glb")), force="mesh")
    points = np.stack([mesh.vertices[:, 0], -mesh.vertices[:, 2], mesh.vertices[:, 1]], 1)  # glTF has y up
    away = np.linalg.norm(points - BALL_CENTRE, axis=1)
    assert abs(np.median(away) - BALL_RADIUS) < 0.06  # about a cell of the grid


def test_the_command_line_tells_what_is_wrong(tiny_capture, own_cache, tmp_path):
    (tmp_path / "field.th").write_text("no checkpoint")
    for words, expected in (
        (["--from", tmp_path / "nothing.th"], "There is no checkpoint"),
        (["--from", tmp_path / "field.th"], "no checkpoint that PyTorch"),
        (["--from", tmp_path / "field.th", "--background", "grey"], "Choose one of: white, black."),
    ):
        result = sa3d("train", tiny_capture.folder, *words)
        assert result.exit_code == 1
        assert expected in result.stderr
        assert "Traceback" not in result.stderr


def test_the_engines_process_imports_too(tiny_capture, own_cache, tmp_path):
    from engine.server_lanes import ServedJob
    from engine.server_requests import request_kinds
    from sa3d_blender.protocol.messages import Request

    body = {"capture": str(tiny_capture.folder), "from": str(tiny_dvgo(tmp_path)), "background": "white"}
    answer = request_kinds("cpu", own_cache)["train"].work(Request(1, "train", body), ServedJob())
    assert answer.body["quality"] == "good"
    assert answer.body["heldout_psnr_db"] > 18
