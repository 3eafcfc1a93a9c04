"""The training scenes: things have sound surfaces, and what the renderer writes can be learnt from."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sa3d_blender.synthetic import shapes
from sa3d_blender.synthetic.things import KINDS

ROOT = Path(__file__).resolve().parents[2]


def render(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sa3d_blender.synthetic", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_help_is_printed_and_wrong_arguments_are_said_without_a_trace() -> None:
    helped = render("--help")
    assert helped.returncode == 0 and "--views" in helped.stdout and not helped.stderr
    wrong = render("--out")
    assert wrong.returncode == 2 and "expected one argument" in wrong.stderr and "Traceback" not in wrong.stderr


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scenes of one view, one sample."""
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("needs Blender's Python module")
    out = tmp_path_factory.mktemp("scenes")
    done = render("--out", str(out), "--scenes", "2", "--views", "1", "--samples", "1")
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_thing_has_finite_parts_of_about_one_unit(kind, seed: int) -> None:
    parts = kind(np.random.default_rng(seed))
    points = np.concatenate([part.shape.vertices for part in parts])
    assert np.isfinite(points).all()
    assert 0.2 < np.ptp(points, axis=0).max() < 4
    for number, part in enumerate(parts):
        indices = {i for face in part.shape.faces for i in face}
        assert min(indices) == 0 and max(indices) == len(part.shape.vertices) - 1
        assert part.like is None or 0 <= part.like < number


def test_a_swept_tube_keeps_its_radius_along_a_bend() -> None:
    angle = np.linspace(0, np.pi, 40)
    path = np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    tube = shapes.sweep(path, np.full(40, 0.1), 12)
    distance = np.linalg.norm(tube.vertices.reshape(40, 12, 3) - path[:, None], axis=2)
    assert np.allclose(distance, 0.1)


def test_a_swept_tube_is_closed() -> None:
    """Every edge belongs to two faces."""
    tube = shapes.sweep(np.array([[0, 0, 0], [0, 0, 1.0], [0, 1, 2]]), np.full(3, 0.2), 6)
    edges: dict[tuple[int, int], int] = {}
    for face in tube.faces:
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            edges[min(a, b), max(a, b)] = edges.get((min(a, b), max(a, b)), 0) + 1
    assert set(edges.values()) == {2}


def test_every_view_has_a_photo_and_identities(scenes: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    assert {path.name for path in scenes.iterdir()} == {"00000-0.jpg", "00000-0.png", "00001-0.jpg", "00001-0.png"}
    for path in scenes.glob("*.png"):
        photo, identity = image.open(path.with_suffix(".jpg")), np.asarray(image.open(path))
        assert photo.size == (identity.shape[1], identity.shape[0])
        instance, part, group = identity[..., 0], identity[..., 1], identity[..., 2]
        assert len(np.unique(instance)) >= 3  # the room and some things
        assert ((instance == 0) == (group == 0)).all() and (part[instance == 0] == 0).all()
        for number in np.unique(instance):  # a thing is of one group only
            assert len(np.unique(group[instance == number])) == 1


def test_a_scene_depends_on_its_number_alone(scenes: Path, tmp_path: Path) -> None:
    done = render("--out", str(tmp_path), "--first", "1", "--scenes", "1", "--views", "1", "--samples", "1")
    assert done.returncode == 0, done.stderr
    image = pytest.importorskip("PIL.Image")
    again, before = (np.asarray(image.open(folder / "00001-0.png")) for folder in (tmp_path, scenes))
    assert np.array_equal(again, before)


def test_a_missing_folder_of_models_is_one_sentence(tmp_path: Path) -> None:
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("needs Blender's Python module")
    done = render("--out", str(tmp_path), "--models", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "There is no folder" in done.stderr and "Traceback" not in done.stderr
