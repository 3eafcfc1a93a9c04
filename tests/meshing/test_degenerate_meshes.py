"""What is hardly an object still gives a sound mesh, or one sentence that says what to do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from engine.meshing.doubts import Doubts, doubts_of
from engine.meshing.opened import without_unobserved
from engine.meshing.soundness import soundness
from engine.progress import Job
from sa3d_blender.protocol.errors import MeshError
from tests.helpers.solid_scenes import AABB, CELL, SolidScene, ball_at, in_front, ring, solid_scene

RADIUS = 0.35
BALL = ball_at((0.0, 0.0, RADIUS), RADIUS)


@pytest.fixture(scope="module")
def on_the_ground() -> SolidScene:
    return solid_scene(BALL, ring())


def doubts(scene: SolidScene, mesh) -> Doubts:
    showing = [photo.camera for photo in scene.photos if photo.mask is not None and photo.mask.any()]
    return doubts_of(mesh, scene.voxels.aabb, 0.5 * CELL, showing)


def test_of_a_ball_on_the_ground_the_underside_is_unobserved_and_nothing_else(on_the_ground):
    mesh = on_the_ground.mesh(faces=5000)
    observed = np.asarray(mesh.vertex_attributes["observed"])
    steep = mesh.vertex_normals[:, 2]
    # Cameras look down by 35 degrees, and a colour wants 6 more than a grazing view.
    assert observed[steep < -0.8].max() == 0.0
    assert observed[(steep > -0.2) & (mesh.vertices[:, 2] > 0.3)].mean() > 0.99
    found = doubts(on_the_ground, mesh)
    assert 0.5 < found.observed < 0.95 and not found.cut_at and not found.one_sided
    assert found.warnings() == []


def test_an_object_seen_from_one_side_has_a_guessed_back_and_that_is_said():
    scene = solid_scene(BALL, in_front())
    mesh = scene.mesh()
    assert soundness(mesh).closed
    observed = np.asarray(mesh.vertex_attributes["observed"])
    assert observed[mesh.vertex_normals[:, 1] > 0.5].mean() < 0.02
    found = doubts(scene, mesh)
    assert found.one_sided and found.observed < 0.6
    (said,) = found.warnings()
    assert "from one side" in said and f"{100 * (1 - found.observed):.0f} %" in said


@pytest.mark.parametrize(
    ("centre", "sides"),
    [((0.9, 0.0, 0.35), ("high X",)), ((-0.9, -0.9, 0.35), ("low X", "low Y"))],
)
def test_where_the_region_cuts_an_object_off_the_side_is_named(centre, sides):
    scene = solid_scene(ball_at(centre, RADIUS), ring(look_at=centre))
    mesh = scene.mesh()
    assert soundness(mesh).closed and soundness(mesh).components == 1
    found = doubts(scene, mesh)
    assert found.cut_at == sides
    assert any(sides[0] in said and "larger region" in said for said in found.warnings())


def test_a_cut_that_photos_see_into_is_named_though_it_is_small():
    # What lies outside of the region is empty to the field, so the cut is in plain sight: the end of a nose.
    wide = trimesh.creation.box((1.0, 1.0, 1.0)).subdivide().subdivide().subdivide()
    nose = trimesh.creation.box((0.2, 0.12, 0.12)).subdivide().subdivide().apply_translation((0.6, 0.0, 0.0))
    mesh = trimesh.util.concatenate([wide, nose])
    mesh.vertex_attributes["observed"] = np.ones(len(mesh.vertices), np.float32)
    region = np.array([[-1.0, -1.0, -1.0], [0.7, 1.0, 1.0]])  # ends where the nose does
    assert doubts_of(mesh, region, 0.005, []).cut_at == ("high X",)
    assert doubts_of(mesh, np.array([[-1.0, -1.0, -1.0], [0.72, 1.0, 1.0]]), 0.005, []).cut_at == ()


def test_an_object_that_stands_next_to_the_border_of_the_region_is_not_cut_by_it():
    scene = solid_scene(ball_at((AABB[1, 0] - RADIUS - CELL, 0.0, 0.35), RADIUS), ring(look_at=(0.6, 0.0, 0.3)))
    assert doubts(scene, scene.mesh()).cut_at == ()


def test_no_object_at_all_is_one_sentence_with_a_cure(on_the_ground):
    empty = replace(on_the_ground, probability=np.zeros_like(on_the_ground.probability))
    for scene in (empty, solid_scene(None, ring()), solid_scene(None, ring(), ground=None)):
        with pytest.raises(MeshError, match="No part of the field") as caught:
            scene.mesh()
        assert caught.value.cure


def test_one_voxel_is_a_mesh_of_its_size(on_the_ground):
    probability = np.zeros_like(on_the_ground.probability)
    place = np.abs(on_the_ground.voxels.centres() - (0.0, 0.0, 2 * RADIUS)).sum(axis=1).argmin()
    probability[place] = 1.0
    mesh = replace(on_the_ground, probability=probability).mesh()
    assert soundness(mesh).closed and soundness(mesh).components == 1
    assert mesh.extents.max() < 2 * CELL


def test_two_parts_far_apart_are_both_there_open_or_closed():
    left, right = ball_at((-0.6, 0.0, 0.3), 0.3), ball_at((0.6, 0.0, 0.25), 0.25)
    mesh = solid_scene(lambda points: np.minimum(left(points), right(points)), ring()).mesh()
    assert soundness(mesh).closed and soundness(mesh).components == 2
    assert mesh.bounds[0, 0] < -0.8 and mesh.bounds[1, 0] > 0.8
    made = without_unobserved(mesh)
    assert soundness(made).components == 2 and len(made.faces) < len(mesh.faces)


def test_an_object_that_nobody_sees_is_said_in_the_log_and_told_of(on_the_ground):
    blind = [replace(view, depth=np.zeros_like(view.depth)) for view in on_the_ground.views]
    lines: list[str] = []
    scene = replace(on_the_ground, views=blind, photos=[])
    mesh = scene.mesh(Job(log=lines.append))
    assert soundness(mesh).closed
    assert [line for line in lines if line.startswith("Warning: no view shows the object")]
    found = doubts(scene, mesh)
    assert found.observed == 0.0
    assert found.warnings() == ["No photo shows the object's surface: its colours and its shape are a guess."]
    with pytest.raises(MeshError, match="No photo shows enough"):
        without_unobserved(mesh)


@pytest.mark.parametrize("of", ["field", "evidence"])
def test_numbers_that_are_none_are_told_and_not_meshed(of):
    scene = solid_scene(BALL, ring())
    if of == "field":
        scene.volume.features[20, 20, 8] = float("nan")
    else:
        scene.probability[len(scene.probability) // 2] = float("nan")
    with pytest.raises(MeshError, match="not finite") as caught:
        scene.mesh()
    assert caught.value.cure


def test_a_plane_through_the_whole_region_is_a_closed_slab_that_is_cut_on_four_sides():
    scene = solid_scene(lambda points: points[..., 2] - 0.01, ring(), ground=None)
    mesh = scene.mesh(faces=5000)
    assert soundness(mesh).closed
    assert {"low X", "high X", "low Y", "high Y"} <= set(doubts(scene, mesh).cut_at)


@pytest.mark.parametrize("level", [0.01, 0.99])
def test_extreme_levels_leave_a_closed_mesh(on_the_ground, level):
    assert soundness(on_the_ground.mesh(level=level)).closed


@pytest.mark.parametrize("level", [0.0, 1.0, 1.5])
def test_a_level_that_leaves_all_or_nothing_is_told(on_the_ground, level):
    with pytest.raises(MeshError, match="leaves all or nothing") as caught:
        on_the_ground.mesh(level=level)
    assert caught.value.cure


def test_a_budget_that_is_too_small_leaves_a_closed_mesh_and_is_said(on_the_ground):
    lines: list[str] = []
    mesh = on_the_ground.mesh(Job(log=lines.append), faces=4)
    assert soundness(mesh).closed and len(mesh.faces) < 200
    assert len(mesh.faces) == 4 or any("with 4 it would not stay closed" in line for line in lines)
    with pytest.raises(MeshError, match="can't have 3 faces"):
        on_the_ground.mesh(faces=3)
