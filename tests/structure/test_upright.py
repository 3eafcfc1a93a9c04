"""A reconstruction in any frame comes out with +Z up, the origin at what was looked at, and a known size."""

from __future__ import annotations

import numpy as np
import pytest

from engine.structure.upright import DISTANCE, upright_similarity


def looking(position, target=(0, 0, 0), up=(0, 0, 1)):
    back = np.asarray(position, float) - target
    back /= np.linalg.norm(back)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return pose


def moved(poses, seed=3):
    """The same in another world: turned, scaled by 7, moved."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.linalg.det(turn)
    result = poses.copy()
    result[:, :3, :3] = turn @ poses[:, :3, :3]
    result[:, :3, 3] = 7 * poses[:, :3, 3] @ turn.T + (3, -50, 8)
    return result, turn


@pytest.mark.parametrize("height", [0.3, 2.0, -0.5])
def test_a_ring_of_cameras_gives_up_and_the_middle(height):
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    ring = np.stack([looking((np.cos(a), np.sin(a), height)) for a in angles])
    poses, turn = moved(ring)
    scale, rotation, shift = upright_similarity(poses, np.zeros((0, 3)))
    assert rotation @ turn @ (0, 0, 1) == pytest.approx([0, 0, 1], abs=1e-6)
    assert scale * rotation @ (3, -50, 8) + shift == pytest.approx([0, 0, 0], abs=1e-6)
    centres = scale * poses[:, :3, 3] @ rotation.T + shift
    assert np.median(np.linalg.norm(centres, axis=1)) == pytest.approx(DISTANCE)
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_photos_that_look_one_way_turn_about_their_points():
    grid = np.stack([looking((x, -4, z), (x, 0, z)) for x in (-1, 0, 1) for z in (0, 0.5)])
    points = np.random.default_rng(0).normal(size=(50, 3)) * 0.2
    poses, turn = moved(grid)
    scale, rotation, shift = upright_similarity(poses, 7 * points @ turn.T + (3, -50, 8))
    assert rotation @ turn @ (0, 0, 1) == pytest.approx([0, 0, 1], abs=1e-6)
    middle = scale * rotation @ (7 * turn @ np.median(points, axis=0) + (3, -50, 8)) + shift
    assert np.linalg.norm(middle) < 0.1 * DISTANCE
    assert (scale * poses[:, :3, 3] @ rotation.T + shift)[:, 1].max() < 0  # on Blender's front side
