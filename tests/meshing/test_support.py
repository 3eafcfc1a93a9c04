"""The plane that an object stands on is found where there is one, and its underside is closed towards it."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from engine.captures.capture import Camera
from engine.meshing.extract import extract_mesh
from engine.meshing.from_field import DepthView
from engine.meshing.solidity import object_solidity
from engine.meshing.support import Plane, SupportSettings, places_shown, standing, support_plane

NODES = 64
TILTED = np.array([0.2, -0.1, 1.0]) / np.linalg.norm([0.2, -0.1, 1.0])


def ball(rng: np.random.Generator, height: float) -> np.ndarray:
    """Places on the upper part of a ball of radius 1, its lowest seen one ``height`` above z = 0."""
    directions = rng.normal(size=(4000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = directions + np.array([0.0, 0.0, 1.0])
    return points[points[:, 2] > 0.2] + (0.0, 0.0, height - 0.2)


def table(rng: np.random.Generator, count: int, noise: float = 0.004) -> np.ndarray:
    points = np.column_stack([rng.uniform(-2, 2, (count, 2)), rng.normal(0.0, noise, count)])
    return points[np.linalg.norm(points[:, :2], axis=1) > 0.5]


def clutter(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.uniform((-2, -2, 0.0), (2, 2, 2.0), (count, 3))


def turned(normal: np.ndarray) -> np.ndarray:
    rotation: np.ndarray = trimesh.geometry.align_vectors((0, 0, 1), normal)[:3, :3]
    return rotation


@pytest.mark.parametrize("normal", [(0.0, 0.0, 1.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0), TILTED])
def test_a_table_is_found_among_clutter_however_it_lies_and_its_normal_points_to_the_object(normal):
    rng = np.random.default_rng(0)
    rotation = turned(np.asarray(normal))
    around = np.concatenate([table(rng, 1500), clutter(rng, 1000)]) @ rotation.T + (5.0, -3.0, 1.0)
    own = ball(rng, 0.1) @ rotation.T + (5.0, -3.0, 1.0)
    plane = support_plane(own, around, SupportSettings(), rng)
    assert plane is not None
    np.testing.assert_allclose(plane.normal, normal, atol=0.01)
    assert abs(plane.height(np.array([[5.0, -3.0, 1.0]]))[0]) < 0.01


@pytest.mark.parametrize(
    ("own_height", "around"),
    [
        (1.0, "table"),  # hangs above it
        (-0.8, "table"),  # reaches through it
        (0.1, "clutter"),  # stands on nothing
        (0.1, "few"),
        (0.1, "line"),
    ],
)
def test_what_cannot_support_the_object_is_not_taken(own_height, around):
    rng = np.random.default_rng(1)
    places = {
        "table": table(rng, 2000),
        "clutter": clutter(rng, 2000),
        "few": table(rng, 5),
        "line": np.column_stack([np.linspace(-2, 2, 500), np.zeros(500), np.zeros(500)]),
    }[around]
    assert support_plane(ball(rng, own_height), places, SupportSettings(), rng) is None


def test_places_that_are_all_one_stand_on_nothing():
    rng = np.random.default_rng(1)
    with np.errstate(all="raise"):
        assert support_plane(np.full((50, 3), 0.1), table(rng, 500), SupportSettings(), rng) is None


def test_the_same_draw_finds_the_same_plane():
    rng = np.random.default_rng(2)
    own, around = ball(rng, 0.1), np.concatenate([table(rng, 900), clutter(rng, 900)])
    first, second = (support_plane(own, around, SupportSettings(), np.random.default_rng(3)) for _ in range(2))
    assert first is not None and second is not None
    assert first.offset == second.offset and (first.normal == second.normal).all()


def test_places_that_a_view_shows_lie_at_its_depth_and_are_told_apart():
    pose = np.eye(4)
    pose[2, 3] = 3.0  # looks down on z = 0
    camera = Camera(40, 30, 40.0, 40.0, 20.0, 15.0, pose)
    depth = np.full((30, 40), 3.0, np.float32)
    depth[:5] = 0.0  # nothing there
    box = np.array([[-1.2, -1.0, -0.5], [1.2, 1.0, 0.5]])
    own, around = places_shown(
        [DepthView(camera, depth)],
        box,
        lambda points: (points[:, 0] > 0).astype(float),
        10_000,
        np.random.default_rng(0),
    )
    assert len(own) > 100 and len(around) > 100
    np.testing.assert_allclose(np.concatenate([own, around])[:, 2], 0.0, atol=1e-6)
    assert (own[:, 0] > 0).all() and (around[:, 0] <= 0).all()
    assert np.concatenate([own, around])[:, 1].max() < 0.76  # the rows that show nothing lie above
    assert np.abs(np.concatenate([own, around])).max() < 1.2


@pytest.mark.parametrize("far", [0.0, 100.0])  # nothing at all, and all of it elsewhere
def test_a_view_that_shows_nothing_there_adds_no_places(far):
    view = DepthView(Camera(40, 30, 40.0, 40.0, 20.0, 15.0, np.eye(4)), np.full((30, 40), far, np.float32))
    box = np.array([[-1.0] * 3, [1.0] * 3])
    own, around = places_shown([view], box, lambda points: np.ones(len(points)), 10, np.random.default_rng(0))
    assert own.shape == around.shape == (0, 3)


@pytest.mark.parametrize("name", ["ball", "cube"])
def test_an_underside_reaches_the_plane_instead_of_ending_where_the_shadow_begins(name, make_field, solids):
    truth = {
        "ball": trimesh.creation.icosphere(4, 1.0).apply_translation((0, 0, 1)),
        "cube": trimesh.creation.box((2, 2, 2)).apply_translation((0, 0, 1)),
    }[name]
    pad = 0.24
    aabb = np.stack([truth.bounds[0] - pad, truth.bounds[1] + pad])
    field = make_field(solids[name], aabb, NODES)
    step = (aabb[1, 0] - aabb[0, 0]) / (NODES - 1)
    axes = [np.linspace(*aabb[:, a], NODES) for a in range(3)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    plane = Plane(np.array([0.0, 0.0, 1.0]), 0.0)
    seen = trimesh.sample.sample_surface(truth, 3000, seed=0)[0]
    stands = standing(plane, seen[seen[:, 2] > 0.1], nodes, step, SupportSettings().gap)
    assert stands is not None
    assert stands.size == pytest.approx(np.linalg.norm([2, 2, 1.9]) / step, rel=0.15)
    volumes = (field.opacity, field.probability, field.observed)
    without, on_it = (extract_mesh(object_solidity(*volumes, stands=one), aabb) for one in (None, stands))
    assert on_it.is_watertight
    assert abs(on_it.bounds[0, 2]) < step
    if name == "ball":
        assert without.bounds[0, 2] > 1.5 * step  # what this is for: it hovers
        # Nothing but its underside has changed.
        upper = np.abs(np.linalg.norm(on_it.vertices - (0, 0, 1), axis=1) - 1.0)[on_it.vertices[:, 2] > 0.5]
        assert upper.max() < 2 * step


def test_an_object_whose_outline_is_a_line_stands_on_nothing():
    own = np.column_stack([np.linspace(0, 1, 50), np.zeros(50), np.linspace(0.1, 0.2, 50)])
    nodes = np.zeros((4, 4, 4, 3))
    assert standing(Plane(np.array([0.0, 0.0, 1.0]), 0.0), own, nodes, 0.1, 0.1) is None
