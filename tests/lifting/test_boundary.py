"""A minimum cut moves an object's surface to the edges of the scene, and leaves what is clear as it is."""

from __future__ import annotations

import numpy as np
import pytest

from engine.lifting.boundary import BoundarySettings, refine_boundary
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
