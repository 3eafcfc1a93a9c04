"""Words become boxes on the real code path, from a folder, offline; what can't be found or loaded is said."""

from __future__ import annotations

import json
import shutil
import socket
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_dino import write_tiny_dino

from engine.segmenters import text as module
from engine.segmenters.base import Photo, Prompts
from engine.segmenters.graph_cut import GraphCutSegmenter
from engine.segmenters.text import (
    Hit,
    TextPrompt,
    choose_hit,
    load_detector,
    load_transformers,
    make_detector,
    phrase_for_detector,
)
from sa3d_blender.protocol.errors import EnvironmentFault, PromptError, SegmenterError, StorageError

HEIGHT, WIDTH = 60, 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_dino(tmp_path_factory.mktemp("dino") / "tiny")


@pytest.fixture(scope="module")
def detector(folder):
    return load_detector(folder)


@pytest.fixture(scope="module")
def rgb():
    return np.random.default_rng(0).random((HEIGHT, WIDTH, 3), dtype=np.float32)


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy of the model's folder that a test may spoil."""
    return shutil.copytree(folder, tmp_path / "copy")


def answering(detector, monkeypatch, boxes, scores):
    """Lets the model answer with ``boxes`` (x0, y0, x1, y1 in shares) and ``scores`` [box, token]."""
    boxes = torch.tensor(boxes, dtype=torch.float32)
    answer = type("Answer", (), {})()
    answer.pred_boxes = torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], -1)[None]
    logits = torch.full((len(boxes), 32), -torch.inf)
    logits[:, : len(scores[0])] = torch.logit(torch.tensor(scores))
    answer.logits = logits[None]
    monkeypatch.setattr(detector._model, "forward", lambda **inputs: answer)


def test_boxes_and_scores_are_those_of_transformers_own_processing(folder, detector, rgb):
    transformers = load_transformers()
    processor = transformers.GroundingDinoProcessor(
        transformers.GroundingDinoImageProcessorPil.from_pretrained(folder),
        transformers.BertTokenizer.from_pretrained(folder),
    )
    model = transformers.GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    inputs = processor(images=(rgb * 255).round().astype(np.uint8), text="the red mug.", return_tensors="pt")
    with torch.no_grad():
        found = model(**inputs)
    (expected,) = processor.post_process_grounded_object_detection(found, inputs["input_ids"], 0.35, 0.25, [(60, 90)])
    order = expected["scores"].argsort(descending=True)
    boxes = expected["boxes"][order].clamp(min=0).minimum(torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])).numpy()
    hits = detector.find(rgb, "The red MUG ")
    assert len(hits) >= 3
    np.testing.assert_allclose([hit.box_px for hit in hits], boxes[: len(hits)], atol=1e-3)  # of a pixel
    np.testing.assert_allclose([hit.score for hit in hits], expected["scores"][order][: len(hits)], atol=1e-6)


def test_the_same_photo_and_words_give_the_same_hits(detector, rgb):
    assert detector.find(rgb, "mug") == detector.find(rgb, "mug")
    assert detector.find(rgb, "mug", 0.0, 0.0) != detector.find(1 - rgb, "mug", 0.0, 0.0)


def test_hits_come_best_first_within_the_photo_with_the_words_that_they_fit(detector, rgb, monkeypatch):
    # tokens: [CLS] the red mug . [SEP]
    answering(
        detector,
        monkeypatch,
        [[0.1, 0.1, 0.4, 0.5], [0.5, 0.5, 1.3, 0.9], [0.0, 0.6, 0.2, 1.0], [0.6, 0.0, 0.9, 0.3]],
        [
            [0.1, 0.1, 0.30, 0.6, 0.1, 0.1],
            [0.1, 0.1, 0.10, 0.9, 0.1, 0.8],
            [0.1, 0.1, 0.10, 0.34, 0.1, 0.1],  # below the box threshold
            [0.1, 0.1, 0.10, 0.2, 0.9, 0.9],  # fits the full stop only
        ],
    )
    hits = detector.find(rgb, "the red mug")
    assert [hit.words for hit in hits] == ["mug", "red mug"]
    assert [round(hit.score, 3) for hit in hits] == [0.9, 0.6]
    np.testing.assert_allclose(hits[0].box_px, (45, 30, 90, 54), atol=1e-3)  # cut at the photo
    np.testing.assert_allclose(hits[1].box_px, (9, 6, 36, 30), atol=1e-3)
    assert [hit.words for hit in detector.find(rgb, "the red mug", 0.35, 0.5)] == ["mug", "mug"]
    assert len(detector.find(rgb, "the red mug", 0.3)) == 3
    assert len(detector.find(rgb, "the red mug", 0.7)) == 1


