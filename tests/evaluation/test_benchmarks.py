"""The public benchmarks are read in their layouts and scored as they are published."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from benchmark_layouts import write_nvos, write_replica, write_spin_nerf
from tiny_capture import FOCAL, HEIGHT, WIDTH, TinyCapture

from engine.captures.capture import Capture
from engine.evaluation.benchmarks import BenchmarkRow, benchmark_table
from engine.evaluation.masks import Outcome
from engine.evaluation.nvos import nvos_tasks
from engine.evaluation.replica import OBJECTS, replica_tasks
from engine.evaluation.run import Carried
from engine.evaluation.spin_nerf import spin_nerf_tasks
from engine.evaluation.tasks import Task, ViewScore
from sa3d_blender.protocol.errors import CaptureError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def assert_same_cameras(capture: Capture, truth: TinyCapture) -> None:
    assert [view.stem for view in capture.views] == [Path(name).stem for name in truth.names]
    for view, pose in zip(capture.views, truth.world_from_camera, strict=True):
        np.testing.assert_allclose(view.camera.world_from_camera, pose, atol=1e-6)
        assert (view.camera.fl_x, view.camera.fl_y) == (FOCAL, FOCAL)
        assert (view.camera.cx, view.camera.cy) == (WIDTH / 2, HEIGHT / 2)


def test_nvos_gives_scribbled_points_in_one_view_and_the_mask_of_another(tiny_capture: TinyCapture, root):
    write_nvos(tiny_capture, root, reference=4, target=9)
    ((first, *_),) = nvos_tasks(root)
    assert (first.name, first.reference, list(first.targets)) == ("fern", "004", ["009"])
    np.testing.assert_array_equal(first.targets["009"](), tiny_capture.masks["ball"][9])
    assert first.prompt_mask is None
    assert_same_cameras(first.capture, tiny_capture)
    on_ball = tiny_capture.masks["ball"][4]
    for x, y, label in first.points:
        assert on_ball[int(y), int(x)] == bool(label)
    # 2 % of a skeleton of about 12 pixels, 0.5 % of one of about 70: at least one each
    assert sorted({label for *_, label in first.points}) == [0, 1]


def test_nvos_draws_other_points_with_another_seed_and_the_same_with_the_same(tiny_capture, root):
    write_nvos(tiny_capture, root)
    (tasks,) = nvos_tasks(root, seeds=tuple(range(6)))
    assert len(tasks) == 6
    assert len({task.points for task in tasks}) > 1
    assert [t.points for t in nvos_tasks(root, seeds=tuple(range(6)))[0]] == [t.points for t in tasks]


def test_spin_nerf_gives_the_first_annotated_view_and_leaves_out_what_is_no_truth(tiny_capture, root):
    write_spin_nerf(tiny_capture, root, (3, 7, 11, 15))
    (task,) = spin_nerf_tasks(root)
    assert (task.name, task.reference) == ("fern", "003")
    assert sorted(task.targets) == ["007", "011", "015"]
    assert list(task.others) == ["003"]
    assert task.prompt_mask is not None
    np.testing.assert_array_equal(task.prompt_mask(), tiny_capture.masks["box"][3])
    assert_same_cameras(task.capture, tiny_capture)


def test_spin_nerf_masks_may_lie_in_the_scene(tiny_capture, root):
    write_spin_nerf(tiny_capture, root)
    shutil.move(root / "masks" / "fern", root / "fern" / "masks")
    shutil.rmtree(root / "masks")
    assert len(spin_nerf_tasks(root)[0].targets) == 3


def test_replica_shows_each_object_in_the_view_that_has_most_of_it(tiny_capture, root):
    write_replica(tiny_capture, root)
    tasks = replica_tasks(root, every=1)
    assert [task.name for task in tasks] == ["office0/3", "office0/4"]  # the scene's other objects show nowhere
    areas = tiny_capture.masks["ball"].sum((1, 2))
    assert areas[int(tasks[0].reference.removeprefix("rgb_"))] == areas.max()
    assert len(tasks[0].targets) == 19
    np.testing.assert_array_equal(tasks[1].targets["rgb_2"](), tiny_capture.masks["box"][2])
    assert 4 <= len(replica_tasks(root, every=4)[0].targets) + 1 <= 5


def test_the_papers_objects_are_all_there():
    counts = {name: len(ids) for name, ids in OBJECTS.items()}
    assert counts["office0"] == 27
    assert sum(counts.values()) == sum(len(set(ids)) for ids in OBJECTS.values())
    assert len(OBJECTS) == 8


@pytest.mark.parametrize(
    ("read", "write", "spoil", "words"),
    [
        (nvos_tasks, write_nvos, "masks", "no folder"),
        (nvos_tasks, write_nvos, "scribbles/fern", "no folder"),
        (nvos_tasks, write_nvos, "scribbles/fern/pos_0_004.png", "no scribble"),
        (nvos_tasks, write_nvos, "masks/fern/009_mask.png", "0 files where one mask"),
        (spin_nerf_tasks, write_spin_nerf, "fern", "none of the scenes"),
        (spin_nerf_tasks, write_spin_nerf, "masks", "no folder"),
        (replica_tasks, write_replica, "office_0", "none of the scenes"),
        (replica_tasks, write_replica, "office_0/Sequence_1/semantic_instance", "no folder"),
    ],
)
def test_another_layout_is_told_with_the_one_that_is_expected(tiny_capture, root, read, write, spoil, words):
    write(tiny_capture, root)
    target = root / spoil
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()
    with pytest.raises(CaptureError, match=words) as caught:
        read(root)
    assert "ROOT/" in caught.value.cure


def outcome(task: Task, method: str, iou: float) -> Outcome:
    views = {"a": ViewScore(iou, 0.5, 0.75)}
    none = np.zeros(0, np.float32)
    return Outcome(task, method, views, Carried({}, none, none.astype(bool), {}, 1.0, 0.5))


def test_the_table_has_the_mean_over_seeds_the_spread_and_the_papers_figures(tiny_capture, root):
    write_nvos(tiny_capture, root)
    (tasks,) = nvos_tasks(root, seeds=(0, 1))
    rows = [
        BenchmarkRow(outcome(t, "ours", v), outcome(t, "single view", 0.2), {})
        for t, v in zip(tasks, (0.8, 0.9), strict=True)
    ]
    table = benchmark_table("nvos", rows)
    assert table.rows[0] == ("fern", "85.0", "75.0", "-", "20.0", "5.0")
    assert table.rows[1][:2] == ("mean", "85.0")
    assert any("90.3" in row for row in table.rows)
