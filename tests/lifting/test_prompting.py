"""Point prompts are where the rendered mask is surest, apart from each other, and not on stray parts of it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.lifting.prompting import away_from, mask_box, negative_points, select_points


def flat(height: int = 40, width: int = 60) -> np.ndarray:
    """Surface points of a wall: one unit a pixel."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([columns, rows, np.zeros_like(rows)], -1)


def test_the_first_is_the_maximum_at_its_pixels_centre():
    confidence = np.zeros((40, 60), np.float32)
    confidence[10:30, 10:50] = 0.7
    confidence[12, 45] = 0.95
    np.testing.assert_array_equal(select_points(confidence, flat(), 1), [[45.5, 12.5]])


def test_of_equals_the_one_furthest_inside_the_mask_is_taken():
    confidence = np.zeros((40, 60), np.float32)
    confidence[10:31, 10:51] = 1.0
    (point,) = select_points(confidence, flat(), 1)
    assert point[1] == 20.5
    assert 20 < point[0] < 41


def test_a_square_of_side_root_of_area_over_pi_around_each_is_blanked():
    """Of 21 x 21 pixels the half side is 5.92: what is 5 away is too near, 6 away is not. One pixel of the mask is so
    far away in space that the normalised distances of all others are next to nothing."""
    confidence = np.zeros((40, 60), np.float32)
    confidence[5:26, 5:26] = 0.6
    confidence[15, 15], confidence[15, 20], confidence[15, 9] = 1.0, 0.9, 0.8
    points = flat()
    points[5, 5] = 1e5
    found = select_points(confidence, points, 2)
    np.testing.assert_array_equal(found, [[15.5, 15.5], [9.5, 15.5]])


def test_no_two_prompts_lie_in_each_others_squares():
    confidence = np.zeros((40, 60), np.float32)
    confidence[5:35, 5:55] = 1.0
    points = flat()
    points[5, 5] = 1e5
    found = select_points(confidence, points, 8)
    assert len(found) == 8
    apart = np.abs(found[:, None] - found[None]).max(-1) + 1e9 * np.eye(8)
    assert apart.min() > np.sqrt(30 * 50 / np.pi) / 2


def test_a_far_stray_part_of_the_mask_gets_none_however_many_are_asked_for():
    """Its distance from the first prompt is the largest, so Eq. 7 leaves it M(p) - M(p^) < 0."""
    confidence = np.zeros((40, 60), np.float32)
    confidence[5:25, 5:25] = 1.0
    confidence[30:36, 50:56] = 0.9
    points = flat()
    points[30:36, 50:56, 2] = 500.0  # behind, in space
    found = select_points(confidence, points, 20)
    assert len(found) >= 1
    assert (found < 26).all()


def test_nearness_in_space_counts_not_nearness_in_the_photo():
    """The same two parts, once on one surface and once with the second far behind it."""
    confidence = np.zeros((40, 60), np.float32)
    confidence[5:25, 5:25] = 1.0
    confidence[5:25, 27:40] = 0.9
    beside, behind = flat(), flat()
    beside[39, 59] = behind[39, 59] = (0.0, 0.0, 1000.0)
    confidence[39, 59] = 0.6  # sets the scale of the distances in both
    behind[:, 27:40, 2] = 990.0
    assert (select_points(confidence, beside, 20)[:, 0] > 27).any()
    assert not (select_points(confidence, behind, 20)[:, 0] > 27).any()


def test_it_ends_where_the_confidence_is_no_longer_positive():
    confidence = np.zeros((40, 60), np.float32)
    confidence[10, 10], confidence[10, 40] = 1.0, 0.9
    np.testing.assert_array_equal(select_points(confidence, flat(), 5), [[10.5, 10.5]])


@pytest.mark.parametrize("value", [0.0, 0.5 - 0.01])
def test_an_empty_mask_gives_no_prompts(value):
    found = select_points(np.full((40, 60), value, np.float32), flat(), 3)
    assert found.shape == (0, 2)
    assert found.dtype == np.float32