def test_an_object_found_twice_counts_once_and_a_point_is_no_box(detector, rgb, monkeypatch):
    answering(
        detector,
        monkeypatch,
        [[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.51, 0.5], [0.3, 0.3, 0.7, 0.7], [0.2, 0.2, 0.2, 0.2]],
        [[0.0, 0.7], [0.0, 0.9], [0.0, 0.8], [0.0, 0.95]],
    )
    assert [round(hit.score, 2) for hit in detector.find(rgb, "mug")] == [0.9, 0.8]


def test_nothing_found_is_an_answer_with_a_cure(detector, rgb):
    hits = detector.find(rgb, "mug", 0.999999)
    assert hits == ()
    with pytest.raises(PromptError, match=r'Nothing in 004\.png looks like "mug"') as caught:
        choose_hit(TextPrompt("mug"), hits, "004.png")
    assert "lower --box-threshold" in caught.value.cure
    assert "other or plainer words" in caught.value.cure


def test_the_hit_is_chosen_by_its_number():
    hits = tuple(Hit((0.0, 0.0, 9.0, 9.0), score, "mug") for score in (0.9, 0.5))
    assert choose_hit(TextPrompt("mug"), hits, "a") is hits[0]
    assert choose_hit(TextPrompt("mug", 2), hits, "a") is hits[1]
    for number in (0, 3, -1):
        with pytest.raises(PromptError, match=r"no hit .*2 found") as caught:
            choose_hit(TextPrompt("mug", number), hits, "a")
        assert "from 1 to 2" in caught.value.cure


@pytest.mark.parametrize("words", ["the mug", " The\n MUG. ", "the mug...", "the\t mug"])
def test_words_are_written_as_the_detector_learned_to_read_them(words):
    assert phrase_for_detector(words) == "the mug."


@pytest.mark.parametrize("words", ["", "  ", ".", "...", "?!", "\n\t"])
def test_no_words_are_refused(detector, rgb, words):
    with pytest.raises(PromptError, match="no word"):
        detector.find(rgb, words)


def test_words_that_the_detector_has_never_seen_are_refused(detector, rgb):
    with pytest.raises(PromptError, match="knows no word"):
        detector.find(rgb, "Кружка")


def test_too_many_words_are_refused(detector, rgb):
    with pytest.raises(PromptError, match="at most 32") as caught:
        detector.find(rgb, "mug " * 40)
    assert "fewer words" in caught.value.cure


@pytest.mark.parametrize("thresholds", [(-0.1, 0.2), (1.0, 0.2), (0.3, float("nan")), (0.3, 1.5)])
def test_thresholds_that_are_no_scores_are_refused(detector, rgb, thresholds):
    with pytest.raises(PromptError, match="threshold"):
        detector.find(rgb, "mug", *thresholds)


def test_a_detector_that_fails_or_answers_nonsense_is_told(detector, rgb, monkeypatch):
    answering(detector, monkeypatch, [[0.1, 0.1, float("nan"), 0.5]], [[0.9, 0.9]])
    with pytest.raises(SegmenterError, match="no numbers"):
        detector.find(rgb, "mug")

    def out_of_memory(**inputs):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(detector._model, "forward", out_of_memory)
    with pytest.raises(SegmenterError, match=r"failed on cpu: CUDA out of memory\.") as caught:
        detector.find(rgb, "mug")
    assert "--device cpu" in caught.value.cure


def test_a_hit_is_a_prompt_for_the_2d_segmenter(detector, monkeypatch):
    rgb = np.full((HEIGHT, WIDTH, 3), 0.1, np.float32)
    rgb[20:40, 30:60] = (0.9, 0.2, 0.1)
    answering(detector, monkeypatch, [[25 / WIDTH, 15 / HEIGHT, 65 / WIDTH, 45 / HEIGHT]], [[0.0, 0.9]])
    (hit,) = detector.find(rgb, "mug")
    segmenter = GraphCutSegmenter()
    segmenter.set_image(Photo(rgb))
    box = np.array(hit.box_px, np.float32)
    mask = segmenter.predict(Prompts(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), box)).mask > 0.5
    truth = rgb[..., 0] > 0.5
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9  # the object differs clearly from what is around it


