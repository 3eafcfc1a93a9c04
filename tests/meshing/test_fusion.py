"""The second way to a surface: fused depths of a ball on a table give that ball, closed, without the table."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch

from engine.fields.contraction import Contraction
from engine.fields.volume import DensityVolume
from engine.lifting.voxels import VoxelGrid
from engine.meshing import tsdf
from engine.meshing.from_field import DepthView
from engine.meshing.fusion import FusionSettings, fused_surface, virtual_cameras
from engine.meshing.object_depth import absorbed_depth, facing, sphere
from engine.meshing.soundness import soundness
from engine.meshing.tsdf import check_fusion, fused_distance
from engine.progress import Job
from sa3d_blender.protocol.errors import Cancelled, EnvironmentFault, MeshError

needs_open3d = pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="needs Open3D, the extra 'fusion'")

WORLD = np.array([[-1.0, -1.0, -0.4], [1.0, 1.0, 1.2]])
NODES = (51, 51, 41)
CELL = 0.04
CENTRE, RADIUS = np.array([0.1, 0.0, 0.5]), 0.5  # it touches the table, z = 0
BOX = np.array([[-0.55, -0.65, -0.2], [0.75, 0.65, 1.15]])


def grid_points() -> np.ndarray:
    axes = [np.linspace(low, high, n) for low, high, n in zip(*WORLD, NODES, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


@pytest.fixture(scope="module")
def ball_on_table() -> tuple[DensityVolume, VoxelGrid, np.ndarray, list[DepthView]]:
    """A field of a ball on a table, the ball's probability at the nodes, and views from above with their depths."""
    points = grid_points()
    ball = np.linalg.norm(points - CENTRE, axis=-1) - RADIUS
    nearest = np.minimum(ball, points[..., 2])
    features = torch.from_numpy(np.clip(-8.0 * nearest / CELL, -14.0, 1.0)).float()
    volume = DensityVolume(features, Contraction(torch.from_numpy(WORLD).float()), 0.0, 200.0)
    probability = (ball < points[..., 2]).astype(np.float32)
    views = []
    for direction in sphere(60):
        if 0.15 < direction[2] < 0.95:
            camera = facing(CENTRE + 4 * direction, CENTRE, 0.9, 80)
            depth = absorbed_depth(volume.density, WORLD, camera, CELL / 2)
            views.append(DepthView(camera, np.where(np.isinf(depth), np.float32(0), depth)))
    return volume, VoxelGrid.from_volume(volume), probability, views


def test_cameras_stand_where_the_object_was_seen_from_and_in_between():
    seen_from = CENTRE + np.array([[4.0, 0.0, 0.5], [0.0, 3.0, 0.5], [0.1, 0.0, 0.0]])  # the last one is inside
    cameras = virtual_cameras(BOX, seen_from, 50, FusionSettings(around=200, reach_degrees=15))
    places = np.stack([camera.position for camera in cameras])
    assert np.abs(places[:, None] - seen_from[:2]).max(-1).min(0).max() < 1e-6
    middle = BOX.mean(0)
    directions = (places - middle) / np.linalg.norm(places - middle, axis=1, keepdims=True)
    known = (seen_from[:2] - middle) / np.linalg.norm(seen_from[:2] - middle, axis=1, keepdims=True)
    assert len(cameras) > 4
    assert (directions @ known.T).max(1).min() > np.cos(np.radians(15.1))
    with pytest.raises(MeshError, match="from within the object's box"):
        virtual_cameras(BOX, seen_from[2:], 50, FusionSettings())


