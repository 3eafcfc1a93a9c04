"""Photos far larger than they are looked at: the right pixels, in little memory, whatever kind they are."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.captures import images, shrinking
from engine.captures.capture import Camera, View
from engine.captures.images import as_colours, photos_see_through, read_levels, read_mask, read_rgb
from engine.captures.shrinking import averaged, is_far_larger
from sa3d_blender.protocol.errors import CaptureError

ROOT = Path(__file__).parents[2]
SIZE, SMALL = (801, 607), (50, 38)  # no multiples of one another
KINDS = ["png RGB", "jpg RGB", "jpg CMYK", "png RGBA", "png LA", "png P", "png P see-through", "png I;16", "tif RGB"]


@pytest.fixture
def big(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of half a megapixel count as big, so that tests are quick."""
    monkeypatch.setattr(shrinking, "LARGE", 400_000)


def view_of(path: Path, size: tuple[int, int] = SIZE) -> View:
    return View(path.name, path.stem, path, Camera(*size, 20.0, 20.0, size[0] / 2, size[1] / 2, np.eye(4)))


def picture(size: tuple[int, int] = SIZE) -> np.ndarray:
    """Smooth colours with an edge, float [H, W, 4]; opacity falls from left to right to nothing."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    edge = ((x * 3 + y * 2) % 1 > 0.5).astype(float)
    return np.stack([x, y, 0.2 + 0.6 * edge, np.clip(1.5 - 2 * x, 0, 1)], -1)


def write(path: Path, kind: str, size: tuple[int, int] = SIZE) -> View:
    suffix, mode, *more = kind.split()
    path = path.with_suffix(f".{suffix}")
    bytes_ = (picture(size) * 255).round().astype(np.uint8)
    if mode == "I;16":
        Image.fromarray((picture(size)[..., 0] * 65535).astype(np.uint16)).save(path)
    elif mode == "P":
        image = Image.fromarray(bytes_[..., :3]).quantize(64)
        image.save(path, **({"transparency": 5} if more else {}))
    else:
        Image.fromarray(bytes_).convert(mode).save(path, **({"quality": 95} if suffix == "jpg" else {}))
    return view_of(path, size)


def shares(length: int, parts: int) -> np.ndarray:
    """Of each of ``length`` pixels what lies in each of ``parts`` equal parts, [parts, length], rows adding up to 1."""
    edges = np.linspace(0, length, parts + 1)
    at = np.arange(length)
    found = np.clip(np.minimum(at + 1, edges[1:, None]) - np.maximum(at, edges[:-1, None]), 0, 1)
    return found / found.sum(1, keepdims=True)


def exact(view: View, size: tuple[int, int]) -> np.ndarray:
    """The photo averaged over areas exactly, colours weighted by opacity."""
    whole = read_rgb(view).astype(np.float64)
    across, down = shares(whole.shape[1], size[0]), shares(whole.shape[0], size[1])

    def mean(plane: np.ndarray) -> np.ndarray:
        return down @ plane @ across.T

    if whole.shape[2] == 3:
        return np.stack([mean(whole[..., i]) for i in range(3)], -1)
    alpha = mean(whole[..., 3])
    colour = [mean(whole[..., i] * whole[..., 3]) / np.maximum(alpha, 1e-9) for i in range(3)]
    return np.stack([*colour, alpha], -1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_big_photo_of_any_kind_is_averaged_over_areas(big, tmp_path, kind):
    view = write(tmp_path / "a", kind)
    small, expected = read_rgb(view, SMALL), exact(view, SMALL)
    assert small.dtype == np.float32 and small.shape == expected.shape
    shown = expected[..., 3:] > 0.02 if small.shape[2] == 4 else np.ones((*expected.shape[:2], 1), bool)
    off = np.abs(np.where(shown, small - expected, 0))
    # half a level; where bytes were averaged first, what a pixel gets of those on an edge is spread over all of them
    assert off.mean() < 0.002 and off.max() < (0.05 if kind.endswith(("RGB", "CMYK")) else 0.005)
    if small.shape[2] == 4:
        np.testing.assert_allclose(small[..., 3], expected[..., 3], atol=0.005)


@pytest.mark.parametrize("kind", ["png RGB", "jpg RGB", "png RGBA"])
def test_a_photo_s_far_corner_stays_where_it_is(tmp_path, kind):
    """Decoders round sizes up: what is behind the last whole cell must not shift the rest (here by 0.3 pixels)."""
    suffix, mode = kind.split()
    size = (4097, 3073)
    pixels = np.zeros((size[1], size[0], 4), np.uint8)
    pixels[..., 3] = 255
    pixels[-256:-128, -256:-128, :3] = 255
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).convert(mode).save(path, **({"quality": 98} if suffix == "jpg" else {}))
    small = read_rgb(view_of(path, size), (160, 120))[..., 0]
    y, x = np.mgrid[:120, :160] + 0.5
    centre = np.array([(small * x).sum(), (small * y).sum()]) / small.sum()
    np.testing.assert_allclose(centre, (np.array(size) - 192) * np.array([160, 120]) / size, atol=0.02)


def test_colours_under_transparent_pixels_do_not_bleed_out(tmp_path):
    pixels = np.zeros((1800, 2400, 4), np.uint8)
    pixels[:, 0::2] = (255, 0, 0, 255)
    pixels[:, 1::2] = (0, 255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=1)
    view = view_of(tmp_path / "a.png", (2400, 1800))
    expected = np.broadcast_to(np.array([1, 0, 0, 128 / 255], np.float32), (150, 200, 4))
    np.testing.assert_allclose(read_rgb(view, (200, 150)), expected, atol=1e-6)
    opaque = read_rgb(replace(view, opaque=True), (200, 150))
    np.testing.assert_allclose(opaque, np.broadcast_to(np.array([128, 128, 0]) / 255, (150, 200, 3)), atol=1e-6)


def test_grey_photos_of_16_bits_keep_more_than_8(tmp_path):
    Image.fromarray(np.full((1800, 2400), 30_003, np.uint16)).save(tmp_path / "a.png")
    view = view_of(tmp_path / "a.png", (2400, 1800))
    levels = read_levels(view, (200, 150))
    assert levels.dtype == np.uint16 and (levels == 30_003).all()
    np.testing.assert_allclose(read_rgb(view, (200, 150)), 30_003 / 65535, atol=1e-6)


@pytest.mark.parametrize("kind", ["jpg RGB", "png RGB", "png RGBA", "png I;16"])
@pytest.mark.parametrize("mask_kind", ["1", "L", "RGB", "I;16"])
def test_a_silhouette_is_the_opacity_of_a_big_photo_too(big, tmp_path, kind, mask_kind):
    view = write(tmp_path / "a", kind)
    there = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    there[:, : SIZE[0] // 3] = 255
    mask = Image.fromarray(there).convert("L" if mask_kind == "I;16" else mask_kind)
    if mask_kind == "I;16":
        mask = Image.fromarray(there.astype(np.uint16) * 257)
    mask.save(tmp_path / "mask.png")
    cut = replace(view, mask_path=tmp_path / "mask.png", silhouette=True)
    small, expected = read_rgb(cut, SMALL), exact(cut, SMALL)
    assert small.shape == (SMALL[1], SMALL[0], 4)
    np.testing.assert_allclose(small[..., 3], expected[..., 3], atol=0.01)
    assert np.abs(small[:, :16, :3] - expected[:, :16, :3]).max() < 0.05 and (small[:, 18:, 3] == 0).all()
    assert read_mask(cut, SMALL)[:, :16].min() == 1 and read_mask(cut, SMALL)[:, 18:].max() == 0


@pytest.mark.parametrize("part", [2_000, 100_000])
@pytest.mark.parametrize("kind", ["png RGBA", "jpg RGB", "png I;16"])
def test_pixels_do_not_depend_on_how_large_the_parts_are(big, tmp_path, monkeypatch, kind, part):
    view = write(tmp_path / "a", kind)
    expected = read_levels(view, SMALL)
    monkeypatch.setattr(shrinking, "PART_PIXELS", part)
    off = np.abs(read_levels(view, SMALL).astype(int) - expected.astype(int))
    assert (off > 0).mean() < 0.01 and off.max() <= 1  # sums of floats in another order


def test_no_more_than_a_part_becomes_floats_at_a_time():
    asked: list[int] = []

    def part(left: int, top: int, right: int, bottom: int) -> np.ndarray:
        assert 0 <= left < right <= 50_000 and 0 <= top < bottom <= 1_000
        asked.append((right - left) * (bottom - top))
        return np.full((bottom - top, right - left, 3), 0.25, np.float32)

    small = np.zeros((20, 1000, 3), np.float32)
    for rows, columns, block in averaged(part, (50_000, 1_000), (1000, 20)):
        small[rows, columns] = block
    assert (small == 0.25).all() and max(asked) <= 1.1 * shrinking.PART_PIXELS and len(asked) > 40


def test_what_is_far_larger_and_what_is_not():
    assert is_far_larger((8000, 6000), (1600, 1200)) and is_far_larger((2400, 1800), (1200, 900))
    assert not is_far_larger((2400, 1800), (1300, 975))  # nearly as large
    assert not is_far_larger((1600, 1200), (200, 150))  # small itself
    assert not is_far_larger((8000, 6000), (0, 0)) and not is_far_larger((8000, 6000), (8001, 1))


def test_a_big_photo_that_ends_too_early_is_refused(big, tmp_path):
    for kind in ("png RGBA", "jpg RGB", "png I;16"):
        view = write(tmp_path / "a", kind)
        view.image_path.write_bytes(view.image_path.read_bytes()[: view.image_path.stat().st_size // 2])
        with pytest.raises(CaptureError, match="damaged"):
            read_rgb(view, SMALL)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["png RGBA", "png P", "png I;16", "jpg RGB", "jpg CMYK", "tif RGB", "webp RGBA"])
def test_a_big_photo_of_which_any_byte_may_be_wrong_is_read_or_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(shrinking, "LARGE", 1000)
    monkeypatch.setattr(shrinking, "PART_PIXELS", 300)
    size = (61, 43)
    view = write(tmp_path / "a", kind, size)
    whole, random = view.image_path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for number in range(80):
        spoiled = bytearray(whole)
        reach = len(whole) if number % 2 else 100  # pixels, or headers at either end
        for at in random.integers(-reach // 2, (reach + 1) // 2, random.integers(1, 4)):
            spoiled[at] = random.integers(256)
        view.image_path.write_bytes(spoiled)
        try:
            assert read_rgb(view, (12, 9)).shape[:2] == (9, 12)
        except CaptureError as error:
            assert error.what.endswith(".") and error.cure.endswith(".")
            refused += 1
    assert refused > 3


def test_big_photos_are_looked_through_to_their_last_row(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "PART_PIXELS", 10_000)
    pixels = np.full((300, 400, 4), 255, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert not photos_see_through([view_of(tmp_path / "a.png", (400, 300))])
    pixels[-1, -1, 3] = 254
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert photos_see_through([view_of(tmp_path / "a.png", (400, 300))])


def test_levels_become_the_colours_that_they_stand_for():
    assert as_colours(np.array([0, 51, 255], np.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert as_colours(np.array([0, 65535], np.uint16)).tolist() == [0, 1]


BOUND = """
import sys
import numpy as np
from pathlib import Path
from engine.captures.capture import Camera, View
from engine.captures.images import photo_header, photos_see_through, read_rgb
from engine.captures.scene_masks import are_silhouettes

