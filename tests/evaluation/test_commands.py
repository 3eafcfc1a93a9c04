"""`sa3d evaluate ...` runs end to end: tables, JSON, a page; the field is a small one that is trained once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tiny_capture as tiny
from benchmark_layouts import write_nvos, write_replica, write_spin_nerf
from tiny_capture import TinyCapture
from typer.testing import CliRunner

from engine.cache import Cache
from engine.captures.capture import Capture
from engine.captures.load import load_capture
from engine.cli import app
from engine.evaluation.ablation import as_table, variants
from engine.evaluation.masks import Outcome
from engine.evaluation.run import Carried
from engine.evaluation.tasks import Task, ViewScore
from engine.lifting.settings import PAPER, LiftingSettings
from engine.options import Options, SegmentOptions
from engine.progress import Job
from engine.train import Trained, train
from engine.workspace import Workspace


@pytest.fixture
def same_field(cache: Path, tiny_capture: TinyCapture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other layouts of the same photos take the same field, as their world is the same."""
    trained = train(load_capture(tiny_capture.folder), "draft", Options(cache, "cpu"), Job())

    def found(capture: Capture, options: Options, request: SegmentOptions, job: Job) -> tuple[Workspace, Trained]:
        kept = Cache(options.cache)
        return Workspace(capture, kept.capture_key(capture), trained.field, trained.key, kept, options.budget), trained

    monkeypatch.setattr("engine.evaluation.scenes.open_workspace", found)


def evaluate(cache: Path, *words: str) -> dict:
    """The JSON that a command prints; nothing but strict JSON may be on its standard output."""
    call = ["evaluate", *words, "--cache", str(cache), "--segmenter", "graph-cut", "--device", "cpu", "--json"]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(result.stdout, parse_constant=refuse)


