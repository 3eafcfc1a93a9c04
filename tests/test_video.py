"""Films hold their frames, appear whole or not at all, and say what they need."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.video import check_film, is_film, on_white, write_film
from sa3d_blender.protocol.errors import Cancelled, EnvironmentFault, StorageError

HAS_AV = importlib.util.find_spec("av") is not None


def frames(count: int = 5) -> Iterator[np.ndarray]:
    """A green square that walks to the right over nothing."""
    for i in range(count):
        picture = np.zeros((48, 64, 4), np.uint8)
        picture[16:32, 8 * i : 8 * i + 16] = (20, 200, 40, 255)
        yield picture


def test_a_webp_keeps_frames_and_transparency(tmp_path):
    path = write_film(frames(), tmp_path / "turn.webp", 25)
    with Image.open(path) as film:
        assert film.n_frames == 5
        for i, truth in enumerate(frames()):
            film.seek(i)
            seen = np.asarray(film.convert("RGBA")).astype(int)
            np.testing.assert_allclose(seen[..., 3], truth[..., 3], atol=8)
            np.testing.assert_allclose(
                seen[18:30, 8 * i + 2 : 8 * i + 14], truth[18:30, 8 * i + 2 : 8 * i + 14], atol=25
            )
        assert film.info["duration"] == 40
    assert [each.name for each in tmp_path.iterdir()] == ["turn.webp"]


@pytest.mark.skipif(not HAS_AV, reason="needs PyAV")
def test_an_mp4_plays_its_frames_on_white(tmp_path):
    import av

    path = write_film(frames(), tmp_path / "turn.mp4", 25)
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 25
        shown = [frame.to_ndarray(format="rgb24").astype(int) for frame in film.decode(stream)]
    assert len(shown) == 5
    for picture, truth in zip(shown, frames(), strict=True):
        # colours at half the resolution blur over two pixels at the square's edges
        inner = np.abs(picture - on_white(truth)).max(axis=2)
        assert np.mean(inner < 16) > 0.9
        np.testing.assert_allclose(picture[:8], 255, atol=4)
    assert [each.name for each in tmp_path.iterdir()] == ["turn.mp4"]


def test_white_paper_shows_through_what_is_transparent():
    picture = np.array([[[10, 20, 30, 255], [0, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    np.testing.assert_array_equal(on_white(picture), [[[10, 20, 30], [255, 255, 255], [204, 204, 204]]])


@pytest.mark.parametrize("suffix", [".webp", *([".mp4"] if HAS_AV else [])])
def test_a_film_that_is_stopped_leaves_nothing(tmp_path, suffix):
    def stopped() -> Iterator[np.ndarray]:
        yield from frames(2)
        raise Cancelled("Stopped on request.")

    with pytest.raises(Cancelled):
        write_film(stopped(), tmp_path / f"turn{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_path_is_a_film_or_a_folder_or_refused():
    assert is_film(Path("a.mp4"))
    assert is_film(Path("a.WEBP"))
    assert not is_film(Path("folder"))
    assert not is_film(Path("chair.v2"))
    with pytest.raises(StorageError, match=r"\.gif") as caught:
        is_film(Path("a.gif"))
    assert ".mp4 or .webp" in caught.value.cure


def test_mp4_without_its_library_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.video.importlib.util.find_spec", lambda name: None)
    for call in (lambda: check_film(Path("a.mp4")), lambda: write_film(frames(), tmp_path / "a.mp4")):
        with pytest.raises(EnvironmentFault, match="PyAV") as caught:
            call()
        assert "pip install av" in caught.value.cure
    check_film(Path("a.webp"))
