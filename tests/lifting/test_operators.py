"""Operators are kept within budgets, and are the same wherever they come from."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from engine.lifting.operators import MEGABYTE, OperatorBudget, OperatorStore
from engine.lifting.projection import view_operator
from engine.progress import Job


@pytest.fixture
def make_store(stage, sampling, tmp_path):
    made: list[str] = []

    def build(memory_mb: int = 64, disk_mb: int = 64) -> OperatorStore:
        cameras = {view.stem: view.camera for view in stage.views}

        def trace(camera):
            made.append(next(stem for stem, known in cameras.items() if known is camera))
            return view_operator(stage.volume, stage.grid, stage.voxels, camera, sampling)

        return OperatorStore(tmp_path, cameras, trace, stage.voxels.count, OperatorBudget(memory_mb, disk_mb))

    build.made = made
    return build


def same(a, b) -> bool:
    return (
        (a.matrix != b.matrix).nnz == 0
        and np.array_equal(a.opacity, b.opacity)
        and np.array_equal(a.depth, b.depth)
        and np.array_equal(a.looked.index, b.looked.index)
        and np.array_equal(a.looked.values, b.looked.values)
    )


def test_an_operator_is_made_once_and_read_back_bit_for_bit(stage, make_store):
    view = stage.views[0]
    first = make_store()
    made = first.get(view)
    assert first.get(view) is made
    read = make_store().get(view)
    assert make_store.made == [view.stem]
    assert same(made, read)


def test_without_room_on_the_disk_it_is_made_again_and_the_log_says_so(stage, make_store, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        store = make_store(disk_mb=0)
        for view in stage.views[:2]:
            store.get(view)
        make_store(disk_mb=0).get(stage.views[0])
    assert len(make_store.made) == 3
    assert not list(tmp_path.iterdir())
    assert "0 MB of disk" in caplog.text


def test_memory_stays_within_its_budget_but_what_was_looked_at_is_kept(stage, make_store):
    store = make_store(memory_mb=1)
    store.prepare(list(stage.views), Job())
    size = store.get(stage.views[0]).nbytes
    assert store.memory_bytes <= max(MEGABYTE, size)
    for view in stage.views:
        assert len(store.looked(view).index) > 0
    assert len(make_store.made) == len(stage.views)


@pytest.mark.parametrize("damage", [b"", b"no safetensors at all", None])
def test_a_damaged_file_is_made_again(stage, make_store, tmp_path, damage, caplog):
    view = stage.views[0]
    good = make_store().get(view)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:5000] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        again = make_store().get(view)
    assert same(good, again)
    assert len(make_store.made) == 2
    assert "made again" in caplog.text


def test_operators_of_another_field_are_not_taken(stage, make_store, tmp_path):
    view = stage.views[0]
    make_store().get(view)
    store = make_store()
    store.voxels = 10
    store.get(view)
    assert len(make_store.made) == 2
