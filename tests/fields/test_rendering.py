"""Rendering gives what light does in fog and stone whose answer is known in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.captures.capture import Camera
from engine.fields.contraction import Contraction
from engine.fields.rendering import camera_rays, render_rays, render_view
from engine.fields.sampling import OccupancyGrid
from engine.fields.settings import Sampling
from engine.fields.volume import DensityVolume

CUBE = torch.tensor([[-1.0] * 3, [1.0] * 3])
RED, BLUE = torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.8])


@dataclass(frozen=True)
class Fog:
    """A field of one colour whose density is a baked volume."""

    volume: DensityVolume

    @property
    def space(self) -> Contraction:
        return self.volume.space

    def density(self, xyz: Tensor) -> Tensor:
        return self.volume.density(xyz)

    def colour(self, xyz: Tensor, viewdirs: Tensor) -> Tensor:
        return RED.expand_as(xyz)

    def background(self, rays_o: Tensor, viewdirs: Tensor) -> Tensor:
        return BLUE.expand_as(viewdirs)

    def density_volume(self, resolution: tuple[int, int, int] | None = None) -> DensityVolume:
        return self.volume


def camera(width: int = 16, height: int = 12, distance: float = 4.0) -> Camera:
    """Looks along -z at the cube from above."""
    pose = np.eye(4)
    pose[2, 3] = distance
    return Camera(width, height, 20.0, 20.0, width / 2, height / 2, pose)


@pytest.fixture
def fog(make_volume):
    def make(sigma: float) -> Fog:
        return Fog(make_volume(torch.full((8, 8, 8), sigma), Contraction(CUBE)))

    return make


@pytest.mark.parametrize("sigma", [0.2, 1.0, 4.0])
def test_even_fog_has_the_colour_opacity_and_depth_of_the_closed_form(fog, sigma):
    """Through a cube of side 2: opacity 1 - exp(-2 sigma), and the mean depth of an exponential cut off at 2.

    The tolerance is that of 64 intervals whose middles stand for them.
    """
    field = fog(sigma)
    grid = OccupancyGrid.from_volume(field.volume)
    rays_o, rays_d = torch.tensor([[0.0, 0.0, 4.0]]), torch.tensor([[0.0, 0.0, -2.0]])  # not a unit vector
    found = render_rays(field, grid, rays_o, rays_d, Sampling(96, 64))
    opacity = 1 - np.exp(-2 * sigma)
    assert float(found.opacity) == pytest.approx(opacity, rel=1e-3)
    lost = 64 * 1e-3  # samples below NO_COLOUR_BELOW are not asked for their colour
    torch.testing.assert_close(found.rgb[0], RED * opacity + BLUE * (1 - opacity), atol=lost * 0.1, rtol=0)
    if opacity > 0.5:
        into = 1 / sigma - 2 * np.exp(-2 * sigma) / opacity
        assert float(found.depth) == pytest.approx((3 + into) / 2, rel=2e-3)  # in lengths of rays_d


def test_rays_that_miss_a_bounded_scene_show_what_is_behind_it(fog):
    field = fog(50.0)
    grid = OccupancyGrid.from_volume(field.volume)
    rays_o, rays_d = torch.tensor([[0.0, 5.0, 4.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    found = render_rays(field, grid, rays_o, rays_d, Sampling())
    torch.testing.assert_close(found.rgb[0], BLUE)
    assert float(found.opacity) == 0
    assert float(found.depth) == 0
    other = render_rays(field, grid, rays_o, rays_d, Sampling(), background=torch.tensor([[0.0, 1.0, 0.0]]))
    torch.testing.assert_close(other.rgb[0], torch.tensor([0.0, 1.0, 0.0]))


def test_a_wall_is_seen_at_its_depth_from_every_pixel(make_volume):
    """Depth is along the viewing axis, the same for all pixels of a wall across it; half a cell of 1/32 off."""
    z = torch.linspace(-1, 1, 65)
    field = Fog(make_volume(torch.where(z <= 0.0, 300.0, 0.0)[None, None].expand(8, 8, -1), Contraction(CUBE)))
    view = render_view(field, OccupancyGrid.from_volume(field.volume), camera(distance=2.0), Sampling())
    np.testing.assert_allclose(view.depth[2:-2, 2:-2], 2.0, atol=1 / 32)
    assert view.rgb.shape == (12, 16, 3)
    np.testing.assert_allclose(view.rgb[6, 8], RED.numpy(), atol=0.02)
    np.testing.assert_allclose(view.opacity[6, 8], 1.0, atol=1e-3)


def test_rays_of_a_camera_start_at_it_and_pass_one_unit_of_depth_per_t():
    cam = camera()
    rays_o, rays_d = camera_rays(cam, torch.device("cpu"))
    assert rays_o.shape == rays_d.shape == (16 * 12, 3)
    torch.testing.assert_close(rays_o, torch.tensor([0.0, 0.0, 4.0]).expand(192, 3))
    torch.testing.assert_close(rays_d[:, 2], torch.full((192,), -1.0))
    torch.testing.assert_close(rays_d[0], torch.tensor([-7.5 / 20, 5.5 / 20, -1.0]))  # top left: left and up
    torch.testing.assert_close(rays_d[1] - rays_d[0], torch.tensor([1 / 20, 0.0, 0.0]))  # row by row


def test_random_samples_of_training_agree_with_the_even_ones_of_rendering(fog):
    field = fog(1.0)
    grid = OccupancyGrid.from_volume(field.volume)
    rays_o, rays_d = camera_rays(camera(), torch.device("cpu"))
    even = render_rays(field, grid, rays_o, rays_d, Sampling(96, 64))
    random = render_rays(field, grid, rays_o, rays_d, Sampling(96, 64), torch.Generator().manual_seed(0))
    torch.testing.assert_close(random.opacity, even.opacity, atol=1e-3, rtol=0)
    assert not torch.equal(random.t_mid, even.t_mid)
