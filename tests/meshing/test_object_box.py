"""The box that a mesh is made in: around what is seen of the object, whatever a field hides elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.captures.capture import Camera
from engine.fields.contraction import Contraction
from engine.fields.volume import DensityVolume
from engine.lifting.voxels import VoxelGrid
from engine.meshing.from_field import DepthView, SurfaceSettings, object_box, shown_points
from sa3d_blender.protocol.errors import MeshError

SIDE = 41
BOX = torch.tensor([[-1.0] * 3, [1.0] * 3])
VOXELS = VoxelGrid.from_volume(DensityVolume(torch.full((SIDE,) * 3, 5.0), Contraction(BOX), 0.0, 100.0))
CELL = 2 / (SIDE - 1)
SETTINGS = SurfaceSettings(margin_cells=0.0)


def from_above(depth: np.ndarray) -> DepthView:
    """A camera three units above the middle that looks down, and what it sees."""
    pose = np.eye(4)
    pose[2, 3] = 3.0
    return DepthView(Camera(60, 60, 80.0, 80.0, 30.0, 30.0, pose), depth)


def blocks(*spans: tuple[slice, slice, slice]) -> np.ndarray:
    probability = np.zeros((SIDE,) * 3, np.float32)
    for span in spans:
        probability[span] = 1.0
    return probability


CUBE = (slice(16, 25), slice(16, 25), slice(26, 31))  # its top at z = 0.5
HIDDEN = (slice(2, 39), slice(2, 39), slice(2, 8))  # far larger, below a table
SEEN_CUBE = from_above(np.full((60, 60), 2.5, np.float32))


def place(index: float) -> float:
    return -1 + index * CELL


def test_points_are_shown_that_lie_at_the_depth_of_a_view():
    points = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.3], [0.0, 0.0, 0.55], [0.0, 9.0, 0.5], [0.0, 0.0, 3.5]])
    assert shown_points(points, [SEEN_CUBE], 0.1).tolist() == [True, False, True, False, False]
    assert not shown_points(points, [from_above(np.zeros((60, 60), np.float32))], 0.1).any()


def test_what_nobody_sees_is_no_part_of_the_object_however_large():
    box = object_box(blocks(CUBE, HIDDEN), np.ones((SIDE,) * 3), VOXELS, [SEEN_CUBE], SETTINGS)
    np.testing.assert_allclose(box[:, 0], [place(16), place(24)], atol=1e-6)
    assert box[0, 2] >= place(26) - 1e-6 and box[1, 2] == pytest.approx(place(30))


def test_a_root_below_the_object_reaches_no_deeper_than_a_share_of_what_is_seen():
    root = (slice(19, 22), slice(19, 22), slice(0, 31))
    box = object_box(blocks(CUBE, root), np.ones((SIDE,) * 3), VOXELS, [SEEN_CUBE], SETTINGS)
    seen_lowest = place(30) - 1.5 * CELL  # within the reach of the depth
    assert box[0, 2] == pytest.approx(seen_lowest - 0.25 * 8 * CELL, abs=1.01 * CELL)


def test_without_any_view_of_it_the_whole_object_counts():
    nothing = from_above(np.zeros((60, 60), np.float32))
    box = object_box(blocks(CUBE), np.ones((SIDE,) * 3), VOXELS, [nothing], SETTINGS)
    np.testing.assert_allclose(box, [[place(16), place(16), place(26)], [place(24), place(24), place(30)]], atol=1e-6)


def test_no_object_at_all_is_said():
    with pytest.raises(MeshError, match="No part of the field"):
        object_box(np.zeros((SIDE,) * 3), np.ones((SIDE,) * 3), VOXELS, [SEEN_CUBE], SETTINGS)
