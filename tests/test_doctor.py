"""The doctor finds what is there, what is missing and what to do about it."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from engine import doctor
from engine.segmenters.weights import WEIGHTS, weights_folder

ROOT = Path(__file__).resolve().parent.parent


def found(findings: list[doctor.Finding], name: str) -> doctor.Finding:
    (finding,) = [finding for finding in findings if finding.name == name]
    return finding


def test_it_looks_at_every_package_the_project_depends_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = {re.split(r"[<>=;\[ ]", line)[0] for line in project["dependencies"]}
    assert set(doctor.LIBRARIES) == listed


def test_versions_are_those_installed(tmp_path):
    findings = doctor.examine(tmp_path)
    for name in doctor.LIBRARIES:
        assert found(findings, name) == doctor.Finding(name, True, importlib.metadata.version(name))


def test_a_missing_library_is_a_fault_and_its_cure_names_it(tmp_path, monkeypatch):
    monkeypatch.setitem(doctor.LIBRARIES, "no-such-package", "nothing")
    missing = found(doctor.examine(tmp_path), "no-such-package")
    assert missing.ok is False
    assert "no-such-package" in missing.cure


def test_a_library_that_breaks_on_loading_is_a_finding_not_a_crash(tmp_path, monkeypatch):
    import torch

    def broken() -> bool:
        raise RuntimeError("driver too old")

    monkeypatch.setattr(torch.cuda, "is_available", broken)
    devices = found(doctor.examine(tmp_path), "devices")
    assert devices.ok is False
    assert "driver too old" in devices.detail


def test_every_fault_comes_with_a_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "MIN_FREE_DISK", 1 << 70)
    monkeypatch.setattr(doctor, "MIN_FREE_MEMORY", 1 << 70)
    monkeypatch.setattr(doctor, "MIN_PYTHON", (99, 0))
    findings = doctor.examine(tmp_path)
    faults = [finding for finding in findings if finding.ok is False]
    expected = {"python", "disk"} | ({"memory"} if sys.platform == "linux" else set())
    assert expected <= {finding.name for finding in faults}
    assert all(finding.cure for finding in faults)


def test_weights_that_are_not_there_are_optional_and_the_cure_says_how_to_get_them(tmp_path):
    finding = found(doctor.examine(tmp_path), "weights sam-vit-b")
    assert finding.ok is None
    assert "sa3d weights get sam-vit-b" in finding.cure


def test_weights_that_are_cut_are_a_fault(tmp_path):
    path = weights_folder(tmp_path) / WEIGHTS["sam-vit-b"].file
    path.parent.mkdir()
    path.write_bytes(b"cut")
    finding = found(doctor.examine(tmp_path), "weights sam-vit-b")
    assert finding.ok is False
    assert "3 bytes" in finding.detail


def test_weights_of_the_right_size_are_found(tmp_path):
    path = weights_folder(tmp_path) / WEIGHTS["sam-vit-b"].file
    path.parent.mkdir()
    with open(path, "wb") as stream:
        stream.truncate(WEIGHTS["sam-vit-b"].size)  # sparse: takes no disk
    assert found(doctor.examine(tmp_path), "weights sam-vit-b").ok is True


def test_weights_that_have_begun_to_come_are_no_fault(tmp_path):
    path = weights_folder(tmp_path) / (WEIGHTS["sam-vit-b"].file + ".part")
    path.parent.mkdir()
    path.write_bytes(bytes(2048))
    finding = found(doctor.examine(tmp_path), "weights sam-vit-b")
    assert finding.ok is None
    assert "2.0 KiB of" in finding.detail


def test_the_extras_are_optional_and_their_cures_install_them(tmp_path, monkeypatch):
    assert found(doctor.examine(tmp_path), "transformers").ok is True
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    for name, extra in (("transformers", "text"), ("av", "video"), ("usd-core", "usd"), ("open3d", "fusion")):
        finding = found(doctor.examine(tmp_path), name)
        assert finding.ok is None
        assert f"sa3d-blender[{extra}]" in finding.cure
        assert ("make setup" in finding.cure) == (extra != "fusion")
    assert found(doctor.examine(tmp_path), "weights grounding-dino-tiny").ok is None


def test_the_size_of_the_cache_is_that_of_its_files(tmp_path):
    (tmp_path / "fields").mkdir()
    (tmp_path / "fields" / "a").write_bytes(bytes(1000))
    (tmp_path / "b").write_bytes(bytes(24))
    finding = found(doctor.examine(tmp_path), "cache")
    assert finding.ok is True
    assert finding.detail.endswith("(1.0 KiB)")


def test_a_cache_that_is_not_made_yet_is_left_unmade(tmp_path):
    root = tmp_path / "not" / "yet"
    assert found(doctor.examine(root), "cache").ok is True
    assert not (tmp_path / "not").exists()


def test_a_cache_that_is_a_file_is_a_fault(tmp_path):
    path = tmp_path / "file"
    path.touch()
    finding = found(doctor.examine(path), "cache")
    assert finding.ok is False
    assert "--cache" in finding.cure


def test_a_cache_that_cannot_be_written_is_a_fault(tmp_path, monkeypatch):
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Not by chmod: a superuser's tests may write anywhere.
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    finding = found(doctor.examine(tmp_path), "cache")
    assert finding.ok is False
    assert "Permission denied" in finding.detail


def test_looking_does_not_import_bpy():
    program = (
        "import sys, pathlib, engine.doctor as d; d.examine(pathlib.Path('nowhere')); sys.exit('bpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (3 * 1024**3, "3.0 GiB")]
)
def test_sizes_are_written_for_people(count, text):
    assert doctor._size(count) == text
