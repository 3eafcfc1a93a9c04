"""The page escapes what it shows, is written whole or not at all, and outlines both masks where they are."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.evaluation.page import LEAST_SIDE, OURS, SHOWN_SIDE, TRUTH, Picture, outlined, write_page
from engine.evaluation.tables import Table
from sa3d_blender.protocol.errors import StorageError

HEIGHT, WIDTH = 120, 200


def square(top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def coloured(picture: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    found: np.ndarray = (np.abs(picture - np.array(colour)) < 1e-6).all(-1)
    return found


@pytest.fixture
def grey() -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)


def test_a_picture_comes_back_from_the_page_as_it_was_given(tmp_path):
    rgb = np.random.default_rng(0).random((5, 7, 3)).astype(np.float32)
    write_page(tmp_path / "page.html", "t", [], [Picture("a view", rgb)])
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', (tmp_path / "page.html").read_text(encoding="utf-8"))
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        shown = np.asarray(image) / 255
    np.testing.assert_allclose(shown, rgb, atol=0.5 / 255 + 1e-6)  # eight bits, rounded


def test_words_are_shown_and_never_read_as_markup(tmp_path):
    bad = '<script>alert("1")</script>&'
    table = Table(bad, (bad, "x"), ((bad, "1"),), bad)
    write_page(tmp_path / "page.html", bad, [table], [Picture(bad, np.zeros((2, 2, 3), np.float32))])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert 'alert("' not in text  # nor does a quotation mark end an attribute
    # title and heading, the table's title, column, cell and note, the picture's words twice
    assert text.count("&lt;script&gt;") == 8


def test_a_page_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    taken = tmp_path / "page.html"
    taken.mkdir()
    with pytest.raises(StorageError):
        write_page(taken, "t", [], [])
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_page_whose_contents_fail_leaves_the_old_one(tmp_path):
    path = tmp_path / "page.html"
    write_page(path, "the old one", [], [])
    with pytest.raises(TypeError):
        write_page(path, "the new one", [], [Picture("not a picture", np.zeros((2, 2, 9), np.float32))])
    assert "the old one" in path.read_text(encoding="utf-8")


def test_both_outlines_are_drawn_in_their_colours_and_the_inside_stays(grey):
    picture = outlined(grey, square(30, 60, 40), square(50, 90, 40))
    assert coloured(picture, OURS).any()
    assert coloured(picture, TRUTH).any()
    untouched = coloured(picture, (0.5, 0.5, 0.5))
    assert untouched.mean() > 0.7  # outlines are lines: the photo stays to be seen


def test_where_the_masks_agree_ours_lies_on_top(grey):
    picture = outlined(grey, square(30, 60, 40), square(30, 60, 40))
    assert coloured(picture, OURS).any()
    assert not coloured(picture, TRUTH).any()


@pytest.mark.parametrize(("top", "left"), [(0, 0), (HEIGHT - 4, WIDTH - 4), (50, 100)])
def test_the_picture_shows_the_photo_around_the_object_enlarged(grey, top, left):
    grey[top + 1, left + 1] = (1.0, 0.0, 0.0)  # inside the object, where no outline covers it
    mask = square(top, left, 4)
    picture = outlined(grey, mask, mask)
    assert max(picture.shape[:2]) <= SHOWN_SIDE
    red = coloured(picture, (1.0, 0.0, 0.0))
    scale = round(float(np.sqrt(red.sum())))
    assert scale >= SHOWN_SIDE // LEAST_SIDE
    assert picture.shape[0] // scale <= LEAST_SIDE + 1  # so small an object is shown in the least window


def test_with_nothing_found_and_nothing_there_the_whole_photo_is_shown(grey):
    none = np.zeros((HEIGHT, WIDTH), bool)
    picture = outlined(grey, none, none)
    assert picture.shape[0] / picture.shape[1] == HEIGHT / WIDTH
    assert coloured(picture, (0.5, 0.5, 0.5)).all()


def test_the_page_refers_to_nothing_outside(tmp_path: Path):
    write_page(tmp_path / "page.html", "t", [Table("a", ("b",), (("c",),))], [])
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//|url\(|@import|<script|<link", text)
