"""A surface lies flat on its texture: all of it, nothing twice, and every time alike."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from engine.meshing.unwrap import unwrap, welded
from sa3d_blender.protocol.errors import MeshError
from tests.helpers.photographed import ball

SURFACES = {
    "ball": ball(3),
    "torus": trimesh.creation.torus(1.0, 0.35),
    "box": trimesh.creation.box((1.0, 2.0, 3.0)),
}


@pytest.mark.parametrize("name", SURFACES)
def test_charts_lie_in_the_square_without_overlaps_and_are_the_same_triangles(name):
    mesh = SURFACES[name]
    flat = unwrap(mesh.vertices, mesh.faces, 256)
    np.testing.assert_array_equal(flat.source[flat.faces], mesh.faces)
    assert flat.uv.min() >= 0.0 and flat.uv.max() <= 1.0
    assert flat.texels.overlapping == 0
    assert set(flat.texels.face) == set(range(len(mesh.faces)))
    assert len(flat.texels.index) > 0.4 * 256 * 256  # charts of a quarter of the square would waste the texture


@pytest.mark.parametrize("name", SURFACES)
def test_texels_are_spread_evenly_over_the_surface(name):
    mesh = SURFACES[name]
    flat = unwrap(mesh.vertices, mesh.faces, 256)
    a, b, c = (flat.uv[flat.faces[:, k]] for k in range(3))
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2.0
    share = (area / area.sum()) / (mesh.area_faces / mesh.area)
    assert np.percentile(share, 2) > 0.4 and np.percentile(share, 98) < 2.5


def test_charts_keep_their_distance():
    flat = unwrap(SURFACES["torus"].vertices, SURFACES["torus"].faces, 256, padding_px=4)
    joined = trimesh.graph.connected_component_labels(
        trimesh.Trimesh(np.pad(flat.uv, ((0, 0), (0, 1))), flat.faces, process=False).face_adjacency,
        node_count=len(flat.faces),
    )
    image = flat.texels.face_image
    chart = np.where(image >= 0, joined[np.maximum(image, 0)], -1)
    for shift in (1, 2):
        for near, far in ((chart[:, shift:], chart[:, :-shift]), (chart[shift:], chart[:-shift])):
            assert not ((near != far) & (near >= 0) & (far >= 0)).any()


def test_the_same_surface_is_unwrapped_in_the_same_way_whatever_its_size():
    mesh = SURFACES["ball"]
    first, again = (unwrap(mesh.vertices, mesh.faces, 128) for _ in range(2))
    np.testing.assert_array_equal(first.uv, again.uv)
    np.testing.assert_array_equal(first.faces, again.faces)
    tiny = unwrap(mesh.vertices * 1e-3, mesh.faces, 128)
    assert len(tiny.texels.index) > 0.4 * 128 * 128


def test_what_was_split_at_the_seams_is_whole_again():
    mesh = SURFACES["ball"]
    flat = unwrap(mesh.vertices, mesh.faces, 128)
    split = trimesh.Trimesh(mesh.vertices[flat.source], flat.faces, process=False)
    assert not split.is_watertight
    whole = welded(split)
    assert whole.is_watertight and len(whole.vertices) == len(mesh.vertices)
    np.testing.assert_array_equal(whole.triangles, split.triangles)


def test_a_surface_without_area_is_an_error():
    with pytest.raises(MeshError, match="no area"):
        unwrap(np.zeros((3, 3)), np.array([[0, 1, 2]]), 64)
    with pytest.raises(MeshError, match="no area"):
        unwrap(np.zeros((0, 3)), np.zeros((0, 3), int), 64)
