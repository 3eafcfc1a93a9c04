"""Click maps are what their papers' formulas say, pixel by pixel, and what they say where nobody has clicked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from engine.segmenters.click_encodings import ENCODINGS, click_map

HEIGHT, WIDTH = 23, 31


def formula(kind: str, size: float, points: list[tuple[float, float]], row: int, column: int) -> float:
    """One pixel, straight from the docstring's formulas."""
    distance = min(math.hypot(row - y, column - x) for y, x in points)
    return {
        "disk": float(distance <= size),
        "tanh-distance": math.tanh(2 * distance / size),
        "clipped-distance": min(distance, size) / size,
        "gaussian": math.exp(-(distance**2) / (2 * size**2)),
    }[kind]


clicks = st.lists(
    # Halves and quarters: squared distances are exact, so that no rounding decides which pixels a disk holds.
    st.tuples(st.integers(-8, 4 * HEIGHT).map(lambda v: v / 4), st.integers(-8, 4 * WIDTH).map(lambda v: v / 4)),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize(
    ("kind", "size"), [("disk", 5), ("disk", 2), ("tanh-distance", 260), ("clipped-distance", 12), ("gaussian", 10)]
)
@settings(deadline=None, max_examples=15)
@given(points=clicks)
def test_each_pixel_is_the_formula_of_the_nearest_click(kind, size, points):
    found = click_map(kind, size, np.array(points), HEIGHT, WIDTH)
    expected = [[formula(kind, size, points, row, column) for column in range(WIDTH)] for row in range(HEIGHT)]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)  # float32 of values up to 1


@pytest.mark.parametrize("size", [1, 3, 5])
def test_squares_are_the_convolution_of_clicked_pixels_with_ones(size):
    points = np.array([[4, 5], [4, 7], [0, 30], [22, 12]])
    dots = np.zeros((HEIGHT, WIDTH))
    dots[tuple(points.T)] = 1
    expected = ndimage.convolve(dots, np.ones((size, size)), mode="constant") > 0
    np.testing.assert_array_equal(click_map("square", size, points.astype(float), HEIGHT, WIDTH), expected)


def test_a_disk_of_five_pixels_is_the_published_stamp():
    # Pixels with r^2 + c^2 <= 25: 81 of them (Gauss's circle problem, N(5)).
    found = click_map("disk", 5, np.array([[11.0, 15.0]]), HEIGHT, WIDTH)
    assert found.sum() == 81
    assert found[11, 20] == 1 and found[11, 21] == 0 and found[6, 15] == 1


@pytest.mark.parametrize("kind", ENCODINGS)
def test_without_clicks_maps_are_what_they_tend_to_far_away(kind):
    nothing = click_map(kind, 3, np.zeros((0, 2)), HEIGHT, WIDTH)
    far = click_map(kind, 3, np.array([[-500.0, -500.0]]), HEIGHT, WIDTH)
    np.testing.assert_allclose(nothing, far, atol=1e-6)
    assert nothing.shape == (HEIGHT, WIDTH)


def test_a_scribble_of_many_clicks_takes_no_more_memory_than_one():
    import tracemalloc

    points = np.random.default_rng(0).uniform(0, 200, (400, 2))
    tracemalloc.start()
    click_map("disk", 5, points, 200, 200)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * 200 * 200 * 8  # 400 layers of float64 would be twenty times as many


def test_an_unknown_encoding_is_an_error():
    with pytest.raises(ValueError, match="unknown"):
        click_map("stars", 5, np.array([[1.0, 1.0]]), HEIGHT, WIDTH)
