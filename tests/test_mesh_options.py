"""How a result's mesh is made, remembered by its folder; and what its report says of what is a guess."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_capture import TinyCapture
from tiny_result import TinyResult, write_tiny_result
from typer.testing import CliRunner, Result

from engine import api
from engine.cli import app
from engine.meshing.export import read_mesh
from engine.meshing.soundness import soundness
from engine.options import MeshOptions
from engine.progress import Job
from engine.prompts import UserPrompt
from engine.results import mesh_options, read_report
from sa3d_blender.protocol.errors import StorageError


@pytest.fixture(scope="module")
def made_once(tiny_capture: TinyCapture, tmp_path_factory: pytest.TempPathFactory) -> TinyResult:
    return write_tiny_result(tiny_capture, tmp_path_factory.mktemp("tiny-result"))


@pytest.fixture
def result(made_once: TinyResult, tmp_path: Path) -> TinyResult:
    """A copy of the result that a test may change."""
    folder = tmp_path / "result"
    shutil.copytree(made_once.folder, folder)
    return TinyResult(folder, made_once.field, made_once.options)


def volume(result: TinyResult) -> float:
    return float(read_mesh(result.folder / "object.glb").volume)


def sa3d(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_a_report_says_how_much_is_a_guess_and_warns_of_nothing_where_all_is_well(result):
    report = read_report(result.folder)
    assert report["settings"]["mesh"] == {"level": 0.5, "open": False, "texture_px": None}
    mesh = report["mesh"]
    assert mesh["watertight"] and 0.4 < mesh["observed"] < 0.9  # its foot is on the ground; photos are small
    assert mesh["warnings"] == mesh["cut_at"] == [] and mesh["one_sided"] is False


def test_a_folder_remembers_its_level_and_a_correction_keeps_it(result, tiny_capture):
    usual = volume(result)
    api.mesh_again(result.folder, result.options, Job(), level=0.2)
    grown = volume(result)
    assert grown > 1.005 * usual
    assert mesh_options(result.folder) == MeshOptions(0.2)
    assert read_report(result.folder)["mesh"]["bounds"] == pytest.approx(
        read_mesh(result.folder / "object.glb").bounds, abs=1e-6
    )
    click = (*tiny_capture.centre_px("ball", 7), 1)
    api.correct_result(result.folder, UserPrompt(tiny_capture.names[7], (click,)), result.options, Job())
    assert mesh_options(result.folder) == MeshOptions(0.2)
    corrected = volume(result)
    assert corrected > 0.5 * (usual + grown)
    api.mesh_again(result.folder, result.options, Job())  # as it was
    assert volume(result) == pytest.approx(corrected, rel=1e-4)


def test_another_file_is_made_as_the_folders_mesh_is_and_changes_nothing_there(result, tmp_path):
    api.mesh_again(result.folder, result.options, Job(), is_open=True)
    before = (result.folder / "report.json").read_bytes()
    path = api.mesh_again(result.folder, result.options, Job(), 0.3, out=tmp_path / "ball.ply")
    assert not soundness(read_mesh(path)).watertight
    assert (result.folder / "report.json").read_bytes() == before


def test_an_open_mesh_ends_where_photos_end(result):
    before = read_mesh(result.folder / "object.glb").vertex_attributes["observed"].mean()
    lines: list[str] = []
    api.mesh_again(result.folder, result.options, Job(log=lines.append), is_open=True)
    mesh, report = read_mesh(result.folder / "object.glb"), read_report(result.folder)["mesh"]
    assert report["watertight"] is False and report["components"] == 1 and report["non_manifold_edges"] == 0
    assert any("faces that no photo shows are left out" in line for line in lines)
    share = mesh.vertex_attributes["observed"].mean()
    assert share > max(before, 0.85)  # what is left of the unseen are gaps and the border
    api.mesh_again(result.folder, result.options, Job(), is_open=False)
    assert read_report(result.folder)["mesh"]["watertight"] is True


def test_a_field_that_was_trained_for_too_small_a_region_is_warned_of(result, monkeypatch):
    """As if the region ended where the ball's foot is: its guessed underside lies in the border then."""
    bottom = read_mesh(result.folder / "object.glb").bounds[0, 2]
    usual = api.open_workspace

    def smaller(*given):
        workspace, trained = usual(*given)
        found = workspace.voxels.aabb.copy()
        found[0, 2] = bottom + 0.02
        monkeypatch.setattr("engine.finished_mesh.doubts_of", lambda mesh, box, *more: whole(mesh, found, *more))
        return workspace, trained

    from engine.meshing.doubts import doubts_of as whole

    monkeypatch.setattr("engine.objects.open_workspace", smaller)
    lines: list[str] = []
    api.mesh_again(result.folder, result.options, Job(log=lines.append))
    report = read_report(result.folder)["mesh"]
    assert report["cut_at"] == ["low Z"]
    (said,) = report["warnings"]
    assert f"Warning: {said}" in lines and "larger region" in said


def test_the_commands_take_openness_level_and_texture(result):
    common = ["--cache", result.options.cache, "--device", "cpu"]
    done = sa3d("mesh", result.folder, "--open", "--level", "0.4", "--texture", "512", *common)
    assert done.exit_code == 0, done.output
    assert mesh_options(result.folder) == MeshOptions(0.4, True, 512)
    report = read_report(result.folder)["mesh"]
    assert report["texture_px"] == 512 and report["watertight"] is False
    done = sa3d("mesh", result.folder, "--closed", "--texture", "none", *common)
    assert done.exit_code == 0, done.output
    assert mesh_options(result.folder) == MeshOptions(0.4, False, 0)
    assert "texture_px" not in read_report(result.folder)["mesh"]


@pytest.mark.parametrize(
    "words",
    [["--level", "0"], ["--level", "1"], ["--level", "nan"], ["--texture", "big"], ["--texture", "1e9"]],
    ids=" ".join,
)
def test_bad_usage_exits_with_2(own_cache, words):
    done = sa3d("mesh", "x", *words)
    assert done.exit_code == 2, done.output
    assert not own_cache.exists()


@pytest.mark.parametrize("settings", [[], {"mesh": []}, {"mesh": {"level": "high"}}, {"mesh": {"level": 7}}])
def test_a_report_that_says_nonsense_is_told(tmp_path, settings):
    (tmp_path / "report.json").write_text(json.dumps({"settings": settings}), encoding="utf-8")
    with pytest.raises(StorageError, match="doesn't say how its mesh was made") as caught:
        mesh_options(tmp_path)
    assert caught.value.cure


def test_a_report_of_an_older_engine_means_the_usual_mesh(tmp_path):
    (tmp_path / "report.json").write_text("{}", encoding="utf-8")
    assert mesh_options(tmp_path) == MeshOptions()
