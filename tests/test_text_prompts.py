"""`sa3d segment --text`: words become the box of the best hit, the others are offered, and failures come early."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_capture import HEIGHT, WIDTH, TinyCapture
from tiny_dino import write_tiny_dino
from typer.testing import CliRunner, Result

from engine import api
from engine.captures.capture import Camera, View
from engine.cli import app
from engine.evaluation.metrics import iou
from engine.fields.settings import PRESETS
from engine.progress import Job, Report
from engine.prompts import UserPrompt, prompts_for
from engine.segmenters.text import Hit, TextDetector, TextPrompt
from engine.text_prompts import with_box
from sa3d_blender.protocol.errors import Cancelled, LiftingError, PromptError


@pytest.fixture(scope="module")
def detector(tmp_path_factory) -> str:
    return str(write_tiny_dino(tmp_path_factory.mktemp("dino") / "tiny"))


@pytest.fixture
def sa3d(own_cache: Path, tiny_capture: TinyCapture, tmp_path: Path, monkeypatch):
    """Runs `sa3d segment` with the given words up to where a field would be trained."""

    def never(*args: object, **kw: object) -> None:
        raise LiftingError("So far all is well.", "Go on.")

    monkeypatch.setattr("engine.train.train_field", never)

    def run(*words: object) -> Result:
        given = ["segment", tiny_capture.folder, "--view", "000.png", "--out", tmp_path / "out", *words]
        return CliRunner().invoke(app, [str(word) for word in given])

    return run


def wide_view(tmp_path: Path) -> View:
    """A photo larger than what the detector looks at."""
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 2000, 3), np.uint8)).save(tmp_path / "a.png")
    return View("a.png", "a", tmp_path / "a.png", Camera(2000, 40, 900.0, 900.0, 1000.0, 20.0, np.eye(4)))


def test_boxes_are_told_in_pixels_of_the_photo_as_stored(detector, tmp_path, monkeypatch):
    seen = []

    def find(self: TextDetector, rgb: np.ndarray, *words: object) -> tuple[Hit, ...]:
        seen.append(rgb.shape)
        return (Hit((0.0, 0.0, rgb.shape[1] / 2, rgb.shape[0] / 2), 0.9, "mug"),)

    monkeypatch.setattr(TextDetector, "find", find)
    view, options = wide_view(tmp_path), api.Options(tmp_path, "cpu")
    found = with_box(UserPrompt("a", text=TextPrompt("mug", detector=detector)), view, options, Job())
    assert seen == [(27, 1333, 3)]
    np.testing.assert_allclose(found.box, (0, 0, 1000, 20), atol=1)
    assert found.text is not None
    assert found.text.hits[0].box_px == found.box
    prompts = prompts_for(found, view, (500, 10), 0)
    np.testing.assert_allclose(prompts.box_px, (0, 0, 250, 5), atol=0.3)
    assert with_box(found, view, options, Job()) is found  # once is enough


def test_a_prompt_without_words_stays_as_it_is(tmp_path):
    prompt = UserPrompt("a", ((1.0, 2.0, 1),))
    assert with_box(prompt, wide_view(tmp_path), api.Options(tmp_path), Job()) is prompt
    assert not UserPrompt("a", text=TextPrompt("mug")).is_empty


def test_looking_for_words_tells_its_progress_and_can_be_stopped_on_the_way(detector, tmp_path):
    prompt, view = UserPrompt("a", text=TextPrompt("mug", detector=detector)), wide_view(tmp_path)
    options, reports = api.Options(tmp_path, "cpu"), []
    with_box(prompt, view, options, Job(listener=reports.append))
    shares = [report.done for report in reports if report.stage == "Looking for the words"]
    assert len(shares) > 100  # so that one step of even a large model is short
    assert shares == sorted(shares)
    assert shares[-1] == 1
    job = Job()

    def stop_halfway(report: Report) -> None:
        if report.stage == "Looking for the words" and report.done > 0.5:
            job.cancel.set()
            stopped.append(report.done)

    stopped: list[float] = []
    job.listener = stop_halfway
    with pytest.raises(Cancelled):
        with_box(prompt, view, options, job)
    assert len(stopped) == 1
    with_box(prompt, view, options, Job())  # what was stopped has left nothing behind


def test_the_best_hit_is_taken_and_the_others_are_offered_by_number(sa3d, detector):
    found = sa3d("--text", "the mug", "--detector", detector)
    assert "So far all is well." in found.stderr
    lines = [line for line in found.stderr.splitlines() if line.startswith("  ")]
    assert lines[0].startswith("  1. ")
    assert lines[0].endswith("<- taken")
    assert lines[1].endswith("(--hit 2 takes this one)")
    second = sa3d("--text", "the mug", "--detector", detector, "--hit", "2")
    assert next(line for line in second.stderr.splitlines() if "<- taken" in line).startswith("  2. ")


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--text", "the mug", "--box-threshold", "0.9999999"], "prompt", "lower --box-threshold"),
        (["--text", "the mug", "--hit", "99"], "prompt", "Give --hit from 1 to"),
        (["--text", "..."], "prompt", "Name the object"),
        (["--text", "Кружка"], "prompt", "English"),
        (["--text", "the mug", "--box-threshold", "2"], "prompt", "threshold"),
        (["--text", "the mug", "--detector", "auto"], "segmenter", "sa3d weights get grounding-dino-tiny"),
        (["--text", "the mug", "--detector", "nothing"], "segmenter", "grounding-dino-base"),
    ],
)
def test_what_cannot_be_found_is_one_line_before_a_field_is_trained(sa3d, detector, words, code, told):
    words = words if "--detector" in words else [*words, "--detector", detector]
    found = sa3d(*words, "--json")
    assert found.exit_code == 1
    answer = json.loads(found.stdout)
    assert answer["error"] == code
    assert told in answer["what"] + answer["cure"]
    assert "Traceback" not in found.stderr


def test_without_the_extra_the_cure_is_the_command_that_installs_it(sa3d, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    found = sa3d("--text", "the mug", "--json")
    assert found.exit_code == 1
    answer = json.loads(found.stdout)
    assert answer["error"] == "environment"
    assert "pip install 'sa3d-blender[text]'" in answer["cure"]


def test_words_for_the_ball_become_its_masks(
    tiny_capture: TinyCapture, own_cache: Path, tmp_path: Path, detector: str, monkeypatch: pytest.MonkeyPatch
):
    """The whole way, but for what a model without knowledge can't know: where in the photo the ball is."""
    short = replace(PRESETS["draft"], steps=300, rays=1024, sides=(32, 48), upsample_at=(120,))
    monkeypatch.setitem(PRESETS, "draft", short)
    truth = np.argwhere(tiny_capture.masks["ball"][4])
    (y0, x0), (y1, x1) = truth.min(0), truth.max(0) + 1
    ball = Hit((float(x0), float(y0), float(x1), float(y1)), 0.8, "ball")
    monkeypatch.setattr(TextDetector, "find", lambda *words: (Hit((0.0, 0.0, 5.0, 5.0), 0.9, "a ball"), ball))
    prompt = UserPrompt("004.png", text=TextPrompt("the ball", 2, detector=detector))
    request, options = api.SegmentOptions(segmenter="graph-cut"), api.Options(own_cache, "cpu", seed=0)
    out = tmp_path / "result"
    api.segment_capture(tiny_capture.folder, prompt, request, options, out, Job())
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    told = report["prompt"]["text"]
    assert (told["words"], told["hit"], len(told["hits"])) == ("the ball", 2, 2)
    assert told["hits"][1] == {"box_px": list(ball.box_px), "score": 0.8, "words": "ball"}
    assert report["prompt"]["box"] == list(ball.box_px)
    with Image.open(out / "masks" / "004.png") as image:
        assert image.size == (WIDTH, HEIGHT)
        assert iou(np.asarray(image) > 127, tiny_capture.masks["ball"][4]) > 0.8


def test_a_workspace_takes_words_too(tiny_capture: TinyCapture, own_cache: Path, detector: str, monkeypatch):
    """The API's `segment`, which the add-on calls with a field already there, looks for the words itself."""
    monkeypatch.setattr(TextDetector, "find", lambda *words: ())
    view = View("004.png", "004", tiny_capture.folder, Camera(WIDTH, HEIGHT, 80.0, 80.0, 40.0, 30.0, np.eye(4)))
    monkeypatch.setattr("engine.segment.find_view", lambda *words: view)
    monkeypatch.setattr(
        "engine.text_prompts.working_photo", lambda *words: (view.camera, np.zeros((HEIGHT, WIDTH, 3), np.float32))
    )
    workspace: Any = type("Stub", (), {"views": {"004": view}, "stored": {"004": view}, "capture": None})()
    prompt = UserPrompt("004.png", text=TextPrompt("the ball", detector=detector))
    plain: Any = getattr(api.segment, "__wrapped__", api.segment)
    with pytest.raises(PromptError, match="Nothing in"):
        plain(workspace, prompt, api.SegmentOptions(), api.Options(own_cache, "cpu"), Job())
