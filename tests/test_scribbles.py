"""Scribbles become clicks on the middle of their strokes: how many, where, with which label, and when not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from engine.captures.capture import Camera, View
from engine.prompts import UserPrompt, prompts_for, with_clicks
from engine.scribbles import Scribble, read_scribble, scribble_points, skeleton_points
from sa3d_blender.protocol.errors import PromptError

WIDTH, HEIGHT = 400, 300
VIEW = View(
    "images/a.png", "a", Path("images/a.png"), Camera(WIDTH, HEIGHT, 435.0, 435.0, WIDTH / 2, HEIGHT / 2, np.eye(4))
)
WHITE, GREEN, RED, BLACK = (255, 255, 255), (0, 200, 0), (230, 20, 10), (0, 0, 0)


def strokes(*lines: tuple[int, int, int, tuple[int, int, int]], ground: tuple[int, int, int] = BLACK) -> np.ndarray:
    """A picture [H, W, 3] with horizontal strokes of 5 pixels: row, from column, to column, colour."""
    picture = np.full((HEIGHT, WIDTH, 3), ground, np.uint8)
    for row, start, end, colour in lines:
        picture[row - 2 : row + 3, start:end] = colour
    return picture


def saved(path: Path, picture: np.ndarray) -> Path:
    Image.fromarray(picture).save(path)
    return path


def read(tmp_path: Path, picture: np.ndarray) -> Scribble:
    return read_scribble(saved(tmp_path / "s.png", picture), VIEW)


def test_red_strokes_are_not_the_object_and_any_other_colour_is(tmp_path):
    found = read(tmp_path, strokes((50, 10, 90, WHITE), (100, 10, 90, GREEN), (150, 10, 90, RED)))
    assert found.positive[50, 50] and found.positive[100, 50] and found.negative[150, 50]
    assert not (found.positive & found.negative).any()
    assert found.negative.sum() == 5 * 80 and found.positive.sum() == 2 * 5 * 80


def test_the_soft_rim_of_a_stroke_is_of_its_kind_or_of_none(tmp_path):
    drawn = strokes((50, 10, 90, WHITE), (150, 10, 90, RED))
    soft = ndimage.gaussian_filter(drawn.astype(np.float32), (1.0, 1.0, 0)).round().astype(np.uint8)
    found = read(tmp_path, soft)
    assert not found.negative[:100].any() and not found.positive[100:].any()
    assert found.positive[50, 50] and found.negative[150, 50]


def test_what_is_transparent_is_not_painted_whatever_colour_lies_beneath(tmp_path):
    picture = np.dstack([strokes((50, 10, 90, GREEN), ground=WHITE), np.zeros((HEIGHT, WIDTH), np.uint8)])
    picture[48:53, 10:90, 3] = 255
    found = read(tmp_path, picture)
    assert found.positive.sum() == 5 * 80
    assert not found.negative.any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, bool])
def test_pictures_without_colour_hold_the_object_only(tmp_path, dtype):
    grey = np.zeros((HEIGHT, WIDTH), dtype)
    grey[48:53, 10:90] = np.iinfo(dtype).max if dtype is not bool else True
    found = read(tmp_path, grey)
    assert found.positive.sum() == 5 * 80
    assert not found.negative.any()


def test_the_clicks_are_two_per_cent_and_half_a_per_cent_of_the_skeletons():
    # Single lines of pixels are their own skeletons, so the shares can be told exactly.
    positive, negative = np.zeros((2, HEIGHT, WIDTH), bool)
    positive[20:300:20, 50:350] = True
    negative[30:300:20, 50:350] = True
    found = np.array(scribble_points(Scribble(positive, negative), 3))
    lines = len(range(20, 300, 20)), len(range(30, 300, 20))
    drawn = skeleton_points(positive, 0.02, np.random.default_rng(3), 3)
    assert len(drawn) == round(0.02 * 300 * lines[0])
    np.testing.assert_array_equal(found[: len(drawn), :2], drawn[:, ::-1] + 0.5)  # the draw itself, then what it missed
    refused = found[found[:, 2] == 0]
    assert round(0.005 * 300 * lines[1]) <= len(refused) <= round(0.005 * 300 * lines[1]) + lines[1]


@settings(deadline=None, max_examples=25)
@given(row=st.integers(20, 120), length=st.integers(8, 300), thick=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_clicks_lie_in_the_middle_of_strokes_of_their_kind_and_the_seed_fixes_them(row, length, thick, seed):
    positive, negative = np.zeros((2, HEIGHT, WIDTH), bool)
    positive[row : row + thick, 40 : 40 + length] = True
    negative[row + 150 : row + 150 + thick, 40 : 40 + length] = True
    scribble = Scribble(positive, negative)
    found = scribble_points(scribble, seed)
    assert found == scribble_points(scribble, seed)
    for label, painted in ((1, positive), (0, negative)):
        mine = [(x, y) for x, y, kind in found if kind == label]
        assert len(set(mine)) == len(mine) >= 1
        for x, y in mine:
            assert painted[int(y), int(x)]
        if length > 2 * thick:  # a proper stroke, not a blob: away from its ends the line is in the middle
            inside = [y for x, y in mine if 40 + thick < x < 40 + length - thick]
            top = row + (150 if label == 0 else 0)
            np.testing.assert_allclose(inside, top + thick / 2, atol=1.0)


def test_another_seed_draws_other_clicks():
    positive = np.zeros((HEIGHT, WIDTH), bool)
    positive[100, 20:380] = True
    scribble = Scribble(positive, np.zeros_like(positive))
    assert scribble_points(scribble, 1) != scribble_points(scribble, 2)


def test_no_stroke_goes_unheard_however_short(tmp_path):
    found = read(tmp_path, strokes((50, 10, 390, WHITE), (100, 10, 16, WHITE), (150, 10, 390, RED), (200, 10, 16, RED)))
    for seed in range(20):
        rows = {(round(y / 50) * 50, label) for _, y, label in scribble_points(found, seed)}
        assert rows == {(50, 1), (100, 1), (150, 0), (200, 0)}


def test_a_dot_is_one_click(tmp_path):
    dot = np.zeros((HEIGHT, WIDTH), np.uint8)
    dot[30, 40] = 255
    prompt = UserPrompt("a", scribble=saved(tmp_path / "dot.png", dot))
    assert prompts_for(prompt, VIEW, (WIDTH, HEIGHT), 0).points_px.tolist() == [[40.5, 30.5]]


def test_clicks_of_both_kinds_reach_the_segmenter_at_its_size(tmp_path):
    picture = strokes((60, 10, 390, WHITE), (200, 10, 390, RED))
    prompt = UserPrompt("a", ((20.0, 20.0, 1),), scribble=saved(tmp_path / "s.png", picture))
    found = prompts_for(prompt, VIEW, (WIDTH // 2, HEIGHT // 2), 0)
    assert found.points_px[0].tolist() == [10, 10]
    np.testing.assert_allclose(found.points_px[found.labels == 0][:, 1], 100.25, atol=0.5)
    np.testing.assert_allclose(found.points_px[1:][found.labels[1:] == 1][:, 1], 30.25, atol=0.5)


def test_red_strokes_alone_are_refused_unless_something_else_names_the_object(tmp_path):
    path = saved(tmp_path / "s.png", strokes((200, 10, 390, RED)))
    with pytest.raises(PromptError, match="are red, so nothing says where") as caught:
        prompts_for(UserPrompt("a", scribble=path), VIEW, (WIDTH, HEIGHT), 0)
    assert caught.value.cure
    clicked = prompts_for(UserPrompt("a", ((20.0, 20.0, 1),), scribble=path), VIEW, (WIDTH, HEIGHT), 0)
    assert clicked.labels.tolist().count(1) == 1 and 0 in clicked.labels
    boxed = prompts_for(UserPrompt("a", box=(0.0, 0.0, 99.0, 99.0), scribble=path), VIEW, (WIDTH, HEIGHT), 0)
    assert boxed.box_px is not None and 0 in boxed.labels


@pytest.mark.parametrize("ground", [WHITE, RED, (90, 120, 70)])
def test_a_painted_ground_is_refused_because_nothing_tells_the_strokes_from_it(tmp_path, ground):
    with pytest.raises(PromptError, match="is painted, so it holds no strokes") as caught:
        read(tmp_path, strokes((50, 10, 90, GREEN), ground=ground))
    assert "transparent" in caught.value.cure


@pytest.mark.parametrize("picture", [np.zeros((HEIGHT, WIDTH, 3), np.uint8), np.full((HEIGHT, WIDTH, 4), (9, 9, 9, 0))])
def test_an_empty_scribble_is_refused(tmp_path, picture):
    with pytest.raises(PromptError, match="Nothing is painted"):
        read(tmp_path, picture.astype(np.uint8))


def test_a_scribble_of_another_size_is_refused_with_both_sizes(tmp_path):
    path = saved(tmp_path / "s.png", strokes((50, 10, 90, WHITE))[:, :-1])
    with pytest.raises(PromptError, match=r"399 x 300 pixels.*400 x 300"):
        read_scribble(path, VIEW)


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\n but no image"])
def test_what_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "s.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PromptError, match="can't be read"):
        read_scribble(path, VIEW)


def test_a_prompt_takes_its_scribble_up_as_clicks_so_that_red_strokes_refuse_places_in_space_too(tmp_path):
    path = saved(tmp_path / "s.png", strokes((60, 10, 390, WHITE), (200, 10, 390, RED)))
    prompt = UserPrompt("a", ((20.0, 20.0, 1),), scribble=path)
    clicked = with_clicks(prompt, VIEW, 5)
    assert clicked.scribble is None
    assert clicked.points[:1] == prompt.points
    assert [*clicked.points[1:]] == scribble_points(read_scribble(path, VIEW), 5)
    plain = UserPrompt("a", ((20.0, 20.0, 1),))
    assert with_clicks(plain, VIEW, 5) == plain
