"""Fewer faces, the same shape, and as sound as before."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from skimage import measure

from engine.evaluation.metrics import chamfer_distance
from engine.meshing import simplify
from engine.meshing.simplify import simplified, unpinched
from engine.meshing.soundness import Soundness, soundness
from sa3d_blender.protocol.errors import MeshError

CUBE = trimesh.creation.box()


def dense_sphere() -> trimesh.Trimesh:
    return trimesh.creation.icosphere(subdivisions=5)  # 20,480 faces


def test_a_sphere_keeps_its_shape_within_the_budget_and_stays_closed():
    sphere = dense_sphere()
    few = simplified(sphere, 1000)
    assert 900 <= len(few.faces) <= 1000
    assert soundness(few) == Soundness(True, 1, 0, True)
    assert few.volume == pytest.approx(sphere.volume, rel=0.01)
    assert len(np.unique(few.faces)) == len(few.vertices)
    # a polyhedron of 1000 faces is within 0.4 % of its sphere's radius
    assert chamfer_distance(few, sphere).fraction < 0.005


def test_flat_parts_lose_their_faces_first():
    cube = CUBE.copy().subdivide().subdivide().subdivide().subdivide()
    few = simplified(cube, 60)
    assert few.volume == pytest.approx(1.0, rel=1e-3)  # its edges and corners stand


def test_a_mesh_within_the_budget_is_left_alone():
    assert simplified(CUBE, 12) is CUBE


def test_a_thin_torus_is_not_pinched():
    ring = trimesh.creation.torus(1.0, 0.02, 400, 24)
    few = simplified(ring, 600)
    after = soundness(few)
    assert after.closed and after.components == 1
    assert few.euler_number == 0  # it still has its hole


@pytest.mark.parametrize("faces", [3, 0, -5])
def test_no_budget_is_refused(faces):
    with pytest.raises(MeshError, match="can't have"):
        simplified(CUBE, faces)


def two_boxes_at_an_edge() -> trimesh.Trimesh:
    """One mesh in which four faces meet at an edge, as after a collapse that pinched a neck."""
    first, second = trimesh.creation.box(), trimesh.creation.box()
    second.apply_translation([1.0, 1.0, 0.0])
    return trimesh.Trimesh(
        np.vstack([first.vertices, second.vertices]), np.vstack([first.faces, second.faces + len(first.vertices)])
    )


def test_a_pinched_edge_is_taken_apart_so_that_welding_does_not_bring_it_back():
    pinched = two_boxes_at_an_edge()
    assert soundness(pinched).non_manifold_edges == 1
    apart = unpinched(pinched)
    assert soundness(apart) == Soundness(True, 2, 0, True)
    assert chamfer_distance(apart, pinched).fraction < 0.03


def sponge() -> trimesh.Trimesh:
    """A closed surface with many thin necks, which a collapse to few faces pinches."""
    x, y, z = np.meshgrid(*[np.linspace(0, 4 * np.pi, 72)] * 3, indexing="ij")
    gyroid = np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)
    solid = np.pad(gyroid - 1.4, 1, constant_values=-1.0).astype(np.float32)
    vertices, faces, _, _ = measure.marching_cubes(solid, 0.0, gradient_direction="ascent")
    return max(trimesh.Trimesh(vertices, faces, process=False).split(only_watertight=True), key=lambda part: part.area)


def test_a_sponge_stays_whole_and_closed():
    dense = sponge()
    few = simplified(dense, 2500)
    assert soundness(dense) == soundness(few) == Soundness(True, 1, 0, True)
    assert len(few.faces) < len(dense.faces) / 2


@pytest.mark.parametrize(("radius", "goes"), [(0.02, True), (0.5, False)])
def test_a_crumb_that_comes_off_where_a_part_was_pinched_goes_but_no_part_does(radius, goes, monkeypatch):
    whole = trimesh.creation.icosphere(5)
    fewer = trimesh.creation.icosphere(3)
    off = trimesh.creation.icosphere(1, radius).apply_translation((2, 0, 0))
    torn = trimesh.Trimesh(fewer.vertices, fewer.faces[1:], process=False)  # what is not closed is looked at
    monkeypatch.setattr(simplify, "_collapsed", lambda mesh, faces, eagerness: torn)
    monkeypatch.setattr(simplify, "unpinched", lambda mesh: trimesh.util.concatenate([fewer, off]))
    made = simplified(whole, 2000)
    assert soundness(made).closed and soundness(made).components == 1
    assert len(made.faces) == (len(fewer.faces) if goes else len(whole.faces))
