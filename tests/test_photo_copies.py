"""Big photos are shrunk once: their copies have the very same pixels, and cost nothing but time where they can't be."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine import photo_copies
from engine.cache import Cache
from engine.captures import images, shrinking
from engine.captures.capture import Camera, View
from engine.captures.images import read_mask, read_rgb
from engine.photo_copies import KIND, PhotoCopies
from engine.workspace import counted_pixels, working_photo
from sa3d_blender.protocol.errors import CaptureError
from tests.helpers.cramped import fill, mounted, read_only

SIZE, SMALL = (480, 360), (96, 72)


@pytest.fixture(autouse=True)
def big(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of 480 x 360 pixels count as big, so that tests are quick."""
    monkeypatch.setattr(shrinking, "LARGE", 100_000)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of photos, each time that one is shrunk."""
    found: list[str] = []
    real = photo_copies.read_levels

    def read(view: View, size: tuple[int, int]) -> np.ndarray:
        found.append(view.image_path.name)
        return real(view, size)

    monkeypatch.setattr(photo_copies, "read_levels", read)
    return found


def photo(path: Path, mode: str = "RGB", seed: int = 0) -> View:
    pixels = np.random.default_rng(seed).integers(0, 256, (SIZE[1], SIZE[0], 4), np.uint8)
    if mode == "I;16":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 251).save(path)
    else:
        Image.fromarray(pixels).convert(mode).save(path)
    return View(path.name, path.stem, path, Camera(*SIZE, 400.0, 400.0, SIZE[0] / 2, SIZE[1] / 2, np.eye(4)))


def copies_in(folder: Path) -> list[Path]:
    return sorted((folder / KIND).glob("*/*.npy"))


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "RGB"), ("a.jpg", "RGB"), ("a.png", "RGBA"), ("a.png", "I;16"), ("a.png", "P")]
)
def test_a_photo_has_the_same_pixels_with_and_without_its_copy(tmp_path, decoded, name, mode):
    view = photo(tmp_path / name, mode)
    without = read_rgb(view, SMALL)
    fresh = PhotoCopies(Cache(tmp_path / "c")).read(view, SMALL)
    kept = PhotoCopies(Cache(tmp_path / "c")).read(view, SMALL)
    assert decoded == [name] and len(copies_in(tmp_path / "c")) == 1
    for found in (fresh, kept):
        assert found.dtype == without.dtype == np.float32
        np.testing.assert_array_equal(found, without)


def test_a_photo_that_is_hardly_larger_is_not_kept(tmp_path, decoded):
    view = photo(tmp_path / "a.png")
    size = (400, 300)
    np.testing.assert_array_equal(PhotoCopies(Cache(tmp_path / "c")).read(view, size), read_rgb(view, size))
    assert not decoded and not copies_in(tmp_path / "c")


def test_the_same_photo_elsewhere_needs_no_copy_of_its_own_and_another_one_does(tmp_path, decoded):
    copies, view = PhotoCopies(Cache(tmp_path / "c")), photo(tmp_path / "a.png")
    copies.read(view, SMALL)
    shutil.copyfile(tmp_path / "a.png", tmp_path / "b.png")
    copies.read(replace(view, image_path=tmp_path / "b.png"), SMALL)
    assert decoded == ["a.png"]
    changed = photo(tmp_path / "a.png", seed=1)
    os.utime(tmp_path / "a.png", ns=(5, 5))  # a file system's clock may be coarse
    np.testing.assert_array_equal(copies.read(changed, SMALL), read_rgb(changed, SMALL))
    assert decoded == ["a.png", "a.png"]


def test_opacity_that_counts_and_one_that_does_not_are_two_photos(tmp_path, decoded):
    copies, view = PhotoCopies(Cache(tmp_path / "c")), photo(tmp_path / "a.png", "RGBA")
    assert copies.read(view, SMALL).shape[2] == 4 and copies.read(replace(view, opaque=True), SMALL).shape[2] == 3
    assert len(decoded) == 2


def test_another_mask_makes_another_photo_of_the_one_that_it_cuts_out(tmp_path, decoded):
    copies, mask = PhotoCopies(Cache(tmp_path / "c")), tmp_path / "mask.png"
    view = replace(photo(tmp_path / "a.png"), mask_path=mask, silhouette=True)
    for side in (100, 200):
        levels = np.zeros(SIZE[::-1], np.uint8)
        levels[:, :side] = 255
        Image.fromarray(levels).save(mask)
        os.utime(mask, ns=(side, side))
        found = copies.read(view, SMALL)
        np.testing.assert_array_equal(found, read_rgb(view, SMALL))
        assert (found[..., 3] > 0.5).sum() == SMALL[1] * side // 5
    assert len(decoded) == 2


def test_masks_are_kept_as_photos_are(tmp_path, decoded):
    mask = tmp_path / "mask.png"
    Image.fromarray(np.tile(np.arange(SIZE[0]) > 99, (SIZE[1], 1))).save(mask)
    view = replace(photo(tmp_path / "a.png"), mask_path=mask)
    for _ in range(2):
        copies = PhotoCopies(Cache(tmp_path / "c"))
        np.testing.assert_array_equal(copies.read_mask(view, SMALL), read_mask(view, SMALL))
        counted, plain = counted_pixels(view, SMALL[0], copies), counted_pixels(view, SMALL[0])
        assert counted is not None and plain is not None and (counted == plain).all() and counted[0].sum() == 76
    assert decoded == ["mask.png"]


def test_a_working_photo_is_the_same_with_copies(tmp_path):
    view = photo(tmp_path / "a.png", "RGBA")
    (camera, plain), copies = working_photo(view, SMALL[0]), PhotoCopies(Cache(tmp_path / "c"))
    for _ in range(2):
        again, kept = working_photo(view, SMALL[0], copies)
        assert again.width == camera.width == SMALL[0]
        np.testing.assert_array_equal(kept, plain)


@pytest.mark.parametrize("where", [0.0, 0.01, 0.4, 0.9999])
def test_a_copy_with_a_wrong_byte_is_said_and_made_again(tmp_path, decoded, where):
    view, said = photo(tmp_path / "a.png"), []
    PhotoCopies(Cache(tmp_path / "c")).read(view, SMALL)
    (path,) = copies_in(tmp_path / "c")
    whole = bytearray(path.read_bytes())
    whole[int(where * len(whole))] ^= 16
    path.write_bytes(whole)
    copies = PhotoCopies(Cache(tmp_path / "c"), said.append)
    np.testing.assert_array_equal(copies.read(view, SMALL), read_rgb(view, SMALL))
    assert len(said) == 1 and "a.png is damaged" in said[0] and "made again" in said[0]
    copies.read(view, SMALL)
    assert len(said) == 1 and len(decoded) == 2


@pytest.mark.parametrize("content", [b"", b"abc", b"\x93NUMPY" * 30, bytes(10_000), bytes(200_000)])
def test_a_file_that_is_no_copy_is_said_and_made_again(tmp_path, content):
    view, said = photo(tmp_path / "a.png"), []
    copies = PhotoCopies(Cache(tmp_path / "c"), said.append)
    copies.read(view, SMALL)
    copies_in(tmp_path / "c")[0].write_bytes(content)
    np.testing.assert_array_equal(copies.read(view, SMALL), read_rgb(view, SMALL))
    assert len(said) == 1 and "made again" in said[0]


def test_a_full_disk_costs_the_copies_and_is_said_once(tmp_path, decoded):
    views, said = [photo(tmp_path / f"{i}.png", seed=i) for i in range(3)], []
    with mounted(tmp_path / "small disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        fill(disk, 8192)
        copies = PhotoCopies(Cache(disk), said.append)
        for view in views:
            np.testing.assert_array_equal(copies.read(view, SMALL), read_rgb(view, SMALL))
        assert len(said) == 1 and "full" in said[0] and "each time" in said[0]
        assert not [path for path in disk.rglob("*") if path.is_file() and path.name.startswith(".partial")]
        assert not copies_in(disk)


def test_a_cache_that_can_not_be_written_costs_the_copies(tmp_path):
    view, said = photo(tmp_path / "a.png"), []
    with read_only(tmp_path / "c") as folder:
        np.testing.assert_array_equal(PhotoCopies(Cache(folder), said.append).read(view, SMALL), read_rgb(view, SMALL))
    assert len(said) == 1 and "Can't write" in said[0]


def test_copies_that_were_not_used_for_longest_make_way(tmp_path, decoded):
    views = [photo(tmp_path / f"{i}.png", seed=i) for i in range(4)]
    size = (240, 180)  # 130 kB
    copies = PhotoCopies(Cache(tmp_path / "c"), budget_mb=1)
    copies.budget = 300_000
    for number, view in enumerate(views[:2]):
        copies.read(view, size)
        newest = max(copies_in(tmp_path / "c"), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (number, number))
    copies.read(views[0], size)  # used now, so the second one is the oldest
    copies.read(views[2], size)
    assert sum(path.stat().st_size for path in copies_in(tmp_path / "c")) <= 300_000
    copies.read(views[0], size)
    assert decoded == ["0.png", "1.png", "2.png"]
    copies.read(views[1], size)
    assert decoded[-1] == "1.png" and len(copies_in(tmp_path / "c")) == 2


def test_copies_belong_to_what_clearing_the_cache_removes(tmp_path):
    cache = Cache(tmp_path / "c")
    PhotoCopies(cache).read(photo(tmp_path / "a.png"), SMALL)
    assert cache.size_bytes() > SMALL[0] * SMALL[1] * 3
    cache.clear()
    assert cache.size_bytes() == 0


def test_a_photo_that_has_gone_or_is_damaged_is_said_as_ever(tmp_path):
    copies, view = PhotoCopies(Cache(tmp_path / "c")), photo(tmp_path / "a.png")
    copies.read(view, SMALL)
    view.image_path.write_bytes(view.image_path.read_bytes()[:5000])
    with pytest.raises(CaptureError, match="damaged"):
        copies.read(view, SMALL)
    view.image_path.unlink()
    with pytest.raises(CaptureError, match="can't be read"):
        copies.read(view, SMALL)


def test_a_photo_s_bytes_are_hashed_once(tmp_path, monkeypatch):
    view = photo(tmp_path / "a.png")
    cache = Cache(tmp_path / "c")
    plain = images.working_key(view, 96)
    assert PhotoCopies(cache).key(view, 96) == plain
    cache.keep_hashes()
    monkeypatch.setattr("engine.photo_hashes.photo_key", lambda path: pytest.fail("hashed again"))
    assert PhotoCopies(cache).key(view, 96) == PhotoCopies(Cache(tmp_path / "c")).key(view, 96) == plain
