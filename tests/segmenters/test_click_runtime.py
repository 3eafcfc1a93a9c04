"""Files of click models are verified, loaded and run, or refused in one sentence; nothing is looked for unasked."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_click_models import FIXED, FourInputs, TwoInputs, described, export, export_like

from engine.segmenters.base import Photo, Prompts
from engine.segmenters.choose import SEGMENTERS, make_segmenter
from sa3d_blender.protocol.errors import EnvironmentFault, SegmenterError

PHOTO = Photo(np.random.default_rng(7).random((60, 80, 3)).astype(np.float32))
CLICK = Prompts(np.array([[40.5, 30.5]]), np.array([1]))
SUFFIXES = (".onnx", ".pt")


class Answers(torch.nn.Module):
    """A model whose answer comes as a table, like those of the published training code."""

    def forward(self, image: torch.Tensor, maps: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"instances": maps[:, 1:2] * 20.0 - 10.0, "instances_aux": maps[:, :1]}


class Pair(torch.nn.Module):
    def forward(self, image: torch.Tensor, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return maps[:, 1:2] * 20.0 - 10.0, maps


class Refuses(torch.nn.Module):
    def forward(self, image: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        assert image.shape[2] > 10_000, "the picture is too small"
        return maps


class Counts(torch.nn.Module):
    def forward(self, image: torch.Tensor, maps: torch.Tensor) -> int:
        return 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_user_names_a_description_or_a_published_model_and_a_file(tmp_path, suffix):
    file = export_like("ritm", tmp_path / f"net{suffix}")
    path = described(tmp_path, file, like="ritm")
    lines: list[str] = []
    by_description = make_segmenter(str(path), log=lines.append)
    by_name = make_segmenter("ritm", weights_path=file, log=lines.append)
    assert by_description.name == str(path)  # what a result keeps, to be corrected with the same segmenter
    assert by_name.name == "ritm"
    masks = []
    for segmenter in (by_description, by_name):
        segmenter.set_image(PHOTO)
        masks.append(segmenter.predict(CLICK).mask)
    np.testing.assert_array_equal(*masks)
    told = f"net{suffix} is TorchScript, which is program code: it is loaded because you named it."
    assert lines == ([told] * 2 if suffix == ".pt" else [])


def test_auto_never_loads_a_click_model_that_happens_to_be_there(tmp_path, monkeypatch):
    described(tmp_path, export_like("ritm", tmp_path / "net.pt"), like="ritm")
    monkeypatch.chdir(tmp_path)
    assert make_segmenter("auto", cache_dir=tmp_path).name in SEGMENTERS
    assert not {"ritm", "simpleclick", "focalclick", "seem"} & set(SEGMENTERS)


def test_a_published_model_without_its_file_is_refused_with_what_to_do():
    with pytest.raises(SegmenterError, match="ritm needs its file") as caught:
        make_segmenter("ritm")
    assert "--weights" in caught.value.cure


def test_weights_beside_a_description_are_refused(tmp_path):
    path = described(tmp_path, export_like("ritm", tmp_path / "net.pt"), like="ritm")
    with pytest.raises(SegmenterError, match="names its own file"):
        make_segmenter(str(path), weights_path=tmp_path / "net.pt")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_sha256_is_verified_before_anything_is_loaded(tmp_path, suffix, monkeypatch):
    file = export_like("ritm", tmp_path / f"net{suffix}")
    good = hashlib.sha256(file.read_bytes()).hexdigest()
    make_segmenter(str(described(tmp_path, file, like="ritm", sha256=good.upper())))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("loaded before it was verified")

    import onnxruntime

    monkeypatch.setattr(torch.jit, "load", never)
    monkeypatch.setattr(onnxruntime, "InferenceSession", never)
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(SegmenterError, match=r"not the described one: its sha256 is [0-9a-f]{12}\.\.\."):
        make_segmenter(str(described(tmp_path, file, like="ritm", sha256=good)))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"no model at all", "cut"])
def test_a_file_that_is_no_model_is_one_sentence(tmp_path, suffix, content):
    file = tmp_path / f"net{suffix}"
    if content == "cut":
        export_like("ritm", file)
        content = file.read_bytes()[: file.stat().st_size // 2]
    file.write_bytes(content)
    with pytest.raises(SegmenterError, match=f"net{suffix} can't be read as") as caught:
        make_segmenter(str(described(tmp_path, file, like="ritm")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_not_there_is_one_sentence(tmp_path, suffix):
    with pytest.raises(SegmenterError, match="can't be read: No such file"):
        make_segmenter(str(described(tmp_path, tmp_path / f"net{suffix}", like="ritm")))


def test_an_onnx_model_with_other_inputs_is_refused_by_their_names(tmp_path):
    image = torch.zeros(1, 3, 64, 64)
    file = export(TwoInputs(), tmp_path / "net.onnx", ("picture", "clicks"), (image, image), False)
    with pytest.raises(SegmenterError, match="has the inputs picture, clicks; described are image, maps"):
        make_segmenter(str(described(tmp_path, file, like="ritm")))
    inputs = [
        {"name": "picture", "channels": ["image"]},
        {"name": "clicks", "channels": ["previous", "positive", "negative"]},
    ]
    make_segmenter(str(described(tmp_path, file, like="ritm", inputs=inputs)))


def test_an_onnx_model_with_other_channels_is_refused(tmp_path):
    file = export_like("ritm", tmp_path / "net.onnx")
    inputs = [{"name": "image", "channels": ["image"]}, {"name": "maps", "channels": ["positive", "negative"]}]
    with pytest.raises(SegmenterError, match=r"wants maps as .* described are 2 channels"):
        make_segmenter(str(described(tmp_path, file, like="ritm", inputs=inputs)))


def test_an_onnx_model_of_whole_numbers_is_refused(tmp_path):
    from onnx import TensorProto, helper, save

    shape = [1, 3, "h", "w"]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, shape) for name in ("image", "maps", "mask")]
    node = helper.make_node("Max", ["image", "maps"], ["mask"])
    graph = helper.make_graph([node], "net", values[:2], values[2:])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), tmp_path / "net.onnx")
    with pytest.raises(SegmenterError, match=r"wants image as tensor\(uint8\), not as floats"):
        make_segmenter(str(described(tmp_path, tmp_path / "net.onnx", like="ritm")))


def test_an_onnx_model_without_the_described_output_is_refused(tmp_path):
    file = export_like("ritm", tmp_path / "net.onnx")
    make_segmenter(str(described(tmp_path, file, like="ritm", output="mask")))
    with pytest.raises(SegmenterError, match="has no output instances, only mask"):
        make_segmenter(str(described(tmp_path, file, like="ritm", output="instances")))


def test_a_torchscript_model_with_another_number_of_inputs_is_refused(tmp_path):
    file = export(FourInputs(), tmp_path / "net.pt", (), (), False)
    with pytest.raises(SegmenterError, match="takes 4 inputs; described are 2"):
        make_segmenter(str(described(tmp_path, file, like="ritm")))


@pytest.mark.parametrize(("suffix", "like"), [(".onnx", "simpleclick"), (".onnx", "focalclick")])
def test_a_size_that_the_model_does_not_take_is_one_sentence(tmp_path, suffix, like):
    file = export_like(like, tmp_path / f"net{suffix}")
    wrong = {"rule": "stretch", "pixels": FIXED[like] // 2}
    segmenter = make_segmenter(str(described(tmp_path, file, like=like, size=wrong, zoom=None)))
    segmenter.set_image(PHOTO)
    with pytest.raises(SegmenterError, match="failed on its inputs") as caught:
        segmenter.predict(CLICK)
    assert "\n" not in str(caught.value)


def test_a_torchscript_model_that_fails_is_one_sentence_with_its_own_words(tmp_path):
    file = export(Refuses(), tmp_path / "net.pt", (), (), False)
    segmenter = make_segmenter(str(described(tmp_path, file, like="ritm")))
    segmenter.set_image(PHOTO)
    with pytest.raises(SegmenterError, match=r"failed on its inputs: .*the picture is too small") as caught:
        segmenter.predict(CLICK)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("module", "output"), [(Answers(), "instances"), (Pair(), "")])
def test_a_torchscript_model_may_answer_with_a_table_or_several_tensors(tmp_path, module, output):
    file = export(module, tmp_path / "net.pt", (), (), False)
    segmenter = make_segmenter(str(described(tmp_path, file, like="ritm", output=output, zoom=None)))
    segmenter.set_image(PHOTO)
    mask = segmenter.predict(CLICK).mask
    assert (mask > 0.5).sum() == 81  # the click's disk


@pytest.mark.parametrize(
    ("module", "told"), [(Answers(), 'no output "mask", only instances, instances_aux'), (Counts(), "gave no tensor")]
)
def test_a_torchscript_model_that_answers_something_else_is_refused(tmp_path, module, told):
    file = export(module, tmp_path / "net.pt", (), (), False)
    segmenter = make_segmenter(str(described(tmp_path, file, like="ritm", output="mask")))
    segmenter.set_image(PHOTO)
    with pytest.raises(SegmenterError, match=told):
        segmenter.predict(CLICK)


def test_without_onnxruntime_the_cure_is_told_and_torchscript_still_works(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    file = export_like("ritm", tmp_path / "net.onnx")
    with pytest.raises(EnvironmentFault, match="onnxruntime is not installed") as caught:
        make_segmenter(str(described(tmp_path, file, like="ritm")))
    assert "sa3d-blender[onnx]" in caught.value.cure
    make_segmenter("ritm", weights_path=export_like("ritm", tmp_path / "net.pt"))


def test_what_a_device_can_not_do_for_onnx_is_said(tmp_path):
    import onnxruntime

    file = export_like("ritm", tmp_path / "net.onnx")
    lines: list[str] = []
    make_segmenter(str(described(tmp_path, file, like="ritm")), device="mps", log=lines.append)
    assert lines == ["The click model net.onnx runs on the CPU: this onnxruntime can't use mps."]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        make_segmenter(str(described(tmp_path, file, like="ritm")), device="cuda", log=lines.append)
        assert "can't use cuda" in lines[1]


def test_every_example_in_the_documentation_is_a_description_that_can_be_read(tmp_path):
    from engine.segmenters.click_description import read_description

    text = (Path(__file__).resolve().parents[2] / "docs" / "click-models.md").read_text("utf-8")
    examples = [block.split("```")[0] for block in text.split("```json\n")[1:]]
    assert len(examples) >= 2
    for example in examples:
        json.loads(example)
        (tmp_path / "model.json").write_text(example)
        read_description(tmp_path / "model.json")
