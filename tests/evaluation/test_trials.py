"""Trials of a 2D segmenter: which prompts it gets, and what is said of its answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from engine.evaluation.trials import Protocol, interior_points, run_trials, tight_box
from engine.segmenters.base import Photo, Prediction, Prompts
from sa3d_blender.protocol.errors import PromptError

TRUTH = np.zeros((60, 80), bool)
TRUTH[10:40, 20:70] = True
TRUTH[25:40, 45:70] = False  # an L


class Half:
    """Finds the object's left half until there are three positive clicks, and all of it in a box."""

    name = "half"
    scales: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.asked: list[Prompts] = []

    def set_image(self, photo: Photo) -> None:
        raise AssertionError("the photo has been set already")

    def predict(self, prompts: Prompts) -> Prediction:
        self.asked.append(prompts)
        mask = TRUTH.astype(np.float32)
        if prompts.box_px is None and int((prompts.labels == 1).sum()) < 3:
            mask[:, 40:] = 0
        return Prediction(mask, float(mask.sum() / TRUTH.sum()))


def test_interior_points_are_inside_apart_and_the_same_every_time():
    points = interior_points(TRUTH, 6)
    assert points.shape == (6, 2)
    columns, rows = points.astype(int).T
    assert ndimage.binary_erosion(TRUTH, iterations=2)[rows, columns].all()
    apart = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(6)
    assert apart.min() > 8  # an object of 50 x 30: six points far from each other
    assert (points[:3] == interior_points(TRUTH, 3)).all()


@pytest.mark.parametrize(("pixels", "count"), [(1, 1), (3, 3)])
def test_a_speck_gives_as_many_points_as_it_has_pixels(pixels, count):
    speck = np.zeros((9, 9), bool)
    speck[4, 2 : 2 + pixels] = True
    points = interior_points(speck, 6)
    assert len(points) == count
    assert len({tuple(p) for p in points}) == count


def test_the_box_just_holds_the_object():
    assert tight_box(TRUTH).tolist() == [20, 10, 70, 40]


def test_each_trial_says_how_well_its_prompts_did():
    segmenter = Half()
    trials = {t.name: t for t in run_trials(segmenter, TRUTH, Protocol())}
    assert tuple(trials) == Protocol().names
    assert trials["1 click"].iou == pytest.approx(TRUTH[:, :40].sum() / TRUTH.sum())
    assert trials["1 click"].score == pytest.approx(trials["1 click"].iou)
    assert trials["1 click"].boundary_iou < 1
    for name in ("3 clicks", "5 clicks", "3 points", "6 points", "box"):
        assert trials[name].iou == trials[name].boundary_iou == 1
    assert [len(trials[name].prompts.labels) for name in trials] == [1, 2, 3, 3, 3, 6, 0]
    assert len(segmenter.asked) == 6  # after three clicks nothing was wrong: there is no fifth


def test_only_what_is_asked_for_is_tried():
    trials = run_trials(Half(), TRUTH, Protocol((2,), (), False))
    assert [t.name for t in trials] == ["2 clicks"]


@pytest.mark.parametrize("previous", [False, True])
def test_the_mask_so_far_goes_along_if_wanted(previous):
    segmenter = Half()
    run_trials(segmenter, TRUTH, Protocol((3,), (), False, previous))
    first, *others = segmenter.asked
    assert first.mask is None
    assert len(others) == 2
    assert all((each.mask is not None) == previous for each in others)


def test_where_there_is_no_object_there_is_nothing_to_try():
    with pytest.raises(PromptError, match="nothing to click"):
        run_trials(Half(), np.zeros((9, 9), bool), Protocol((), (3,), True))
