"""Vertices take the colours of the photos that really see them."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from engine.captures.capture import Camera
from engine.meshing.coloured import colour_vertices
from engine.meshing.colours import PhotoForColour
from sa3d_blender.protocol.errors import MeshError

SIZE = 160


def camera_at(position: np.ndarray) -> Camera:
    """Looks at the origin, Z up."""
    back = position / np.linalg.norm(position)
    right = np.cross((0.0, 0.0, 1.0), back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = position
    return Camera(SIZE, SIZE, 200.0, 200.0, SIZE / 2, SIZE / 2, pose)


def painted(direction: np.ndarray) -> np.ndarray:
    """The colour of a ball's surface in a direction [..., 3]: smooth in all axes."""
    return 0.5 + 0.4 * direction


def photo_of_ball(position: tuple[float, float, float], paint=painted) -> PhotoForColour:
    camera = camera_at(np.array(position))
    x, y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    local = np.stack([(x - camera.cx) / camera.fl_x, -(y - camera.cy) / camera.fl_y, -np.ones_like(x)], axis=-1)
    rays_d = local @ camera.world_from_camera[:3, :3].T
    a = (rays_d**2).sum(-1)
    b = rays_d @ camera.position
    root = b * b - a * (camera.position @ camera.position - 1.0)
    depth = np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0.0))) / a, 0.0)
    hit = camera.position + depth[..., None] * rays_d
    rgb = np.where((root > 0)[..., None], paint(hit), 0.0).astype(np.float32)
    return PhotoForColour(camera, rgb, depth.astype(np.float32), (root > 0).astype(np.float32))


BALL = trimesh.creation.icosphere(4, 1.0)
AROUND = [(4.0, 0.5, 0.3), (-4.0, 0.5, 0.5), (0.3, 4.0, 0.6), (0.2, -4.0, 1.0), (0.1, 0.5, 4.0), (0.1, 0.4, -4.0)]


def test_a_ball_photographed_from_all_sides_gets_its_paint_back():
    rgba, unseen = colour_vertices(BALL.vertices, BALL.vertex_normals, [photo_of_ball(p) for p in AROUND], BALL.faces)
    assert not unseen.any()
    assert (rgba[:, 3] == 255).all()
    # A pixel is 0.02 of the radius, at grazing angles a few times as much, and the paint changes by 0.4 per radius.
    assert np.abs(rgba[:, :3] / 255.0 - painted(BALL.vertices)).max() < 0.03


def test_the_far_side_is_reported_unseen_and_filled_from_the_nearest_seen_vertices():
    rgba, unseen = colour_vertices(BALL.vertices, BALL.vertex_normals, [photo_of_ball((4.0, 0.0, 0.0))], BALL.faces)
    assert unseen[BALL.vertices[:, 0] < 0.0].all()
    assert not unseen[BALL.vertices[:, 0] > 0.5].any()
    left, right = (unseen & (sign * BALL.vertices[:, 1] > 0.6) for sign in (-1.0, 1.0))
    assert rgba[left, 1].mean() < 120 < 135 < rgba[right, 1].mean()  # green grows along y on the seen rim


def test_what_stands_before_the_object_does_not_colour_it():
    photo = photo_of_ball((4.0, 0.0, 0.0))
    rgb, depth = photo.rgb.copy(), photo.depth.copy()
    rgb[:, 80:], depth[:, 80:] = (1.0, 0.0, 1.0), 2.0  # a magenta board halfway, over the ball's +y half
    rgba, unseen = colour_vertices(
        BALL.vertices, BALL.vertex_normals, [PhotoForColour(photo.camera, rgb, depth)], BALL.faces
    )
    assert unseen[BALL.vertices[:, 1] > 0.1].all()
    magenta = (rgba[:, 0] > 200) & (rgba[:, 1] < 60) & (rgba[:, 2] > 200)  # x + z > 1.4, y < -0.6: not on the ball
    assert not magenta.any()


def test_one_photo_with_a_highlight_is_outvoted():
    def glossy(direction):
        return np.ones_like(direction)

    positions = [(4.0, 0.0, 0.2), (3.9, 0.6, 0.2), (3.9, -0.6, 0.2), (3.9, 0.2, 0.8)]
    photos = [photo_of_ball(positions[0], glossy)] + [photo_of_ball(p) for p in positions[1:]]
    rgba, _ = colour_vertices(BALL.vertices, BALL.vertex_normals, photos, BALL.faces)
    front = BALL.vertices[:, 0] > 0.9
    plain_mean = (1.0 + 3.0 * painted(BALL.vertices[front])) / 4.0
    error = np.abs(rgba[front, :3] / 255.0 - painted(BALL.vertices[front]))
    assert error.max() < 0.03
    assert np.abs(plain_mean - painted(BALL.vertices[front])).max() > 0.1  # what an average would have made of it


def test_the_mask_keeps_out_what_touches_the_object():
    photo = photo_of_ball((4.0, 0.0, 0.0))
    mask = photo.mask.copy()
    mask[:, :80] = 0.0
    _, unseen = colour_vertices(
        BALL.vertices, BALL.vertex_normals, [PhotoForColour(photo.camera, photo.rgb, photo.depth, mask)], BALL.faces
    )
    assert unseen[BALL.vertices[:, 1] < -0.05].all()


def test_without_photos_all_is_grey_and_unseen():
    rgba, unseen = colour_vertices(BALL.vertices, BALL.vertex_normals, [], BALL.faces)
    assert unseen.all()
    assert (rgba[:, :3] == 128).all()


def test_sizes_that_do_not_fit_are_an_error():
    photo = photo_of_ball((4.0, 0.0, 0.0))
    with pytest.raises(MeshError, match="another size"):
        colour_vertices(
            BALL.vertices, BALL.vertex_normals, [PhotoForColour(photo.camera, photo.rgb, photo.depth[:-1])], BALL.faces
        )
    with pytest.raises(MeshError, match="coloured"):
        colour_vertices(BALL.vertices, BALL.vertex_normals[:-1], [photo], BALL.faces)
