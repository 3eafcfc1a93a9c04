"""Simulated clicks go where a user would click: deepest inside, then into the largest error."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluation.clicks import simulate_clicks
from engine.segmenters.base import Photo, Prediction, Prompts
from sa3d_blender.protocol.errors import PromptError


class Script:
    """Answers with the next mask of a list."""

    name = "script"
    scales: tuple[str, ...] = ()

    def __init__(self, *masks: np.ndarray) -> None:
        self.masks = list(masks)

    def set_image(self, photo: Photo) -> None:
        raise AssertionError("the photo has been set already")

    def predict(self, prompts: Prompts) -> Prediction:
        return Prediction(self.masks[len(prompts.labels) - 1].astype(np.float32), 0.5)


def box(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[rows, columns] = True
    return mask


TRUTH = box(slice(10, 30), slice(10, 50))


def test_the_first_click_is_deepest_inside_and_the_next_in_the_largest_error():
    left = box(slice(10, 30), slice(10, 30))
    too_far = TRUTH | box(slice(30, 39), slice(12, 40))
    steps = simulate_clicks(Script(left, too_far, TRUTH), TRUTH, 3)
    assert [len(step.labels) for step in steps] == [1, 2, 3]
    first, missed, extra = steps[2].points_px
    assert (np.abs(first - [30, 20]) <= [11, 1]).all()  # anywhere on the box's middle line is as deep
    assert 30 <= missed[0] <= 50
    assert 10 <= missed[1] <= 30
    assert 30 <= extra[1] <= 39
    assert steps[2].labels.tolist() == [1, 1, 0]


def test_it_ends_early_once_nothing_is_wrong():
    assert len(simulate_clicks(Script(TRUTH), TRUTH, 5)) == 1


def test_where_there_is_no_object_there_is_nothing_to_click():
    with pytest.raises(PromptError, match="nothing to click"):
        simulate_clicks(Script(TRUTH), np.zeros((40, 60), bool), 1)