def peak():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

path, size = Path(sys.argv[1]), (int(sys.argv[2]), int(sys.argv[3]))
view = View("a", "a", path, Camera(*size, size[0], size[0], size[0] / 2, size[1] / 2, np.eye(4)))
before = peak()
if sys.argv[4] == "read":
    read_rgb(view, (1600, 1600 * size[1] // size[0]))
elif sys.argv[4] == "see through":
    photos_see_through([view])
else:
    are_silhouettes([View("a", "a", path, view.camera, mask_path=path)] * 2)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
@pytest.mark.parametrize(
    ("use", "kind"),
    [
        *(("read", kind) for kind in ["jpg RGB", "png RGB", "png RGBA", "png LA", "png I;16", "tif RGB", "png P"]),
        ("see through", "png RGBA"),
        *(("silhouettes", kind) for kind in ["png RGB", "png I;16", "png P"]),
    ],
)
def test_a_big_photo_takes_8_bytes_a_pixel_and_little_more_at_the_most(tmp_path, use, kind):
    """As floats, [H, W, 4] alone would take 16 bytes a pixel."""
    size = (6400, 4267)
    small = write(tmp_path / "small", kind, (800, 533))
    path = tmp_path / f"a{small.image_path.suffix}"
    with Image.open(small.image_path) as image:
        image.resize(size, Image.Resampling.NEAREST).save(path)
    words = [sys.executable, "-c", BOUND, str(path), *map(str, size), use]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert float(told) < 8 * size[0] * size[1] / 2**20 + 100
