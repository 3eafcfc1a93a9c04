"""Soundness and normals of meshes are those that can be counted and worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from engine.evaluation.mesh_metrics import normal_consistency
from engine.meshing.soundness import Soundness, soundness, welded_faces
from sa3d_blender.protocol.errors import MeshError

SOUND = Soundness(watertight=True, components=1, non_manifold_edges=0, consistently_oriented=True)


def cube(x: float = 0.0) -> trimesh.Trimesh:
    return trimesh.creation.box().apply_translation((x, 0.0, 0.0))


def square(tilt: float = 0.0, height: float = 0.0) -> trimesh.Trimesh:
    """Two triangles of side 1 around the z axis, turned about the x axis by ``tilt`` degrees."""
    corners = np.array([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]])
    mesh = trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)
    mesh.apply_transform(trimesh.transformations.rotation_matrix(np.radians(tilt), (1, 0, 0)))
    return mesh.apply_translation((0.0, 0.0, height))


def joined(*meshes: trimesh.Trimesh) -> trimesh.Trimesh:
    return trimesh.util.concatenate(meshes)


def split(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The same surface with three vertices of its own for every face, as the worst of UV maps would have it."""
    return trimesh.Trimesh(mesh.triangles.reshape(-1, 3), np.arange(3 * len(mesh.faces)).reshape(-1, 3), process=False)


@pytest.mark.parametrize("mesh", [cube(), trimesh.creation.icosphere(3), trimesh.creation.torus(1.0, 0.3)])
def test_a_closed_solid_is_sound_whether_or_not_its_vertices_are_split_at_seams(mesh):
    assert soundness(mesh) == SOUND
    assert not split(mesh).is_watertight  # what makes the welding necessary
    assert soundness(split(mesh)) == SOUND


def test_an_inside_out_solid_is_still_consistent():
    inverted = cube()
    inverted.invert()
    assert soundness(inverted) == SOUND


def test_a_missing_face_opens_a_solid_and_nothing_else():
    open_cube = trimesh.Trimesh(cube().vertices, cube().faces[1:], process=False)
    assert soundness(open_cube) == Soundness(False, 1, 0, True)


def test_one_face_the_wrong_way_round_is_seen():
    faces = cube().faces.copy()
    faces[0] = faces[0, ::-1]
    assert soundness(trimesh.Trimesh(cube().vertices, faces, process=False)) == Soundness(True, 1, 0, False)


def test_parts_are_counted():
    assert soundness(joined(cube(), cube(3.0), trimesh.creation.icosphere(2))).components == 3  # one lies in another
    assert soundness(joined(cube(), cube(3.0))) == Soundness(True, 2, 0, True)


def test_two_cubes_that_touch_along_an_edge_share_one_that_is_no_manifold():
    pair = joined(cube(), cube().apply_translation((1.0, 1.0, 0.0)))
    # two faces of either cube meet there, and they agree about what is outside
    assert soundness(pair) == Soundness(False, 1, 1, True)


def test_three_faces_at_an_edge_are_one_edge_that_is_no_manifold():
    vertices = np.array([[0.0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [-1, 0, 0]])
    fan = trimesh.Trimesh(vertices, [[0, 1, 2], [0, 1, 3], [0, 1, 4]], process=False)
    assert soundness(fan) == Soundness(False, 1, 1, False)


def test_faces_with_two_corners_in_one_place_do_not_count():
    vertices = np.concatenate([cube().vertices, cube().vertices[:1]])
    faces = np.concatenate([cube().faces, [[0, 8, 1]]])
    assert len(welded_faces(trimesh.Trimesh(vertices, faces, process=False))) == 12
    assert soundness(trimesh.Trimesh(vertices, faces, process=False)) == SOUND


def test_a_mesh_without_faces_is_nothing():
    assert soundness(trimesh.Trimesh()) == Soundness(False, 0, 0, True)


@pytest.mark.parametrize("tilt", [0.0, 30.0, 60.0, 90.0, 150.0])
def test_normals_of_two_planes_agree_by_the_cosine_of_the_angle_between_them(tilt):
    expected = abs(np.cos(np.radians(tilt)))
    assert normal_consistency(square(tilt), square(), samples=500) == pytest.approx(expected, abs=1e-12)


def test_which_side_is_the_outer_one_does_not_count():
    turned = square(height=0.1)
    turned.invert()
    assert normal_consistency(turned, square(), samples=500) == pytest.approx(1.0, abs=1e-12)


def test_normals_of_concentric_balls_agree():
    small, large = trimesh.creation.icosphere(5, 1.0), trimesh.creation.icosphere(5, 1.2)
    # A facet is 2 degrees across, the nearest of 20 000 samples 1 degree aside: cos(3 degrees) = 0.9986 at worst.
    assert normal_consistency(small, large, samples=20_000) > 0.9986


def test_both_directions_count_alike():
    wall = square(90.0).apply_translation((0.0, 2.0, 0.0))
    # The floor's samples find the floor. Of the others half lie on the wall, at right angles to the floor they find;
    # how many of 20 000 is a draw: 0.5 to within 4 standard deviations of 0.0035, and half of that in the mean.
    alone, both = square(), joined(square(), wall)
    assert normal_consistency(alone, both, samples=20_000) == pytest.approx(0.75, abs=0.007)
    assert normal_consistency(both, alone, samples=20_000) == pytest.approx(0.75, abs=0.007)


def test_seams_change_no_normals():
    ball = trimesh.creation.icosphere(3)
    assert normal_consistency(split(ball), ball, samples=5_000) == pytest.approx(
        normal_consistency(ball, ball, samples=5_000), abs=1e-9
    )


def test_what_has_no_surface_has_no_normals():
    with pytest.raises(MeshError, match="true mesh has no surface"):
        normal_consistency(cube(), trimesh.Trimesh())
