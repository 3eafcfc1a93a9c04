"""Planes are found in depth alone, and what stands on them is told apart."""

from __future__ import annotations

import numpy as np

from engine.segmenters.field_geometry import break_channel, dominant_planes, plane_offset


def floor_and_block():
    """Depth of a floor seen at a slant (a plane: affine inverse depth) with an upright block before it."""
    rows, _ = np.mgrid[:90, :120]
    depth = 1.0 / (0.2 + 0.006 * rows)
    block = np.zeros(depth.shape, bool)
    block[30:60, 50:80] = True
    depth[block] *= 0.8
    noise = np.random.default_rng(0).normal(0, 0.002, depth.shape)
    return (depth * (1 + noise)).astype(np.float32), block


def test_the_floor_is_found_and_the_block_stands_off_it():
    depth, block = floor_and_block()
    planes = dominant_planes(depth)
    assert len(planes) >= 1
    np.testing.assert_allclose(planes[0], [0, 0.006, 0.2], atol=3e-3)
    offset = plane_offset(depth, planes[0])
    assert np.abs(offset[~block]).max() < 0.012  # five times the noise and a little
    np.testing.assert_allclose(offset[block], 0.2, atol=0.012)


def test_noise_and_emptiness_hold_no_planes():
    random = np.random.default_rng(0)
    assert dominant_planes(np.zeros((50, 60), np.float32)) == []
    assert dominant_planes(random.uniform(0.2, 5, (50, 60)).astype(np.float32)) == []


def test_a_depth_step_shows_and_a_slope_does_not():
    depth, block = floor_and_block()
    channel = break_channel(depth)
    step = np.abs(np.diff(channel, axis=1))
    assert step[40, 49] > 0.1  # the block's left side: a fifth nearer
    assert step[~(block[:, 1:] | block[:, :-1])].max() < 0.03


def test_pixels_without_geometry_lie_behind_everything():
    depth, _ = floor_and_block()
    plane = dominant_planes(depth)[0]
    depth[:5] = 0
    assert (plane_offset(depth, plane)[:5] == -1).all()
    assert (break_channel(np.zeros((9, 9), np.float32)) == 0).all()
