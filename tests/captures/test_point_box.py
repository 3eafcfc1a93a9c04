"""The region of interest from sparse points, on scenes whose true box is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_captures import look_at, ring

from engine.cache import Cache
from engine.captures.bounds import scene_box
from engine.captures.capture import Camera, Capture, SparsePoints, View
from engine.captures.point_box import LEAST_POINTS


def capture_of(poses: list[np.ndarray], xyz: np.ndarray, count: np.ndarray | int = 5) -> Capture:
    """A capture without photos."""
    views = tuple(
        View(f"{i}.png", str(i), Path(f"{i}.png"), Camera(80, 60, 90.0, 90.0, 40.0, 30.0, pose))
        for i, pose in enumerate(poses)
    )
    seen = np.broadcast_to(np.asarray(count, np.int32), len(xyz)).copy()
    return Capture(Path(), "colmap", views, points=SparsePoints(xyz, np.zeros((len(xyz), 3), np.uint8), seen))


def surface(low: tuple[float, ...], high: tuple[float, ...], count: int, seed: int = 0) -> np.ndarray:
    """Points [N, 3] on a box's faces."""
    random = np.random.default_rng(seed)
    found = random.uniform(low, high, (count, 3))
    axis, side = random.integers(3, size=count), random.integers(2, size=count)
    found[np.arange(count), axis] = np.array([low, high])[side, axis]
    return found


def astray(count: int, size: float, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, size, (count, 3))


def is_tight(aabb: np.ndarray, low: tuple[float, ...], high: tuple[float, ...], slack: float) -> None:
    """The box holds the true one (but for a hundredth of its longest side) and is at most ``slack`` larger a side."""
    true = np.array([low, high])
    longest = float((true[1] - true[0]).max())
    assert (aabb[0] <= true[0] + 0.02 * longest).all() and (aabb[1] >= true[1] - 0.02 * longest).all(), aabb
    assert (aabb[0] >= true[0] - slack * longest).all() and (aabb[1] <= true[1] + slack * longest).all(), aabb


OBJECT = (-0.4, -0.25, -0.3), (0.4, 0.25, 0.35)


def test_a_turntables_box_holds_the_object_and_neither_the_walls_nor_what_is_astray():
    xyz = np.concatenate([surface(*OBJECT, 3000), surface((-6, -6, -3), (6, 6, 3), 3000), astray(60, 8.0)])
    capture = capture_of(ring(24), xyz)
    box = scene_box(capture)
    assert box.of_points and box.kind == "inward"
    is_tight(box.aabb, *OBJECT, slack=0.12)
    alone = scene_box(replace(capture, points=None))
    assert not alone.of_points
    assert np.prod(box.aabb[1] - box.aabb[0]) < 0.5 * np.prod(alone.aabb[1] - alone.aabb[0])


def test_a_table_tops_box_holds_what_stands_on_it_and_is_flat():
    table = (-0.7, -0.5, -0.02), (0.7, 0.5, 0.0)
    things = (-0.5, -0.3, 0.0), (0.5, 0.3, 0.3)
    floor = (-5, -5, -0.9), (5, 5, -0.85)  # below the table, and far beyond the cameras
    xyz = np.concatenate([surface(*table, 2000), surface(*things, 3000), surface(*floor, 4000), astray(50, 6.0)])
    box = scene_box(capture_of(ring(40, radius=1.8, height=0.9), xyz))
    assert box.of_points
    is_tight(box.aabb, (-0.7, -0.5, -0.02), (0.7, 0.5, 0.3), slack=0.12)


