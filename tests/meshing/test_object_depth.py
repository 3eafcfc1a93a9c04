"""Depth from virtual cameras: where half of a ray's light is gone, and where that can't be told."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.captures.rays import project
from engine.fields.contraction import Contraction
from engine.fields.volume import DensityVolume
from engine.meshing.object_depth import absorbed_depth, faces_away, facing, object_density, sphere, surroundings

BOX = np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
RADIUS, DENSE = 0.6, 40.0
AHEAD = np.array([0.0, -5.0, 0.0])


def ball(points: torch.Tensor) -> torch.Tensor:
    return torch.where(points.norm(dim=-1) < RADIUS, DENSE, 0.0)


def veil_and_wall(points: torch.Tensor) -> torch.Tensor:
    """A veil at y in [-0.5, -0.4] that stops 60 % of the light, and a wall from y = 0.5 on."""
    y = points[:, 1]
    veil = torch.where((y > -0.5) & (y < -0.4), -math.log(0.4) / 0.1, 0.0)
    return torch.where(y > 0.5, 1000.0, veil)


def middle(depth: np.ndarray) -> float:
    return float(depth[depth.shape[0] // 2, depth.shape[1] // 2])


def test_the_depth_of_a_ball_is_where_half_of_the_light_is_gone():
    camera = facing(AHEAD, np.zeros(3), 1.0, 65)
    depth = absorbed_depth(ball, BOX, camera, 0.02)
    assert middle(depth) == pytest.approx(5 - RADIUS + math.log(2) / DENSE, abs=0.011)  # half a step
    assert np.isinf(depth[0]).all() and np.isinf(depth[:, -1]).all()
    # as large as a ball of that size is from there
    across = 2 * 5 * math.tan(math.asin(RADIUS / 5)) * camera.fl_x / 5
    assert np.isfinite(depth[32]).sum() == pytest.approx(across, abs=3)


@pytest.mark.parametrize("share, expected", [(0.1, -0.5), (0.5, -0.45), (0.9, 0.5)])
def test_a_depth_lies_on_one_of_two_surfaces_never_between_them(share: float, expected: float):
    camera = facing(AHEAD, np.zeros(3), 1.0, 5)
    depth = absorbed_depth(veil_and_wall, BOX, camera, 0.005, share)
    assert middle(depth) == pytest.approx(5 + expected, abs=0.03)


def test_where_less_light_is_absorbed_there_is_no_depth():
    camera = facing(AHEAD, np.zeros(3), 1.0, 5)
    depth = absorbed_depth(lambda points: torch.full((len(points),), 0.1), BOX, camera, 0.05)
    assert np.isinf(depth).all()  # two units of that take a fifth
    assert np.isfinite(absorbed_depth(lambda p: torch.full((len(p),), 0.1), BOX, camera, 0.05, 0.1)).any()


def test_rays_that_come_near_nothing_need_not_be_followed():
    camera = facing(np.array([2.0, -3.0, 3.5]), np.zeros(3), 1.0, 60)
    points = sphere(2000) * RADIUS
    hopeful = surroundings(camera, points, 0.1)
    assert 0.2 < hopeful.mean() < 0.8
    np.testing.assert_array_equal(
        absorbed_depth(ball, BOX, camera, 0.02, hopeful=hopeful), absorbed_depth(ball, BOX, camera, 0.02)
    )
    assert not surroundings(camera, np.zeros((0, 3)), 0.1).any()


def test_a_camera_faces_the_whole_ball_and_no_more():
    for direction in sphere(12):
        camera = facing(0.5 + 3 * direction, np.full(3, 0.5), 0.7, 100)
        pixels, depth = project(camera, 0.5 + 0.7 * sphere(20_000))
        assert (depth > 0).all()
        assert pixels.min() == pytest.approx(0, abs=0.5) and pixels.max() == pytest.approx(100, abs=0.5)
        middle_px, _ = project(camera, np.full((1, 3), 0.5))
        np.testing.assert_allclose(middle_px, 50, atol=1e-6)


def test_grazing_surfaces_and_outlines_tell_nothing():
    camera = facing(AHEAD, np.zeros(3), 1.0, 65)
    depth = absorbed_depth(ball, BOX, camera, 0.005)
    away = faces_away(depth, camera, 0.3)
    known = np.isfinite(depth)
    rows, columns = np.nonzero(known & ~away)
    off = np.hypot(rows - 32, columns - 32).max() / np.hypot(*(np.argwhere(known) - 32).T).max()
    assert 0.8 < off < math.sqrt(1 - 0.3**2) + 0.03  # the sine of the angle on a ball, but for the pixels' size
    assert away[known].mean() < 0.3
    assert away[~known].sum() > 50 and not away[0].any()  # just outside of the outline, too


def test_an_objects_density_is_the_scenes_where_it_is_the_objects():
    features = torch.full((9, 9, 9), 3.0)
    volume = DensityVolume(features, Contraction(torch.from_numpy(BOX).float()), 0.0, 2.0)
    probability = np.zeros((9, 9, 9), np.float32)
    probability[5:] = 1.0
    density = object_density(volume, probability, np.array([[-0.6, -0.6, -0.6], [0.6, 0.6, 0.6]]))
    places = torch.tensor([[-0.5, 0.0, 0.0], [0.125, 0.0, 0.0], [0.5, 0.1, -0.3], [0.95, 0.0, 0.0]])
    whole = float(volume.density(places[:1])[0])
    found = density(places).numpy()
    # half-way between its nodes the object has half of the density, and outside of the box nothing is asked for
    np.testing.assert_allclose(found, [0.0, whole / 2, whole, 0.0], rtol=1e-4)
