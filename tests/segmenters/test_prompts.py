"""Prompts that mean nothing are refused before any segmenter sees them."""

from __future__ import annotations

import numpy as np
import pytest

from engine.segmenters.base import Photo, Prompts
from engine.segmenters.prompts import check_photo, check_prompts
from sa3d_blender.protocol.errors import PromptError

NONE = np.zeros((0, 2))
ONE = np.array([[3.0, 4.0]])


@pytest.mark.parametrize(
    "prompts",
    [
        Prompts(NONE, np.zeros(0)),
        Prompts(ONE, np.array([0])),
        Prompts(np.array([[20.0, 4.0]]), np.array([1])),
        Prompts(np.array([[3.0, -0.1]]), np.array([1])),
        Prompts(np.array([[np.nan, 4.0]]), np.array([1])),
        Prompts(ONE, np.array([1, 1])),
        Prompts(ONE, np.array([2])),
        Prompts(np.array([[1.0, 2.0, 3.0]]), np.array([1])),
        Prompts(NONE, np.zeros(0), box_px=np.array([5, 5, 5, 9])),
        Prompts(NONE, np.zeros(0), box_px=np.array([30, 5, 40, 9])),
        Prompts(NONE, np.zeros(0), box_px=np.array([0, 0, np.inf, 9])),
        Prompts(NONE, np.zeros(0), box_px=np.array([0, 0, 9])),
        Prompts(ONE, np.array([1]), mask=np.zeros((20, 10))),
        Prompts(ONE, np.array([1]), mask=np.full((10, 20), 255.0)),
        Prompts(ONE, np.array([1]), mask=np.full((10, 20), np.nan)),
        Prompts(NONE, np.zeros(0), mask=np.zeros((10, 20))),
    ],
)
def test_a_meaningless_prompt_is_refused_with_a_cure(prompts):
    with pytest.raises(PromptError) as caught:
        check_prompts(prompts, 10, 20)
    assert caught.value.what.endswith(".")
    assert caught.value.cure.endswith(".")


def test_a_box_is_clipped_to_the_photo():
    checked = check_prompts(Prompts(NONE, np.zeros(0), box_px=np.array([-5, 2, 30, 8])), 10, 20)
    assert checked.box_px.tolist() == [0, 2, 20, 8]


def test_a_photo_whose_geometry_has_another_size_is_refused():
    rgb = np.zeros((10, 20, 3), np.float32)
    with pytest.raises(PromptError, match="depth"):
        check_photo(Photo(rgb, depth=np.ones((20, 10))))
    with pytest.raises(PromptError, match="normals"):
        check_photo(Photo(rgb, normals=np.ones((10, 20))))
    with pytest.raises(PromptError, match="shape"):
        check_photo(Photo(rgb[..., 0]))


def test_depth_that_is_no_number_counts_as_nothing_there():
    depth = np.ones((4, 5), np.float32)
    depth[1, 2], depth[0, 0] = np.nan, np.inf
    checked = check_photo(Photo(np.zeros((4, 5, 3), np.float32), depth=depth))
    assert checked.depth[1, 2] == 0
    assert checked.depth[0, 0] == 0
    assert checked.depth.sum() == 18
