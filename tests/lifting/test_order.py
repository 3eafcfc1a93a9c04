"""Views are visited outward from the prompted one, by what they have in common of the object's surroundings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.captures.capture import Camera, View
from engine.lifting.order import BLOCK, around, share_of, view_signatures, views_outward
from engine.lifting.voxels import SparseVoxels, VoxelGrid


def views_named(names: list[str]) -> list[View]:
    """Views of which only the names matter."""
    camera = Camera(80, 60, 80.0, 80.0, 40.0, 30.0, np.eye(4))
    return [View(f"{name}.png", name, Path(f"{name}.png"), camera) for name in names]


def wall(places: int) -> VoxelGrid:
    """A row of ``places`` blocks of voxels, all occupied."""
    shape = (places * BLOCK, 2, 2)
    return VoxelGrid(np.arange(np.prod(shape), dtype=np.int32).reshape(shape), np.array([[0.0] * 3, [1.0] * 3]))


def looking_at(grid: VoxelGrid, *places: int) -> SparseVoxels:
    along = grid.cells(np.arange(grid.count))[:, 0] // BLOCK
    return SparseVoxels.of(np.isin(along, places).astype(np.float32), 0.5)


def test_a_signature_says_how_much_a_view_looks_at_each_place():
    grid = wall(4)
    views = views_named(["a", "b"])
    rows, place = view_signatures(views, {"a": looking_at(grid, 0), "b": looking_at(grid, 1, 2)}, grid)
    per_place = BLOCK * 4
    np.testing.assert_allclose(rows, [[per_place, 0, 0, 0], [0, per_place, per_place, 0]])
    np.testing.assert_array_equal(place, grid.cells(np.arange(grid.count))[:, 0] // BLOCK)


def test_views_go_outward_by_what_they_share_whatever_they_are_called():
    """Five views along a wall, each seeing two neighbouring places; their names are in another order."""
    grid = wall(6)
    names = ["d", "a", "e", "b", "c"]
    views = views_named(names)
    looked = {name: looking_at(grid, i, i + 1) for i, name in enumerate(names)}
    rows, place = view_signatures(views, looked, grid)
    everywhere = around(rows, place, SparseVoxels.of(np.ones(grid.count, np.float32), 0.5))
    assert [v.stem for v in views_outward(views, views[0], everywhere)] == ["a", "e", "b", "c"]
    # from the middle on, all that is left always shares as much: by name
    assert [v.stem for v in views_outward(views, views[2], everywhere)] == ["a", "b", "c", "d"]


def test_only_the_surroundings_of_the_object_count():
    """Seen whole, b has more in common with the start; where the object is, c has."""
    grid = wall(10)
    views = views_named(["a", "b", "c"])
    looked = {"a": looking_at(grid, *range(8)), "b": looking_at(grid, *range(1, 8)), "c": looking_at(grid, 0, 8, 9)}
    rows, place = view_signatures(views, looked, grid)
    everywhere = around(rows, place, SparseVoxels.of(np.ones(grid.count, np.float32), 0.5))
    assert [v.stem for v in views_outward(views, views[0], everywhere)] == ["b", "c"]
    here = around(rows, place, looking_at(grid, 0))
    assert [v.stem for v in views_outward(views, views[0], here)] == ["c", "b"]


def test_a_share_of_the_views_is_even_and_in_order():
    views = views_named([f"{i}" for i in range(10)])
    assert share_of(views, 1.0) == views
    assert [views.index(v) for v in share_of(views, 0.5)] == [0, 2, 4, 7, 9]
    assert len(share_of(views, 0.01)) == 1
