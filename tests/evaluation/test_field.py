"""`sa3d evaluate field` trains fields in processes of their own and measures the views that they never saw."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from patience import patience
from small_captures import write_transforms
from tiny_capture import TinyCapture
from typer.testing import CliRunner

from engine.cli import app
from engine.evaluation import field as benchmark
from engine.evaluation import field_quality
from engine.evaluation.field import FieldPlan, evaluate_field
from engine.evaluation.field_pictures import GAP_PX, PANEL_SIDE_PX, shown_depth, side_by_side
from engine.evaluation.field_process import COMMAND, measure_apart
from engine.evaluation.field_quality import lpips_at_hand, lpips_distance, quality, ssim
from engine.evaluation.field_run import FieldRun, Outcome, ViewFigures, peak_memory_bytes
from engine.fields.curve import CurvePoint
from engine.fields.kinds import KINDS
from engine.fields.rendering import RenderedView
from engine.fields.settings import PRESETS
from engine.options import Options
from engine.progress import Job, Report
from sa3d_blender.protocol.errors import Cancelled, CaptureError, EnvironmentFault, FieldError

ROOT = Path(__file__).resolve().parents[2]


def flat(value: float, side: int = 24) -> np.ndarray:
    return np.full((side, side, 3), value, np.float32)


# ---- quality of pictures


def test_psnr_is_that_of_the_mean_squared_error_and_of_equal_pictures_a_number():
    assert quality(flat(0.5), flat(0.6)).psnr_db == pytest.approx(20.0, abs=1e-4)  # -10 log10(0.1^2)
    assert quality(flat(0.5), flat(0.5)).psnr_db == 100.0


def test_ssim_of_two_flat_pictures_compares_their_means_alone():
    a, b, c1 = 0.3, 0.7, 0.01**2  # Wang et al. 2004, Eq. 13, without variances
    assert ssim(flat(a), flat(b)) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-5)
    assert ssim(flat(a), flat(a)) == pytest.approx(1.0)


def test_ssim_of_a_pattern_and_its_negative_is_that_of_their_variances():
    amplitude, c2 = 0.1, 0.03**2
    sign = np.where(np.indices((24, 24)).sum(0) % 2, 1.0, -1.0)[..., None].repeat(3, -1)
    pattern, negative = 0.5 + amplitude * sign, 0.5 - amplitude * sign
    variance = amplitude**2  # over n: the window's weighted means of a chessboard are 0.5 to 1e-5
    expected = (-2 * variance + c2) / (2 * variance + c2)
    assert ssim(pattern, negative) == pytest.approx(expected, abs=1e-3)


def test_a_picture_smaller_than_the_window_has_no_ssim():
    assert np.isnan(ssim(flat(0.5, 10), flat(0.5, 10)))
    assert np.isfinite(ssim(flat(0.5, 11), flat(0.5, 11)))


def test_lpips_is_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(field_quality.importlib.util, "find_spec", lambda name: None)
    assert lpips_at_hand() == (None, "package lpips not installed")
    monkeypatch.setattr(field_quality.importlib.util, "find_spec", lambda name: object())
    assert lpips_at_hand() == (None, "no weights at hand")
    assert list(tmp_path.iterdir()) == []


def test_lpips_takes_the_backbone_that_is_there(tmp_path, monkeypatch):
    pytest.importorskip("tqdm")
    field_quality.ensure_torchvision_imports()
    pytest.importorskip("lpips")
    import torchvision

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    features = torchvision.models.alexnet().features.state_dict()  # random, but as a whole file has them
    file = tmp_path / "hub" / "checkpoints" / field_quality.LPIPS_BACKBONES["alex"]
    file.parent.mkdir(parents=True)
    torch.save({f"features.{name}": value for name, value in features.items()}, file)
    assert lpips_at_hand() == ("alex", "")
    distance = lpips_distance("alex", torch.device("cpu"))
    random = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    assert distance(random, random) == 0.0
    assert distance(flat(0.5, 64), random) > 1e-4
    assert quality(random, random, distance).lpips == 0.0
    torch.manual_seed(1)  # what it makes at random before the file is read is in no figure
    assert lpips_distance("alex", torch.device("cpu"))(flat(0.5, 64), random) == distance(flat(0.5, 64), random)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(EnvironmentFault, match="damaged"):
        lpips_distance("alex", torch.device("cpu"))
    assert lpips_at_hand() == (None, f"LPIPS's weights in {file} are damaged")


def test_lpips_needs_torchvision_too(monkeypatch):
    monkeypatch.setattr(field_quality.importlib.util, "find_spec", lambda name: object() if name == "lpips" else None)
    assert lpips_at_hand() == (None, "package torchvision not installed")


# ---- pictures


def test_depth_is_shown_bright_where_it_is_near_and_black_where_there_is_nothing():
    depth = np.array([[1.0, 2.0, 100.0, 0.0]], np.float32)
    shown = shown_depth(depth)[0]
    assert shown[0] == 1.0 and shown[2] == pytest.approx(0.0, abs=1e-6) and shown[3] == 0.0
    assert shown[1] == pytest.approx(0.5, abs=0.05)  # even in 1 / depth
    assert shown_depth(np.zeros((2, 2), np.float32)).max() == 0.0
    assert shown_depth(np.ones((2, 2), np.float32)).min() == 1.0


def test_four_panels_lie_side_by_side():
    depth = np.ones((30, 40), np.float32)
    photo, rgb = np.full((30, 40, 3), 0.5, np.float32), np.full((30, 40, 3), 0.6, np.float32)
    strip = side_by_side(photo, RenderedView(rgb, depth, depth))
    assert strip.shape == (30, 4 * 40 + 3 * GAP_PX, 3)
    means = [strip[:, i * (40 + GAP_PX) :][:, :40].mean() for i in range(4)]
    assert means == pytest.approx([0.5, 0.6, 0.4, 1.0], abs=1e-5)  # the difference is shown four times as large
    large = np.zeros((1200, 1600, 3), np.float32)
    strip = side_by_side(large, RenderedView(large, large[..., 0], large[..., 0]))
    assert strip.shape == (PANEL_SIDE_PX * 3 // 4, 4 * PANEL_SIDE_PX + 3 * GAP_PX, 3)


# ---- a process of its own


def run_of(folder: Path, capture: Path = Path("/somewhere/capture"), **wishes: object) -> FieldRun:
    return replace(FieldRun(capture, "tensorf", "draft", PRESETS["draft"], folder, "cpu"), **wishes)


def outcome(*decibels: float, seconds: float = 10.0, **wishes: object) -> Outcome:
    views = tuple(ViewFigures(f"{i}.png", psnr, 0.5, None, 0.25) for i, psnr in enumerate(decibels))
    curve = (CurvePoint(2.0, 10, 20.0, 24.0), CurvePoint(4.0, 20, 27.0, 28.0))
    made = Outcome(views, curve, 20, seconds, {"Training field": 4.0}, 3_000_000, 500_000_000, None, 1_500_000, "CPU")
    return replace(made, **wishes)


def child(*lines: dict, then: str = "") -> tuple[str, ...]:
    """A process that reads its run, says these lines and does something."""
    words = "".join(f"print({json.dumps(line)!r}, flush=True);" for line in lines)
    return sys.executable, "-c", f"import os, sys, time; sys.stdin.readline(); {words} {then}"


def test_a_run_comes_whole_through_a_line_of_json(tmp_path):
    for name, kind in KINDS.items():
        for word, settings in kind.presets.items():
            run = run_of(tmp_path, kind=name, quality=word, settings=settings, most=3, lpips="vgg")
            assert "\n" not in run.to_json()
            assert FieldRun.from_json(run.to_json()) == run
    made = outcome(20.0, 30.0, pictures={"a.png": "worst"})
    assert Outcome.from_json(json.loads(json.dumps(asdict(made)))) == made


def test_progress_and_words_come_through_and_then_the_outcome(tmp_path):
    reports: list[Report] = []
    lines: list[str] = []
    made = outcome(25.0)
    report = Report("Training field", 10, 20, 1.5, "PSNR 24.0 dB held out")
    command = child({"report": asdict(report)}, {"log": "a word"}, {"outcome": asdict(made)}, then="time.sleep(60)")
    assert measure_apart(run_of(tmp_path), Job(reports.append, lines.append), command) == made
    assert (reports, lines) == ([report], ["a word"])


@pytest.mark.parametrize(
    ("command", "kind", "sentence"),
    [
        (child({"error": {"code": "capture", "what": "A photo is gone.", "cure": ""}}), CaptureError, "photo is gone"),
        (
            child(then="raise ValueError('seven')"),
            FieldError,
            r"tensorf \(draft\) on capture died: ValueError: seven\.",
        ),
        (child(then="sys.exit(3)"), FieldError, "died: exit code 3"),
        (child(then="os.kill(os.getpid(), 9)"), FieldError, "died: SIGKILL.*lower --quality"),
        ((sys.executable, "-c", "raise SystemExit('no room')"), FieldError, "died: no room"),
        (
            child(then="print('{\"outcome\": {', end='', flush=True); os.kill(os.getpid(), 9)"),
            FieldError,
            "died: SIGKILL",
        ),
    ],
)
def test_a_process_that_fails_or_dies_says_so_in_one_sentence(tmp_path, command, kind, sentence):
    with pytest.raises(kind, match=sentence) as caught:
        measure_apart(run_of(tmp_path), Job(), command)
    assert "\n" not in str(caught.value)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("deaf", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);"])
def test_a_cancelled_run_is_gone_within_a_second_however_busy_it_is(tmp_path, deaf):
    asked: list[float] = []
    pids: list[int] = []
    job = Job(log=lambda line: (pids.append(int(line)), asked.append(time.monotonic()), job.cancel.set())[0])
    busy = "print('{\"log\": \"%d\"}' % os.getpid(), flush=True); exec('while True: pass')"
    with pytest.raises(Cancelled):
        measure_apart(run_of(tmp_path), job, child(then=deaf + busy))
    assert time.monotonic() - asked[0] < patience(1.0)
    assert gone(pids[0])


def test_a_run_ends_with_the_program_that_started_it(tiny_capture: TinyCapture, tmp_path):
    run = run_of(tmp_path, tiny_capture.folder)
    with subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as started:
        assert started.stdin is not None and started.stdout is not None
        started.stdin.write(run.to_json() + "\n")
        started.stdin.flush()
        assert any("Training field" in line for line in started.stdout)
        started.stdin.close()  # as the kernel does it for a program that was killed
        assert started.wait(patience(2.0)) == 1


def test_the_peak_of_memory_is_in_bytes():
    peak = peak_memory_bytes()
    assert peak is not None and 50e6 < peak < 1e12  # torch alone takes 200 MB


# ---- the benchmark


def made_up(monkeypatch: pytest.MonkeyPatch, *outcomes: Outcome | Exception) -> list[FieldRun]:
    """Runs end with these, in this order; gives the runs."""
    left, runs = list(outcomes), []

    def measured(run: FieldRun, job: Job) -> Outcome:
        runs.append(run)
        found = left.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(benchmark, "measure_apart", measured)
    monkeypatch.setattr(benchmark, "lpips_at_hand", lambda: (None, "no weights at hand"))
    return runs


def row(result: dict, table: int, at: int) -> dict[str, str]:
    found = result["tables"][table]
    return dict(zip(found["columns"], found["rows"][at], strict=True))


def test_every_kind_and_quality_is_measured_on_every_capture(tiny_capture, tmp_path, monkeypatch):
    shutil.copytree(tiny_capture.folder, tmp_path / "other")
    runs = made_up(monkeypatch, outcome(24.0, 28.0), outcome(30.0), outcome(20.0, seconds=30.0), outcome(22.0))
    plan = FieldPlan(["tensorf", "dvgo"], ["draft"], most=2)
    options = Options(tmp_path / "cache", "cpu", seed=7)
    result = evaluate_field([tiny_capture.folder, tmp_path / "other"], plan, options, Job())
    assert [(run.capture.name, run.kind, run.seed, run.most) for run in runs] == [
        ("capture", "tensorf", 7, 2),
        ("capture", "dvgo", 7, 2),
        ("other", "tensorf", 7, 2),
        ("other", "dvgo", 7, 2),
    ]
    assert [run.settings for run in runs[:2]] == [KINDS[kind].presets["draft"] for kind in ("tensorf", "dvgo")]
    first = row(result, 0, 0)
    assert (first["capture"], first["field"], first["views"]) == ("capture", "tensorf draft", "2")
    assert (first["PSNR dB"], first["SSIM"], first["LPIPS"]) == ("26.00", "0.500", "-")
    # the curve goes from 24 dB at 2 s to 28 dB at 4 s
    assert [first[f"s to {target} dB"] for target in (25, 27, 29, 31)] == ["2.5", "3.5", "-", "-"]
    assert row(result, 1, 0)["PSNR dB"] == "23.00"  # tensorf's mean over both captures: 26 and 20
    assert row(result, 1, 0)["s in all"] == "20.0"
    costs = row(result, 2, 0)
    assert (costs["parameters, million"], costs["disk MB"], costs["memory MB"]) == ("1.50", "3.0", "500")
    assert "GPU MB" not in costs
    found = result["runs"][0]
    assert (found["psnr_db"], found["training_seconds"], found["steps"]) == (26.0, 4.0, 20)
    assert found["seconds_to"] == {"25": 2.5, "27": 3.5, "29": None, "31": None}
    assert list((tmp_path / "cache").iterdir()) == []  # nothing is kept


def test_memory_of_a_gpu_has_a_column_where_there_is_one(tiny_capture, tmp_path, monkeypatch):
    made_up(monkeypatch, outcome(24.0, cuda_bytes=2_000_000_000))
    result = evaluate_field([tiny_capture.folder], FieldPlan(), Options(tmp_path, "cpu"), Job())
    assert row(result, 1, 0)["GPU MB"] == "2000"


def test_a_run_that_fails_among_others_is_told_and_left_out(tiny_capture, tmp_path, monkeypatch):
    lines: list[str] = []
    made_up(monkeypatch, FieldError("It died.", "Do something."), outcome(24.0))
    plan = FieldPlan(["tensorf", "dvgo"])
    result = evaluate_field([tiny_capture.folder], plan, Options(tmp_path, "cpu"), Job(log=lines.append))
    assert [run["field"] for run in result["runs"]] == ["dvgo"]
    (failed,) = result["failed"]
    assert (failed["field"], failed["what"]) == ("tensorf", "It died.")
    assert any("tensorf draft is left out: It died. Do something." in line for line in lines)


def test_why_lpips_is_not_measured_is_said_once(tiny_capture, tmp_path, monkeypatch):
    lines: list[str] = []
    made_up(monkeypatch, outcome(24.0), outcome(25.0))
    plan = FieldPlan(["tensorf", "dvgo"])
    result = evaluate_field([tiny_capture.folder], plan, Options(tmp_path, "cpu"), Job(log=lines.append))
    assert [line for line in lines if "LPIPS" in line] == ["LPIPS isn't measured: no weights at hand."]
    assert result["lpips"] == "no weights at hand"
    assert [run["lpips"] for run in result["runs"]] == [None, None]


def test_where_every_run_fails_the_benchmark_does(tiny_capture, tmp_path, monkeypatch):
    made_up(monkeypatch, FieldError("It died.", ""))
    with pytest.raises(FieldError, match="It died"):
        evaluate_field([tiny_capture.folder], FieldPlan(), Options(tmp_path / "cache", "cpu"), Job())
    assert list((tmp_path / "cache").iterdir()) == []


def command(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["evaluate", "field", *words, "--device", "cpu"])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--field", "tensorf,gauss"], "no kind of field called 'gauss'"),
        (["--field", "imported"], "no kind of field called 'imported'"),
        (["--quality", "draft,finest"], "no quality called 'finest'"),
    ],
)
def test_what_does_not_exist_is_refused_before_anything_is_trained(tiny_capture, monkeypatch, words, sentence):
    runs = made_up(monkeypatch)
    code, _, error = command(str(tiny_capture.folder), *words)
    assert code == 1 and sentence in error
    assert runs == []


@pytest.mark.usefixtures("own_cache")
def test_a_capture_without_held_out_views_is_refused_before_anything_is_trained(tiny_capture, tmp_path, monkeypatch):
    runs = made_up(monkeypatch)
    few = write_transforms(tmp_path / "few")
    code, out, _ = command(str(tiny_capture.folder), str(few), "--json")
    assert code == 1
    assert "few is held out: it has 4 views" in json.loads(out)["what"]
    assert runs == []


@pytest.mark.parametrize("words", [["--most", "0"], ["--field", ","]])
def test_bad_usage_exits_with_2(tiny_capture, own_cache, words):
    assert command(str(tiny_capture.folder), *words)[0] == 2


def test_the_command_trains_measures_and_shows(tiny_capture, own_cache, tmp_path, monkeypatch):
    """A real run; the preset that this process knows is the one that the other trains with."""
    small = replace(PRESETS["draft"], steps=12, rays=256, sides=(12,), upsample_at=(), occupancy_side=16)
    monkeypatch.setitem(KINDS, "tensorf", replace(KINDS["tensorf"], presets={"draft": small}))
    page = tmp_path / "page.html"
    code, out, error = command(str(tiny_capture.folder), "--html", str(page), "--most", "2", "--json")
    assert code == 0, error
    result = json.loads(out, parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))
    (run,) = result["runs"]
    assert [view["name"] for view in run["views"]] == ["images/000.png", "images/016.png"]
    assert run["psnr_db"] == pytest.approx(np.mean([view["psnr_db"] for view in run["views"]]))
    assert 8 < run["psnr_db"] < 40 and 0 < run["ssim"] < 1
    assert run["steps"] == 12 and run["settings"]["rays"] == 256
    assert run["curve"][-1]["step"] == 12 and run["curve"][-1]["heldout_psnr_db"] is not None
    assert 0 < run["training_seconds"] < run["total_seconds"]
    assert run["parameters"] * 4 < run["disk_bytes"] < run["parameters"] * 4 + 200_000  # float32, a mask, JSON
    assert 100e6 < run["memory_bytes"] < 4e9
    assert run["render_seconds"] > 0
    assert "Training field" in run["stages"] and "Training field" in error
    assert "Run 1 of 1: capture, tensorf draft." in error
    text = page.read_text(encoding="utf-8")
    assert text.count("<img") == 3
    for word in ("worst", "median", "best", "From left to right: the photo"):
        assert word in text
    assert list(own_cache.iterdir()) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are listed by Linux")
def test_ctrl_c_ends_the_command_and_its_run(tiny_capture, tmp_path):
    cache = tmp_path / "cache"
    words = [
        "-m",
        "engine.cli",
        "evaluate",
        "field",
        str(tiny_capture.folder),
        "--cache",
        str(cache),
        "--device",
        "cpu",
    ]
    started = subprocess.Popen(
        [sys.executable, *words], stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )
    assert started.stderr is not None
    assert any("Trying the pace" in line for line in started.stderr)
    listed = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text(encoding="ascii").split()
    asked = time.monotonic()
    os.killpg(started.pid, signal.SIGINT)
    rest = started.stderr.read()
    assert started.wait() == 1
    assert time.monotonic() - asked < patience(1.0)
    assert "Stopped on request" in rest and "Traceback" not in rest
    assert len(listed) == 1 and gone(int(listed[0]))
    assert list(cache.iterdir()) == []
