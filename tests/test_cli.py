"""The command line parses, prints and exits as its contract says: 0, 1 with one line of help, 2 on bad usage."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_capture import TinyCapture
from typer.testing import CliRunner, Result

from engine import api
from engine.cli import app
from engine.lifting.operators import OperatorBudget
from engine.lifting.settings import PAPER, LiftingSettings
from sa3d_blender.protocol.errors import LiftingError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def sa3d(own_cache: Path):
    """Runs the command in this process, with a cache of its own."""

    def run(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


def segment_words(capture: TinyCapture, out: Path, *more: object) -> list[object]:
    return ["segment", capture.folder, "--view", "000.png", "--out", out, *more]


@pytest.mark.parametrize(
    "more",
    [
        [],  # no prompt
        ["--point", "12"],
        ["--point", "a,b"],
        ["--point", "1,2,3"],
        ["--point", "nan,2"],
        ["--point", "1,2,1,1"],
        ["--box", "1,2,3"],
        ["--point", "1,2", "--tau", "0"],
        ["--point", "1,2", "--tau", "1.5"],
        ["--point", "1,2", "--views", "0"],
        ["--point", "1,2", "--lambda", "-1"],
        ["--point", "1,2", "--prompts", "0"],
        ["--point", "1,2", "--no-such-option"],
        ["--point", "1,2", "--tau", "half"],
        ["--text", "  "],
        ["--text", "the ball", "--box", "1,2,3,4"],
        ["--text", "the ball", "--hit", "0"],
        ["--point", "1,2", "--hit", "2"],
        ["--point", "1,2", "--rule", "theirs"],
        ["--point", "1,2", "--memory", "-1"],
    ],
    ids=lambda more: " ".join(more) or "no prompt",
)
def test_bad_usage_exits_with_2_and_does_nothing(sa3d, tiny_capture, tmp_path, own_cache, more):
    result = sa3d(*segment_words(tiny_capture, tmp_path / "out", *more))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Usage" in result.stderr
    assert not (tmp_path / "out").exists()
    assert not own_cache.exists()


@pytest.mark.parametrize(
    "words",
    [["segment"], ["train"], ["no-such-command"], ["mesh", "x", "--level", "1"], ["mesh", "x", "--level", "0"]],
    ids=" ".join,
)
def test_missing_and_impossible_words_exit_with_2(sa3d, words):
    assert sa3d(*words).exit_code == 2


def one_line(result: Result) -> str:
    """The one line on standard error of a run that failed."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    lines = [line for line in result.stderr.splitlines() if line.startswith("sa3d: ")]
    assert len(lines) == 1
    assert result.stderr.splitlines()[-1] == lines[0]
    assert "Traceback" not in result.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"capture": "/no/such/capture"}, "There is no capture"),
        ({"view": "999.png"}, "has no view '999.png'"),
        ({"segmenter": "magic"}, "magic"),
        ({"segmenter": "graph-cut", "scale": "part"}, "graph-cut can't tell scales apart"),
        ({"segmenter": "clicknet", "scale": "crumb"}, "Choose one of: part, object, group."),
        ({"quality": "splendid"}, "Choose one of: draft, good, best."),
        ({"point": "500,5"}, "outside"),
        ({"device": "abacus"}, "Choose auto, cpu, cuda or mps."),
        ({"mask": "/no/such/mask.png"}, "can't be read"),
        ({"field": "/no/such/field"}, "sa3d train"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_failures_exit_with_1_and_one_line_with_the_cure(sa3d, tiny_capture, tmp_path, changes, expected, monkeypatch):
    def never(*args: object, **kw: object) -> None:
        raise LiftingError("The field was trained before the fault was told.", "Tell it first.")

    monkeypatch.setattr("engine.train.train_field", never)
    words = {"view": "000.png", "point": "40,30", "out": str(tmp_path / "out"), **changes}
    capture = words.pop("capture", tiny_capture.folder)
    options = [word for name, value in words.items() for word in (f"--{name}", value)]
    assert expected in one_line(sa3d("segment", capture, *options))


def test_training_refuses_what_it_does_not_know(sa3d, tiny_capture):
    assert "Choose one of" in one_line(sa3d("train", tiny_capture.folder, "--quality", "splendid"))
    assert "tensorf, dvgo, nerf" in one_line(sa3d("train", tiny_capture.folder, "--field", "splats"))


def test_a_folder_that_is_no_result_cannot_be_meshed(sa3d, tmp_path):
    assert "sa3d segment --out" in one_line(sa3d("mesh", tmp_path))


def test_a_cache_that_cannot_be_written_is_told(sa3d, tiny_capture, tmp_path):
    (tmp_path / "file").write_text("")
    assert "--cache" in one_line(sa3d("train", tiny_capture.folder, "--cache", tmp_path / "file" / "cache"))


def test_with_json_a_failure_is_json_on_standard_output_too(sa3d, tiny_capture):
    result = sa3d("train", tiny_capture.folder, "--quality", "splendid", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["error"] == "field"
    assert "splendid" in found["what"]
    assert found["cure"] in result.stderr


def test_what_the_words_say_reaches_the_api(sa3d, tiny_capture, tmp_path, monkeypatch, own_cache):
    seen: dict[str, Any] = {}

    def recorded(path, prompt, request, options, out, job, beside):
        seen.update(path=path, prompt=prompt, request=request, options=options, out=out, beside=beside)
        job.log("a line of progress")
        return {"accepted": 3, "weights": Path("w.pth")}

    monkeypatch.setattr(api, "segment_capture", recorded)
    words = ["--point", "10,20", "--point", "1.5,2,0", "--box", "1,2,30,40", "--tau", "0.7", "--lambda", "0.3"]
    words += ["--two-pass", "--boundary", "--beside", "a", "--beside", "b", "--memory", "100", "--disk", "200"]
    words += ["--prompts", "5", "--views", "0.5", "--seed", "7", "--device", "cpu", "--quality", "good", "--json"]
    words += ["--scale", "part"]
    result = sa3d(*segment_words(tiny_capture, tmp_path / "out", *words))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"accepted": 3, "weights": "w.pth", "out": str(tmp_path / "out")}
    assert "a line of progress" in result.stderr
    prompt, request, options = seen["prompt"], seen["request"], seen["options"]
    assert prompt.view == "000.png"
    assert prompt.points == ((10.0, 20.0, 1), (1.5, 2.0, 0))
    assert prompt.box == (1.0, 2.0, 30.0, 40.0)
    lifting = request.lifting
    assert (lifting.tau, lifting.lam, lifting.prompts, lifting.views) == (0.7, 0.3, 5, 0.5)
    assert lifting.scale == "part"
    assert lifting.two_pass
    assert lifting.boundary
    assert request.quality == "good"
    assert options == api.Options(own_cache, "cpu", 7, OperatorBudget(100, 200))
    assert seen["beside"] == [Path("a"), Path("b")]


def test_the_papers_rule_brings_its_own_lambda_unless_another_is_given(sa3d, tiny_capture, tmp_path, monkeypatch):
    seen: list[LiftingSettings] = []

    def recorded(path, prompt, request, options, out, job, beside):
        seen.append(request.lifting)
        return {}

    monkeypatch.setattr(api, "segment_capture", recorded)
    for words in ([], ["--rule", "paper"], ["--rule", "paper", "--lambda", "0.3"]):
        sa3d(*segment_words(tiny_capture, tmp_path / "out", "--point", "10,20", "--json", *words))
    assert seen == [LiftingSettings(), PAPER, replace(PAPER, lam=0.3)]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--view", "000.png"],
        ["--point", "1,2"],
        ["--undo", "--view", "000.png", "--point", "1,2"],
        ["--undo", "--scale", "part"],
    ],
    ids=lambda words: " ".join(words) or "nothing",
)
def test_a_correction_wants_a_view_and_points_or_undo_alone(sa3d, tmp_path, words):
    assert sa3d("correct", tmp_path, *words).exit_code == 2


def test_what_is_no_result_cannot_be_corrected(sa3d, tmp_path):
    result = sa3d("correct", tmp_path, "--undo", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"] == "storage"
    assert "sa3d segment --out" in result.stderr


def test_the_doctor_answers_in_words_and_in_json(sa3d):
    spoken = sa3d("doctor")
    assert spoken.exit_code == 0
    assert "torch" in spoken.stdout
    rows = [line for line in spoken.stdout.splitlines() if line.strip()]
    found = json.loads(sa3d("doctor", "--json").stdout)
    assert len(rows) == len(found["findings"])  # in a pipe no line is broken
    assert found["healthy"] is all(finding["ok"] is not False for finding in found["findings"])
    assert {"name", "ok", "detail", "cure"} <= set(found["findings"][0])


def test_the_real_command_keeps_standard_output_for_the_result(tmp_path):
    words = [sys.executable, "-m", "engine.cli", "train", str(tmp_path / "nowhere"), "--json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "capture"
    assert done.stderr.strip().count("\n") == 0
    assert done.stderr.startswith("sa3d: There is no capture")
