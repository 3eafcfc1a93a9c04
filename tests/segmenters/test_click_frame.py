"""A crop of a photo goes to a click model's size and its mask comes back to the same place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.segmenters.click_description import InputSize
from engine.segmenters.click_frame import Frame, box_of, crop_around, overlap, resize

HEIGHT, WIDTH = 120, 160
WHOLE = (0, 0, HEIGHT, WIDTH)
SIZES = [
    InputSize("stretch", 96),
    InputSize("square", 128),
    InputSize("multiple", 100, multiple=32),
    InputSize("multiple", 90, multiple=14, side="shortest"),
    InputSize("multiple", 800, enlarge=False),
]


@pytest.mark.parametrize(
    ("size", "inner", "outer"),
    [
        (InputSize("stretch", 448), (448, 448), (448, 448)),
        (InputSize("square", 128), (96, 128), (128, 128)),
        (InputSize("multiple", 100, multiple=32), (75, 100), (96, 128)),
        (InputSize("multiple", 512, multiple=32, side="shortest"), (512, 683), (512, 704)),
        (InputSize("multiple", 800, enlarge=False), (120, 160), (120, 160)),
        (InputSize("multiple", 80, enlarge=False), (60, 80), (60, 80)),
    ],
)
def test_each_rule_gives_its_size(size, inner, outer):
    frame = Frame.fit(WHOLE, size, True)
    assert (frame.inner, frame.outer) == (inner, outer)


def test_a_zoomed_crop_is_enlarged_even_where_photos_are_not():
    frame = Frame.fit((10, 20, 60, 70), InputSize("multiple", 800, enlarge=False), True, 400)
    assert frame.inner == (400, 400)


def test_padding_lies_to_the_right_and_below_and_is_zero():
    frame = Frame.fit(WHOLE, InputSize("multiple", 100, multiple=32), True)
    padded = frame.pad(frame.shrink(np.ones((HEIGHT, WIDTH, 3), np.float32)))
    assert padded.shape == (96, 128, 3)
    np.testing.assert_allclose(padded[:75, :100], 1, atol=1e-6)
    assert (padded[75:] == 0).all() and (padded[:, 100:] == 0).all()


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("size", SIZES)
@settings(deadline=None, max_examples=12)
@given(
    top=st.integers(0, 40), left=st.integers(0, 60), rows=st.integers(50, 80), columns=st.integers(50, 100),
    u=st.floats(0.25, 0.75), v=st.floats(0.25, 0.75),
)  # fmt: skip
def test_a_click_stays_on_what_was_clicked_and_the_mask_comes_back_there(
    size, align_corners, top, left, rows, columns, u, v
):
    crop = (top, left, top + rows, left + columns)
    frame = Frame.fit(crop, size, align_corners)
    y, x = top + u * rows, left + v * columns
    grid_y, grid_x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    blob = np.exp(-((grid_y - y) ** 2 + (grid_x - x) ** 2) / (2 * 4.0**2)).astype(np.float32)[..., None]

    shown = frame.pad(frame.shrink(blob))[..., 0]
    row, column = frame.clicks(np.array([[x, y]]))[0]
    # Published code scales a pixel's number by W'/W but pictures by (W'-1)/(W-1): up to a pixel of the larger raster.
    slack = max(1.0, frame.inner[0] / rows, frame.inner[1] / columns) if align_corners else 0.1
    weights = shown / shown.sum()
    assert abs((weights.sum(axis=1) * np.arange(len(weights))).sum() - row) < slack
    assert abs((weights.sum(axis=0) * np.arange(weights.shape[1])).sum() - column) < slack

    mask = frame.back(shown, HEIGHT, WIDTH)
    assert mask.shape == (HEIGHT, WIDTH)
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[top : top + rows, left : left + columns] = True
    assert (mask[~inside] == 0).all()
    assert np.abs(mask - blob[..., 0])[inside].max() < 0.15  # a blob of 8 pixels, resized twice


@pytest.mark.parametrize(("align_corners", "antialias"), [(True, False), (False, True)])
def test_pictures_are_resized_as_torch_does(align_corners, antialias):
    picture = np.random.default_rng(0).random((40, 50, 3)).astype(np.float32)
    found = resize(picture, (24, 90), align_corners)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(picture.transpose(2, 0, 1))[None], (24, 90), mode="bilinear", align_corners=align_corners,
        antialias=antialias,
    )  # fmt: skip
    np.testing.assert_allclose(found, expected[0].permute(1, 2, 0).numpy(), atol=1e-6)


def test_boxes_are_found_widened_and_cut_at_the_photo():
    mask = np.zeros((100, 200), bool)
    assert box_of(mask) is None
    mask[40:60, 90:130] = True
    assert box_of(mask) == (40, 90, 60, 130)
    # Ends are one further than the published ones, which are the last pixel's own numbers.
    assert crop_around((40, 90, 60, 130), 1.5, 1, 100, 200) == (34, 80, 65, 141)  # halves go to even numbers
    assert crop_around((40, 90, 60, 130), 1.5, 80, 100, 200) == (10, 70, 91, 151)
    assert crop_around((0, 150, 20, 200), 2.0, 1, 100, 200) == (0, 124, 31, 200)


def test_overlap_is_the_boxes_intersection_over_union():
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert overlap((0, 0, 10, 10), (20, 20, 30, 30)) == 0
