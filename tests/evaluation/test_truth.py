"""The truth beside a capture is read by names and stems."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.evaluation.truth import read_truth
from sa3d_blender.protocol.errors import CaptureError

CAPTURES = Path(os.environ.get("SA3D_CAPTURES", Path(__file__).resolve().parents[2] / "../shared/captures"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "masks").mkdir()
    (tmp_path / "meshes").mkdir()
    instances = np.zeros((6, 8), dtype=np.uint8)
    instances[1:3, 1:3], instances[4:6, 2:7] = 1, 2
    Image.fromarray(instances).save(tmp_path / "masks" / "000.png")
    Image.fromarray(np.where(instances == 2, 2, 0).astype(np.uint8)).save(tmp_path / "masks" / "001.png")
    (tmp_path / "objects.json").write_text(json.dumps({"cup": 1, "spoon": 2}))
    trimesh.creation.box().apply_translation((1, 2, 3)).export(tmp_path / "meshes" / "cup.ply")
    return tmp_path


def test_masks_are_picked_by_name(folder):
    truth = read_truth(folder)
    assert truth.objects == {"cup": 1, "spoon": 2}
    assert truth.stems == ("000", "001")
    assert truth.mask("000", "cup").sum() == 4
    assert truth.mask("000", "spoon").sum() == 10
    assert truth.stems_with("cup") == ("000",)


def test_meshes_come_in_the_captures_world(folder):
    truth = read_truth(folder)
    np.testing.assert_allclose(truth.mesh("cup").centroid, (1, 2, 3), atol=1e-6)
    assert not truth.has_mesh("spoon")


def test_the_truth_may_lie_beside_the_capture_as_the_demo_puts_it(folder):
    (folder / "capture").mkdir()
    (folder / "truth").mkdir()
    for name in ("masks", "meshes", "objects.json"):
        (folder / name).rename(folder / "truth" / name)
    truth = read_truth(folder / "capture")
    assert truth.objects == {"cup": 1, "spoon": 2} and truth.mesh("cup") is not None


def test_masks_without_names_are_of_one_object(tmp_path):
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.array([[0, 255], [255, 255]], dtype=np.uint8)).save(tmp_path / "masks" / "a.png")
    truth = read_truth(tmp_path)
    assert truth.mask("a", "object").tolist() == [[False, True], [True, True]]


def test_everything_missing_or_damaged_has_a_sentence_and_a_cure(folder, tmp_path):
    truth = read_truth(folder)
    (folder / "masks" / "001.png").write_bytes(b"not a picture")
    bad = tmp_path / "bad"
    (bad / "masks").mkdir(parents=True)
    Image.fromarray(np.zeros((2, 2), dtype=np.uint8)).save(bad / "masks" / "a.png")
    (bad / "objects.json").write_text('{"cup": "one"}')
    for call in (
        lambda: read_truth(folder / "meshes"),
        lambda: read_truth(bad),
        lambda: truth.mask("000", "fork"),
        lambda: truth.mask("777", "cup"),
        lambda: truth.mask("001", "cup"),
        lambda: truth.mesh("spoon"),
    ):
        with pytest.raises(CaptureError) as caught:
            call()
        assert caught.value.what and caught.value.cure


@pytest.mark.skipif(not (CAPTURES / "tabletop").is_dir(), reason="needs the shared captures")
def test_every_object_of_the_tabletop_has_a_mesh_and_is_seen():
    truth = read_truth(CAPTURES / "tabletop")
    assert len(truth.stems) == 60
    for name in truth.objects:
        assert truth.mesh(name).area > 0.0
        assert any(truth.mask(stem, name).any() for stem in truth.stems[:10])
