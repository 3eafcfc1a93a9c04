"""A normal map turns the coarse surface's normals into the dense one's, in the directions that glTF names."""

from __future__ import annotations

import numpy as np
import trimesh

from engine.meshing.normal_map import DenseSurface, tangent_space, tangents
from engine.meshing.texels import rasterised
from engine.meshing.texture import TextureSettings, textured
from engine.progress import Job
from tests.helpers.photographed import ball

QUAD = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
FACES = np.array([[0, 1, 2], [1, 3, 2]])
UP = np.tile([0.0, 0.0, 1.0], (4, 1))


def local(wanted: tuple[float, float, float], uv: np.ndarray) -> np.ndarray:
    frame = tangents(QUAD, FACES, uv, UP)
    return tangent_space(np.array([wanted]), UP[:1], frame[:1, :3], frame[:1, 3])[0]


def test_red_is_where_u_grows_and_green_where_the_picture_goes_up():
    uv = QUAD[:, :2]  # v grows upwards: along +y
    np.testing.assert_allclose(local((0.0, 0.0, 1.0), uv), [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(local((0.6, 0.0, 0.8), uv), [0.6, 0, 0.8], atol=1e-12)
    np.testing.assert_allclose(local((0.0, 0.6, 0.8), uv), [0, 0.6, 0.8], atol=1e-12)


def test_turned_and_mirrored_pictures_have_frames_of_their_own():
    turned = np.stack([QUAD[:, 1], 1.0 - QUAD[:, 0]], axis=1)  # u along +y, v along -x
    np.testing.assert_allclose(local((0.6, 0.0, 0.8), turned), [0, -0.6, 0.8], atol=1e-12)
    mirrored = np.stack([1.0 - QUAD[:, 0], QUAD[:, 1]], axis=1)
    np.testing.assert_allclose(local((0.6, 0.0, 0.8), mirrored), [-0.6, 0, 0.8], atol=1e-12)
    np.testing.assert_allclose(local((0.0, 0.6, 0.8), mirrored), [0, 0.6, 0.8], atol=1e-12)
    assert tangents(QUAD, FACES, mirrored, UP)[:, 3].tolist() == [-1.0] * 4


def test_the_map_brings_back_ripples_that_the_coarse_ball_lost():
    dense = ball(5)
    dense.vertices *= 1.0 + 0.01 * np.sin(14.0 * dense.vertices[:, 2:])
    coarse = ball(3)
    made = textured(coarse, dense, [], TextureSettings(256), Job())
    image = np.asarray(made.visual.material.normalTexture)
    faces, uv = np.asarray(made.faces), np.asarray(made.visual.uv)
    texels = rasterised(uv, faces, 256)
    # Decoded as a renderer does: frames interpolated, bitangent = sign * cross(normal, tangent).
    frame = texels.interpolated(tangents(made.vertices, faces, uv, made.vertex_normals), faces)
    normal = texels.interpolated(np.asarray(made.vertex_normals), faces)
    x, y, z = (image.reshape(-1, 3)[texels.index] / 127.5 - 1.0).T[..., None]
    decoded = x * frame[:, :3] + y * frame[:, 3:] * np.cross(normal, frame[:, :3]) + z * normal
    decoded /= np.linalg.norm(decoded, axis=1, keepdims=True)
    points = texels.interpolated(np.asarray(made.vertices), faces)
    true = dense.vertex_normals[np.linalg.norm(dense.vertices[None] - points[::37, None], axis=2).argmin(axis=1)]

    def degrees(found):
        return np.degrees(np.arccos(np.clip(np.einsum("ni,ni->n", found, true), -1, 1))).mean()

    assert degrees(decoded[::37]) < 2.5
    assert degrees(normal[::37] / np.linalg.norm(normal[::37], axis=1, keepdims=True)) > 4.0


def test_a_thin_wall_does_not_get_the_normals_of_its_other_side():
    wall = trimesh.creation.box((4.0, 4.0, 0.02))
    for _ in range(4):
        wall = wall.subdivide()
    surface = DenseSurface.of(wall.vertices, wall.vertex_normals, wall.faces)
    points = np.array([[0.1, 0.2, 0.0], [-0.7, 0.4, 0.0]])
    above = surface.normals_near(points, np.tile([0.0, 0.0, 1.0], (2, 1)))
    np.testing.assert_allclose(above, [[0, 0, 1], [0, 0, 1]], atol=1e-6)


def test_where_the_dense_surface_is_the_mesh_itself_there_is_no_map():
    mesh = ball(2)
    assert textured(mesh, mesh, [], TextureSettings(64), Job()).visual.material.normalTexture is None
    plain = TextureSettings(64, normal_map=False)
    assert textured(mesh, ball(3), [], plain, Job()).visual.material.normalTexture is None
