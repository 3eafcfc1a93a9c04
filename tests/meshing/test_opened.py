"""An open mesh lacks what no photo shows, keeps all else, and is clean."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from engine.meshing.doubts import observed_share
from engine.meshing.opened import without_unobserved
from engine.meshing.soundness import soundness, welded_faces
from sa3d_blender.protocol.errors import MeshError
from tests.helpers.textured_meshes import textured_box


def ball(observed: np.ndarray | None = None) -> trimesh.Trimesh:
    """Coloured by height; seen above a height of -0.5 unless told otherwise."""
    mesh = trimesh.creation.icosphere(4, 1.0)
    height = np.clip(128 + 127 * mesh.vertices[:, 2], 0, 255).astype(np.uint8)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=np.stack([height] * 3 + [height * 0 + 255], axis=1))
    seen = mesh.vertices[:, 2] > -0.5 if observed is None else observed
    mesh.vertex_attributes["observed"] = seen.astype(np.float32)
    return mesh


def borders(mesh: trimesh.Trimesh) -> int:
    """Number of closed lines in which a surface ends."""
    faces = welded_faces(mesh)
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    alone, count = np.unique(edges, axis=0, return_counts=True)
    assert (np.bincount(alone[count == 1].ravel())[np.unique(alone[count == 1])] == 2).all()  # no bow ties
    return len(trimesh.graph.connected_components(alone[count == 1]))


def test_the_unseen_cap_is_gone_and_all_else_is_as_it_was():
    mesh = ball()
    made = without_unobserved(mesh)
    assert borders(made) == 1 and soundness(made).components == 1 and not soundness(made).watertight
    assert soundness(made).consistently_oriented
    assert np.array_equal(np.unique(made.faces), np.arange(len(made.vertices)))  # no loose vertex
    # The part of a unit ball's area above z is (1 - z) / 2; faces with one seen corner stay.
    assert made.area / mesh.area == pytest.approx(0.75, abs=0.03)
    of = {tuple(point): i for i, point in enumerate(mesh.vertices)}
    index = [of[tuple(point)] for point in made.vertices]
    np.testing.assert_array_equal(made.visual.vertex_colors, mesh.visual.vertex_colors[index])
    np.testing.assert_array_equal(made.vertex_normals, mesh.vertex_normals[index])
    np.testing.assert_array_equal(made.vertex_attributes["observed"], mesh.vertex_attributes["observed"][index])
    assert observed_share(made) > 0.95


def test_gaps_between_photos_are_no_holes_and_crumbs_amid_nothing_no_parts():
    points = trimesh.creation.icosphere(4, 1.0).vertices
    gap = np.linalg.norm(points - (0, 0, 1), axis=1) < 0.15
    crumb = np.linalg.norm(points - (0, 0, -1), axis=1) < 0.15
    made = without_unobserved(ball(((points[:, 2] > -0.5) & ~gap) | crumb))
    assert borders(made) == 1 and soundness(made).components == 1


def test_seams_are_no_borders_and_uvs_and_pictures_stay():
    box = textured_box()  # its upper half is observed
    made = without_unobserved(box)
    kept = box.vertex_attributes["observed"][box.faces].any(axis=1)
    assert len(made.faces) == kept.sum() < len(box.faces)
    assert borders(made) == 1 and soundness(made).components == 1
    np.testing.assert_array_equal(made.visual.uv[made.faces], box.visual.uv[box.faces[kept]])
    assert made.visual.material is box.visual.material


def test_what_is_seen_all_over_is_left_as_it_is():
    mesh = ball(np.ones(2562, bool))
    assert without_unobserved(mesh) is mesh


def test_nothing_seen_is_a_sentence():
    with pytest.raises(MeshError, match="No photo shows") as caught:
        without_unobserved(ball(np.zeros(2562, bool)))
    assert caught.value.cure
