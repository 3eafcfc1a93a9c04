"""A field on disk comes back as it was, and whatever else lies there is told apart from a field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.captures.bounds import SceneBox
from engine.fields.checkpoint import MEANING, TENSORS, has_field, load_field, masks_of, save_field
from engine.fields.curve import CurvePoint
from engine.fields.scene_grid import build_grid
from engine.fields.settings import TrainingSettings
from engine.fields.training import TrainedField
from sa3d_blender.protocol.errors import FieldError

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(steps=7, sides=(8, 12), upsample_at=(3,), occupancy_side=16)
HISTORY = (CurvePoint(0.5, 3, 11.5, None), CurvePoint(1.5, 7, 12.25, 11.0))


@pytest.fixture
def field(make_field) -> TrainedField:
    model = make_field()
    box = SceneBox(model.aabb.numpy().astype(np.float64), "inward")
    grid = build_grid(model, SETTINGS.occupancy_side)
    return TrainedField(model, grid, box, SETTINGS, "good", {"images/000.png": 20.5}, HISTORY)


@pytest.fixture
def saved(field: TrainedField, tmp_path: Path) -> Path:
    save_field(field, tmp_path / "field", "the-capture")
    return tmp_path / "field"


def test_a_saved_field_comes_back_with_the_same_densities_colours_and_meaning(field, saved, points_in):
    loaded = load_field(saved, CPU, "the-capture")
    points = points_in(field.model.aabb, 500, reach=3.0)
    directions = torch.nn.functional.normalize(points, dim=-1)
    with torch.no_grad():
        assert torch.equal(loaded.model.density(points), field.model.density(points))
        assert torch.equal(loaded.model.colour(points, directions), field.model.colour(points, directions))
        behind = [each.model.background(points, directions) for each in (loaded, field)]
        assert torch.equal(*behind)
    assert torch.equal(loaded.grid.sigma, field.grid.sigma)
    assert loaded.settings == field.settings
    assert (loaded.quality, loaded.heldout_psnr_db, loaded.history) == ("good", {"images/000.png": 20.5}, HISTORY)
    assert loaded.box.kind == "inward"
    np.testing.assert_array_equal(loaded.box.aabb, field.box.aabb)


def test_saving_again_replaces_the_field(saved, make_field, field, points_in):
    other = make_field(seed=5, resolution=(10, 8, 8))
    save_field(TrainedField(other, field.grid, field.box, SETTINGS), saved, "the-capture")
    points = points_in(other.aabb, 100)
    with torch.no_grad():
        assert torch.equal(load_field(saved, CPU).model.density(points), other.density(points))
    assert sorted(p.name for p in saved.iterdir()) == sorted([MEANING, TENSORS])


def change(folder: Path, **values: object) -> None:
    meaning = json.loads((folder / MEANING).read_text())
    (folder / MEANING).write_text(json.dumps({**meaning, **values}))


def refused(folder: Path, match: str, capture: str | None = None) -> None:
    with pytest.raises(FieldError, match=match) as caught:
        load_field(folder, CPU, capture)
    assert caught.value.cure


def test_a_folder_without_a_field_says_so(tmp_path):
    assert not has_field(tmp_path)
    refused(tmp_path, "no trained field")


@pytest.mark.parametrize("name", [MEANING, TENSORS])
def test_half_a_field_is_none(saved, name):
    assert has_field(saved)
    (saved / name).unlink()
    assert not has_field(saved)
    refused(saved, "no trained field")


def test_a_field_of_another_version_says_so(saved):
    change(saved, format="sa3d-field-0")
    refused(saved, "sa3d-field-0")


def test_a_field_of_another_capture_says_so(saved):
    refused(saved, "another capture", capture="that-capture")
    load_field(saved, CPU)  # nobody asked for a certain capture


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("name", [MEANING, TENSORS])
def test_a_field_cut_short_is_damaged(saved, name, share):
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(share * len(content))])
    refused(saved, "damaged")


@pytest.mark.parametrize("meaning", ["[]", "3", "null", '"field"'])
def test_a_meaning_of_another_kind_is_damaged(saved, meaning):
    (saved / MEANING).write_text(meaning)
    refused(saved, "damaged")


@pytest.mark.parametrize(
    "values",
    [
        {"model": {}},
        {"model": {"resolution": [8, 8], "aabb": [[0, 0, 0], [1, 1, 1]], "settings": {}}},
        {"model": {"resolution": [8, 8, 8], "aabb": [[0, 0, 0], [1, 1, 1]], "settings": {"magic": 1}}},
        {"model": {"resolution": [8, 8, 8], "aabb": [[0, 0, 0], [1, 1, 1]], "settings": {}}},  # not these tensors
        {"settings": None},
        {"history": None},
    ],
)
def test_a_meaning_that_does_not_fit_is_damaged(saved, values):
    change(saved, **values)
    refused(saved, "damaged")


def test_a_field_says_what_the_photos_masks_were_taken_for(field, tmp_path):
    save_field(replace(field, masks="ignore"), tmp_path / "field", "the-capture")
    assert load_field(tmp_path / "field", CPU).masks == masks_of(tmp_path / "field") == "ignore"
    meaning = json.loads((tmp_path / "field" / MEANING).read_text())
    del meaning["masks"]  # as before it was said
    (tmp_path / "field" / MEANING).write_text(json.dumps(meaning))
    assert load_field(tmp_path / "field", CPU).masks is None and masks_of(tmp_path / "field") == "auto"
    assert masks_of(tmp_path / "nowhere") == "auto"