class Looked(HTMLParser):
    """Counts tags, collects what a page refers to, and checks that what is opened is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_reference_protocol_compares_methods_and_writes_a_page(tiny_capture, cache, tmp_path):
    page = tmp_path / "page.html"
    found = evaluate(cache, "masks", str(tiny_capture.folder), "--html", str(page), "--apart", "box")
    assert found["protocol"] == "reference"
    assert set(found["objects"]) == {"ball", "box"}
    for row in found["objects"].values():
        assert set(row) == {"ours", "paper's rule", "one view, spread", "single view"}
        assert row["one view, spread"]["iou"] > row["single view"]["iou"] + 0.1
        assert row["ours"]["iou"] > row["single view"]["iou"]
        assert row["ours"]["iou"] > 0.7
        assert 0 < row["ours"]["f_score"] <= 1
        assert row["single view"]["f_score"] is None  # a mesh is made of ours only
        assert len(row["ours"]["views"]) == 19
    assert found["mean_iou_apart"]["ours"] == found["objects"]["ball"]["ours"]["iou"]
    looked = Looked(page)
    assert looked.tags.count("img") == 6  # the three worst views of two objects
    assert looked.tags.count("table") == 2
    assert all(reference.startswith("data:image/png;base64,") for reference in looked.references)
    assert "http" not in page.read_text(encoding="utf-8")


def test_the_true_masks_of_all_views_give_a_ceiling(tiny_capture, cache):
    found = evaluate(cache, "masks", str(tiny_capture.folder), "--protocol", "ceiling", "--no-meshes")
    assert found["mean_iou"]["true masks"] > 0.85


def test_clicks_are_carried(tiny_capture, cache):
    words = ("--protocol", "clicks", "--clicks", "1,3", "--object", "ball", "--no-meshes")
    found = evaluate(cache, "masks", str(tiny_capture.folder), *words)
    assert set(found["objects"]["ball"]) == {"1 click", "3 clicks"}
    assert found["objects"]["ball"]["3 clicks"]["first_iou"] > 0.7
    assert found["objects"]["ball"]["3 clicks"]["iou"] > 0.6


def test_ablations_run_each_variant_of_the_settings_once(tiny_capture, cache, monkeypatch):
    from engine.evaluation import ablation

    run: list[LiftingSettings] = []
    carry = ablation.carry
    monkeypatch.setattr(ablation, "carry", lambda *all_of: (run.append(all_of[3]), carry(*all_of))[1])
    tables = ("--table", "tau", "--table", "decay")
    found = evaluate(cache, "ablation", str(tiny_capture.folder), "--object", "ball", *tables)
    assert list(found["variants"]) == ["tau", "decay"]
    assert list(found["variants"]["decay"]) == ["with", "without"]
    assert found["mean_iou"]["decay"]["with"] == found["mean_iou"]["tau"]["0.5"]
    assert len(run) == len(set(run)) == 6  # five of tau, of which one is the decay's, too


@pytest.mark.usefixtures("same_field")
def test_spin_nerf_is_scored_with_and_without_the_reference_view(tiny_capture, cache, tmp_path):
    write_spin_nerf(tiny_capture, tmp_path / "data")
    page = tmp_path / "page.html"
    found = evaluate(cache, "spin-nerf", str(tmp_path / "data"), "--quality", "draft", "--html", str(page))
    (task,) = found["tasks"]
    assert task["ours"]["iou"] > 0.7
    assert len(task["ours"]["views"]) == 3
    assert task["iou_with_reference"] != task["ours"]["iou"]
    assert Looked(page).tags.count("img") == 3


@pytest.mark.usefixtures("same_field")
def test_nvos_is_scored_on_the_target_view_for_each_draw_of_points(tiny_capture, cache, tmp_path):
    write_nvos(tiny_capture, tmp_path / "data")
    found = evaluate(cache, "nvos", str(tmp_path / "data"), "--quality", "draft", "--seeds", "2")
    assert [task["task"] for task in found["tasks"]] == ["fern", "fern"]
    for task in found["tasks"]:
        assert list(task["ours"]["views"]) == ["009"]
        assert task["ours"]["iou"] > 0.6
    (table,) = found["tables"]
    assert [row[0] for row in table["rows"]][:2] == ["fern", "mean"]


@pytest.mark.usefixtures("same_field")
def test_replica_is_scored_object_by_object(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny, "FOCAL", tiny.WIDTH / 2)  # 90 degrees across
    write_replica(tiny.write_tiny_capture(tmp_path / "wide"), tmp_path / "data")
    found = evaluate(cache, "replica", str(tmp_path / "data"), "--quality", "draft", "--every", "2")
    assert [task["task"] for task in found["tasks"]] == ["office0/3", "office0/4"]
    for task in found["tasks"]:
        assert len(task["ours"]["views"]) == 9
        assert task["ours"]["iou"] > 0.5  # the objects are but 8 pixels high


@pytest.mark.usefixtures("same_field")
def test_ablations_run_on_benchmarks_too(tiny_capture, cache, tmp_path):
    write_spin_nerf(tiny_capture, tmp_path / "data")
    words = ("--benchmark", "spin-nerf", "--table", "decay")
    found = evaluate(cache, "ablation", str(tmp_path / "data"), *words)
    assert [o["task"] for o in found["variants"]["decay"]["with"]] == ["fern"]


def outcomes(task: Task, ious: dict[str, float]) -> dict[str, list[Outcome]]:
    nothing = np.zeros(0, np.float32)
    none = Carried({}, nothing, nothing.astype(bool), {}, 1.0, 0.5)
    return {name: [Outcome(task, name, {"a": ViewScore(v, v, v)}, none)] for name, v in ious.items()}


def test_gains_are_over_the_paper_where_something_is_added_and_of_ours_where_it_is_taken_away(tiny_capture):
    task = Task(load_capture(tiny_capture.folder), "ball", "000", None, {})
    found = outcomes(task, {"paper": 0.5, "ours": 0.75, "paper + hint": 0.625, "ours - hint": 0.6875})
    rows = {row[0]: row[-1] for row in as_table("methods", found, []).rows}
    assert rows == {"paper": "", "ours": "+0.250", "paper + hint": "+0.125", "ours - hint": "+0.062"}


def test_every_difference_from_the_paper_has_a_row_of_its_own():
    rows = variants("methods", LiftingSettings())
    assert rows["paper"] == PAPER
    added = [rows[name] for name in rows if name.startswith("paper + ")]
    all_of_them = PAPER
    for settings in added:
        assert settings is not None
        assert settings != PAPER
        changed = {k: v for k, v in vars(settings).items() if v != getattr(PAPER, k)}
        all_of_them = replace(all_of_them, **changed)
    assert all_of_them == LiftingSettings()  # together they are what makes ours of the paper's rule


@pytest.mark.parametrize(
    "words",
    [
        ["masks", ".", "--protocol", "guess"],
        ["masks", ".", "--clicks", "1,a"],
        ["masks", ".", "--clicks", "0"],
        ["masks", ".", "--rule", "theirs"],
        ["ablation", ".", "--table", "9"],
        ["ablation", ".", "--benchmark", "coco"],
    ],
)
def test_bad_usage_exits_with_2(words, own_cache):
    assert CliRunner().invoke(app, ["evaluate", *words]).exit_code == 2


@pytest.fixture
def never_trained(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kw: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr("engine.train.train_field", never)


@pytest.mark.usefixtures("never_trained")
@pytest.mark.parametrize(
    ("spoil", "words", "sentence"),
    [
        ("masks", [], "no true masks"),
        ("", ["--object", "cup"], "no object cup"),
        ("", ["--view", "099"], "no view"),
        ("objects.json", [], "does not show object"),  # without names, masks are 0 or 255
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_trained(tiny_capture, tmp_path, spoil, words, sentence):
    folder = tmp_path / "bare"
    shutil.copytree(tiny_capture.folder, folder)
    if (folder / spoil).is_file():
        (folder / spoil).unlink()
    elif spoil:
        shutil.rmtree(folder / spoil)
    result = CliRunner().invoke(app, ["evaluate", "masks", str(folder), *words, "--json"])
    assert result.exit_code == 1
    assert sentence in json.loads(result.stdout)["what"]