@needs_open3d
def test_the_fused_distance_is_the_true_one_in_the_capture_s_world():
    def matter(points: torch.Tensor) -> torch.Tensor:
        return torch.where((points - torch.from_numpy(CENTRE).float()).norm(dim=-1) < RADIUS, 1000.0, 0.0)

    step, truncation = 0.04, 0.12
    cameras = virtual_cameras(BOX, CENTRE + 5 * sphere(40), 120, FusionSettings(around=1))
    depths = [absorbed_depth(matter, BOX, camera, 0.02) for camera in cameras]
    distance, known, nodes = fused_distance(cameras, depths, BOX, step, truncation)
    assert distance.shape == known.shape == (34, 34, 35)  # every axis its own
    axes = [np.linspace(nodes[0, k], nodes[1, k], distance.shape[k]) for k in range(3)]
    assert axes[0][1] - axes[0][0] == pytest.approx(step)
    true = np.linalg.norm(np.stack(np.meshgrid(*axes, indexing="ij"), -1) - CENTRE, axis=-1) - RADIUS
    # A mean over cameras of distances along their rays, or of 1 where these go past: longer than the true ones, but of
    # their sign, but for half a step to the inside.
    assert (np.sign(distance) == np.sign(true))[known & (np.abs(true) > step / 2)].mean() > 0.99
    middle = np.rint((CENTRE - nodes[0]) / step).astype(int)
    for axis in range(3):
        line = np.moveaxis(np.where(known, distance, -1.0), axis, -1)[tuple(np.delete(middle, axis))]
        crossings = axes[axis][np.flatnonzero(np.diff(np.sign(line)))] + step / 2
        np.testing.assert_allclose(crossings, CENTRE[axis] + np.array([-RADIUS, RADIUS]), atol=step)
    assert not known[true < -0.3].any() and (distance[true > 0.2] > 0.9).all()


@needs_open3d
def test_a_ball_on_a_table_comes_out_closed_and_without_the_table(ball_on_table):
    volume, voxels, probability, views = ball_on_table
    mesh = fused_surface(volume, voxels, probability, BOX, 0.03, views, Job())
    sound = soundness(mesh)
    assert sound.closed and sound.components == 1 and sound.non_manifold_edges == 0
    assert mesh.volume > 0  # turned outwards
    off = np.linalg.norm(mesh.vertices - CENTRE, axis=1) - RADIUS
    seen = mesh.vertices[:, 2] > 0.2
    assert np.abs(off[seen]).mean() < CELL / 2 and np.abs(off[seen]).max() < 2 * CELL
    # what nobody sees is closed near where the ball stands, not at the floor of its box
    assert -1.5 * CELL < mesh.bounds[0, 2] < 3 * CELL
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.12)


@needs_open3d
def test_a_lower_level_grows_the_object_and_a_higher_one_shrinks_it(ball_on_table):
    volume, voxels, probability, views = ball_on_table
    few = FusionSettings(own=10, around=1)
    volumes = [
        fused_surface(volume, voxels, probability, BOX, 0.05, views, Job(), level, settings=few).volume
        for level in (0.1, 0.5, 0.9)
    ]
    assert volumes[0] > volumes[1] > volumes[2] > 0


@needs_open3d
def test_an_object_that_no_photo_shows_is_a_sentence(ball_on_table):
    volume, voxels, probability, _ = ball_on_table
    away = facing(np.array([5.0, 0.0, 0.5]), np.array([9.0, 0.0, 0.5]), 0.5, 20)
    with pytest.raises(MeshError, match="No photo shows the object"):
        fused_surface(volume, voxels, probability, BOX, 0.05, [DepthView(away, np.ones((20, 20), np.float32))], Job())


@needs_open3d
def test_it_can_be_stopped(ball_on_table):
    volume, voxels, probability, views = ball_on_table
    job = Job()
    job.cancel.set()
    with pytest.raises(Cancelled):
        fused_surface(volume, voxels, probability, BOX, 0.05, views, job)


def test_without_the_library_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(tsdf.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault) as caught:
        check_fusion()
    assert "Open3D" in caught.value.what and "pip install open3d" in caught.value.cure


def test_a_library_that_can_not_be_loaded_is_told_with_its_reason(monkeypatch):
    monkeypatch.setattr(tsdf.importlib.util, "find_spec", lambda name: object() if name == "open3d" else None)
    monkeypatch.setitem(sys.modules, "open3d", None)  # importing it fails
    with pytest.raises(EnvironmentFault) as caught:
        check_fusion()
    assert "can't be loaded" in caught.value.what and "solidity" in caught.value.cure
