"""`sa3d evaluate segmenters` measures every segmenter at hand on captures with true masks."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_capture import TinyCapture
from typer.testing import CliRunner

from engine.captures.load import load_capture
from engine.cli import app
from engine.evaluation import segmenters
from engine.evaluation.segmenters import Contender, SegmentersPlan, evaluate_segmenters
from engine.evaluation.trials import Protocol
from engine.fields.settings import PRESETS
from engine.options import Options, SegmentOptions
from engine.progress import Job, Report
from engine.segmenters.base import Photo, Prediction, Prompts
from engine.train import train
from sa3d_blender.protocol.errors import Cancelled, EnvironmentFault

BALL = "ball"


class Told:
    """Knows the ball's true mask by the photo's colours; adds a stray part; works for 20 ms a photo."""

    scales: tuple[str, ...] = ()

    def __init__(self, tiny: TinyCapture, name: str = "told") -> None:
        self.name, self.tiny = name, tiny
        self.photos: list[Photo] = []

    def set_image(self, photo: Photo) -> None:
        time.sleep(0.02)
        self.photos.append(photo)
        shown = (photo.rgb * 255).round().astype(np.uint8)
        stored = [np.asarray(Image.open(self.tiny.folder / name).convert("RGB")) for name in self.tiny.names]
        (self.index,) = [i for i, each in enumerate(stored) if (each == shown).all()]

    def predict(self, prompts: Prompts) -> Prediction:
        mask = self.tiny.masks[BALL][self.index].astype(np.float32)
        mask[:3, :8] = 1
        return Prediction(mask, 0.9)


def measure(tiny: TinyCapture, tmp_path: Path, job: Job | None = None, **wishes: object) -> dict:
    plan = SegmentersPlan(Protocol((1, 3), (3,)), names=[BALL], every=5, least_pixels=50, **wishes)
    return evaluate_segmenters([tiny.folder], plan, SegmentOptions(), Options(tmp_path / "cache", "cpu"), job or Job())


@pytest.fixture
def told(tiny_capture: TinyCapture, monkeypatch: pytest.MonkeyPatch) -> Told:
    segmenter = Told(tiny_capture)
    monkeypatch.setattr(segmenters, "make_segmenter", lambda name, *rest: segmenter)
    return segmenter


def test_figures_are_means_over_the_objects_that_count(tiny_capture, told, tmp_path):
    found = measure(tiny_capture, tmp_path, contenders=[Contender("told")])
    figures = found["segmenters"]["told"]
    truths = [tiny_capture.masks[BALL][i] for i in range(0, 20, 5)]
    expected = np.mean([t.sum() / (t.sum() + 24) for t in truths])
    assert found["instances"] == 4
    assert figures["iou"] == pytest.approx(dict.fromkeys(("1 click", "3 clicks", "3 points", "box"), expected))
    assert figures["objects"]["ball"]["1 click"] == pytest.approx(expected)
    assert len(figures["views"]) == 4
    assert figures["encode_seconds"] >= 0.02
    assert figures["decode_seconds"] < figures["encode_seconds"]
    assert figures["score_correlation"] is None  # it always says the same
    assert all(photo.depth is None and photo.key is None for photo in told.photos)
    assert "photo alone" in found["tables"][0]["title"]


def test_parts_without_a_click_can_be_left_out_and_the_table_says_so(tiny_capture, told, tmp_path):
    found = measure(tiny_capture, tmp_path, contenders=[Contender("told")], connected=True)
    figures = found["segmenters"]["told"]["iou"]
    assert figures["1 click"] == figures["3 points"] == figures["box"] == 1
    assert "only parts that hold a click" in found["tables"][0]["title"]


def test_every_weights_file_has_a_row_of_its_own(tiny_capture, told, tmp_path):
    both = [Contender("told", Path("a.bin")), Contender("told", Path("b.bin"))]
    found = measure(tiny_capture, tmp_path, contenders=both)
    assert list(found["segmenters"]) == ["told (a.bin)", "told (b.bin)"]
    assert [row[0] for row in found["tables"][0]["rows"]] == ["told (a.bin)", "told (b.bin)"]


def test_what_is_at_hand_but_broken_is_left_out_and_what_was_named_is_not(tiny_capture, tmp_path, monkeypatch):
    def broken(name: str, *rest: object) -> Told:
        if name == "broken":
            raise EnvironmentFault("A package is missing.", "Install it.")
        return Told(tiny_capture, name)

    monkeypatch.setattr(segmenters, "make_segmenter", broken)
    monkeypatch.setattr(segmenters, "at_hand", lambda cache: ("broken", "told"))
    lines: list[str] = []
    found = measure(tiny_capture, tmp_path, Job(log=lines.append))
    assert list(found["segmenters"]) == ["told"]
    assert any("broken is left out: A package is missing." in line for line in lines)
    with pytest.raises(EnvironmentFault):
        measure(tiny_capture, tmp_path, contenders=[Contender("broken")])


@pytest.mark.usefixtures("told")
def test_it_tells_how_far_it_is_and_stops_when_asked(tiny_capture, tmp_path):
    reports: list[Report] = []
    job = Job(listener=lambda report: (reports.append(report), job.cancel.set() if report.done >= 2 else None)[0])
    with pytest.raises(Cancelled):
        measure(tiny_capture, tmp_path, job, contenders=[Contender("told")])
    assert reports[-1].stage == "Measuring told"
    assert (reports[-1].done, reports[-1].total) == (2, 4)


def test_the_field_can_come_with_the_photo(tiny_capture, told, tmp_path, monkeypatch):
    small = replace(PRESETS["draft"], steps=20, rays=256, sides=(16,), upsample_at=())
    monkeypatch.setitem(PRESETS, "draft", small)
    train(load_capture(tiny_capture.folder), "draft", Options(tmp_path / "cache", "cpu"), Job())
    found = measure(tiny_capture, tmp_path, contenders=[Contender("told")], with_field=True)
    assert all(photo.depth is not None and photo.normals is not None and photo.key is None for photo in told.photos)
    assert "the field's depth and normals" in found["tables"][0]["title"]


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["evaluate", "segmenters", *words, "--device", "cpu"])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_measures_what_is_at_hand_and_writes_a_page_and_pictures(tiny_capture, own_cache, tmp_path):
    page, pictures = tmp_path / "page.html", tmp_path / "pictures"
    options = ["--every", "10", "--least-pixels", "50", "--clicks", "1,2", "--points", "3"]
    outputs = ["--html", str(page), "--pictures", str(pictures)]
    code, out, _ = run(str(tiny_capture.folder), "--segmenter", "graph-cut", *options, *outputs)
    assert code == 0
    assert "graph-cut" in out
    assert "mean boundary IoU" in out
    assert "by object" not in out  # that is on the page
    text = page.read_text(encoding="utf-8")
    assert "graph-cut: mean IoU by object" in text
    assert text.count("<img") == 2  # the worst view of ball and box
    found = sorted(p.name for p in (pictures / "graph-cut").iterdir())
    place = tiny_capture.folder.name
    assert found == [f"{place}_{stem}_{name}.png" for stem in ("000", "010") for name in ("ball", "box")]
    with Image.open(pictures / "graph-cut" / found[0]) as strip:
        assert strip.width > 3 * strip.height * 0.8  # four panels side by side: 1, 2 clicks, 3 points, box


def test_its_json_is_strict_and_whole(tiny_capture, own_cache):
    options = ["--every", "20", "--least-pixels", "50", "--clicks", "1", "--points", "3", "--json"]
    code, out, _ = run(str(tiny_capture.folder), "--segmenter", "graph-cut", *options)
    assert code == 0
    found = json.loads(out, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    assert found["segmenters"]["graph-cut"]["iou"]["1 click"] > 0.5
    assert found["threads"] >= 1


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--object", "cup"], "knows none of: cup"),
        (["--least-pixels", "100000"], "No object covers 100000 pixels"),
        (["--segmenter", "guess"], 'no segmenter called "guess"'),
        (["--weights", "sam-vit-b=none.pth"], "no weights file at none.pth"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(tiny_capture, words, sentence):
    code, _, error = run(str(tiny_capture.folder), *words)
    assert code == 1
    assert sentence in error


@pytest.mark.parametrize("words", [["--weights", "clicknet"], ["--clicks", "x"], ["--points", "0"], ["--every", "0"]])
def test_bad_usage_exits_with_2(tiny_capture, words, own_cache):
    assert run(str(tiny_capture.folder), *words)[0] == 2
