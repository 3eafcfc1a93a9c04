"""The picture of how training goes: what is where in it, and what is read of a message that makes no sense."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sa3d_blender.training_picture import CURVE, CURVE_PX, GAP_PX, GROUND, RULE, SIDE_PX, compose, read_training

STEPS = 1000
ROOM = SIDE_PX - CURVE_PX - GAP_PX
RISING = [(step, 10 + step / 50) for step in range(0, 501, 50)]


def halves(height=60, width=80):
    """Red above, blue below."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, :, 0] = picture[height // 2 :, :, 2] = 255
    return picture


def upright(curve=(), picture=None):
    """The composed picture, the top row first."""
    return compose(halves() if picture is None else picture, curve, STEPS)[::-1]


def lit(curve):
    """Where the curve is, bool [CURVE_PX, SIDE_PX], the top row first."""
    below = upright(curve)[-CURVE_PX:, :, :3]
    return np.abs(below - np.array(CURVE, np.float32)).max(axis=2) < 0.3


def test_it_is_what_blender_wants():
    made = compose(halves(), RISING, STEPS)
    assert made.shape == (SIDE_PX, SIDE_PX, 4) and made.dtype == np.float32 and made.flags.c_contiguous
    assert made.min() >= 0 and made.max() <= 1
    assert made[0, 0] == pytest.approx((*GROUND, 1)), "the bottom row comes first: the curve's ground"


def test_the_photo_is_above_upright_and_undistorted():
    made = upright()
    assert made[4, SIDE_PX // 2] == pytest.approx((1, 0, 0, 1)) and made[ROOM - 5, SIDE_PX // 2, 2] == 1
    covered = np.argwhere(made[:ROOM, :, 3] == 1)
    height, width = np.ptp(covered, axis=0) + 1
    assert height == ROOM and width / height == pytest.approx(80 / 60, abs=1 / ROOM)
    assert (made[ROOM : ROOM + GAP_PX] == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (1, 5000), (120, 160), (700, 500)])
def test_photos_of_any_shape_are_in_the_middle(size):
    picture = np.full((*size, 3), 200, np.uint8)
    made = upright(picture=picture)
    covered = made[:ROOM, :, 3] == 1
    assert made[:ROOM][covered] == pytest.approx(np.broadcast_to((200 / 255,) * 3 + (1,), (covered.sum(), 4)))
    rows, columns = np.nonzero(covered)
    assert abs(rows.min() - (ROOM - 1 - rows.max())) <= 1
    assert abs(columns.min() - (SIDE_PX - 1 - columns.max())) <= 1


def test_a_rising_curve_rises_from_the_left_to_where_training_is():
    shown = lit(RISING)
    columns = np.flatnonzero(shown.any(axis=0))
    assert columns[0] < 8 and columns[-1] == pytest.approx(SIDE_PX / 2, abs=6), "half of the steps: half of the width"
    assert (np.diff(columns) == 1).all()
    heights = [np.flatnonzero(shown[:, column]).mean() for column in columns[:-8]]
    assert (np.diff(heights) <= 0).all()
    assert heights[0] > CURVE_PX - 9 and heights[-1] < 12, "10 dB and 20 dB are the lowest and the highest line"


def test_a_leap_leaves_no_gap():
    shown = lit([(0, 10), (400, 10), (401, 30), (800, 30)])
    column = np.argmax(shown.sum(axis=0))
    assert np.flatnonzero(shown[:, column]).size > CURVE_PX - 14


def test_a_curve_in_disorder_is_the_same_curve():
    assert (lit(RISING[::-1]) == lit(RISING)).all()


def test_one_point_is_a_dot():
    rows, columns = np.nonzero(lit([(500, 22.5)]))
    assert (rows.mean(), columns.mean()) == pytest.approx(((CURVE_PX - 1) / 2, (SIDE_PX - 1) / 2), abs=1)
    assert 4 <= np.ptp(rows) == np.ptp(columns) <= 8


@pytest.mark.parametrize("curve", [[], [(100, math.nan)], [(math.inf, 20.0)]])
def test_without_a_point_there_is_only_the_ground(curve):
    assert upright(curve)[-CURVE_PX:] == pytest.approx(np.broadcast_to((*GROUND, 1), (CURVE_PX, SIDE_PX, 4)))


def test_points_that_are_no_numbers_are_left_out():
    holed = [*RISING[:5], (225, math.nan), (math.nan, 20), (230, -math.inf), *RISING[5:]]
    assert (compose(halves(), holed, STEPS) == compose(halves(), RISING, STEPS)).all()


@pytest.mark.parametrize("curve", [[(0, -1e300), (9, 1e300)], [(-1e9, 20), (1e12, 30)], [(5, 20.0), (5, 24.0)]])
def test_numbers_beyond_reason_stay_in_the_picture(curve):
    made = compose(halves(), curve, STEPS)
    assert np.isfinite(made).all() and lit(curve).any()


def test_lines_lie_five_decibels_apart():
    below = upright([(0, 11.0), (10, 19.0)])[-CURVE_PX:, -1, :3]
    assert np.flatnonzero(np.isclose(below, RULE).all(axis=1)).size == 3  # 10, 15, 20


def said(**more):
    return {"view": "b", "step": 20, "steps": 100, "psnr_db": 21.5, "curve": [[10, 20.0], [20, 21.5]]} | more


def test_a_preview_is_read():
    found = read_training(said(curve=[[10, 20.0], [15, math.nan], [20, 21.5]]), halves())
    assert found is not None and (found.view, found.steps, found.psnr_db) == ("b", 100, 21.5)
    assert found.curve == ((10, 20.0), (20, 21.5)) and found.picture.shape == (60, 80, 3)


@pytest.mark.parametrize(
    "body",
    [
        said(psnr_db=math.nan),
        said(psnr_db=None),
        said(psnr_db="much"),
        said(psnr_db=10**400),
        said(steps=math.inf),
        said(curve=7),
        said(curve=[1, 2]),
        said(curve=[[1, 2, 3]]),
        said(curve=[[1, None]]),
        {"view": "b"},
    ],
)
def test_numbers_that_make_no_sense_are_nothing(body):
    assert read_training(body, halves()) is None


@pytest.mark.parametrize(
    "picture",
    [
        None,
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((1, 4, 5, 3), np.uint8),
    ],
)
def test_a_picture_that_is_none_is_nothing(picture):
    assert read_training(said(), picture) is None


def test_a_preview_without_a_curve_is_read():
    found = read_training({"steps": 100, "psnr_db": 20.0}, halves())
    assert found is not None and found.curve == () and found.view == ""
