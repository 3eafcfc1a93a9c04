"""An object's surface moves to the edges of the scene, and goes on where no view has looked; what is clear stays."""

from __future__ import annotations

import numpy as np
import pytest

from engine.lifting.boundary import BoundarySettings, neighbourhood, refine_boundary, spread_to_unseen
from engine.lifting.evidence import Evidence, contribution_of
from engine.lifting.voxel_colours import voxel_colours
from engine.lifting.voxels import VoxelGrid

SHAPE = (20, 9, 9)


@pytest.fixture
def grid() -> VoxelGrid:
    return VoxelGrid(np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE), np.array([[0.0] * 3, [1.0] * 3]))


@pytest.fixture
def along(grid) -> np.ndarray:
    return grid.cells(np.arange(grid.count))[:, 0]


def two_boxes(along: np.ndarray) -> np.ndarray:
    """Red up to 10, blue from there on."""
    return np.where(along[:, None] < 10, [0.9, 0.1, 0.1], [0.1, 0.1, 0.9]).astype(np.float32)


OPAQUE = np.ones(SHAPE, np.float32)


def test_evidence_that_ends_too_early_is_led_to_the_colour_edge(grid, along):
    p = np.where(along < 8, 0.9, np.where(along < 12, 0.45, 0.1)).astype(np.float32)
    looked = np.full(grid.count, 5.0, np.float32)
    refined = refine_boundary(grid, p, looked, OPAQUE, two_boxes(along))
    np.testing.assert_array_equal(refined > 0.5, along < 10)


def test_evidence_that_goes_too_far_is_led_back(grid, along):
    p = np.where(along < 10, 0.9, np.where(along < 12, 0.55, 0.05)).astype(np.float32)
    looked = np.full(grid.count, 5.0, np.float32)
    refined = refine_boundary(grid, p, looked, OPAQUE, two_boxes(along))
    np.testing.assert_array_equal(refined > 0.5, along < 10)


def test_strong_evidence_stays_whatever_the_colours_say(grid, along):
    p = np.where(along < 12, 0.999, 0.001).astype(np.float32)
    refined = refine_boundary(grid, p, np.full(grid.count, 50.0, np.float32), OPAQUE, two_boxes(along))
    np.testing.assert_array_equal(refined, p)


def test_a_voxel_that_no_view_has_looked_at_does_not_become_the_objects(grid, along):
    p = np.where(along < 8, 0.9, 0.0).astype(np.float32)
    refined = refine_boundary(grid, p, np.where(along < 8, 5.0, 0.0).astype(np.float32), OPAQUE, two_boxes(along))
    np.testing.assert_array_equal(refined > 0.5, along < 8)


def test_a_voxel_that_changes_sides_stays_as_sure_as_it_was(grid, along):
    p = np.where(along < 8, 0.9, np.where(along < 10, 0.4, 0.05)).astype(np.float32)
    refined = refine_boundary(grid, p, np.full(grid.count, 5.0, np.float32), OPAQUE, two_boxes(along))
    np.testing.assert_allclose(refined[(along == 8) | (along == 9)], 0.6, atol=1e-6)
    np.testing.assert_array_equal(refined[along < 8], p[along < 8])


def test_thin_air_parts_more_cheaply_than_matter(grid, along):
    opacity = OPAQUE.copy()
    opacity[9:11] = 0.01
    p = np.where(along < 8, 0.9, np.where(along < 12, 0.45, 0.1)).astype(np.float32)
    looked = np.full(grid.count, 5.0, np.float32)
    refined = refine_boundary(grid, p, looked, opacity, None, BoundarySettings(normal=1e3))
    inside = along[refined > 0.5].max()
    assert 8 <= inside <= 9


def test_without_an_object_nothing_is_done(grid):
    p = np.full(grid.count, 0.3, np.float32)
    assert refine_boundary(grid, p, p, OPAQUE, None) is p


def test_voxels_get_the_colours_that_the_photos_show(stage):
    views = list(stage.views)
    red = np.zeros((60, 80, 3), np.float32)
    red[..., 0] = 0.8
    found = voxel_colours(stage.voxels, views, lambda v: stage.operators[v.stem], lambda v: red)
    seen = np.isfinite(found).all(1)
    assert seen.mean() > 0.2
    np.testing.assert_allclose(found[seen], np.broadcast_to([0.8, 0, 0], (int(seen.sum()), 3)), atol=1e-3)
    assert np.isnan(found[~seen]).all()


def test_the_cut_takes_nothing_from_another_object(grid, along):
    p = np.where(along < 10, 0.9, np.where(along < 12, 0.45, 0.1)).astype(np.float32)
    looked, edge_at_12 = np.full(grid.count, 5.0, np.float32), two_boxes(along - 2)
    alone = refine_boundary(grid, p, looked, OPAQUE, edge_at_12)
    np.testing.assert_array_equal(alone > 0.5, along < 12)
    beside = refine_boundary(grid, p, looked, OPAQUE, edge_at_12, taken=along >= 10)
    assert not (beside[along >= 10] > 0.5).any()


