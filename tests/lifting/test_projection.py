"""The operator of a view renders voxels as the volume rendering of Eq. 3 does, and knows their silhouettes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_capture import BALL_CENTRE, BALL_RADIUS, BOX_CENTRE, BOX_HALF

from engine.fields.rendering import camera_rays
from engine.lifting.loop import rendered_mask
from engine.lifting.masks import soft_iou
from engine.lifting.projection import LEAST_WEIGHT, ray_weights, view_operator
from engine.lifting.voxels import VoxelGrid


def test_a_row_sums_to_the_opacity_less_what_the_lightest_samples_weigh(stage, sampling):
    view = stage.views[3]
    operator = stage.operators[view.stem]
    found = ray_weights(stage.volume, stage.grid, *camera_rays(view.camera, torch.device("cpu")), sampling)
    kept = (found.weights * (found.weights > LEAST_WEIGHT)).sum(-1).numpy()
    rows = np.asarray(operator.matrix.sum(1))[:, 0]
    np.testing.assert_allclose(rows, kept, atol=1e-3)  # trilinear weights sum to one, all of them on occupied voxels
    opacity = operator.opacity.reshape(-1)
    assert (rows <= opacity + 1e-4).all()
    assert (rows >= opacity - sampling.fine * LEAST_WEIGHT).all()
    assert opacity.max() > 0.99
    assert opacity.min() < 0.01  # rays past the region of interest


def test_depth_is_where_the_ball_is(stage):
    view = stage.views[0]
    operator = stage.operators[view.stem]
    inside = stage.truth.masks["ball"][0]
    rays_o, rays_d = (r.numpy() for r in camera_rays(view.camera, torch.device("cpu")))
    points = (rays_o + rays_d * operator.depth.reshape(-1, 1)).reshape(60, 80, 3)[inside]
    off = np.linalg.norm(points - BALL_CENTRE, axis=-1) - BALL_RADIUS
    assert np.median(np.abs(off)) < 0.05  # a cell
    assert (operator.depth[operator.opacity < 0.5] == 0).all()


@pytest.mark.parametrize("thing", ["ball", "box"])
@pytest.mark.parametrize("index", [0, 7, 13])
def test_the_rendered_mask_of_an_objects_voxels_is_its_true_silhouette(stage, thing, index):
    """Half a cell of 1/20 around the objects, which are about 8 cells wide in radius, is less than a tenth in area."""
    view = stage.views[index]
    centres = stage.voxels.centres()
    margin = 0.02  # the voxels on the surface itself are the object's
    if thing == "ball":
        mine = np.linalg.norm(centres - BALL_CENTRE, axis=-1) < BALL_RADIUS + margin
    else:
        mine = (np.abs(centres - BOX_CENTRE) < BOX_HALF + margin).all(-1)
    mine &= centres[:, 2] > 0.02  # not the ground's
    mask = rendered_mask(stage.operators[view.stem], mine.astype(np.float32))
    assert soft_iou(mask, stage.mask(thing, view)) > 0.9


def test_with_a_selection_of_pixels_their_rows_are_the_same_and_the_others_empty(stage, sampling):
    view = stage.views[5]
    whole = stage.operators[view.stem]
    only = np.zeros((60, 80), bool)
    only[20:40, 30:60] = True
    part = view_operator(stage.volume, stage.grid, stage.voxels, view.camera, sampling, only)
    values = np.random.default_rng(0).random(stage.voxels.count).astype(np.float32)
    np.testing.assert_allclose(part.render(values)[only], whole.render(values)[only], atol=1e-6)
    np.testing.assert_allclose(part.depth[only], whole.depth[only], atol=1e-6)
    for image in (part.render(values), part.opacity, part.depth):
        assert (image[~only] == 0).all()


def test_back_projection_is_the_transpose_of_rendering(stage):
    operator = stage.operators[stage.views[2].stem]
    random = np.random.default_rng(0)
    values = random.random(stage.voxels.count).astype(np.float32)
    image = random.random((60, 80)).astype(np.float32)
    left = float((operator.render(values).astype(np.float64) * image).sum())
    right = float((operator.back_project(image).astype(np.float64) * values).sum())
    assert left == pytest.approx(right, rel=1e-5)


def test_voxels_keep_their_places_between_the_list_and_the_grid(stage):
    voxels = stage.voxels
    values = np.arange(voxels.count, dtype=np.float32)
    dense = voxels.dense(values, elsewhere=-1)
    np.testing.assert_array_equal(dense, voxels.index)
    centres = voxels.centres()
    assert centres.shape == (voxels.count, 3)
    i, j, k = np.argwhere(voxels.index == 1234)[0]
    np.testing.assert_allclose(centres[1234], voxels.aabb[0] + np.array([i, j, k]) * 0.05, atol=1e-6)


def test_occupied_is_what_stops_light_and_its_neighbours(stage):
    voxels = VoxelGrid.from_volume(stage.volume)
    opaque = 1 - np.exp(-stage.volume.densities().numpy() * 0.05) > 5e-3
    assert (voxels.index[opaque] >= 0).all()
    occupied = voxels.index >= 0
    grown = torch.nn.functional.max_pool3d(torch.from_numpy(opaque)[None, None].float(), 3, 1, 1)[0, 0].numpy() > 0
    np.testing.assert_array_equal(occupied, grown)
    assert 0 < occupied.mean() < 0.9
