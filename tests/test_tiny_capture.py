"""The capture that other tests lean on: the engine reads it, and its truth is consistent."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from engine.captures.load import load_capture
from engine.evaluation.truth import read_truth


def test_the_engine_reads_it_with_the_cameras_it_was_rendered_with(tiny_capture):
    capture = load_capture(tiny_capture.folder)
    assert [view.name for view in capture.views] == list(tiny_capture.names)
    assert capture.warnings == ()
    for view, pose in zip(capture.views, tiny_capture.world_from_camera, strict=True):
        np.testing.assert_allclose(view.camera.world_from_camera, pose, atol=1e-12)


@pytest.mark.parametrize("name", ["ball", "box"])
def test_every_view_shows_each_object_where_its_true_mesh_is(tiny_capture, name):
    capture = load_capture(tiny_capture.folder)
    truth = read_truth(tiny_capture.folder)
    mesh = truth.mesh(name)
    assert mesh.is_watertight
    for i, view in enumerate(capture.views):
        camera = view.camera
        mask = truth.mask(view.stem, name)
        np.testing.assert_array_equal(mask, tiny_capture.masks[name][i])
        assert mask.sum() > 60  # of 4800: large enough to be clicked on and lifted
        points = trimesh.transform_points(mesh.vertices, np.linalg.inv(camera.world_from_camera))
        x = camera.cx - camera.fl_x * points[:, 0] / points[:, 2]
        y = camera.cy + camera.fl_y * points[:, 1] / points[:, 2]
        ys, xs = np.nonzero(mask)
        # Nothing of the mask lies outside the mesh's outline; half a pixel, since a pixel counts when half is covered.
        assert x.min() - 0.5 <= xs.min() + 0.5 and xs.max() + 0.5 <= x.max() + 0.5
        assert y.min() - 0.5 <= ys.min() + 0.5 and ys.max() + 0.5 <= y.max() + 0.5
        assert x.min() > 0 and x.max() < camera.width and y.min() > 0 and y.max() < camera.height


@pytest.mark.parametrize("name", ["ball", "box"])
def test_the_place_to_click_is_on_the_object(tiny_capture, name):
    for view in range(len(tiny_capture.names)):
        x, y = tiny_capture.centre_px(name, view)
        assert tiny_capture.masks[name][view, int(y), int(x)]
