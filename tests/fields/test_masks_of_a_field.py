"""A field that was trained with other masks than a capture suggests is opened with those that it was trained with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_captures import HEIGHT, WIDTH, write_transforms

from engine import objects
from engine.cache import Cache
from engine.captures.bounds import SceneBox
from engine.captures.capture import Capture
from engine.captures.load import load_capture
from engine.captures.scene_masks import used_masks, with_masks
from engine.fields.checkpoint import save_field
from engine.fields.scene_grid import build_grid
from engine.fields.settings import TrainingSettings
from engine.fields.training import TrainedField
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.prompts import UserPrompt
from engine.train import open_workspace
from sa3d_blender.protocol.errors import FieldError


def write_capture(folder: Path) -> None:
    """A capture whose masks cut something out."""
    write_transforms(folder)
    (folder / "masks").mkdir()
    for number, photo in enumerate((folder / "images").iterdir()):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[3 + number % 2 : 8, 4:9] = 255
        Image.fromarray(mask).save(folder / "masks" / photo.name)


def test_masks_can_be_taken_for_something_else_when_segmenting_as_when_training(tmp_path, monkeypatch):
    write_capture(tmp_path / "capture")
    opened = []

    def stop(capture: Capture, *_: object) -> None:
        opened.append(used_masks(capture))
        raise FieldError("It is enough.", "Go home.")

    monkeypatch.setattr(objects, "open_workspace", stop)
    view = load_capture(tmp_path / "capture").views[0].name
    for request in (SegmentOptions(), SegmentOptions(masks="none"), SegmentOptions(masks="ignore")):
        with pytest.raises(FieldError, match="enough"):
            objects.segment_capture(
                tmp_path / "capture",
                UserPrompt(view, ((4.0, 4.0, 1),)),
                request,
                Options(tmp_path / "cache", "cpu"),
                tmp_path / "out",
                Job(),
            )
    assert opened == ["object", "none", "ignore"]


def test_a_named_fields_masks_hold_for_its_workspace(make_field, tmp_path):
    write_capture(tmp_path / "capture")
    capture = load_capture(tmp_path / "capture")
    plain = with_masks(capture, "none")
    assert (used_masks(capture), used_masks(plain)) == ("object", "none")

    model = make_field()
    settings = TrainingSettings(steps=7, sides=(8, 12), upsample_at=(3,), occupancy_side=16)
    box = SceneBox(model.aabb.numpy().astype(np.float64), "inward")
    field = TrainedField(model, build_grid(model, 16), box, settings, masks="none")
    options = Options(tmp_path / "cache", "cpu")
    cache = Cache(options.cache)
    save_field(field, tmp_path / "field", cache.capture_key(plain))
    workspace, trained = open_workspace(capture, options, SegmentOptions(field_folder=tmp_path / "field"), Job())
    assert trained.field.masks == "none" and workspace.capture_key == cache.capture_key(plain)
    assert not workspace.capture.has_alpha

    save_field(field, tmp_path / "other", cache.capture_key(capture))  # it says "none" of what was cut out
    with pytest.raises(FieldError, match="another capture"):
        open_workspace(capture, options, SegmentOptions(field_folder=tmp_path / "other"), Job())