def test_loading_and_finding_use_no_network(folder, rgb, monkeypatch):
    def refuse(*words):
        raise AssertionError(f"the network was asked: {words}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert load_detector(folder).find(rgb, "mug")
    with pytest.raises(SegmenterError):
        make_detector("IDEA-Research/grounding-dino-tiny")  # the name of a model on the hub is no folder here


def test_without_transformers_the_command_that_installs_it_is_said(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    for attempt in (lambda: load_detector(folder), lambda: make_detector(cache_dir=tmp_path)):
        with pytest.raises(EnvironmentFault, match="not installed") as caught:
            attempt()
        assert "pip install 'sa3d-blender[text]'" in caught.value.cure


def test_without_weights_the_command_that_gets_them_is_said(tmp_path):
    for name in ("auto", "grounding-dino-tiny"):
        with pytest.raises(SegmenterError, match="no weights for text prompts") as caught:
            make_detector(name, cache_dir=tmp_path)
        assert "sa3d weights get grounding-dino-tiny" in caught.value.cure
        assert "MB" in caught.value.cure
    with pytest.raises(SegmenterError, match="no folder of that name"):
        make_detector(str(tmp_path / "nowhere"))


def test_listed_weights_are_verified_before_they_are_read(damaged, tmp_path, monkeypatch):
    place = tmp_path / "weights" / "grounding-dino-tiny"
    shutil.copytree(damaged, place)
    for name in ("special_tokens_map.json", "vocab.txt"):
        (place / name).write_text("{}")
    monkeypatch.setattr(module, "load_detector", lambda *words: pytest.fail("read although not verified"))
    for name in ("auto", "grounding-dino-tiny"):
        with pytest.raises(StorageError, match=r"are (cut|damaged)"):
            make_detector(name, cache_dir=tmp_path)


def test_a_folder_of_ones_own_is_taken_by_its_path_and_said_in_the_log(folder, rgb):
    lines: list[str] = []
    assert make_detector(str(folder), log=lines.append).find(rgb, "mug")
    assert "not a listed one" in lines[0]


@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
)
def test_a_folder_that_lacks_a_file_or_holds_a_broken_one_is_refused(damaged, name):
    whole = (damaged / name).read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"\x00garbage"):
        (damaged / name).write_bytes(content)
        with pytest.raises(SegmenterError, match="can't be loaded") as caught:
            load_detector(damaged)
        assert caught.value.cure
    (damaged / name).unlink()
    with pytest.raises(SegmenterError, match=f"{name} is missing"):
        load_detector(damaged)


def test_weights_of_another_model_are_refused_instead_of_filled_with_random_numbers(damaged):
    tensors = load_file(damaged / "model.safetensors")
    some = {name: tensor for index, (name, tensor) in enumerate(tensors.items()) if index % 2}
    save_file(some, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(SegmenterError, match="do not fit"):
        load_detector(damaged)


def test_weights_as_older_versions_of_transformers_wrote_them_are_taken(damaged, detector, rgb):
    """The files on the hub hold tables that are no weights, and lack a norm that the backbone never uses."""
    tensors = load_file(damaged / "model.safetensors")
    backbone = "model.backbone.conv_encoder.model."
    unused = {f"{backbone}swin.layernorm.weight", f"{backbone}swin.layernorm.bias"}
    kept = {name: tensor for name, tensor in tensors.items() if name not in unused}
    assert len(kept) == len(tensors) - 2
    table = f"{backbone}encoder.layers.0.blocks.0.attention.self.relative_position_index"
    save_file(kept | {table: torch.zeros(16, 16, dtype=torch.int64)}, damaged / "model.safetensors", {"format": "pt"})
    assert load_detector(damaged).find(rgb, "mug") == detector.find(rgb, "mug")


def test_a_pickle_beside_the_weights_is_never_read(damaged, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    (damaged / "model.safetensors").rename(damaged / "kept")
    torch.save({"a": Hostile()}, damaged / "pytorch_model.bin")
    with pytest.raises(SegmenterError):
        load_detector(damaged)
    (damaged / "kept").rename(damaged / "model.safetensors")
    load_detector(damaged)
    assert not (tmp_path / "owned").exists()


def test_code_that_a_folder_brings_is_never_run(damaged, tmp_path):
    (damaged / "evil.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\nclass Evil: pass\n")
    for name in ("config.json", "tokenizer_config.json", "preprocessor_config.json"):
        told = json.loads((damaged / name).read_text())
        told["auto_map"] = {"AutoConfig": "evil.Evil", "AutoTokenizer": ["evil.Evil", None], "AutoModel": "evil.Evil"}
        (damaged / name).write_text(json.dumps(told))
    load_detector(damaged)
    assert not (tmp_path / "owned").exists()
