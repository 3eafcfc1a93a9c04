"""A training that was cancelled or killed goes on where it was, and ends where it would have ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import save_file
from tiny_capture import TinyCapture

import engine.fields.resume as resume_module
import engine.fields.trainer as trainer_module
from engine.captures.bounds import SceneBox
from engine.captures.load import load_capture
from engine.fields.heldout import HeldOut, heldout_psnr_db
from engine.fields.resume import NAME, Keeper
from engine.fields.settings import TrainingSettings
from engine.fields.training import TrainedField, train_field
from engine.progress import Job, Report
from engine.workspace import working_photo
from sa3d_blender.protocol.errors import Cancelled, StorageError
from tests.helpers.cramped import fill, mounted

CPU = torch.device("cpu")
BOX = SceneBox(np.array([[-1.2, -1.2, -0.3], [1.2, 1.2, 1.2]]), "inward")
SETTINGS = TrainingSettings(
    steps=60, rays=256, sides=(12, 20), upsample_at=(25,), occupancy_side=16, occupancy_every=10
)


@pytest.fixture(scope="module")
def photos(tiny_capture: TinyCapture):
    """(cameras, images) of the tiny capture."""
    pairs = [working_photo(view, 80) for view in load_capture(tiny_capture.folder).views[::3]]
    return [camera for camera, _ in pairs], [image for _, image in pairs]


def trained(photos, keeper: Keeper | None = None, job: Job | None = None) -> TrainedField:
    return train_field(*photos, BOX, SETTINGS, CPU, job or Job(), seed=2, keeper=keeper)


def stopped_after(step: int, said: list[str] | None = None) -> Job:
    """A job that is cancelled when the training reports a step."""
    cancel = threading.Event()

    def listen(report: Report) -> None:
        if report.stage == "Training field" and report.done >= step:
            cancel.set()

    return Job(listener=listen, cancel=cancel, log=(said if said is not None else []).append)


def same(one: TrainedField, other: TrainedField) -> bool:
    first, second = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("step", [10, 30, 50])
def test_a_cancelled_training_goes_on_and_ends_exactly_as_if_it_had_not_been(photos, tmp_path, step):
    """Before and after the grid became finer; bit by bit."""
    with pytest.raises(Cancelled):
        trained(photos, Keeper(tmp_path, "these", print), stopped_after(step))
    said: list[str] = []
    went_on = trained(photos, Keeper(tmp_path, "these", said.append), Job(log=said.append))
    kept = step // 20 * 20  # every second update of the occupancy grid
    assert any(line == f"Going on after step {kept} of 60." for line in said) == (kept > 0)
    assert same(went_on, trained(photos))
    assert [point.step for point in went_on.history] == list(range(1, 61))


def test_a_training_of_other_photos_or_settings_is_not_taken_up(photos, tmp_path):
    with pytest.raises(Cancelled):
        trained(photos, Keeper(tmp_path, "these", print), stopped_after(30))
    said: list[str] = []
    fresh = trained(photos, Keeper(tmp_path, "others", said.append))
    assert said[0] == "An earlier training here was of other photos or settings: beginning anew."
    assert same(fresh, trained(photos))


@pytest.mark.parametrize("damage", ["cut", "no file of its kind", "of another model", "of more photos"])
def test_a_damaged_one_is_said_and_begun_anew(photos, tmp_path, damage):
    with pytest.raises(Cancelled):
        trained(photos, Keeper(tmp_path, "these", print), stopped_after(30))
    path = tmp_path / NAME
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "no file of its kind":
        path.write_bytes(b"\x00" * 1000)
    elif damage == "of more photos":  # found out after the model itself has fitted
        with safetensors.safe_open(path, framework="pt") as file:
            tensors, meaning = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
        save_file(tensors | {"left_out": torch.zeros(3, dtype=torch.bool)}, path, meaning)
    else:
        assert b'\\"density_ranks\\": [8, 8, 8]' in content
        path.write_bytes(content.replace(b'\\"density_ranks\\": [8, 8, 8]', b'\\"density_ranks\\": [8, 8, 9]'))
    said: list[str] = []
    fresh = trained(photos, Keeper(tmp_path, "these", said.append))
    assert "damaged" in said[0] and said[0].endswith("beginning anew.")
    assert same(fresh, trained(photos))


def test_a_training_of_another_device_is_taken_up_with_other_random_numbers(photos, tmp_path):
    with pytest.raises(Cancelled):
        trained(photos, Keeper(tmp_path, "these", print), stopped_after(30))
    path = tmp_path / NAME
    with safetensors.safe_open(path, framework="pt") as file:
        tensors, meaning = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors | {"generator": torch.zeros(16, dtype=torch.uint8)}, path, meaning)  # as long as CUDA's
    said: list[str] = []
    went_on = trained(photos, Keeper(tmp_path, "these", said.append), Job(log=said.append))
    assert "Going on after step 20 of 60." in said
    assert went_on.history[-1].step == 60 and not same(went_on, trained(photos))


def test_a_long_time_since_the_last_good_state_is_not_lost_by_cancelling(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "SECONDS_LOST_AT_MOST", 0.0)
    with pytest.raises(Cancelled):
        trained(photos, Keeper(tmp_path, "these", print), stopped_after(30))
    said: list[str] = []
    went_on = trained(photos, Keeper(tmp_path, "these", said.append), Job(log=said.append))
    (step,) = (int(line.split()[4]) for line in said if line.startswith("Going on after step"))
    assert step >= 30 and went_on.history[-1].step == 60


def test_a_full_disk_costs_the_resuming_and_not_the_training(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(resume_module, "SECONDS_BETWEEN", 0.0)
    said: list[str] = []
    with mounted(tmp_path / "small disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        fill(disk, 8192)
        done = trained(photos, Keeper(disk, "these", said.append))
        assert [path.name for path in disk.iterdir()] == ["filler"]  # nothing half-written
    assert len(said) == 1 and "full" in said[0] and "Training goes on" in said[0]
    assert same(done, trained(photos))


def test_a_disk_that_fills_up_while_the_field_is_saved_loses_nothing(photos, tmp_path):
    """What was learned is in the file of the training, which the next run takes up."""
    from engine.fields.checkpoint import has_field, save_field

    with mounted(tmp_path / "small disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as disk:
        keeper = Keeper(disk, "these", print)
        with pytest.raises(Cancelled):
            trained(photos, keeper, stopped_after(50))
        filler = fill(disk, 4096)
        done = trained(photos, Keeper(disk, "these", print))
        with pytest.raises(StorageError, match="full") as caught:
            save_field(done, disk, "capture")
        assert "Free some space" in caught.value.cure
        assert not has_field(disk)
        filler.unlink()
        said: list[str] = []
        again = trained(photos, Keeper(disk, "these", said.append), Job(log=said.append))
        assert any("Going on after step 40" in line for line in said)
        save_field(again, disk, "capture")
        assert has_field(disk)
        assert same(done, again)


KILLED = """
import sys
sys.path[:0] = {paths!r}
import engine.fields.resume as r
r.SECONDS_BETWEEN = 0.0
from pathlib import Path
import tests.fields.test_resume as t
from engine.captures.load import load_capture
from engine.progress import Job
from engine.workspace import working_photo
pairs = [working_photo(view, 80) for view in load_capture(Path({capture!r})).views[::3]]
photos = [camera for camera, _ in pairs], [image for _, image in pairs]
def listen(report):
    if report.stage == "Training field":
        print(int(report.done), flush=True)
