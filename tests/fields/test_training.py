"""Training lowers the loss, is the same under the same seed, stops when asked to, and says what went wrong."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_capture import TinyCapture

from engine.captures.bounds import SceneBox
from engine.captures.load import load_capture
from engine.fields.pixels import PixelPool
from engine.fields.rendering import RayColours, render_view
from engine.fields.training import (
    TrainingSettings,
    build_grid,
    compactness,
    measure_heldout,
    resolution_of,
    train_field,
)
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


def trained(photos, settings=FIVE_STEPS, job=None, seed=0, box=BOX):
    cameras, images = photos
    return train_field(cameras, images, box, settings, CPU, job or Job(), seed)


def test_training_is_deterministic_under_its_seed(photos):
    first, again, other = (trained(photos, seed=seed).model.state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_training_brings_the_field_nearer_to_the_photos(photos):
    """By more than a decibel in 80 steps, on the photos themselves."""
    reports: list[Report] = []
    settings = replace(FIVE_STEPS, steps=80, rays=512, sides=(16,), upsample_at=())
    done = trained(photos, settings, Job(listener=reports.append))
    seconds, steps, psnr = zip(*done.history, strict=True)
    assert steps == (20, 40, 60, 80)
    assert sorted(seconds) == list(seconds)
    assert psnr[-1] > psnr[0]
    begun = trained(photos, replace(settings, steps=1))
    before, after = (
        measure_heldout(f, ["0", "1"], photos[0][:2], photos[1][:2], Job()).mean_heldout_psnr_db for f in (begun, done)
    )
    assert after > before + 1
    assert [r.done for r in reports] == [0, 20, 40, 60, 80, 80]
    assert "PSNR" in reports[-2].detail


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


def test_a_loss_that_is_no_number_is_told_in_a_sentence(photos):
    with pytest.raises(FieldError, match=r"step \d+: the loss is no longer a number") as caught:
        trained(photos, replace(FIVE_STEPS, grid_rate=math.inf))
    assert "photos" in caught.value.cure


def test_heldout_psnr_is_100_db_for_the_fields_own_picture_and_20_db_at_a_tenth_off(photos):
    done = trained(photos)
    camera = photos[0][0]
    own = render_view(done.model, done.grid, camera, done.settings.sampling).rgb
    off = np.where(own < 0.5, own + 0.1, own - 0.1).astype(np.float32)
    clear = np.zeros((*own.shape[:2], 4), np.float32)  # transparent: white paper
    measured = measure_heldout(done, ["own", "off", "clear"], [camera] * 3, [own, off, clear], Job())
    assert measured.heldout_psnr_db["own"] == pytest.approx(100)
    assert measured.heldout_psnr_db["off"] == pytest.approx(20, abs=1e-3)
    white = -10 * math.log10(float(np.mean((own - 1.0) ** 2)))
    assert measured.heldout_psnr_db["clear"] == pytest.approx(white, abs=1e-3)
    assert measured.mean_heldout_psnr_db == pytest.approx((120 + white) / 3, abs=1e-3)
    assert math.isnan(done.mean_heldout_psnr_db)


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
    found = RayColours(torch.zeros(rays, 3), zeros, zeros, w, edges, middle)
    torch.testing.assert_close(compactness(found), expected, rtol=1e-4, atol=1e-6)
