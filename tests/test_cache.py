"""What is cached is keyed by content, and files appear whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_capture import TinyCapture

from engine.cache import LEFTOVER, STALE_SECONDS, Cache, atomic_file, cache_root, storage_errors, write_json
from engine.captures.load import load_capture
from sa3d_blender.protocol.errors import CaptureError, StorageError

ROOT = Path(__file__).parents[1]


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("half")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "half"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_an_exception_leaves_neither_a_half_written_file_nor_a_leftover(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="power cut"), atomic_file(path) as temporary:
        temporary.write_text("new but ha")
        raise RuntimeError("power cut")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_full_disk_is_told_in_a_sentence(tmp_path):
    with pytest.raises(StorageError, match="full") as caught, atomic_file(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "space" in caught.value.cure
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(tmp_path):
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(StorageError, match="taken") as caught, atomic_file(tmp_path / "taken" / "file"):
        pass
    assert "--cache" in caught.value.cure
    with pytest.raises(StorageError):
        Cache(tmp_path / "taken").folder("fields", "key")


def test_other_errors_than_the_disks_pass_through(tmp_path):
    with pytest.raises(ZeroDivisionError), storage_errors(tmp_path):
        raise ZeroDivisionError


def test_json_turns_numbers_that_are_not_finite_into_null(tmp_path):
    value = {"a": math.nan, "b": [1.5, math.inf, (-math.inf,)], "c": np.float32(np.nan), "d": np.int64(3), 5: "x"}
    write_json(tmp_path / "v.json", value)
    found = json.loads((tmp_path / "v.json").read_text())
    assert found == {"a": None, "b": [1.5, None, [None]], "c": None, "d": 3, "5": "x"}


@pytest.fixture
def copied(tiny_capture: TinyCapture, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_capture.folder, tmp_path / "copy"))


def test_the_key_of_a_capture_does_not_depend_on_its_place(tiny_capture, copied, tmp_path):
    here, there = (Cache(tmp_path / "c").capture_key(load_capture(p)) for p in (tiny_capture.folder, copied))
    assert here == there


def test_the_key_of_a_capture_changes_with_one_pixel_of_a_photo(copied, tmp_path):
    cache = Cache(tmp_path / "c")
    before = cache.capture_key(load_capture(copied))
    assert cache.capture_key(load_capture(copied)) == before
    path = copied / "images" / "007.png"
    with Image.open(path) as image:
        pixels = np.array(image)
    pixels[3, 3, 0] ^= 1
    Image.fromarray(pixels).save(path)
    assert cache.capture_key(load_capture(copied)) != before


def test_the_key_of_a_capture_changes_with_its_cameras_and_its_split(copied, tmp_path):
    cache, capture = Cache(tmp_path / "c"), load_capture(copied)
    view = capture.views[0]
    moved = view.camera.world_from_camera.copy()
    moved[0, 3] += 1e-9
    others = [
        replace(view, near_far=(0.1, 9.0)),
        replace(view, camera=replace(view.camera, world_from_camera=moved)),
        replace(view, camera=replace(view.camera, fl_x=view.camera.fl_x + 1e-9)),
        replace(view, split="test"),
    ]
    keys = {cache.capture_key(replace(capture, views=(other, *capture.views[1:]))) for other in others}
    assert len(keys | {cache.capture_key(capture)}) == 5


@pytest.mark.parametrize("damage", ["{half", "[1]", '{"mark": 3}'])
def test_a_damaged_memory_of_hashes_is_made_again(copied, tmp_path, damage):
    cache, capture = Cache(tmp_path / "c"), load_capture(copied)
    before = cache.capture_key(capture)
    (cache.root / "photo-hashes.json").write_text(damage)
    assert cache.capture_key(capture) == before
    assert len(json.loads((cache.root / "photo-hashes.json").read_text())) == len(capture)


def test_masks_are_hashed_once_as_photos_are(copied, tmp_path, monkeypatch):
    mask = tmp_path / "mask.png"
    Image.new("L", (80, 60), 255).save(mask)
    capture = load_capture(copied)
    capture = replace(capture, views=tuple(replace(view, mask_path=mask) for view in capture.views))
    before = Cache(tmp_path / "c").capture_key(capture)
    monkeypatch.setattr("engine.photo_hashes.photo_key", lambda path: pytest.fail("hashed again"))
    assert Cache(tmp_path / "c").capture_key(capture) == before
    monkeypatch.undo()
    Image.new("L", (80, 60), 0).save(mask)
    os.utime(mask, ns=(5, 5))
    assert Cache(tmp_path / "c").capture_key(capture) != before


def test_hashes_that_another_program_has_written_down_since_are_kept(copied, tmp_path):
    here, there, capture = Cache(tmp_path / "c"), Cache(tmp_path / "c"), load_capture(copied)
    here.photo_key(capture.views[0].image_path)
    there.photo_key(capture.views[1].image_path)
    there.keep_hashes()
    here.capture_key(replace(capture, views=capture.views[:1]))
    assert len(json.loads((tmp_path / "c" / "photo-hashes.json").read_text())) == 2


def test_the_memory_of_hashes_does_not_grow_for_ever(copied, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.photo_hashes.MOST", 5)
    cache, capture = Cache(tmp_path / "c"), load_capture(copied)
    before = cache.capture_key(capture)
    kept = json.loads((tmp_path / "c" / "photo-hashes.json").read_text())
    assert len(kept) == 5 and f"{capture.views[-1].image_path.resolve()}|" in list(kept)[-1]
    assert cache.capture_key(capture) == before


def test_a_photo_that_has_gone_since_is_told_in_a_sentence(copied, tmp_path):
    capture = load_capture(copied)
    (copied / "images" / "002.png").unlink()
    with pytest.raises(CaptureError, match=r"images/002\.png"):
        Cache(tmp_path / "c").capture_key(capture)


def test_the_cache_lies_where_the_option_says_else_the_environment_else_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("SA3D_CACHE", str(tmp_path / "env"))
    assert cache_root(tmp_path / "option") == tmp_path / "option"
    assert cache_root() == tmp_path / "env"
    monkeypatch.delenv("SA3D_CACHE")
    assert cache_root().is_absolute()
    assert "sa3d" in str(cache_root())


def test_old_leftovers_of_killed_runs_go_and_young_ones_stay(tmp_path):
    cache = Cache(tmp_path)
    folder = cache.folder("fields", "key")
    old, young = folder / f"{LEFTOVER}old", folder / f"{LEFTOVER}young"
    old.write_text("")
    young.write_text("")
    long_ago = time.time() - STALE_SECONDS - 60
    os.utime(old, (long_ago, long_ago))
    cache.folder("fields", "key")
    assert not old.exists()
    assert young.exists()


def test_what_a_killed_process_was_writing_goes_at_once_and_what_a_living_one_writes_stays(tmp_path):
    cache = Cache(tmp_path)
    folder = cache.folder("fields", "key")
    write = "import os, pathlib, sys; from engine.cache import atomic_file\n"
    write += "with atomic_file(pathlib.Path(sys.argv[1])) as part: os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", write, folder / "field.json"], cwd=ROOT, timeout=120)
    assert killed.returncode == -9 and len(list(folder.glob(LEFTOVER + "*"))) == 1
    with atomic_file(folder / "mine") as mine:
        cache.tidy()
        assert [path for path in folder.iterdir() if path.name.startswith(LEFTOVER)] == [mine]
    assert [path.name for path in folder.iterdir()] == ["mine"]
    Cache(tmp_path / "nowhere").tidy()


def test_the_cache_knows_its_size_and_can_be_cleared(tmp_path):
    cache = Cache(tmp_path / "c")
    assert cache.size_bytes() == 0
    (cache.folder("fields", "key") / "x").write_bytes(b"12345")
    size = cache.size_bytes()
    (cache.folder("fields", "other") / "x").write_bytes(b"12345")
    assert cache.size_bytes() == size + 5
    cache.clear()
    assert cache.size_bytes() == 0
    cache.clear()  # nothing to do is no fault
    Cache(tmp_path / "never made").clear()


def test_clearing_a_cache_in_a_folder_of_the_users_leaves_their_files_and_the_weights(tmp_path):
    (tmp_path / "holidays").mkdir()
    kept = [tmp_path / "thesis.txt", tmp_path / "holidays" / "photo.jpg", tmp_path / "weights" / "sam.pth"]
    kept[2].parent.mkdir()
    for path in kept:
        path.write_text("theirs")
    cache = Cache(tmp_path)
    cache.folder("fields", "key")
    cache.clear()
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(kept)
