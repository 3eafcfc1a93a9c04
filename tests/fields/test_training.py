"""Training lowers the loss, is the same under the same seed, stops when asked to, and says what went wrong."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_capture import TinyCapture

import engine.fields.trainer as trainer_module
import engine.fields.training as training_module
from engine.captures.bounds import SceneBox
from engine.captures.load import load_capture
from engine.fields.cost import Pace
from engine.fields.curve import CurvePoint
from engine.fields.heldout import HeldOut, heldout_psnr_db
from engine.fields.losses import Losses, compactness
from engine.fields.pixels import PixelPool
from engine.fields.rendering import RayColours, render_view
from engine.fields.scene_grid import build_grid, resolution_of
from engine.fields.settings import Sampling, TrainingSettings
from engine.fields.trainer import Trainer
from engine.fields.training import train_field
from engine.progress import Job, Report
from engine.workspace import working_photo
from sa3d_blender.protocol.errors import Cancelled, FieldError

CPU = torch.device("cpu")
BOX = SceneBox(np.array([[-1.2, -1.2, -0.3], [1.2, 1.2, 1.2]]), "inward")
FIVE_STEPS = TrainingSettings(steps=5, rays=128, sides=(12, 16), upsample_at=(3,), occupancy_side=16)


@pytest.fixture(scope="module")
def photos(tiny_capture: TinyCapture):
    """(cameras, images) of the tiny capture."""
    pairs = [working_photo(view, 80) for view in load_capture(tiny_capture.folder).views[::3]]
    return [camera for camera, _ in pairs], [image for _, image in pairs]


def trained(photos, settings=FIVE_STEPS, job=None, seed=0, box=BOX, **more):
    cameras, images = photos
    return train_field(cameras, images, box, settings, CPU, job or Job(), seed, **more)


def psnr_on(field, photos, count: int = 2) -> float:
    """Mean PSNR in dB of a field's pictures of the first photos."""
    heldout = HeldOut([str(i) for i in range(count)], photos[0][:count], photos[1][:count])
    return float(np.mean(list(heldout_psnr_db(field.model, field.grid, Sampling(), heldout, Job()).values())))


