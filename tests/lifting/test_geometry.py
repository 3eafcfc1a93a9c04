"""Depth maps become the surfaces that a camera sees."""

from __future__ import annotations

import numpy as np

from engine.captures.capture import Camera
from engine.lifting.geometry import surface_normals, surface_points


def camera() -> Camera:
    """From (0, 0, 3) down on the plane z = 0."""
    pose = np.eye(4)
    pose[2, 3] = 3.0
    return Camera(8, 6, 10.0, 10.0, 4.0, 3.0, pose)


def test_points_under_an_even_depth_lie_on_a_plane_and_there_are_none_where_depth_is_nought():
    depth = np.full((6, 8), 3.0, np.float32)
    depth[1, 2] = 0
    points = surface_points(camera(), depth)
    assert np.isnan(points[1, 2]).all()
    points[1, 2] = 0
    np.testing.assert_allclose(points[..., 2], 0, atol=1e-6)
    np.testing.assert_allclose(points[0, 0], [-3.5 / 10 * 3, 2.5 / 10 * 3, 0], atol=1e-6)  # left and up
    np.testing.assert_allclose(points[5, 7], [3.5 / 10 * 3, -2.5 / 10 * 3, 0], atol=1e-6)


def test_normals_point_at_the_camera_and_are_nought_where_they_cannot_be_told():
    depth = np.full((6, 8), 3.0, np.float32)
    depth[3, 4] = 0
    normals = surface_normals(surface_points(camera(), depth), camera())
    np.testing.assert_allclose(normals[0, 0], [0, 0, 1], atol=1e-5)
    np.testing.assert_array_equal(normals[3, 3], 0)  # its neighbour is unknown
    assert np.isfinite(normals).all()


def test_normals_of_a_slope_are_square_to_it():
    """On the plane z = x: seen from above, depth = 3 - z, with z = x = depth * u."""
    u = (np.arange(8) + 0.5 - 4.0) / 10
    depth = np.broadcast_to(3 / (1 + u), (6, 8)).astype(np.float32)
    points = surface_points(camera(), depth)
    np.testing.assert_allclose(points[..., 2], points[..., 0], atol=1e-5)
    normals = surface_normals(points, camera())
    np.testing.assert_allclose(normals, np.broadcast_to(np.array([-1, 0, 1]) / np.sqrt(2), (6, 8, 3)), atol=1e-4)
