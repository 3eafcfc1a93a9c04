"""What a user draws becomes prompts in the segmenter's pixels, or an error that says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.captures.capture import Camera, View
from engine.prompts import UserPrompt, prompts_for, read_drawing
from sa3d_blender.protocol.errors import PromptError

VIEW = View("images/a.png", "a", Path("images/a.png"), Camera(80, 60, 87.0, 87.0, 40.0, 30.0, np.eye(4)))
FULL = (80, 60)


def drawing(path: Path, size: tuple[int, int] = FULL, row: int | None = 20, value: int = 255) -> Path:
    """A PNG with a thick horizontal stroke."""
    pixels = np.zeros((size[1], size[0]), np.uint8)
    if row is not None:
        pixels[row - 2 : row + 3, 10:70] = value
    Image.fromarray(pixels).save(path)
    return path


def test_points_and_boxes_are_scaled_to_the_working_size():
    prompt = UserPrompt("a", ((10.0, 20.0, 1), (79.0, 59.0, 0)), (8.0, 6.0, 40.0, 30.0))
    found = prompts_for(prompt, VIEW, (40, 30), 0)
    np.testing.assert_allclose(found.points_px, np.array([[5, 10], [39.5, 29.5]]))
    assert found.labels.tolist() == [1, 0]
    assert found.box_px is not None
    np.testing.assert_allclose(found.box_px, [4, 3, 20, 15])


def test_a_point_on_the_far_edge_falls_on_the_last_pixel():
    found = prompts_for(UserPrompt("a", ((80.0, 60.0, 1),)), VIEW, FULL, 0)
    assert np.floor(found.points_px).tolist() == [[79, 59]]


@pytest.mark.parametrize("point", [(-1, 5), (5, -0.1), (80.5, 5), (5, 61), (float("nan"), 5), (5, float("inf"))])
def test_points_outside_the_photo_are_refused(point: tuple[float, float]):
    with pytest.raises(PromptError, match="outside") as caught:
        prompts_for(UserPrompt("a", ((float(point[0]), float(point[1]), 1),)), VIEW, FULL, 0)
    assert "80 x 60" in caught.value.what
    assert caught.value.cure


@pytest.mark.parametrize(
    "box", [(10, 10, 10, 20), (20, 10, 10, 20), (10, 20, 20, 10), (-9, 0, -1, 5), (80, 0, 99, 9), (0, 60, 9, 70)]
)
def test_boxes_without_area_inside_the_photo_are_refused(box):
    x0, y0, x1, y1 = box
    with pytest.raises(PromptError, match="no area"):
        prompts_for(UserPrompt("a", box=(float(x0), float(y0), float(x1), float(y1))), VIEW, FULL, 0)


def test_boxes_are_cut_at_the_photo():
    found = prompts_for(UserPrompt("a", box=(-5.0, -5.0, 200.0, 30.0)), VIEW, FULL, 0)
    assert found.box_px is not None
    assert found.box_px.tolist() == [0, 0, 80, 30]
    assert len(found.points_px) == 0


def test_no_prompt_at_all_is_refused():
    assert UserPrompt("a").is_empty
    with pytest.raises(PromptError, match="no prompt"):
        prompts_for(UserPrompt("a"), VIEW, FULL, 0)


def test_a_scribble_gives_points_on_its_middle_line_the_same_under_the_same_seed(tmp_path):
    prompt = UserPrompt("a", scribble=drawing(tmp_path / "s.png"))
    first, again, other = (prompts_for(prompt, VIEW, FULL, seed) for seed in (1, 1, 2))
    assert len(first.points_px) == 3  # a short line: 2 % of its pixels are fewer than the least
    np.testing.assert_allclose(first.points_px[:, 1], 20.5, atol=1)
    assert ((first.points_px[:, 0] > 10) & (first.points_px[:, 0] < 70)).all()
    assert (first.labels == 1).all()
    np.testing.assert_array_equal(first.points_px, again.points_px)
    assert not np.array_equal(first.points_px, other.points_px)


def test_a_scribble_of_one_pixel_is_one_point(tmp_path):
    pixels = np.zeros((60, 80), np.uint8)
    pixels[30, 40] = 255
    Image.fromarray(pixels).save(tmp_path / "dot.png")
    found = prompts_for(UserPrompt("a", scribble=tmp_path / "dot.png"), VIEW, FULL, 0)
    assert found.points_px.tolist() == [[40.5, 30.5]]


def test_a_drawing_is_its_brightness_up_to_one(tmp_path):
    found = read_drawing(drawing(tmp_path / "m.png", value=60), VIEW)
    assert found.shape == (60, 80)
    assert found.max() == 1.0
    assert found[20, 40] == 1.0
    assert found[50, 40] == 0.0


def test_an_empty_drawing_is_refused(tmp_path):
    with pytest.raises(PromptError, match="Nothing is painted"):
        read_drawing(drawing(tmp_path / "m.png", row=None), VIEW)


def test_a_drawing_of_another_size_is_refused_with_both_sizes(tmp_path):
    with pytest.raises(PromptError, match=r"81 x 60 pixels.*80 x 60"):
        read_drawing(drawing(tmp_path / "m.png", (81, 60)), VIEW)


@pytest.mark.parametrize("content", [None, b"", b"\x89PNG\r\n\x1a\n but no image", "folder"])
def test_what_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "m.png"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(PromptError, match="can't be read"):
        read_drawing(path, VIEW)