def test_training_is_deterministic_under_its_seed(photos):
    first, again, other = (trained(photos, seed=seed).model.state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_training_brings_the_field_nearer_to_the_photos(photos):
    """By more than a decibel in 80 steps, on the photos themselves."""
    reports: list[Report] = []
    settings = replace(FIVE_STEPS, steps=80, rays=512, sides=(16,), upsample_at=())
    done = trained(photos, settings, Job(listener=reports.append))
    assert [point.step for point in done.history] == list(range(2, 81, 2))  # a fiftieth of the steps apart
    seconds = [point.seconds for point in done.history]
    assert sorted(seconds) == seconds and seconds[0] > 0
    assert done.history[-1].training_psnr_db > done.history[0].training_psnr_db
    assert psnr_on(done, photos) > psnr_on(trained(photos, replace(settings, steps=1)), photos) + 1
    told = [r for r in reports if r.stage == "Training field"]
    assert [r.done for r in told] == [0, *range(10, 81, 10), 80]
    assert "PSNR" in told[-2].detail


def test_it_ends_at_the_finest_grid_with_cubic_cells(photos):
    done = trained(photos)
    assert done.model.resolution == resolution_of(BOX.aabb, 16)
    assert done.grid.sigma.shape == resolution_of(BOX.aabb, 16)
    assert done.model.space.unbounded
    assert not trained(photos, box=replace(BOX, kind="object")).model.space.unbounded


def test_cells_are_cubes_and_as_many_as_asked_for():
    assert resolution_of(np.array([[0.0] * 3, [2.0] * 3]), 64) == (64, 64, 64)
    x, y, z = resolution_of(np.array([[0.0, 0.0, 0.0], [8.0, 4.0, 2.0]]), 64)
    assert (x, y, z) == (128, 64, 32)
    assert resolution_of(np.array([[0.0, 0.0, 0.0], [100.0, 1.0, 1.0]]), 16)[1:] == (8, 8)  # at least


def test_the_occupancy_grid_is_never_finer_than_the_field(photos):
    model = trained(photos).model
    assert build_grid(model, 300).sigma.shape == model.resolution
    assert max(build_grid(model, 10).sigma.shape) < max(model.resolution)


def test_cancelling_stops_within_a_step(photos, monkeypatch):
    cancel = threading.Event()
    draws = []
    draw = PixelPool.draw

    def counted(self, *args):
        draws.append(1)
        if len(draws) == 3:
            cancel.set()
        return draw(self, *args)

    monkeypatch.setattr(PixelPool, "draw", counted)
    monkeypatch.setattr(training_module, "tried_pace", lambda *args: Pace(args[4], (0.01, 0.01)))
    with pytest.raises(Cancelled):
        trained(photos, replace(FIVE_STEPS, steps=1000), Job(cancel=cancel))
    assert len(draws) == 3


def test_photos_that_are_no_numbers_are_told_in_a_sentence(photos):
    cameras, images = photos
    broken = images[0].copy()
    broken[:] = np.nan
    with pytest.raises(FieldError, match="not a number") as caught:
        trained((cameras, [broken, *images[1:]]))
    assert caught.value.cure


def failing_at(monkeypatch, *steps):
    """Makes the loss NaN the first time that each of these losses is asked for, counted from the training's first."""
    counted = []
    loss = trainer_module.training_loss

    def spoilt(model, grid, batch, settings, generator, progress):
        found = loss(model, grid, batch, settings, generator, progress)
        counted.append(progress)
        return Losses(found.total * math.nan, found.errors) if len(counted) in steps else found

    monkeypatch.setattr(trainer_module, "training_loss", spoilt)
    monkeypatch.setattr(training_module, "tried_pace", lambda *args: Pace(args[4], (0.01,) * len(args[4].sides)))


def test_a_loss_that_is_no_number_sends_training_back_to_its_last_good_state_at_a_lower_rate(photos, monkeypatch):
    failing_at(monkeypatch, 48)
    said: list[str] = []
    settings = replace(FIVE_STEPS, steps=60, rays=256, occupancy_every=10)
    done = trained(photos, settings, Job(log=said.append))
    assert any(line.startswith("Warning: the loss was no number; back to step 40, at 0.5 of") for line in said)
    assert done.history[-1].step == 60
    assert all(torch.isfinite(p).all() for p in done.model.parameters())
    assert psnr_on(done, photos) > psnr_on(trained(photos, replace(settings, steps=1)), photos) + 1


def test_a_field_that_is_no_number_is_never_kept_and_sent_back_to_the_last_one_that_was(photos, monkeypatch):
    """The loss may be a number and its gradient none: the step after it, at which the field is kept, sees that."""
    step = Trainer.advance

    def breaking(self):
        step(self)
        if self.step == 40 and self.restarts == 0:
            with torch.no_grad():
                next(iter(self.model.parameters()))[0] = math.nan

    monkeypatch.setattr(Trainer, "advance", breaking)
    said: list[str] = []
    settings = replace(FIVE_STEPS, steps=60, rays=256, occupancy_every=10)
    done = trained(photos, settings, Job(log=said.append))
    assert any(line.startswith("Warning: the loss was no number; back to step 20, at 0.5 of") for line in said)
    assert all(torch.isfinite(p).all() for p in done.model.parameters())


def test_losses_that_are_no_numbers_again_and_again_are_told_in_a_sentence(photos, monkeypatch):
    failing_at(monkeypatch, *range(3, 100))
    with pytest.raises(FieldError, match=r"step 0: the loss is no number, at lower rates neither") as caught:
        trained(photos, replace(FIVE_STEPS, steps=60))
    assert "photos" in caught.value.cure


def test_heldout_psnr_is_100_db_for_the_fields_own_picture_and_20_db_at_a_tenth_off(photos):
    done = trained(photos)
    camera = photos[0][0]
    own = render_view(done.model, done.grid, camera, done.settings.rendering).rgb
    off = np.where(own < 0.5, own + 0.1, own - 0.1).astype(np.float32)
    clear = np.zeros((*own.shape[:2], 4), np.float32)  # transparent: white paper
    heldout = HeldOut(["own", "off", "clear"], [camera] * 3, [own, off, clear])
    measured = heldout_psnr_db(done.model, done.grid, done.settings.rendering, heldout, Job())
    assert measured["own"] == pytest.approx(100)
    assert measured["off"] == pytest.approx(20, abs=1e-3)
    white = -10 * math.log10(float(np.mean((own - 1.0) ** 2)))
    assert measured["clear"] == pytest.approx(white, abs=1e-3)
    assert replace(done, heldout_psnr_db=measured).mean_heldout_psnr_db == pytest.approx((120 + white) / 3, abs=1e-3)
    assert math.isnan(done.mean_heldout_psnr_db)


def test_held_out_views_are_watched_shown_and_end_a_training_that_gains_nothing(photos):
    cameras, images = photos
    heldout = HeldOut(["a", "b"], cameras[:2], images[:2])
    shown, said = [], []
    job = Job(preview=lambda what, body, **arrays: shown.append((what, body, arrays)), watched=True, log=said.append)
    settings = replace(
        FIVE_STEPS, steps=200, rays=16, sides=(8,), upsample_at=(), decay=1e-9
    )  # learns nothing for long
    done = train_field(cameras[2:], images[2:], BOX, settings, CPU, job, heldout=heldout)
    assert all(isinstance(point, CurvePoint) and point.heldout_psnr_db > 0 for point in done.history)
    assert 100 < done.history[-1].step < 200
    assert any("has stopped rising" in line for line in said)
    what, body, arrays = shown[0]
    assert (what, body["view"], body["steps"], body["step"]) == ("training", "a", 200, 4)
    assert body["curve"][-1] == (4, body["psnr_db"])
    assert arrays["picture"].dtype == np.uint8 and arrays["picture"].shape == (cameras[0].height, cameras[0].width, 3)


@pytest.mark.parametrize("fault", ["a black photo", "an absurd pose"])
def test_one_photo_that_does_not_fit_is_left_out_and_named(tiny_capture, fault):
    pairs = [working_photo(view, 80) for view in load_capture(tiny_capture.folder).views]
    photos = cameras, images = [camera for camera, _ in pairs], [image for _, image in pairs]
    if fault == "a black photo":
        images[4] = np.zeros_like(images[4])
    else:
        pose = cameras[4].world_from_camera.copy()
        pose[:3, 3] += 1.5 * pose[:3, 0]  # a metre and a half to the right
        cameras[4] = replace(cameras[4], world_from_camera=pose)
    said: list[str] = []
    settings = replace(FIVE_STEPS, steps=300, rays=512, sides=(24,), upsample_at=(), decay=0.3)
    names = [f"photo{i}.png" for i in range(len(cameras))]
    done = train_field(cameras, images, BOX, settings, CPU, Job(log=said.append), names=names)
    assert done.left_out == ("photo4.png",)
    assert sum("photo4.png doesn't fit the others" in line for line in said) == 1
    honest = train_field(
        [c for i, c in enumerate(cameras) if i != 4],
        [m for i, m in enumerate(images) if i != 4],
        BOX,
        settings,
        CPU,
        Job(),
    )
    assert psnr_on(done, photos) > psnr_on(honest, photos) - 0.7  # hardly worse than without it


def test_compactness_is_the_distortion_of_mip_nerf_360():
    """Eq. 15: sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 (s_i+1 - s_i), the mean over rays."""
    generator = torch.Generator().manual_seed(0)
    rays, n = 6, 25
    edges = torch.cat([torch.zeros(rays, 1), torch.rand(rays, n, generator=generator).cumsum(-1)], -1)
    edges = edges / edges[:, -1:]
    w = torch.rand(rays, n, generator=generator)
    w = w / w.sum(-1, keepdim=True)
    middle, width = (edges[:, 1:] + edges[:, :-1]) / 2, edges.diff(dim=-1)
    pairs = (w[:, :, None] * w[:, None, :] * (middle[:, :, None] - middle[:, None, :]).abs()).sum((1, 2))
    expected = (pairs + (w**2 * width).sum(-1) / 3).mean()
    zeros = torch.zeros(rays)
    found = RayColours(torch.zeros(rays, 3), zeros, zeros, w, edges, middle, w)
    torch.testing.assert_close(compactness(found), expected, rtol=1e-4, atol=1e-6)