def test_the_same_evidence_is_cut_in_the_same_way_twice(grid, along):
    p = np.random.default_rng(0).uniform(0.2, 0.8, grid.count).astype(np.float32) + np.where(along < 10, 0.2, -0.2)
    p = p.astype(np.float32)
    looked = np.full(grid.count, 3.0, np.float32)
    found = [refine_boundary(grid, p, looked, OPAQUE, two_boxes(along)) for _ in range(2)]
    np.testing.assert_array_equal(*found)
    wrong = [np.count_nonzero((q > 0.5) != (along < 10)) for q in (p, found[0])]
    assert wrong[1] < wrong[0] / 3  # noise of single voxels is what smoothness is there for


def test_links_are_weak_across_colours_and_in_thin_air_only(grid, along):
    opacity = OPAQUE.copy()
    opacity[15:] = 0.01
    around = neighbourhood(grid, along < 18, opacity, two_boxes(along), 0.15, 1e3, 2)
    ends = along[around.voxels[around.first]], along[around.voxels[around.second]]
    assert around.links[ends[1] < 10].min() > 0.99
    assert around.links[(ends[0] == 9) & (ends[1] == 10)].max() < 0.01
    assert around.links[ends[0] >= 15].max() < 0.02


def test_what_no_view_has_looked_at_follows_its_neighbours_up_to_the_colour_edge(grid, along):
    seen = (along < 4) | (along >= 16)
    p = np.where(along < 4, 0.9, 0.0).astype(np.float32)
    looked = np.where(seen, 5.0, 0.0).astype(np.float32)
    spread = spread_to_unseen(grid, p, looked, OPAQUE, two_boxes(along))
    np.testing.assert_array_equal(spread > 0.5, along < 10)


def test_what_views_have_looked_at_closely_keeps_its_probability(grid, along):
    p = np.random.default_rng(0).uniform(0, 1, grid.count).astype(np.float32)
    looked = np.where(along % 3 == 0, 0.0, 500.0).astype(np.float32)
    spread = spread_to_unseen(grid, p, looked, OPAQUE, two_boxes(along))
    # six links of at most 1 against 500; and the solver's tolerance
    np.testing.assert_allclose(spread[looked > 0], p[looked > 0], atol=6 / 500 + 2e-3)
    assert (np.abs(spread - p)[looked == 0] > 0.05).mean() > 0.5


def test_an_object_does_not_spread_through_thin_air_nor_into_another(grid, along):
    p = np.where(along < 4, 0.9, 0.0).astype(np.float32)
    looked = np.where(along < 4, 5.0, np.where(along >= 16, 5.0, 0.0)).astype(np.float32)
    opacity = OPAQUE.copy()
    opacity[7:9] = 1e-4
    spread = spread_to_unseen(grid, p, looked, opacity, None)
    assert along[spread > 0.5].max() <= 8
    beside = spread_to_unseen(grid, p, looked, OPAQUE, None, taken=along >= 6)
    np.testing.assert_array_equal(beside[along >= 6], p[along >= 6])


@pytest.mark.parametrize("thing", ["ball", "box"])
def test_one_view_is_enough_to_guess_the_far_side_of_a_thing_of_one_colour(stage, thing):
    first, colours = stage.views[0], {"ball": 0.2, "box": 0.8}
    evidence = Evidence(stage.voxels.count)
    evidence.put(first.stem, contribution_of(stage.operators[first.stem], stage.mask(thing, first)))
    support = evidence.support()
    p = support.scatter(support.probability(1.0))
    looked = evidence.foreground + evidence.background

    def photo(view):
        """Ground black, ball and box in two greys."""
        grey = sum(value * stage.mask(name, view) for name, value in colours.items())
        return np.repeat(np.asarray(grey)[..., None], 3, -1).astype(np.float32)

    def operator(view):
        return stage.operators[view.stem]

    def iou_in_other_views(values):
        scores = []
        for view in stage.views[1:]:
            a = operator(view)
            ours, true = a.render(values) > 0.5 * np.maximum(a.opacity, 0.1), stage.mask(thing, view) > 0.5
            scores.append((ours & true).sum() / (ours | true).sum())
        return np.mean(scores)

    density = stage.volume.densities().numpy()
    opacity = (1 - np.exp(-density * stage.voxels.cell_size.mean())).astype(np.float32)
    seen_as = voxel_colours(stage.voxels, stage.views, operator, photo)
    spread = spread_to_unseen(stage.voxels, p, looked, opacity, seen_as)
    # one view shows about half of a thing: half of what is missing then is found without another mask
    assert 1 - iou_in_other_views(spread) < (1 - iou_in_other_views(p)) / 2
