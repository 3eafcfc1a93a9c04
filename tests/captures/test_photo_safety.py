"""Photos that nobody expects: rare kinds, absurd shapes, and files of which any byte may be wrong."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_captures import HEIGHT, WIDTH, says_what_and_cure, write_photo

from engine.captures.capture import Camera, View
from engine.captures.images import photo_header, read_rgb, working_size
from sa3d_blender.protocol.errors import CaptureError

KINDS = ["png", "jpg", "webp", "tif", "bmp"]
MUTATIONS = 60  # of each kind
MOST_MB = 64.0  # a photo of 16 x 12 pixels may claim to be any size, and must not get the room for it


def view_of(path: Path, size: tuple[int, int]) -> View:
    return View(path.name, path.stem, path, Camera(*size, 20.0, 20.0, size[0] / 2, size[1] / 2, np.eye(4)))


def colour_png_of_16_bits(path: Path, value: int) -> None:
    """Pillow writes none: two bytes a channel, big end first, one filter byte a row."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = b"\0" + struct.pack(">H", value) * 3 * WIDTH
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    pixels = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * HEIGHT)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + pixels)


def test_colours_of_16_bits_are_read_as_8(tmp_path):
    colour_png_of_16_bits(tmp_path / "a.png", 0x8040)
    pixels = read_rgb(view_of(tmp_path / "a.png", (WIDTH, HEIGHT)))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    np.testing.assert_allclose(pixels, 0x80 / 255, atol=1 / 255)


def test_a_cmyk_jpeg_has_the_colours_that_it_shows(tmp_path):
    Image.new("RGB", (WIDTH, HEIGHT), (200, 60, 30)).convert("CMYK").save(tmp_path / "a.jpg", quality=98)
    pixels = read_rgb(view_of(tmp_path / "a.jpg", (WIDTH, HEIGHT)))
    np.testing.assert_allclose(pixels, np.broadcast_to(np.array([200, 60, 30]) / 255, pixels.shape), atol=0.02)


def test_a_palette_with_a_transparent_colour_has_opacity(tmp_path):
    image = Image.new("P", (WIDTH, HEIGHT), 1)
    image.putpalette([0, 0, 0, 250, 120, 10] + [0] * 762)
    image.paste(0, (0, 0, WIDTH // 2, HEIGHT))
    image.save(tmp_path / "a.png", transparency=0)
    assert photo_header(tmp_path / "a.png").has_alpha
    pixels = read_rgb(view_of(tmp_path / "a.png", (WIDTH, HEIGHT)))
    assert pixels.shape == (HEIGHT, WIDTH, 4)
    assert (pixels[:, : WIDTH // 2, 3] == 0).all() and (pixels[:, WIDTH // 2 :, 3] == 1).all()
    np.testing.assert_allclose(pixels[0, -1, :3], np.array([250, 120, 10]) / 255, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (100_000, 1), (1, 60_000)])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_photos_of_absurd_shapes_are_read(tmp_path, size, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("RGB", size, (10, 20, 30)).save(path)
    view = view_of(path, size)
    assert read_rgb(view).shape == (size[1], size[0], 3)
    small = working_size(view.camera, 640)
    assert min(small) >= 1 and max(small) <= 640
    pixels = read_rgb(view, small)
    assert pixels.shape == (small[1], small[0], 3)
    np.testing.assert_allclose(pixels[0, 0], np.array([10, 20, 30]) / 255, atol=1e-6)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", KINDS)
def test_any_bytes_of_a_photo_may_be_wrong(tmp_path, suffix):
    """Each time some bytes are changed, left out or put in: the photo is read at its camera's size, or one sentence."""
    path = tmp_path / f"a.{suffix}"
    write_photo(path)
    whole = path.read_bytes()
    random = np.random.default_rng(zlib.crc32(suffix.encode()))
    refused = 0
    tracemalloc.start()
    for _ in range(MUTATIONS):
        data = bytearray(whole)
        for _ in range(int(random.integers(1, 6))):
            # most of what a decoder decides by stands at a file's beginning
            at = int(random.integers(min(len(data), 64) if random.random() < 0.6 else len(data)))
            change = random.integers(4)
            if change == 0:
                data[at] = int(random.integers(256))
            elif change == 1:
                data[at : at + 4] = b"\xff\xff\xff\xff"
            elif change == 2:
                del data[at : at + int(random.integers(1, 9))]
            else:
                data[at:at] = random.bytes(int(random.integers(1, 9)))
        path.write_bytes(bytes(data))
        for read in (lambda: read_rgb(view_of(path, (WIDTH, HEIGHT))), lambda: photo_header(path)):
            try:
                result = read()
            except CaptureError as error:
                says_what_and_cure(error, path.name)
                refused += 1
                continue
            if isinstance(result, np.ndarray):
                assert result.shape[:2] == (HEIGHT, WIDTH) and np.isfinite(result).all()
    assert tracemalloc.get_traced_memory()[1] < MOST_MB * 2**20
    tracemalloc.stop()
    assert 5 < refused < 2 * MUTATIONS