def test_pixels_without_a_surface_are_never_selected():
    confidence = np.zeros((40, 60), np.float32)
    confidence[10:30, 10:50] = 0.7
    confidence[20, 30] = 1.0
    points = flat()
    points[15:25, 25:35] = np.nan
    found = select_points(confidence, points, 10)
    assert len(found) > 1
    for x, y in found:
        assert np.isfinite(points[int(y), int(x)]).all()
    points[:] = np.nan
    assert len(select_points(confidence, points, 10)) == 0


def disc(radius: float = 10.0) -> np.ndarray:
    rows, columns = np.indices((60, 80))
    return np.hypot(rows - 30, columns - 40) < radius


def test_without_decay_the_next_point_is_the_next_most_confident_pixel():
    confidence = np.where(disc(), 0.9, 0.0).astype(np.float32)
    confidence[30, 40], confidence[30, 33] = 1.0, 0.99
    flat = np.stack([*np.meshgrid(np.arange(80.0), np.arange(60.0)), np.zeros((60, 80))], -1).astype(np.float32)
    found = select_points(confidence, flat, 2, decay=False, inward=False)
    # the square around the first is 2 * 10 pixels wide over pi: 33 lies outside half of it
    np.testing.assert_allclose(found[0], [40.5, 30.5])
    assert abs(found[1][0] - 40.5) > 10 / np.sqrt(np.pi) * np.sqrt(np.pi) / 2


def test_the_papers_mask_is_wherever_m_is_positive():
    m = np.where(disc(), 0.01, -1.0).astype(np.float32)
    flat = np.zeros((60, 80, 3), np.float32)
    assert len(select_points(m, flat, 1, level=0.5)) == 0
    assert len(select_points(m, flat, 1, level=0.0, inward=False)) == 1


def test_negative_points_lie_close_by_on_what_was_voted_out_and_on_different_sides():
    mask = disc()
    against = (~disc(14)).astype(np.float32)
    found = negative_points(mask, against, 3)
    assert len(found) == 3
    for x, y in found.astype(int):
        distance = np.hypot(y - 30, x - 40)
        assert against[y, x] == 1
        assert distance < 10 + 3 + np.sqrt(mask.sum() / np.pi)
    assert min(np.linalg.norm(a - b) for i, a in enumerate(found) for b in found[:i]) > 4


def test_there_are_no_negative_points_where_nothing_was_voted_out_or_nothing_shows():
    assert len(negative_points(disc(), np.zeros((60, 80), np.float32), 3)) == 0
    assert len(negative_points(np.zeros((60, 80), bool), np.ones((60, 80), np.float32), 3)) == 0


def test_the_box_holds_the_mask_and_stays_in_the_picture():
    box = mask_box(disc())
    assert box is not None
    np.testing.assert_allclose(box, [40 - 9 - 0.95, 30 - 9 - 0.95, 40 + 10 + 0.95, 30 + 10 + 0.95])
    everywhere = mask_box(np.ones((60, 80), bool))
    assert everywhere is not None
    np.testing.assert_allclose(everywhere, [0, 0, 80, 60])
    assert mask_box(np.zeros((60, 80), bool)) is None


def test_positive_points_go_far_from_what_was_refused():
    """Two discs beside each other, a refused point on the left one: all points come to lie on the right one."""
    rows, columns = np.indices((60, 80))
    both = np.hypot(rows - 30, columns - 20) < 10
    right = np.hypot(rows - 30, columns - 55) < 10
    confidence = (both | right).astype(np.float32)
    flat = np.stack([columns, rows, np.zeros((60, 80))], -1).astype(np.float32)
    refused = np.array([[20.5, 30.5]], np.float32)
    found = select_points(away_from(confidence, flat, refused), flat, 3)
    assert len(found) >= 1
    assert (found[:, 0] > 40).all()
    beside = np.array([[5.5, 5.5]], np.float32)  # refused where the mask says so, too: nothing changes
    np.testing.assert_array_equal(away_from(confidence, flat, beside), confidence)
    np.testing.assert_array_equal(away_from(confidence, flat, np.zeros((0, 2), np.float32)), confidence)
