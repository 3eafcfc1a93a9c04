"""Meshes are closed, turned outwards, in world coordinates and of one piece, or there is a sentence why not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.meshing.extract import extract_mesh
from sa3d_blender.protocol.errors import MeshError

UNIT = np.array([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])


def ball(shape: tuple[int, int, int], aabb: np.ndarray, centre: tuple, radius: float) -> np.ndarray:
    axes = [np.linspace(aabb[0, a], aabb[1, a], shape[a]) for a in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    step = ((aabb[1] - aabb[0]) / (np.array(shape) - 1)).max()
    return np.clip(0.5 + (radius - np.linalg.norm(points - centre, axis=-1)) / step / 2.0, 0.0, 1.0)


def test_a_ball_lies_where_it_is_in_the_world_even_on_a_lopsided_grid():
    aabb = np.array([[-2.0, 3.0, 10.0], [0.0, 4.5, 11.0]])
    mesh = extract_mesh(ball((61, 41, 35), aabb, (-1.0, 3.8, 10.5), 0.4), aabb)
    assert mesh.is_watertight
    np.testing.assert_allclose(mesh.center_mass, (-1.0, 3.8, 10.5), atol=2e-3)  # a step is 0.033
    assert mesh.volume == pytest.approx(4.0 / 3.0 * np.pi * 0.4**3, rel=0.02)


def test_normals_point_outwards():
    mesh = extract_mesh(ball((24, 24, 24), UNIT, (0.5, 0.5, 0.5), 0.3), UNIT)
    outwards = mesh.triangles_center - 0.5
    assert (np.einsum("fi,fi->f", mesh.face_normals, outwards) > 0.0).all()


def test_the_larger_of_two_parts_stays_and_a_share_keeps_both():
    both = np.maximum(ball((40,) * 3, UNIT, (0.3, 0.3, 0.3), 0.2), ball((40,) * 3, UNIT, (0.75, 0.75, 0.75), 0.12))
    alone = extract_mesh(both, UNIT)
    assert alone.bounds[1].max() < 0.55
    assert extract_mesh(both, UNIT, keep_share=0.1).bounds[1].max() > 0.8


def test_a_cavity_leaves_no_inner_shell():
    hollow = ball((40,) * 3, UNIT, (0.5,) * 3, 0.4) - ball((40,) * 3, UNIT, (0.5,) * 3, 0.2)
    mesh = extract_mesh(hollow, UNIT)
    assert mesh.volume == pytest.approx(4.0 / 3.0 * np.pi * 0.4**3, rel=0.03)
    assert np.linalg.norm(mesh.vertices - 0.5, axis=1).min() > 0.35


def test_smoothing_takes_off_stairs_and_keeps_the_volume():
    stairs = (ball((32,) * 3, UNIT, (0.5,) * 3, 0.35) > 0.5).astype(float)
    rough, smooth = extract_mesh(stairs, UNIT, smoothing=0), extract_mesh(stairs, UNIT)

    def tilt(mesh):
        out = mesh.triangles_center - 0.5
        out /= np.linalg.norm(out, axis=1, keepdims=True)
        return np.degrees(np.arccos(np.clip(np.einsum("fi,fi->f", out, mesh.face_normals), -1, 1))).mean()

    assert tilt(smooth) < 0.5 * tilt(rough)
    assert smooth.volume == pytest.approx(rough.volume, rel=0.01)


def test_a_single_voxel_is_a_small_closed_mesh():
    volume = np.zeros((5, 5, 5))
    volume[2, 2, 2] = 1.0
    mesh = extract_mesh(volume, UNIT)
    assert mesh.is_watertight
    assert mesh.volume > 0.0


def test_a_full_box_is_closed_around_its_faces():
    mesh = extract_mesh(np.ones((6, 6, 6)), UNIT, smoothing=0)
    assert mesh.is_watertight
    step = 0.2
    assert mesh.bounds[0].min() >= -step
    assert mesh.volume == pytest.approx((1.0 + step) ** 3, rel=0.05)


@pytest.mark.parametrize(
    ("volume", "aabb", "level", "says"),
    [
        (np.zeros((4, 4, 4)), UNIT, 0.5, "no solid part"),
        (np.full((4, 4, 4), np.nan), UNIT, 0.5, "finite"),
        (np.ones((4, 4)), UNIT, 0.5, "shape"),
        (np.ones((4, 1, 4)), UNIT, 0.5, "shape"),
        (np.ones((4, 4, 4)), UNIT[::-1], 0.5, "box"),
        (np.ones((4, 4, 4)), UNIT, 1.0, "threshold"),
    ],
)
def test_what_has_no_surface_is_an_error_with_a_cure(volume, aabb, level, says):
    with pytest.raises(MeshError, match=says) as caught:
        extract_mesh(volume, aabb, level)
    assert caught.value.cure


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.sampled_from([0.0, 0.5]))
def test_noise_gives_a_closed_mesh_of_positive_volume(seed, density, plateau):
    random = np.random.default_rng(seed)
    volume = np.where(random.random((6, 5, 7)) < density, random.random((6, 5, 7)), plateau)
    volume[3, 2, 3] = 1.0
    mesh = extract_mesh(volume, UNIT, smoothing=0)
    edges, count = np.unique(mesh.edges_sorted, axis=0, return_counts=True)
    assert len(edges)
    assert (count % 2 == 0).all()  # every edge has as many faces on one side as on the other: no holes
    assert mesh.volume > 0.0
