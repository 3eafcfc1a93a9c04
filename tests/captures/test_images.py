"""Photos as arrays: colours, opacity, sizes, headers, and files that are no photos."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_captures import HEIGHT, WIDTH, bomb, says_what_and_cure, truncate, write_photo

from engine.captures import images
from engine.captures.capture import Camera, View
from engine.captures.images import (
    MAX_PIXELS,
    PhotoHeader,
    orientation_warning,
    photo_header,
    photo_key,
    photos_see_through,
    read_rgb,
    working_size,
)
from sa3d_blender.protocol.errors import CaptureError


def view_of(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> View:
    return View(path.name, path.stem, path, Camera(*size, 20.0, 20.0, size[0] / 2, size[1] / 2, np.eye(4)))


def saved(path: Path, pixels: np.ndarray, **options: Any) -> View:
    """The view of ``pixels`` [H, W] or [H, W, C], saved as they are."""
    Image.fromarray(pixels).save(path, **options)
    return view_of(path, (pixels.shape[1], pixels.shape[0]))


def test_colours_are_the_stored_ones_between_0_and_1(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    result = read_rgb(saved(tmp_path / "a.png", pixels))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, pixels / 255.0, atol=1e-7)  # rows first: [H, W, 3]


def test_opacity_comes_as_a_fourth_channel_and_is_not_multiplied_in(tmp_path):
    pixels = np.full((3, 2, 4), (200, 100, 50, 128), dtype=np.uint8)
    result = read_rgb(saved(tmp_path / "a.png", pixels))
    assert result.shape == (3, 2, 4)
    np.testing.assert_allclose(result[0, 0], np.array((200, 100, 50, 128)) / 255.0, atol=1e-7)


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("L", 3), ("LA", 4), ("P", 3), ("1", 3), ("CMYK", 3), ("RGB", 3), ("RGBA", 4)],
)
def test_photos_of_every_usual_mode_become_rgb(tmp_path, mode, channels):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("L", (WIDTH, HEIGHT), 255).convert(mode).save(path)
    result = read_rgb(view_of(path))
    assert result.shape == (HEIGHT, WIDTH, channels)
    assert (result == 1.0).all()


def test_grey_photos_of_16_bits_keep_them(tmp_path):
    pixels = np.array([[0, 1, 1000], [30000, 65534, 65535]], dtype=np.uint16)
    result = read_rgb(saved(tmp_path / "a.png", pixels))
    np.testing.assert_allclose(result, np.repeat(pixels[..., None] / 65535.0, 3, axis=-1), atol=1e-7)


def test_shrinking_averages_over_areas(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (12, 16, 3), np.uint8)
    result = read_rgb(saved(tmp_path / "a.png", pixels), (4, 3))
    expected = (pixels / 255.0).reshape(3, 4, 4, 4, 3).mean((1, 3))
    np.testing.assert_allclose(result, expected, atol=1e-5)  # float32 sums


def test_shrinking_and_enlarging_give_the_size_that_is_asked_for(tmp_path):
    write_photo(tmp_path / "a.png")
    for size in ((7, 5), (1, 1), (40, 30), (WIDTH, HEIGHT)):
        result = read_rgb(view_of(tmp_path / "a.png"), size)
        assert result.shape == (size[1], size[0], 3)
        assert result.min() >= 0 and result.max() <= 1


def test_what_hides_under_transparent_pixels_does_not_bleed_out(tmp_path):
    pixels = np.zeros((2, 4, 4), dtype=np.uint8)
    pixels[:, 0::2] = (255, 0, 0, 255)
    pixels[:, 1::2] = (0, 255, 0, 0)
    result = read_rgb(saved(tmp_path / "a.png", pixels), (2, 1))
    np.testing.assert_allclose(result, np.full((1, 2, 4), (1, 0, 0, 0.5)), atol=1e-6)


def test_wholly_transparent_areas_shrink_to_black(tmp_path):
    result = read_rgb(saved(tmp_path / "a.png", np.full((4, 4, 4), (9, 9, 9, 0), dtype=np.uint8)), (2, 2))
    assert (result == 0).all()


@pytest.mark.parametrize("size", [(0, 5), (-3, 5), (MAX_PIXELS, 2)])
def test_sizes_that_can_not_be_made_are_refused(tmp_path, size):
    write_photo(tmp_path / "a.png")
    with pytest.raises(CaptureError, match="resampled") as caught:
        read_rgb(view_of(tmp_path / "a.png"), size)
    says_what_and_cure(caught.value, "resampled")


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((4032, 3024), 1008, (1008, 756)),
        ((1080, 1920), 960, (540, 960)),
        ((400, 300), 800, (400, 300)),
        ((9999, 1), 10, (10, 1)),
    ],
)
def test_working_size_shrinks_the_long_side_and_never_enlarges(size, max_side, expected):
    assert working_size(Camera(size[0], size[1], 20.0, 20.0, 0.0, 0.0, np.eye(4)), max_side) == expected


def test_headers_are_read_without_pixels(tmp_path):
    write_photo(tmp_path / "a.png", mode="RGBA")
    write_photo(tmp_path / "b.png", (300, 200))
    assert photo_header(tmp_path / "a.png") == PhotoHeader(WIDTH, HEIGHT, True, 1)
    truncate(tmp_path / "b.png")
    assert photo_header(tmp_path / "b.png") == PhotoHeader(300, 200, False, 1)


def test_exif_orientation_is_noted_and_pixels_stay_as_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    view = saved(tmp_path / "a.jpg", np.full((HEIGHT, WIDTH, 3), 90, np.uint8), exif=exif)
    header = photo_header(view.image_path)
    assert header == PhotoHeader(WIDTH, HEIGHT, False, 6)
    assert read_rgb(view).shape == (HEIGHT, WIDTH, 3)
    warning = orientation_warning([("a.jpg", header), ("b.jpg", PhotoHeader(1, 1, False, 1))])
    assert warning is not None and "1 of 2" in warning and "a.jpg" in warning
    assert orientation_warning([("b.jpg", PhotoHeader(1, 1, False, 1))]) is None


def test_only_pixels_tell_whether_photos_can_be_seen_through(tmp_path):
    for name, alpha in (("opaque", 255), ("clear", 254)):
        write_photo(tmp_path / f"{name}.png", mode="RGBA", alpha=alpha)
    write_photo(tmp_path / "plain.png")
    opaque, clear, plain = (view_of(tmp_path / f"{name}.png") for name in ("opaque", "clear", "plain"))
    assert not photos_see_through([opaque] * 5) and not photos_see_through([plain])
    assert photos_see_through([opaque, clear, opaque])
    assert photos_see_through([opaque, opaque, clear], sample=2)  # the samples reach the last view


def test_a_photo_s_key_depends_on_its_content_alone(tmp_path):
    (tmp_path / "a.png").write_bytes(b"one")
    (tmp_path / "b.png").write_bytes(b"one")
    (tmp_path / "c.png").write_bytes(b"two")
    assert photo_key(tmp_path / "a.png") == photo_key(tmp_path / "b.png") == hashlib.sha256(b"one").hexdigest()
    assert photo_key(tmp_path / "c.png") != photo_key(tmp_path / "a.png")
    with pytest.raises(CaptureError) as caught:
        photo_key(tmp_path / "d.png")
    says_what_and_cure(caught.value, "d.png can't be read")


def test_the_reading_for_a_key_can_be_stopped(tmp_path):
    (tmp_path / "long.mp4").write_bytes(bytes(10 << 20))
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        photo_key(tmp_path / "long.mp4", stop)
    assert len(calls) == 2, "of three blocks two were read"


def strange_dds(path: Path) -> None:
    """A DirectDraw surface whose pixel format has no kind: its decoder is not implemented."""
    path.write_bytes(b"DDS " + struct.pack("<7I", 124, 0x1007, HEIGHT, WIDTH, 0, 0, 0) + bytes(4 * 11) + bytes(13 * 4))


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def floating(path: Path) -> None:
    Image.fromarray(np.ones((HEIGHT, WIDTH), np.float32)).save(path, format="TIFF")


def long_integers(path: Path) -> None:
    Image.fromarray(np.full((HEIGHT, WIDTH), 10**6, np.int32)).save(path, format="TIFF")


BAD_PHOTOS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("can't be read", Path.unlink),
    "a folder": ("can't be read", folder),
    "truncated": ("damaged", truncate),
    "bytes changed": ("", lambda path: path.write_bytes(path.read_bytes()[:45] + b"\0" * 200)),
    "empty": ("not an image", lambda path: path.write_bytes(b"")),
    "text": ("not an image", lambda path: path.write_text("a photo")),
    "a bomb": ("megapixels", bomb),
    "another size": ("17 x 12", lambda path: write_photo(path, (17, 12))),
    "a DDS of no kind": ("not an image", strange_dds),
    "floating-point": ("floating-point", floating),
    "32 bits": ("32 bits", long_integers),
}


@pytest.mark.parametrize("kind", BAD_PHOTOS)
def test_a_file_that_is_no_usable_photo_is_refused(tmp_path, kind):
    word, spoil = BAD_PHOTOS[kind]
    path = tmp_path / "a.png"
    write_photo(path)
    read_rgb(view_of(path))
    spoil(path)
    with pytest.raises(CaptureError) as caught:
        read_rgb(view_of(path))
    says_what_and_cure(caught.value, word)
    assert "a.png" in caught.value.what


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
def test_a_photo_cut_at_any_byte_is_read_or_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    write_photo(path)
    whole = path.read_bytes()
    refused = 0
    for end in range(0, len(whole), 23):
        path.write_bytes(whole[:end])
        try:
            read_rgb(view_of(path))
        except CaptureError as error:
            says_what_and_cure(error, path.name)
            refused += 1
    assert refused > 5


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_huge_photo_is_shrunk_as_bytes_and_looks_the_same(tmp_path, suffix, mode):
    if mode == "CMYK" and suffix == ".png":
        pytest.skip("no such PNGs")
    x, y = np.meshgrid(np.linspace(0, 1, 2400), np.linspace(0, 1, 1815))
    picture = np.stack([x, y, 0.5 + 0.5 * np.sin(9 * x + 5 * y)], -1)
    Image.fromarray((picture * 255).astype(np.uint8)).convert(mode).save(tmp_path / f"a{suffix}", quality=95)
    view = view_of(tmp_path / f"a{suffix}", (2400, 1815))
    whole = read_rgb(view)
    small = read_rgb(view, (150, 113))
    assert small.shape == (113, 150, 3) and small.dtype == np.float32
    tops = np.linspace(0, 1815, 114).round().astype(int)
    means = np.stack([whole[a:b].reshape(b - a, 150, 16, 3).mean((0, 2)) for a, b in pairwise(tops)])
    assert np.abs(small - means).mean() < 0.01
    assert len(decoded_sizes(view, (150, 113))) == 1 and max(decoded_sizes(view, (150, 113))[0]) <= 1200


def decoded_sizes(view, size):
    """Sizes at which pixels become floats while the view is read."""
    found = []
    real = images._pixels

    def looked(image, path):
        found.append(image.size)
        return real(image, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_pixels", looked)
        read_rgb(view, size)
    return found


@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (lambda: photo_header(tmp_path / "a.png"), lambda: read_rgb(view_of(tmp_path / "a.png"))):
        with pytest.raises(CaptureError, match="is not a file"):
            read()
