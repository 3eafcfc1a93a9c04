"""The usual way to a mesh, with nothing of ours in it: one density level, mean colours of all photos."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from engine.captures.capture import Camera
from engine.evaluation.mesh_baseline import half_absorbing_density, mean_colours, one_level_mesh
from engine.fields.contraction import Contraction
from engine.fields.volume import DensityVolume
from engine.lifting.voxels import VoxelGrid
from engine.meshing.soundness import soundness
from sa3d_blender.protocol.errors import MeshError

NODES, RADIUS = 41, 0.6
CELL = 2.0 / (NODES - 1)


def ball_volume() -> DensityVolume:
    """Density that falls evenly outwards and is that of half absorption at RADIUS, on [-1, 1]^3."""
    axis = np.linspace(-1.0, 1.0, NODES)
    radius = np.linalg.norm(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1), axis=-1)
    features = half_absorbing_density(CELL) + 200.0 * (RADIUS - radius)  # softplus leaves what is above 5 as it is
    box = torch.tensor([[-1.0] * 3, [1.0] * 3])
    return DensityVolume(torch.from_numpy(features).float(), Contraction(box), 0.0, 1.0)


def camera(x: float, size: int = 20) -> Camera:
    """Looks down from (x, 0, 2); one unit on the ground is ``size`` / 2 pixels."""
    pose = np.eye(4)
    pose[:3, 3] = x, 0.0, 2.0
    return Camera(size, size, float(size), float(size), size / 2, size / 2, pose)


def photo(colour: tuple[float, float, float], size: int = 20) -> np.ndarray:
    return np.broadcast_to(np.array(colour, np.float32), (size, size, 3)).copy()


def test_a_cell_at_the_level_stops_half_of_the_light():
    for cell in (0.001, 0.05, 3.0):
        assert 1.0 - math.exp(-half_absorbing_density(cell) * cell) == pytest.approx(0.5)


def test_the_surface_lies_at_the_one_level_and_is_turned_outwards():
    volume = ball_volume()
    voxels = VoxelGrid.from_volume(volume)
    mesh = one_level_mesh(volume, voxels, np.ones(voxels.count, np.float32), [])
    # between nodes the radius is taken as linear: off by CELL^2 / (8 RADIUS) = 0.0005
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), RADIUS, atol=2e-3)
    assert soundness(mesh).watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.01)


def test_only_what_is_likelier_the_objects_than_not_is_taken():
    volume = ball_volume()
    voxels = VoxelGrid.from_volume(volume)
    probability = np.where(voxels.centres()[:, 0] < 0, 0.51, 0.5).astype(np.float32)
    mesh = one_level_mesh(volume, voxels, probability, [])
    assert -RADIUS - 2e-3 < mesh.bounds[0, 0] < -RADIUS + 2e-3
    assert -CELL < mesh.bounds[1, 0] <= CELL


def test_where_the_level_is_reached_nowhere_there_is_a_sentence():
    volume = ball_volume()
    voxels = VoxelGrid.from_volume(volume)
    with pytest.raises(MeshError, match="density level nowhere"):
        one_level_mesh(volume, voxels, np.zeros(voxels.count, np.float32), [])


def test_colours_are_the_mean_of_all_photos_that_a_vertex_falls_into_hidden_or_not():
    photos = [(camera(0.0), photo((1.0, 0.0, 0.2))), (camera(1.5), photo((0.0, 0.0, 0.6)))]
    vertices = np.array(
        [
            [0.75, 0.0, 0.0],  # in both
            [0.75, 0.0, -0.1],  # in both, right behind the first
            [-0.5, 0.0, 0.0],  # in the first alone
            [0.0, 5.0, 0.0],  # in none
            [0.0, 0.0, 3.0],  # behind both
        ]
    )
    colours = mean_colours(vertices, photos)
    expected = [[128, 0, 102], [128, 0, 102], [255, 0, 51], [128, 128, 128], [128, 128, 128]]
    np.testing.assert_array_equal(colours[:, :3], expected)
    assert (colours[:, 3] == 255).all()
