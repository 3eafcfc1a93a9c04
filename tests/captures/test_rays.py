"""Pixels to rays and back, for lenses of every kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.captures.capture import Camera
from engine.captures.load import load_capture
from engine.captures.rays import camera_directions, project, rays_through, seen_pixels

# Half turns about odd axes would hide mistakes of sign; this rotation is of no special kind.
_AXIS = np.array([0.36, 0.48, 0.8])
_CROSS = np.array([[0, -_AXIS[2], _AXIS[1]], [_AXIS[2], 0, -_AXIS[0]], [-_AXIS[1], _AXIS[0], 0]])
POSE = np.eye(4)
POSE[:3, :3] = np.eye(3) + np.sin(1.1) * _CROSS + (1 - np.cos(1.1)) * _CROSS @ _CROSS
POSE[:3, 3] = [0.7, -2.0, 5.0]

LENSES = {
    "pinhole": Camera(120, 80, 90.0, 95.0, 58.0, 41.0, POSE),
    "fox": Camera(
        1080, 1920, 1375.52, 1374.49, 554.558, 965.268, POSE, "opencv", (0.0578421, -0.0805099, -0.00098, 0.000156)
    ),
    "barrel": Camera(120, 80, 70.0, 70.0, 60.0, 40.0, POSE, "opencv", (-0.25, 0.08, 0.002, -0.001, -0.01)),
    "pincushion": Camera(120, 80, 90.0, 90.0, 60.0, 40.0, POSE, "opencv", (0.3, 0.1)),
    "rational": Camera(120, 80, 90.0, 90.0, 60.0, 40.0, POSE, "opencv", (0.4, 0.1, 0.001, 0.001, 0.02, 0.5, 0.2, 0.01)),
    "fisheye": Camera(200, 160, 70.0, 70.0, 101.0, 79.0, POSE, "fisheye", (0.05, -0.01, 0.002, -0.0005)),
    "ideal fisheye": Camera(120, 80, 60.0, 60.0, 60.0, 40.0, POSE, "fisheye"),
    "strong fisheye": Camera(200, 160, 62.0, 62.0, 100.0, 80.0, POSE, "fisheye", (-0.03, 0.004, -0.002, 0.0001)),
}


def grid(camera: Camera) -> np.ndarray:
    """Pixel centres spread over the photo, corners included."""
    x, y = np.meshgrid(np.linspace(0, camera.width - 1, 31), np.linspace(0, camera.height - 1, 23))
    return np.floor(np.stack([x.ravel(), y.ravel()], axis=1)) + 0.5


def seen(camera: Camera, points_px: np.ndarray) -> np.ndarray:
    where = np.floor(points_px).astype(int)
    return seen_pixels(camera)[where[:, 1], where[:, 0]]


@pytest.mark.parametrize("name", LENSES)
def test_a_ray_through_a_pixel_projects_back_to_it(name):
    camera = LENSES[name]
    points_px = grid(camera)
    points_px = points_px[seen(camera, points_px)]
    assert len(points_px) > 400  # of 713: even the strong fisheye sees most of its photo
    depth = np.random.default_rng(0).uniform(0.1, 30.0, len(points_px))
    rays_o, rays_d = rays_through(camera, points_px)
    back_px, back_depth = project(camera, rays_o + depth[:, None] * rays_d)
    # A thousandth of a pixel is what the design asks; the solvers reach rounding.
    assert np.abs(back_px - points_px).max() < 1e-3
    np.testing.assert_allclose(back_depth, depth, rtol=1e-9)


@pytest.mark.parametrize("name", LENSES)
def test_directions_of_a_whole_photo_are_those_of_rays_through_its_pixel_centres(name):
    camera = LENSES[name]
    directions = camera_directions(camera)
    assert directions.shape == (camera.height, camera.width, 3) and directions.dtype == np.float32
    assert (directions[..., 2] == -1).all() and np.isfinite(directions).all()
    rows, columns = [0, 5, camera.height - 1], [3, camera.width - 1, camera.width // 2]
    _, rays_d = rays_through(camera, np.stack([columns, rows], axis=1) + 0.5)
    np.testing.assert_allclose(directions[rows, columns] @ POSE[:3, :3].T, rays_d, rtol=1e-5, atol=1e-6)


def test_a_pinhole_sees_right_of_its_centre_to_the_right_and_below_it_down():
    camera = replace(LENSES["pinhole"], world_from_camera=np.eye(4))
    _, rays_d = rays_through(camera, np.array([[58.0 + 90.0, 41.0], [58.0, 41.0 + 95.0]]))
    np.testing.assert_allclose(rays_d, [[1, 0, -1], [0, -1, -1]], atol=1e-12)


def test_brown_distortion_is_the_formula_of_opencv():
    k1, k2, p1, p2, k3 = 0.11, -0.07, 0.01, -0.02, 0.03
    camera = Camera(100, 100, 50.0, 60.0, 48.0, 51.0, np.eye(4), "opencv", (k1, k2, p1, p2, k3))
    x, y = 0.3, -0.2  # x right, y down at depth 1
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    expected = (
        50 * (x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)) + 48,
        60 * (y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y) + 51,
    )
    points_px, _ = project(camera, np.array([[2 * x, -2 * y, -2.0]]))
    np.testing.assert_allclose(points_px[0], expected, rtol=1e-12)


def test_an_ideal_fisheye_spaces_angles_evenly():
    camera = replace(LENSES["ideal fisheye"], world_from_camera=np.eye(4))
    theta = np.radians([10.0, 40.0, 80.0])
    points = np.stack([np.sin(theta), np.zeros(3), -np.cos(theta)], axis=1)
    points_px, _ = project(camera, points)
    np.testing.assert_allclose(points_px[:, 0] - 60.0, 60.0 * theta, rtol=1e-9)


def test_points_behind_the_camera_have_no_pixel_and_a_negative_depth():
    camera = LENSES["fox"]
    points_px, depth = project(camera, (camera.position - 2 * camera.forward)[None])
    assert np.isnan(points_px).all() and depth[0] == pytest.approx(-2.0)


def test_the_camera_itself_has_no_pixel():
    points_px, depth = project(LENSES["fox"], LENSES["fox"].position[None])
    assert np.isnan(points_px).all() and depth[0] == 0


def test_points_beyond_the_fold_of_a_lens_do_not_come_back_into_the_photo():
    # r (1 - 0.3 r^2) turns at r = 1.054: a point at r = 1.6 would be drawn at r = 0.37, in the middle of the photo.
    camera = Camera(100, 100, 100.0, 100.0, 50.0, 50.0, np.eye(4), "opencv", (-0.3, 0.0))
    points_px, _ = project(camera, np.array([[1.6, 0.0, -1.0], [0.4, 0.0, -1.0]]))
    assert np.isnan(points_px[0]).all() and points_px[1, 0] == pytest.approx(50 + 100 * (0.4 - 0.3 * 0.4**3))


def test_pixels_that_no_ray_reaches_are_told_and_still_have_finite_directions():
    camera = Camera(100, 100, 40.0, 40.0, 50.0, 50.0, np.eye(4), "opencv", (-0.3, 0.0))
    good = seen_pixels(camera)
    # The largest distorted radius is 1.054 (1 - 0.3 * 1.111) = 0.703, which is 28.1 pixels.
    x, y = np.meshgrid(np.arange(100) - 49.5, np.arange(100) - 49.5)
    radius = np.hypot(x, y)
    assert good[radius < 27.9].all() and not good[radius > 28.3].any()
    assert np.isfinite(camera_directions(camera)).all()


def test_a_fisheye_that_sees_sideways_is_cut_at_88_degrees():
    camera = Camera(400, 400, 100.0, 100.0, 200.0, 200.0, np.eye(4), "fisheye")
    good = seen_pixels(camera)
    assert good[200, 200 + 152] and not good[200, 200 + 155]  # 100 * 88 degrees = 153.6 pixels
    assert np.isfinite(camera_directions(camera)).all()


def test_no_points_give_no_rays():
    rays_o, rays_d = rays_through(LENSES["fox"], np.zeros((0, 2)))
    points_px, depth = project(LENSES["barrel"], np.zeros((0, 3)))
    assert rays_o.shape == rays_d.shape == (0, 3) and points_px.shape == (0, 2) and depth.shape == (0,)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-0.3, 0.3), st.floats(-0.1, 0.1), st.floats(-0.01, 0.01), st.floats(-0.01, 0.01), st.floats(-0.05, 0.05)
)
def test_every_brown_lens_projects_back_what_it_says_it_sees(k1, k2, p1, p2, k3):
    camera = Camera(64, 48, 50.0, 50.0, 32.0, 24.0, POSE, "opencv", (k1, k2, p1, p2, k3))
    good = seen_pixels(camera)
    y, x = np.nonzero(good)
    points_px = np.stack([x, y], axis=1) + 0.5
    rays_o, rays_d = rays_through(camera, points_px)
    back_px, _ = project(camera, rays_o + rays_d)
    beyond = np.isnan(back_px).any(axis=1)  # on the fold itself rounding may tip either way
    assert beyond.mean() < 0.01
    assert np.abs(back_px - points_px)[~beyond].max(initial=0.0) < 2e-3


def test_the_fox_s_own_lens_goes_both_ways(captures_dir: Path):
    camera = load_capture(captures_dir / "fox").views[7].camera
    assert camera.model == "opencv"
    points_px = grid(camera)
    rays_o, rays_d = rays_through(camera, points_px)
    assert np.abs(project(camera, rays_o + 3 * rays_d)[0] - points_px).max() < 1e-3


@pytest.mark.parametrize("name", LENSES)
def test_the_principal_point_looks_along_minus_z(name):
    camera = LENSES[name]
    rays_o, rays_d = rays_through(camera, np.array([[camera.cx, camera.cy]]))
    np.testing.assert_allclose(rays_o[0], POSE[:3, 3], atol=1e-12)
    np.testing.assert_allclose(rays_d[0], -POSE[:3, 2], atol=1e-9)


def test_a_resampled_photo_keeps_its_rays():
    camera = LENSES["fox"]
    small = camera.resized(270, 480)
    rays_d = rays_through(camera, 4.0 * grid(small))[1]
    np.testing.assert_allclose(rays_through(small, grid(small))[1], rays_d, atol=1e-9)


def test_outlines_of_true_meshes_are_those_of_their_masks_to_a_fraction_of_a_pixel(captures_dir: Path):
    """Against Blender's own rendering: pixel centres taken half a pixel off would fail this."""
    root = captures_dir / "tabletop"
    files = (root / "meshes").glob("*.ply")
    points = np.concatenate([trimesh.load(path, process=False).vertices for path in files])  # type: ignore[attr-defined]
    residuals: dict[str, list[float]] = {"left": [], "right": [], "top": [], "bottom": []}
    for view in load_capture(root).views:
        ys, xs = np.nonzero(np.asarray(Image.open(root / "masks" / f"{view.stem}.png")))
        points_px, _ = project(view.camera, points)
        (left, top), (right, bottom) = points_px.min(0), points_px.max(0)
        if left > 1:
            residuals["left"].append(xs.min() - left)
        if right < view.camera.width - 1:
            residuals["right"].append(xs.max() + 1 - right)
        if top > 1:
            residuals["top"].append(ys.min() - top)
        if bottom < view.camera.height - 1:
            residuals["bottom"].append(ys.max() + 1 - bottom)
    assert min(map(len, residuals.values())) >= 5
    means = {side: np.mean(values) for side, values in residuals.items()}
    # Tips thinner than a pixel are missing in masks, alike on opposite sides: their mean is the shift.
    assert abs(means["left"] + means["right"]) / 2 < 0.2, means
    assert abs(means["top"] + means["bottom"]) / 2 < 0.2, means
