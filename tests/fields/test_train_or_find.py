"""Whether a field is trained or one that is there will do; and that none is lost by trying."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_capture import TinyCapture

import engine.train as train_module
from engine import photo_copies
from engine.cache import Cache
from engine.captures import shrinking
from engine.captures.load import load_capture
from engine.fields.checkpoint import MEANING, TENSORS, has_field, load_field, save_field
from engine.fields.cut import CutField
from engine.fields.settings import TrainingSettings
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.train import Trained, open_workspace, train
from sa3d_blender.protocol.errors import Cancelled, FieldError, StorageError
from tests.helpers.cramped import fill, mounted

FEW_STEPS = TrainingSettings(
    steps=4, rays=64, sides=(8, 10), upsample_at=(2,), occupancy_side=8, occupancy_every=2, max_side_px=80
)


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_module, "preset", lambda quality, kind="tensorf": FEW_STEPS)


@pytest.fixture
def capture(tiny_capture: TinyCapture):
    """The tiny capture, read."""
    return load_capture(tiny_capture.folder)


def trained(capture, tmp_path: Path, said: list[str] | None = None, quality: str = "draft", **more) -> Trained:
    job = Job(log=(said if said is not None else []).append)
    return train(capture, quality, Options(tmp_path / "cache", "cpu"), job, **more)


def test_a_field_is_found_again(capture, tmp_path):
    assert not trained(capture, tmp_path).from_cache
    said: list[str] = []
    assert trained(capture, tmp_path, said).from_cache
    assert said[0].startswith("Using the field in")


def test_photos_far_larger_than_working_size_are_shrunk_once_and_the_field_is_the_same(capture, tmp_path, monkeypatch):
    monkeypatch.setattr(shrinking, "LARGE", 1000)
    monkeypatch.setattr(train_module, "preset", lambda *_: replace(FEW_STEPS, max_side_px=40))
    first = load_file(trained(capture, tmp_path).folder / TENSORS)
    assert len(list((tmp_path / "cache" / "photos").glob("*/*.npy"))) == len(capture)
    monkeypatch.setattr(photo_copies, "read_levels", lambda *_: pytest.fail("shrunk again"))
    second = load_file(trained(capture, tmp_path, again=True).folder / TENSORS)
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_damaged_field_is_said_and_trained_anew(capture, tmp_path):
    folder = trained(capture, tmp_path).folder
    (folder / TENSORS).write_bytes(b"\x00" * 100)
    said: list[str] = []
    assert not trained(capture, tmp_path, said).from_cache
    assert said[0].startswith("Warning: The field in") and said[0].endswith("A new one is trained.")
    assert trained(capture, tmp_path).from_cache


def test_another_kind_or_quality_than_the_one_in_the_named_folder_is_refused(capture, tmp_path):
    out = tmp_path / "field"
    trained(capture, tmp_path, out=out)
    for asked in ({"kind": "dvgo"}, {"quality": "good"}):
        with pytest.raises(FieldError, match="TensoRF of quality 'draft'") as caught:
            trained(capture, tmp_path, out=out, **asked)
        assert "--again" in caught.value.cure
    assert trained(capture, tmp_path, out=out).from_cache
    assert not trained(capture, tmp_path, out=out, kind="dvgo", again=True).from_cache
    assert load_field(out, train_module.pick_device("cpu")).model.kind == "dvgo"


def test_a_field_of_another_capture_is_not_trained_over(capture, tmp_path):
    out = tmp_path / "field"
    trained(capture, tmp_path, out=out)
    fewer = replace(capture, views=capture.views[:-1])
    with pytest.raises(FieldError, match="another capture"):
        trained(fewer, tmp_path, out=out)


def test_an_imported_field_serves_whatever_the_settings_have_become_since(capture, tmp_path, monkeypatch):
    folder = trained(capture, tmp_path).folder
    monkeypatch.setattr(train_module.ImportedField, "kind", "tensorf")  # as if that kind came from elsewhere
    monkeypatch.setattr(train_module, "preset", lambda *_: replace(FEW_STEPS, rays=65))
    assert trained(capture, tmp_path).from_cache
    assert not trained(capture, tmp_path, again=True).from_cache
    assert has_field(folder)


def test_cancelling_while_it_is_measured_costs_the_measure_alone(capture, tmp_path, monkeypatch):
    def cancelled(*_):
        raise Cancelled("Stopped.")

    with monkeypatch.context() as patched:
        patched.setattr(train_module, "heldout_psnr_db", cancelled)
        with pytest.raises(Cancelled):
            trained(capture, tmp_path)
    said: list[str] = []
    assert trained(capture, tmp_path, said).from_cache
    assert "no held-out PSNR" in said[0]


def test_a_full_disk_leaves_the_field_that_was_there(capture, tmp_path):
    first = trained(capture, tmp_path)
    with mounted(tmp_path / "small disk", "-t", "tmpfs", "-o", "size=4m", "tmpfs") as disk:
        save_field(first.field, disk, "this capture")
        before = (disk / MEANING).read_bytes()
        fill(disk, 8192)
        with pytest.raises(StorageError, match="full"):
            save_field(first.field, disk, "this capture")
        assert has_field(disk) and (disk / MEANING).read_bytes() == before


def test_a_folder_that_can_not_be_made_is_said_in_a_sentence(capture, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="Can't write"):
        trained(capture, tmp_path, out=tmp_path / "file" / "field")


def test_nothing_is_trained_into_a_capture_or_among_other_things(capture, tmp_path):
    for inside in (capture.root, capture.root / "field"):
        with pytest.raises(StorageError, match="lies in the capture"):
            trained(capture, tmp_path, out=inside)
    assert not (capture.root / "field").exists() and not (capture.root / TENSORS).exists()
    result = tmp_path / "lamp"
    result.mkdir()
    (result / "report.json").write_text("{}")
    with pytest.raises(StorageError, match=r"holds other things already, such as report\.json"):
        trained(capture, tmp_path, out=result)
    assert [path.name for path in result.iterdir()] == ["report.json"]


def test_a_field_that_was_cut_to_an_object_is_no_field_of_the_capture(capture, tmp_path):
    out = tmp_path / "object"
    whole = trained(capture, tmp_path).field
    cut = CutField(whole.model, whole.model.aabb, torch.ones(4, 4, 4))
    out.mkdir()
    save_field(replace(whole, model=cut), out, Cache(tmp_path / "cache").capture_key(capture))
    with pytest.raises(FieldError, match="cut to an object of quality 'draft'"):
        trained(capture, tmp_path, out=out)


def test_a_region_of_interest_of_the_user_s_own_is_trained_in_and_found_again(capture, tmp_path):
    box = ((-0.5, -0.4, 0.0), (0.5, 0.4, 0.75))
    first = trained(capture, tmp_path, box=box)
    np.testing.assert_allclose(first.field.model.aabb.numpy(), box, atol=1e-6)
    assert trained(capture, tmp_path, box=box).from_cache
    assert trained(capture, tmp_path).from_cache  # as segmenting asks, which knows of no box
    other = trained(capture, tmp_path, box=((-0.5, -0.4, 0.0), (0.5, 0.4, 0.5)))
    assert not other.from_cache and float(other.field.model.aabb[1, 2]) == 0.5


def test_segmenting_says_that_a_region_moved_after_training_is_not_in_the_field(capture, tmp_path):
    options, box = Options(tmp_path / "cache", "cpu"), ((-0.5, -0.4, 0.0), (0.5, 0.4, 0.75))
    moved = ((-0.5, -0.4, 0.0), (0.5, 0.4, 0.5))
    said = {}
    for name, wanted in (("new", box), ("same", box), ("moved", moved), ("none", None)):
        lines: list[str] = []
        _, found = open_workspace(capture, options, SegmentOptions(region=wanted), Job(log=lines.append))
        said[name] = any("was moved after the field was trained" in line for line in lines)
        np.testing.assert_allclose(found.field.model.aabb.numpy(), box, atol=1e-6)
        assert found.from_cache == (name != "new")
    assert said == {"new": False, "same": False, "moved": True, "none": False}


@pytest.mark.parametrize("box", [((0.0,) * 3, (1.0, 1.0, 0.0)), ((0.0,) * 3, (1.0, float("nan"), 1.0))])
def test_an_empty_region_is_said(capture, tmp_path, box):
    with pytest.raises(FieldError, match="empty or not finite"):
        trained(capture, tmp_path, box=box)
