"""The box in which a field keeps its detail: which kind a capture is, and that the objects lie in its box."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from small_captures import look_at, ring, says_what_and_cure

from engine.captures.bounds import attention_point, scene_box
from engine.captures.capture import Camera, Capture, View
from engine.captures.load import load_capture
from sa3d_blender.protocol.errors import CaptureError


def capture_of(poses: list[np.ndarray], near_far: tuple[float, float] | None = None, **what: Any) -> Capture:
    """A capture without photos: the box comes from the cameras alone."""
    views = tuple(
        View(f"{i}.png", str(i), Path(f"{i}.png"), Camera(80, 60, 90.0, 90.0, 40.0, 30.0, pose), near_far=near_far)
        for i, pose in enumerate(poses)
    )
    return Capture(Path(), what.pop("format", "transforms"), views, **what)


def axes(poses: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([pose[:3, 3] for pose in poses]), np.array([-pose[:3, 2] for pose in poses])


def front(count: int = 9, distance: float = 4.0, spread: float = 1.0) -> list[np.ndarray]:
    """Cameras side by side on a wall at y = -distance that look at the origin, as LLFF's are taken."""
    side = np.linspace(-spread / 2, spread / 2, count)
    return [look_at((x, -distance, 0.3 * np.sin(9 * x))) for x in side]


def contains(aabb: np.ndarray, points: np.ndarray) -> bool:
    return bool(((points >= aabb[0]) & (points <= aabb[1])).all())


CENTRE = (0.3, -0.2, 5.0)


def test_cameras_on_a_ring_pay_attention_to_its_middle():
    np.testing.assert_allclose(attention_point(*axes(ring(7, centre=CENTRE))), CENTRE, atol=1e-9)


def test_the_attention_point_is_nearest_to_all_axes():
    positions, forwards = axes(ring(7, centre=CENTRE))
    positions = positions + np.random.default_rng(0).normal(0, 0.1, positions.shape)

    def distances(point: np.ndarray) -> np.ndarray:
        offset = point - positions
        return np.linalg.norm(offset - (offset * forwards).sum(1, keepdims=True) * forwards, axis=1)

    point = attention_point(positions, forwards)
    usual = float(np.median(distances(point)))
    assert usual > 0

    def cost(point: np.ndarray) -> float:  # Huber's: squares of what is nearer than usual, distances beyond
        far = distances(point)
        return float(np.where(far < usual, far**2 / (2 * usual), far - usual / 2).sum())

    for step in 0.02 * np.concatenate([np.eye(3), -np.eye(3)]):
        assert cost(point + step) > cost(point)


def test_the_attention_point_moves_with_the_cameras():
    positions, forwards = axes(front())
    shift = np.array([3.0, -7.0, 2.0])
    np.testing.assert_allclose(
        attention_point(positions + shift, forwards), attention_point(positions, forwards) + shift, atol=1e-9
    )


@pytest.mark.parametrize("sign", [1, -1], ids=["the same way", "at one another"])
def test_parallel_axes_meet_nowhere_and_are_refused(sign):
    forwards = np.array([[0.0, 1.0, 0.0]] * 4)
    forwards[::2] *= sign
    positions = np.array([[0.0, -2, 0], [0, 2, 0], [0, -3, 0], [0, 3, 0]])
    with pytest.raises(CaptureError) as caught:
        attention_point(positions, forwards)
    says_what_and_cure(caught.value, "same way")


def test_cameras_all_around_look_inwards_at_a_cube_that_ends_before_them():
    poses = ring(12, radius=2.0, height=0.7, centre=CENTRE)
    box = scene_box(capture_of(poses))
    assert box.kind == "inward"
    assert box.aabb.shape == (2, 3) and box.aabb.dtype == np.float64
    sides = box.aabb[1] - box.aabb[0]
    np.testing.assert_allclose(box.aabb.mean(0), CENTRE, atol=1e-9)
    np.testing.assert_allclose(sides, sides[0])
    assert 0.5 < sides[0] < 2 * np.hypot(2.0, 0.7)
    assert not any(contains(box.aabb, pose[:3, 3]) for pose in poses)


def test_a_box_scales_with_its_capture():
    small, large = (scene_box(capture_of(ring(12, radius=r, height=0.35 * r))).aabb for r in (1.0, 10.0))
    np.testing.assert_allclose(large, 10 * small, atol=1e-9)


def test_a_camera_inside_of_the_ring_does_not_shrink_the_box_to_nothing():
    usual = scene_box(capture_of(ring(29))).aabb
    with_one = scene_box(capture_of([*ring(29), look_at((0.05, 0.0, 0.01))])).aabb
    np.testing.assert_allclose(with_one, usual, atol=0.05)


