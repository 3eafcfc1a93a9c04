"""Descriptions of click models: what they may hold, and one sentence for each way to get them wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.segmenters.click_description import InputSize, ZoomIn, built_in_click_models, read_description
from sa3d_blender.protocol.errors import SegmenterError

WHOLE = {
    "file": "net.onnx",
    "name": "mine",
    "inputs": [
        {"name": "x", "channels": ["image", "positive", "negative"]},
        {"name": "p", "channels": ["previous"]},
    ],
    "size": {"rule": "multiple", "pixels": 640, "multiple": 32, "side": "shortest", "enlarge": False},
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "image_range": 255,
    "layout": "NHWC",
    "encoding": "gaussian",
    "click_size": 10,
    "output": "y",
    "output_kind": "probabilities",
    "output_channel": 1,
    "align_corners": False,
    "flip": True,
    "zoom": {"pixels": 320, "expansion": 1.6, "least": 50, "skip_clicks": 0},
    "sha256": "AB" * 32,
}


def written(tmp_path: Path, values: object) -> Path:
    path = tmp_path / "model.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def test_a_description_may_say_everything(tmp_path):
    model, file, digest = read_description(written(tmp_path, WHOLE))
    assert (file, digest) == (tmp_path / "net.onnx", "ab" * 32)
    assert [each.channels for each in model.inputs] == [("image", "positive", "negative"), ("previous",)]
    assert model.size == InputSize("multiple", 640, 32, "shortest", False)
    assert model.zoom == ZoomIn(320, 1.6, 50, 0)
    assert (model.name, model.layout, model.encoding, model.click_size) == ("mine", "NHWC", "gaussian", 10)
    assert (model.output, model.output_kind, model.output_channel) == ("y", "probabilities", 1)
    assert (model.mean, model.std, model.image_range) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 255)
    assert (model.align_corners, model.flip) == (False, True)


@pytest.mark.parametrize("like", ["ritm", "simpleclick", "focalclick", "seem"])
def test_a_description_may_build_on_a_published_one(tmp_path, like):
    model, _, digest = read_description(written(tmp_path, {"file": "net.pt", "like": like, "click_size": 3}))
    published = built_in_click_models()[like]
    assert digest is None
    assert model.click_size == 3
    assert (model.inputs, model.size, model.zoom) == (published.inputs, published.size, published.zoom)
    assert model.name == "model"


def test_a_zoom_can_be_taken_out(tmp_path):
    assert read_description(written(tmp_path, {"file": "n.pt", "like": "ritm", "zoom": None}))[0].zoom is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"file": None}, '"file" is not a text'),
        ({"file": "../net.onnx"}, '"file" is not the name of a file beside it'),
        ({"file": "/tmp/net.pt"}, '"file" is not the name of a file beside it'),
        ({"file": "net.pth"}, '"file" is not the name of a file beside it'),
        ({"sha256": "abc"}, '"sha256" is not 64 hexadecimal digits'),
        ({"inputs": []}, '"inputs" is not a list'),
        ({"inputs": [{"name": "x", "channels": ["image", "depth"]}]}, '"channels" is not a list of image'),
        ({"inputs": [{"name": "x", "channels": ["image"]}]}, "the channels image and positive"),
        ({"inputs": [{"name": "x", "channels": ["image", "positive", "image"]}]}, "each channel at most once"),
        ({"inputs": [{"name": "x", "channels": ["image", "positive"], "type": 1}]}, "unknown values: type"),
        ({"size": {"rule": "crop", "pixels": 448}}, '"rule" is not one of stretch'),
        ({"size": {"rule": "stretch"}}, 'lacks "pixels"'),
        ({"size": {"rule": "stretch", "pixels": 0}}, '"pixels" is not a whole number'),
        ({"size": {"rule": "stretch", "pixels": 10**9}}, '"pixels" is not a whole number'),
        ({"size": 448}, "no table of values"),
        ({"mean": [0.5, 0.5]}, '"mean" is not three numbers'),
        ({"std": [0.2, 0.0, 0.2]}, '"std" is not three numbers other than 0'),
        ({"std": [0.2, True, 0.2]}, '"std" is not three numbers'),
        ({"image_range": -1}, '"image_range" is not a number above 0'),
        ({"layout": "CHW"}, '"layout" is not one of NCHW, NHWC'),
        ({"encoding": "stars"}, '"encoding" is not one of disk'),
        ({"click_size": 0}, '"click_size" is not a number above 0'),
        ({"output_kind": "mask"}, '"output_kind" is not one of logits'),
        ({"flip": 1}, '"flip" is not true or false'),
        ({"zoom": {"pixels": 400, "skip_clicks": -2}}, '"skip_clicks" is not a whole number'),
        ({"like": "sam"}, '"like" is not one of ritm, simpleclick, focalclick, seem'),
        ({"lie": 1, "moan": 2}, "unknown values: lie, moan"),
    ],
)
def test_each_wrong_value_is_one_sentence_that_names_it(tmp_path, change, told):
    with pytest.raises(SegmenterError) as caught:
        read_description(written(tmp_path, {**WHOLE, **change}))
    assert told in caught.value.what
    assert "model.json" in caught.value.what
    assert "docs/click-models.md" in caught.value.cure
    assert caught.value.what.endswith(".")


@pytest.mark.parametrize("missing", ["file", "inputs", "size"])
def test_what_can_not_be_guessed_must_be_there(tmp_path, missing):
    values = {key: value for key, value in WHOLE.items() if key != missing}
    with pytest.raises(SegmenterError, match=f'lacks "{missing}"'):
        read_description(written(tmp_path, values))


@pytest.mark.parametrize(("content", "told"), [("{", "is no JSON"), ("[1]", "no table"), ("nul", "is no JSON")])
def test_what_is_no_description_is_refused(tmp_path, content, told):
    with pytest.raises(SegmenterError, match=told):
        read_description(written(tmp_path, content))


def test_a_description_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(SegmenterError, match="can't be read"):
        read_description(tmp_path / "nothing.json")


def test_infinity_is_no_number(tmp_path):
    with pytest.raises(SegmenterError, match='"click_size" is not'):
        read_description(written(tmp_path, json.dumps({**WHOLE, "click_size": float("inf")})))