def test_what_reaches_towards_the_cameras_is_kept_and_no_camera_is_taken_in():
    # A head on a wall, seen from an arc: its nose ends beyond the cube that the cameras suggest.
    arc = [pose for pose in ring(60, radius=2.0, height=0.0) if pose[1, 3] < -0.9]
    alone = scene_box(capture_of(arc, np.zeros((0, 3)))).aabb
    nose = (-0.05, alone[0, 1] - 0.1, -0.05), (0.05, 0.0, 0.05)
    wall = (-1.5, 0.2, -1.5), (1.5, 0.21, 1.5)
    head = (-0.3, -0.5, -0.3), (0.3, 0.2, 0.3)
    xyz = np.concatenate([surface(*wall, 6000), surface(*head, 3000), surface(*nose, 120)])
    box = scene_box(capture_of(arc, xyz))
    assert box.of_points and box.aabb[0, 1] < nose[0][1]
    positions = np.array([pose[:3, 3] for pose in arc])
    assert not ((positions > box.aabb[0]) & (positions < box.aabb[1])).all(1).any()
    assert (box.aabb[:, [0, 2]] >= alone[0, [0, 2]]).all() and (box.aabb[:, [0, 2]] <= alone[1, [0, 2]]).all()
    assert box.aabb[1, 1] <= alone[1, 1]  # on other sides it is as large as it was, or smaller


def test_a_rooms_box_is_the_room_with_those_who_stand_in_it():
    room = (-2.5, -2.0, 0.0), (2.5, 2.0, 2.6)
    xyz = np.concatenate([surface(*room, 5000), astray(40, 30.0)])
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    poses = [look_at((0.5 * np.cos(a), 0.5 * np.sin(a), 1.5), (2.5 * np.cos(a), 2.5 * np.sin(a), 1.3)) for a in angles]
    capture = capture_of(poses, xyz)
    box = scene_box(capture)
    assert box.of_points and box.kind == "inward"
    is_tight(box.aabb, *room, slack=0.12)
    with pytest.raises(AssertionError):  # the cameras alone see less of it
        is_tight(scene_box(replace(capture, points=None)).aabb, *room, slack=0.12)


def test_a_fronts_box_lies_where_its_points_are():
    front = (-1.6, 0.0, -1.0), (1.6, 0.8, 1.0)
    poses = [look_at((x, -4.0, 0.3 * np.sin(9 * x))) for x in np.linspace(-0.5, 0.5, 9)]
    far = surface((-40, 20, -5), (40, 60, 20), 1500)
    xyz = np.concatenate([surface(*front, 4000), far, surface((-1, -9, -1), (1, -8, 1), 300)])
    box = scene_box(capture_of(poses, xyz))
    assert box.of_points and box.kind == "forward"
    is_tight(box.aabb, *front, slack=0.12)


def test_points_that_two_photos_saw_and_too_few_points_say_nothing():
    xyz = surface(*OBJECT, 3000)
    alone = scene_box(replace(capture_of(ring(24), xyz), points=None)).aabb
    for points, count in ((xyz, 2), (xyz[: LEAST_POINTS - 1], 9)):
        box = scene_box(capture_of(ring(24), points, count))
        assert not box.of_points
        np.testing.assert_array_equal(box.aabb, alone)
    assert scene_box(capture_of(ring(24), xyz, 0)).of_points  # the source doesn't say by how many


def test_points_on_one_label_are_not_all_there_is():
    capture = capture_of(ring(24), surface((-0.02, -0.02, 0), (0.02, 0.02, 0.01), 500))
    alone = scene_box(replace(capture, points=None)).aabb
    sides = scene_box(capture).aabb
    assert ((sides[1] - sides[0]) >= 0.19 * (alone[1] - alone[0])).all()


def test_photos_with_opacity_keep_the_cameras_box():
    capture = replace(capture_of(ring(24), surface(*OBJECT, 3000)), has_alpha=True)
    box = scene_box(capture)
    assert box.kind == "object" and not box.of_points
    np.testing.assert_array_equal(box.aabb, scene_box(replace(capture, points=None)).aabb)


def test_a_fields_key_belongs_to_the_points(tmp_path):
    (tmp_path / "0.png").write_bytes(b"a photo")
    capture = capture_of(ring(1), surface(*OBJECT, 300))
    capture = replace(capture, views=(replace(capture.views[0], image_path=tmp_path / "0.png"),))
    cache = Cache(tmp_path / "cache")
    other = replace(capture, points=replace(capture.points, xyz=capture.points.xyz + 0.1))
    assert cache.capture_key(capture) != cache.capture_key(other)
    assert cache.capture_key(capture) != cache.capture_key(replace(capture, points=None))