t.trained(photos, r.Keeper(Path({folder!r}), "these", print), Job(listener=listen))
"""


def test_kill_9_in_the_middle_leaves_a_training_that_goes_on(tiny_capture: TinyCapture, photos, tmp_path):
    root = Path(__file__).resolve().parents[2]
    script = KILLED.format(
        paths=[str(root), str(root / "tests" / "helpers")], capture=str(tiny_capture.folder), folder=str(tmp_path)
    )
    running = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, cwd=root)
    assert running.stdout is not None
    for line in running.stdout:
        if line.strip().isdigit() and int(line) >= 40:
            break
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    left = [path.name for path in tmp_path.iterdir() if not path.name.startswith(".partial-")]
    assert left == [NAME]
    said: list[str] = []
    went_on = trained(photos, Keeper(tmp_path, "these", said.append), Job(log=said.append))
    assert any(line.startswith("Going on after step") for line in said)
    # another process may add up in another order, so not bit by bit
    unbroken = trained(photos)
    assert went_on.history[-1].training_psnr_db == pytest.approx(unbroken.history[-1].training_psnr_db, abs=0.2)
    shown = HeldOut(["a", "b"], photos[0][:2], photos[1][:2])
    ends = [heldout_psnr_db(field.model, field.grid, SETTINGS.rendering, shown, Job()) for field in (went_on, unbroken)]
    assert all(ends[0][name] == pytest.approx(ends[1][name], abs=0.2) for name in shown.names)


def test_cancelling_takes_less_than_a_second(photos, tmp_path):
    """Of a large training, too: the file that is kept has 30 MB here."""
    settings = replace(SETTINGS, steps=1000, rays=1024, sides=(160,), upsample_at=())
    cancel = threading.Event()
    asked: list[float] = []

    def listen(report: Report) -> None:
        if report.stage == "Training field" and report.done >= 30 and not asked:
            asked.append(time.monotonic())
            cancel.set()

    keeper = Keeper(tmp_path, "these", print)
    with pytest.raises(Cancelled):
        train_field(*photos, BOX, settings, CPU, Job(listener=listen, cancel=cancel), keeper=keeper)
    assert time.monotonic() - asked[0] < 1.0 * float(os.environ.get("SA3D_TEST_SLACK", "6"))
    assert (tmp_path / NAME).stat().st_size > 20e6
