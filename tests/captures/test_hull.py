"""The visual hull holds the object, is tight, and outlives photos that lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small_captures import ring

from engine.captures.bounds import SceneBox
from engine.captures.capture import Camera
from engine.captures.hull import visual_hull
from engine.captures.rays import camera_directions

BOX = SceneBox(np.array([[-2.0] * 3, [2.0] * 3]), "object")
CENTRE, RADIUS = np.array([0.3, -0.2, 0.1]), 0.5


@pytest.fixture(scope="module")
def ball():
    """(cameras, alphas) of a ball, seen from 24 places all around at three heights."""
    cameras = [Camera(80, 80, 70, 70, 40, 40, pose) for height in (-1.5, 0.3, 1.8) for pose in ring(8, 3.0, height)]
    alphas = []
    for camera in cameras:
        rays = camera_directions(camera).reshape(-1, 3) @ camera.world_from_camera[:3, :3].T
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        towards = CENTRE - camera.position
        past = np.linalg.norm(np.cross(rays, towards), axis=1)
        alphas.append((past < RADIUS).reshape(camera.height, camera.width).astype(np.float32))
    return cameras, alphas


def nodes_of(hull) -> np.ndarray:
    axes = [np.linspace(*hull.box.aabb[:, i], n) for i, n in enumerate(hull.inhabited.shape)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)


def assert_holds_the_ball(hull, slack: float) -> None:
    away = np.linalg.norm(nodes_of(hull) - CENTRE, axis=-1)
    assert hull.inhabited[away < RADIUS].all()
    assert (hull.box.aabb[0] <= CENTRE - RADIUS).all() and (hull.box.aabb[1] >= CENTRE + RADIUS).all()
    assert (hull.box.aabb[1] - hull.box.aabb[0] < 2 * RADIUS + slack).all()


def test_it_holds_the_object_and_not_much_more(ball):
    hull = visual_hull(*ball, BOX)
    assert_holds_the_ball(hull, slack=0.6)
    away = np.linalg.norm(nodes_of(hull) - CENTRE, axis=-1)
    assert hull.inhabited[away > RADIUS + 0.25].mean() < 0.1
    assert hull.box.kind == "object"


def test_one_empty_photo_and_one_absurd_pose_take_nothing_away(ball):
    cameras, alphas = list(ball[0]), list(ball[1])
    alphas[3] = np.zeros_like(alphas[3])
    assert_holds_the_ball(visual_hull(cameras, alphas, BOX), slack=0.6)
    cameras[3], alphas[3] = replace(cameras[3], world_from_camera=cameras[11].world_from_camera), ball[1][3]
    assert_holds_the_ball(visual_hull(cameras, alphas, BOX), slack=0.6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_photos_that_are_all_empty_or_all_full_say_nothing(ball, value):
    cameras, alphas = ball
    assert visual_hull(cameras, [np.full_like(a, value) for a in alphas], BOX) is None
