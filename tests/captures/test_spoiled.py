"""Spoiled captures of every format are loaded or refused in words; tests/benchmarks/capture_fuzz.py tries many more."""

from __future__ import annotations

from pathlib import Path

import pytest
from capture_fuzzing import fuzz
from small_captures import refuses, write_llff, write_transforms


def test_three_hundred_spoiled_captures_are_loaded_or_refused_with_a_sentence(tmp_path):
    tally = fuzz(tmp_path, 300, seed=7)
    assert tally.failures == []
    assert tally.loaded + tally.refused == 300
    assert tally.loaded > 50 and tally.refused > 50  # neither is for nothing
    assert set(tally.formats) == {"transforms", "nerf_synthetic", "llff", "colmap", "replica", "metashape", "reality"}


@pytest.mark.parametrize(("write", "name"), [(write_transforms, "transforms.json"), (write_llff, "poses_bounds.npy")])
def test_a_file_of_cameras_behind_a_link_out_of_its_folder_is_refused(tmp_path, write, name):
    folder = write(tmp_path / "scene")
    Path(folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    refuses("outside of its folder", folder)
    refuses("outside of its folder", folder / name)