def test_cameras_in_front_see_a_box_between_near_and_far():
    box = scene_box(capture_of(front(), near_far=(3.0, 6.0)))
    assert box.kind == "forward"
    assert contains(box.aabb, np.zeros(3))
    assert not any(contains(box.aabb, pose[:3, 3]) for pose in front())
    depth = box.aabb[:, 1] + 4.0  # the cameras stand at y = -4 and look along +y
    assert 2.5 < depth[0] < 3.5 < 4.5 < depth[1] < 6.5


def test_cameras_in_front_without_depths_see_a_box_around_what_they_look_at():
    box = scene_box(capture_of(front()))
    assert box.kind == "forward" and contains(box.aabb, np.zeros(3))
    assert not any(contains(box.aabb, pose[:3, 3]) for pose in front())


def test_parallel_cameras_side_by_side_have_a_box_in_front_of_them():
    poses = [look_at((x, -4.0, 0.0), (x, 0.0, 0.0)) for x in np.linspace(-1, 1, 5)]
    for near_far in (None, (3.0, 6.0)):
        box = scene_box(capture_of(poses, near_far=near_far))
        assert box.kind == "forward" and box.aabb[0, 1] > -4.0
        assert (box.aabb[1] > box.aabb[0]).all()


def test_cameras_on_one_line_that_look_at_one_another_are_refused():
    poses = [look_at((x, 0.0, 0.0)) for x in (-3.0, -2.0, 2.0, 3.0)]
    with pytest.raises(CaptureError) as caught:
        scene_box(capture_of(poses))
    says_what_and_cure(caught.value, "same way")


def test_a_capture_without_views_is_refused():
    with pytest.raises(CaptureError) as caught:
        scene_box(capture_of([]))
    says_what_and_cure(caught.value, "no views")


def test_photos_with_opacity_hold_an_object_and_nothing_else():
    box = scene_box(capture_of(ring(12, centre=CENTRE), has_alpha=True))
    assert box.kind == "object"
    np.testing.assert_allclose(box.aabb.mean(0), CENTRE, atol=1e-9)


@pytest.mark.parametrize(
    "poses",
    [front(), [look_at((x, 0.1 * x, 0.0), (9 * x, 9 * y, 1.0)) for x, y in ((1, 0), (-1, 0.3), (0.2, 1), (0.1, -1))]],
    ids=["in front", "outward"],
)
def test_photos_with_opacity_hold_an_object_wherever_they_look_from(poses):
    assert scene_box(capture_of(poses, (1.0, 5.0), has_alpha=True)).kind == "object"
    assert scene_box(capture_of(poses, (1.0, 5.0))).kind != "object"


def test_nerf_synthetic_has_its_known_box_around_the_origin():
    box = scene_box(capture_of(ring(12, radius=4.0), has_alpha=True, format="nerf_synthetic"))
    assert box.kind == "object"
    np.testing.assert_allclose(box.aabb.mean(0), 0, atol=1e-9)
    assert contains(box.aabb, np.array([[1.2, 1.2, 1.2], [-1.2, -1.2, -1.2]]))


@pytest.mark.parametrize(
    ("name", "kind"), [("tabletop", "inward"), ("fox", "inward"), ("horns", "forward"), ("lego400", "object")]
)
def test_the_kinds_of_the_shared_captures(captures_dir, name, kind):
    capture = load_capture(captures_dir / name)
    box = scene_box(capture)
    assert box.kind == kind
    assert np.isfinite(box.aabb).all() and (box.aabb[1] > box.aabb[0]).all()


def test_the_true_objects_of_tabletop_lie_in_its_box(captures_dir):
    box = scene_box(load_capture(captures_dir / "tabletop"))
    bounds = [trimesh.load(path, process=False).bounds for path in (captures_dir / "tabletop/meshes").glob("*.ply")]
    assert len(bounds) == 6
    assert contains(box.aabb, np.concatenate(bounds))


def test_the_true_objects_of_the_tiny_capture_lie_in_its_box(tiny_capture):
    box = scene_box(load_capture(tiny_capture.folder))
    assert box.kind == "inward"
    for path in (tiny_capture.folder / "meshes").glob("*.ply"):
        assert contains(box.aabb, trimesh.load(path, process=False).bounds), path.stem


def test_one_absurd_pose_moves_the_box_hardly(tiny_capture):
    """A camera a thousand times as far away as the others, and one that looks past everything."""
    capture = load_capture(tiny_capture.folder)
    honest = scene_box(capture)
    for change in (np.array([2000.0, -500.0, 300.0]), np.array([0.0, 0.0, 8.0])):
        first = capture.views[0]
        pose = first.camera.world_from_camera.copy()
        pose[:3, 3] += change
        moved = replace(first, camera=replace(first.camera, world_from_camera=pose))
        found = scene_box(replace(capture, views=(moved, *capture.views[1:])))
        assert found.kind == honest.kind
        assert np.abs(found.aabb - honest.aabb).max() < 0.05 * (honest.aabb[1] - honest.aabb[0]).max()
