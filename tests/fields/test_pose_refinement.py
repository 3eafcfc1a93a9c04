"""Cameras that are a little off are put right while the field is trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from tiny_capture import TinyCapture

from engine.captures.bounds import SceneBox
from engine.captures.load import load_capture
from engine.fields.checkpoint import load_field, save_field
from engine.fields.pose_refinement import MOVE_UNIT, PoseRefinement, rotations
from engine.fields.settings import TrainingSettings
from engine.fields.training import train_field
from engine.progress import Job
from engine.train import with_poses
from engine.workspace import working_photo

CPU = torch.device("cpu")
BOX = SceneBox(np.array([[-1.2, -1.2, -0.3], [1.2, 1.2, 1.2]]), "inward")


def errors(poses, truth) -> tuple[float, float]:
    """(mean angle in degrees, mean distance) between poses, once they are laid on one another as a whole."""
    turn = Rotation.from_matrix([b[:3, :3] @ a[:3, :3].T for a, b in zip(poses, truth, strict=True)])
    onto = turn.mean()
    places, true_places = (np.array([pose[:3, 3] for pose in each]) for each in (poses, truth))
    laid = onto.apply(places - places.mean(0)) + true_places.mean(0)
    angle = (onto.inv() * turn).magnitude().mean()
    return float(np.degrees(angle)), float(np.linalg.norm(laid - true_places, axis=1).mean())


def test_poses_that_are_off_by_a_degree_come_nearer_and_the_capture_is_told(tiny_capture: TinyCapture, tmp_path):
    capture = load_capture(tiny_capture.folder)
    pairs = [working_photo(view, 80) for view in capture.views]
    names = [view.name for view in capture.views]
    random = np.random.default_rng(0)
    cameras, truth = [], []
    for i, (camera, _) in enumerate(pairs):
        pose = camera.world_from_camera.copy()
        truth.append(pose.copy())
        if i:
            pose[:3, :3] = Rotation.from_rotvec(np.radians(random.normal(0, 1.0, 3))).as_matrix() @ pose[:3, :3]
            pose[:3, 3] += random.normal(0, 0.02, 3)
        cameras.append(replace(camera, world_from_camera=pose))
    settings = TrainingSettings(
        steps=400, rays=1024, sides=(16, 32), upsample_at=(150,), occupancy_side=32, decay=0.1, refine_poses=True
    )
    images = [image for _, image in pairs]
    found = train_field(cameras, images, BOX, settings, CPU, Job(), names=names)
    before = errors([camera.world_from_camera for camera in cameras], truth)
    after = errors([found.poses[name] for name in names], truth)
    assert after[0] < 0.75 * before[0], (before, after)
    assert after[1] < before[1], (before, after)

    save_field(found, tmp_path, "the-capture")
    loaded = load_field(tmp_path, CPU, "the-capture")
    seen = with_poses(capture, loaded.poses)
    assert np.array_equal(seen.views[3].camera.world_from_camera, found.poses[names[3]])
    assert np.array_equal(found.poses[names[0]], cameras[0].world_from_camera)  # the first holds the scene


def test_rotation_vectors_become_the_matrices_of_the_matrix_exponential_and_are_smooth_at_0():
    turns = torch.cat([torch.zeros(1, 3), 1e-4 * torch.ones(1, 3), torch.randn(5, 3)]).requires_grad_()
    x, y, z = turns.unbind(-1)
    nought = torch.zeros_like(x)
    skew = torch.stack([nought, -z, y, z, nought, -x, -y, x, nought], -1).view(-1, 3, 3)
    torch.testing.assert_close(rotations(turns), torch.linalg.matrix_exp(skew), rtol=1e-5, atol=1e-6)
    weights = torch.randn(7, 3, 3, generator=torch.Generator().manual_seed(1))
    (found,) = torch.autograd.grad((rotations(turns) * weights).sum(), turns, retain_graph=True)
    (expected,) = torch.autograd.grad((torch.linalg.matrix_exp(skew) * weights).sum(), turns)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_correction_turns_the_camera_about_its_own_place():
    refinement = PoseRefinement(2, size=10.0 / MOVE_UNIT)
    with torch.no_grad():
        refinement.turns[:] = torch.tensor([0.0, 0.0, np.pi / 2])
        refinement.moves[:] = torch.tensor([0.1, 0.0, 0.0])
    origins, directions = torch.tensor([[1.0, 2.0, 3.0]] * 2), torch.tensor([[1.0, 0.0, -1.0]] * 2)
    rays_o, rays_d = refinement(torch.tensor([0, 1]), origins, directions)
    torch.testing.assert_close(rays_o, torch.tensor([[1.0, 2.0, 3.0], [2.0, 2.0, 3.0]]))
    torch.testing.assert_close(rays_d, torch.tensor([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]))
