"""`sa3d evaluate mesh` compares our meshes, and plain marching cubes, with the true ones and the photos."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from tiny_capture import TinyCapture
from typer.testing import CliRunner

from engine.cli import app
from engine.evaluation import mesh_run
from engine.evaluation.mesh import means, show_mesh, tables
from engine.evaluation.mesh_run import FUSION, ONE_LEVEL, OURS, MeshFigures, ObjectResult, ShapeFigures, shape_figures
from engine.evaluation.mesh_texture import TextureFigures, ViewTexture
from engine.meshing.soundness import Soundness
from sa3d_blender.protocol.errors import MeshError

needs_bpy = pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs Blender's Python module")


def command(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["evaluate", "mesh", *words, "--device", "cpu"])
    return result.exit_code, result.stdout, result.stderr


def evaluate(cache: Path, *words: str) -> dict:
    """The JSON that the command prints; nothing but strict JSON may be on its standard output."""
    code, out, errors = command(*words, "--cache", str(cache), "--json")
    assert code == 0, out + errors

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(out, parse_constant=refuse)


@pytest.fixture
def without_blender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mesh_run, "has_blender_module", lambda: False)


@needs_bpy
def test_ours_and_the_usual_way_are_measured_and_shown(tiny_capture: TinyCapture, cache: Path, tmp_path: Path):
    page = tmp_path / "page.html"
    found = evaluate(cache, str(tiny_capture.folder), "--most", "3", "--html", str(page), "--apart", "box")
    assert found["benchmark"] == "mesh" and found["masks"] == "true" and found["segmenter"] is None
    assert set(found["objects"]) == {"ball", "box"}
    for row in found["objects"].values():
        assert set(row["meshes"]) == {OURS, ONE_LEVEL}
        ours = row["meshes"][OURS]
        assert ours["chamfer"] < 0.05 and ours["f_1"] <= ours["f_2"]
        assert ours["watertight"] and ours["components"] == 1 and ours["non_manifold_edges"] == 0
        assert ours["normals"] > 0.8
        assert ours["psnr_db"] > 15 and ours["coverage"] > 0.85
        assert len(ours["views"]) == 3 and ours["no_texture"] is None
        assert row["meshes"][ONE_LEVEL]["faces"] > 100 and row["meshes"][ONE_LEVEL]["psnr_db"] is not None
    assert found["means_apart"][OURS]["chamfer"] == found["objects"]["ball"]["meshes"][OURS]["chamfer"]
    assert found["failed"] == [] and found["no_texture"] is None
    assert page.read_text(encoding="utf-8").count("<img") == 4  # the worst and the median view of two objects
    assert not list(cache.glob(".partial-*"))  # what Blender read and wrote is gone


@pytest.mark.usefixtures("without_blender")
def test_without_blender_shapes_are_measured_and_it_is_said_that_colours_are_not(tiny_capture, cache, capsys):
    found = evaluate(cache, str(tiny_capture.folder), "--objects", "ball")
    row = found["objects"]["ball"]["meshes"][OURS]
    assert row["psnr_db"] is None and row["coverage"] is None
    assert "bpy not installed" in row["no_texture"]
    assert row["chamfer"] < 0.05
    show_mesh(found)
    shown = capsys.readouterr().out
    assert "PSNR isn't measured: package bpy not installed" in shown
    assert all(word in shown for word in ("chamfer", "normals", "covered"))  # no head is cut short


@pytest.mark.usefixtures("without_blender")
def test_the_pipelines_masks_can_be_measured_instead_of_the_true_ones(tiny_capture, cache):
    words = ("--masks", "segmented", "--segmenter", "graph-cut", "--view", "004", "--objects", "box")
    found = evaluate(cache, str(tiny_capture.folder), *words)
    assert (found["segmenter"], found["reference"]) == ("graph-cut", "004")
    assert "from the true mask of view 004" in found["tables"][0]["title"]
    assert found["objects"]["box"]["meshes"][OURS]["f_2"] > 0


@pytest.mark.usefixtures("without_blender")
@pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="needs Open3D, the extra 'fusion'")
def test_the_second_way_can_be_measured_beside_the_others(tiny_capture, cache):
    found = evaluate(cache, str(tiny_capture.folder), "--objects", "ball", "--surface", "fusion")
    rows = found["objects"]["ball"]["meshes"]
    assert list(rows) == [OURS, FUSION, ONE_LEVEL] == list(found["means"])
    assert rows[FUSION]["watertight"] and rows[FUSION]["components"] == 1
    assert rows[FUSION]["chamfer"] < 0.08 and rows[FUSION]["chamfer"] != rows[OURS]["chamfer"]


def test_a_second_way_that_is_not_there_or_not_installed_is_told(tiny_capture, cache, monkeypatch):
    code, _, errors = command(str(tiny_capture.folder), "--surface", "magic")
    assert code == 2 and "fusion" in errors
    monkeypatch.setattr("engine.meshing.tsdf.importlib.util.find_spec", lambda name: None)
    code, out, _ = command(str(tiny_capture.folder), "--surface", "fusion", "--cache", str(cache), "--json")
    assert code == 1 and "Open3D" in json.loads(out)["what"]


@pytest.mark.usefixtures("without_blender")
def test_a_mesh_that_can_not_be_made_is_told_and_left_out(tiny_capture, cache, monkeypatch):
    def fails(*_: object) -> trimesh.Trimesh:
        raise MeshError("Nothing is there.", "Look elsewhere.")

    words = (str(tiny_capture.folder), "--objects", "ball", "--cache", str(cache))
    monkeypatch.setitem(mesh_run.MAKERS, ONE_LEVEL, fails)
    found = evaluate(cache, *words)
    assert found["failed"] == [{"object": "ball", "mesh": ONE_LEVEL, "what": "Nothing is there."}]
    assert set(found["objects"]["ball"]["meshes"]) == {OURS} == set(found["means"])
    monkeypatch.setitem(mesh_run.MAKERS, OURS, fails)
    code, out, errors = command(*words, "--json")
    assert code == 1
    assert json.loads(out)["what"] == "Nothing is there."
    assert "Look elsewhere." in errors


def figures(chamfer: float, psnr: float | None, closed: bool = True, faces: int = 100) -> MeshFigures:
    texture = None if psnr is None else TextureFigures(psnr, psnr, 0.5, (ViewTexture("000", psnr, 0.5, 40),))
    sound = Soundness(closed, 1, 0, True)
    return MeshFigures(ShapeFigures(chamfer, 0.5, 0.75, 0.9), sound, 50, faces, 2.0, texture, "" if texture else "no")


def test_the_table_has_a_row_for_each_mesh_and_for_each_methods_means():
    results = [
        ObjectResult("ball", 0.9, {OURS: figures(0.01, 30.0), ONE_LEVEL: figures(0.02, 20.0, closed=False)}, {}),
        ObjectResult("ring", 0.5, {OURS: figures(0.03, 20.0, faces=300)}, {ONE_LEVEL: MeshError("No.", "")}),
    ]
    (table,) = tables(results, ["ring"], "tiny")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["object"], row["mesh"]) for row in rows] == [
        ("ball", OURS),
        ("ball", ONE_LEVEL),
        ("ring", OURS),
        ("mean", OURS),
        ("mean", ONE_LEVEL),
        ("mean without ring", OURS),
        ("mean without ring", ONE_LEVEL),
    ]
    first, mean = rows[0], rows[3]
    assert (first["chamfer %"], first["PSNR dB"], first["covered %"]) == ("1.00", "30.0", "50.00")
    assert first["closed"] == "yes"
    assert (mean["chamfer %"], mean["PSNR dB"], mean["faces"], mean["closed"]) == ("2.00", "25.0", "200", "2 of 2")
    assert (rows[4]["closed"], rows[5]["PSNR dB"]) == ("0 of 1", "30.0")


def test_a_mean_is_a_number_only_where_all_of_its_parts_are():
    results = [ObjectResult(name, 0.9, {OURS: figures(0.01, psnr)}, {}) for name, psnr in (("a", 20.0), ("b", None))]
    assert np.isnan(means(results)[OURS]["psnr_db"])
    assert means(results)[OURS]["chamfer"] == pytest.approx(0.01)
    assert means([]) == {}


def test_what_is_shown_tells_what_failed(capsys):
    failed = [{"object": "ball", "mesh": OURS, "what": "Nothing is there."}]
    show_mesh({"tables": [], "no_texture": None, "failed": failed, "page": "a.html"})
    assert capsys.readouterr().out == "Failed: ball, ours: Nothing is there.\nPage: a.html\n"


def test_shapes_are_shares_of_the_true_diagonal():
    inner, outer = trimesh.creation.icosphere(4, 1.0), trimesh.creation.icosphere(4, 1.05)
    found = shape_figures(outer, inner, seed=0)
    assert found.chamfer == pytest.approx(0.05 / np.linalg.norm([2.0] * 3), rel=0.03)  # 0.0144
    assert found.f_1 == 0.0 and found.f_2 > 0.99
    assert replace(found, normals=1.0) != found and found.normals > 0.99


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--masks", "guess"], "no masks 'guess'"),
        (["--objects", ","], "names none"),
        (["--most", "0"], "Invalid value for '--most'"),
    ],
)
def test_bad_usage_exits_with_2(words, sentence, own_cache):
    code, _, errors = command(".", *words)
    assert code == 2
    assert sentence in " ".join(errors.replace("│", " ").split())


@pytest.mark.parametrize(
    ("gone", "words", "sentence"),
    [
        ("meshes", [], "no true meshes"),
        ("meshes/box.ply", ["--objects", "box"], "no true mesh of box"),
        ("masks", [], "no true masks"),
        ("", ["--objects", "cup"], "no object cup"),
    ],
)
def test_what_can_not_be_measured_is_refused_before_anything_is_trained(
    tiny_capture, tmp_path, own_cache, monkeypatch, gone, words, sentence
):
    def never(*args: object, **kw: object) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr("engine.train.train_field", never)
    folder = tmp_path / "bare"
    shutil.copytree(tiny_capture.folder, folder)
    if (folder / gone).is_file():
        (folder / gone).unlink()
    elif gone:
        shutil.rmtree(folder / gone)
    code, out, _ = command(str(folder), *words, "--json")
    assert code == 1
    assert sentence in json.loads(out)["what"]


def test_objects_without_a_true_mesh_are_left_out_unless_they_are_named(tiny_capture, tmp_path, cache, without_blender):
    folder = tmp_path / "bare"
    shutil.copytree(tiny_capture.folder, folder)
    (folder / "meshes" / "box.ply").unlink()
    assert set(evaluate(cache, str(folder))["objects"]) == {"ball"}
