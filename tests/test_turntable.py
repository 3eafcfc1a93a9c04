"""A turntable's cameras stand upright around the object and hold it whole."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.captures.capture import Camera
from engine.captures.rays import project
from engine.turntable import orbit, up_direction

CENTRE = np.array([0.4, -0.2, 1.0])


def camera(azimuth: float, elevation: float, distance: float = 3.0, turn: np.ndarray | None = None) -> Camera:
    """Looks at CENTRE, level; angles in degrees. ``turn`` [3, 3] turns the world around the origin."""
    a, e = np.radians([azimuth, elevation])
    back = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, CENTRE + distance * back], axis=1)
    if turn is not None:
        pose[:3] = turn @ pose[:3]
    return Camera(80, 60, 90.0, 90.0, 40.0, 30.0, pose)


def ring(elevation: float = 35.0, turn: np.ndarray | None = None) -> list[Camera]:
    return [camera(azimuth, elevation + (azimuth % 20), turn=turn) for azimuth in range(0, 360, 30)]


def test_up_is_what_level_photos_from_all_around_hold_upright():
    np.testing.assert_allclose(up_direction(ring()), [0, 0, 1], atol=1e-12)
    tilt = Rotation.from_euler("xyz", [50, 10, 30], degrees=True).as_matrix()
    np.testing.assert_allclose(up_direction(ring(turn=tilt)), tilt[:, 2], atol=1e-9)
    y_up = Rotation.from_euler("x", -90, degrees=True).as_matrix()
    np.testing.assert_allclose(up_direction(ring(turn=y_up)), [0, 1, 0], atol=1e-12)


def test_a_quarter_of_a_ring_tells_it_as_well_though_all_look_down():
    quarter = [camera(azimuth, 50.0) for azimuth in range(0, 90, 10)]
    np.testing.assert_allclose(up_direction(quarter), [0, 0, 1], atol=1e-12)


def test_photos_from_one_side_are_held_upright_themselves():
    front = [camera(-90.0 + i, 3.0) for i in (-2, 0, 2)]
    np.testing.assert_allclose(up_direction(front), [0, 0, 1], atol=1e-12)


def test_photos_that_are_a_little_askew_mean_the_worlds_axis():
    tilt = Rotation.from_euler("x", 10, degrees=True).as_matrix()
    np.testing.assert_allclose(up_direction(ring(turn=tilt)), [0, 0, 1], atol=1e-12)


@pytest.mark.parametrize("turn", [np.eye(3), Rotation.from_euler("x", -90, degrees=True).as_matrix()])
def test_an_orbit_is_level_begins_where_it_should_and_holds_the_ball(turn):
    cameras, radius = ring(turn=turn), 0.3
    centre, up = turn @ CENTRE, turn @ np.array([0.0, 0.0, 1.0])
    first = camera(77.0, 60.0, turn=turn)
    path = orbit(centre, radius, cameras, first, 12, 64)
    assert len(path) == 12
    offsets = np.stack([each.position for each in path]) - centre
    np.testing.assert_allclose(np.linalg.norm(offsets, axis=1), np.linalg.norm(offsets[0]), rtol=1e-9)
    heights = np.degrees(np.arcsin(offsets @ up / np.linalg.norm(offsets, axis=1)))
    np.testing.assert_allclose(heights, 40.0, atol=1e-6)  # the median of as many 35 as 45
    around = turn.T @ (offsets.T)
    azimuths = np.degrees(np.unwrap(np.arctan2(around[1], around[0])))
    np.testing.assert_allclose(azimuths, 77.0 + 30.0 * np.arange(12), atol=1e-6)
    on_ball = np.random.default_rng(0).normal(size=(500, 3))
    on_ball = centre + radius * on_ball / np.linalg.norm(on_ball, axis=1, keepdims=True)
    for each in path:
        np.testing.assert_allclose(each.world_from_camera[:3, 0] @ up, 0.0, atol=1e-12)  # level
        assert each.world_from_camera[:3, 1] @ up > 0  # and not upside down
        np.testing.assert_allclose(np.linalg.det(each.world_from_camera[:3, :3]), 1.0, atol=1e-9)
        points_px, depth = project(each, np.concatenate([centre[None], on_ball]))
        np.testing.assert_allclose(points_px[0], [32.0, 32.0], atol=1e-6)
        assert (depth > 0).all()
        assert (points_px > 0).all()
        assert (points_px < 64).all()
        assert np.ptp(points_px[:, 0]) > 0.85 * 64  # and fills the frame


def test_a_photo_from_straight_above_begins_it_too():
    path = orbit(CENTRE, 0.3, ring(), camera(0.0, 90.0), 4, 64)
    assert all(np.isfinite(each.world_from_camera).all() for each in path)
