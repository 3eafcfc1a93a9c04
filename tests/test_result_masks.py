"""Masks of a result: at the photos' size on disk, in little memory however large these are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.results import read_mask, read_mask_levels, write_mask
from sa3d_blender.protocol.errors import StorageError

ROOT = Path(__file__).parents[1]


def disc(height: int = 60, width: int = 80) -> np.ndarray:
    """A soft disc, float32 [H, W] in [0, 1]."""
    y, x = np.mgrid[:height, :width]
    return np.clip(20 - np.hypot(x - 30, y - 35), 0, 8).astype(np.float32) / 8


def test_a_mask_is_written_at_the_photo_s_size_and_read_at_the_working_size(tmp_path):
    path, mask = tmp_path / "a.png", disc()
    write_mask(path, mask, (800, 600))
    with Image.open(path) as image:
        assert image.size == (800, 600) and image.mode == "L"
        centre = np.argwhere(np.asarray(image) > 127).mean(0) + 0.5
    np.testing.assert_allclose(centre, (355, 305), atol=0.5)
    np.testing.assert_allclose(read_mask(path, (80, 60)), mask, atol=0.05)
    assert read_mask(path).shape == (600, 800) and read_mask_levels(path).dtype == np.uint8


def test_a_mask_of_the_same_size_comes_back_to_half_a_level(tmp_path):
    write_mask(tmp_path / "a.png", disc(), (80, 60))
    np.testing.assert_allclose(read_mask(tmp_path / "a.png"), disc(), atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_a_damaged_mask_is_said_in_a_sentence(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    for size in (None, (8, 6)):
        with pytest.raises(StorageError, match=r"a\.png can't be read"):
            read_mask(tmp_path / "a.png", size)


MEASURED = """
import sys
from pathlib import Path
import numpy as np
from engine.results import read_mask, write_mask

def peak():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024

before = peak()
write_mask(Path(sys.argv[1]), np.ones((427, 640), np.float32), (8660, 5774))
assert read_mask(Path(sys.argv[1]), (640, 427)).min() == 1
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
def test_the_mask_of_a_photo_of_50_megapixels_takes_some_bytes_a_pixel(tmp_path):
    words = [sys.executable, "-c", MEASURED, str(tmp_path / "a.png")]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert float(told) < 200  # as floats a single copy takes as much
