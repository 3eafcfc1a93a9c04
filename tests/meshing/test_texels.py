"""Every pixel centre belongs to the one triangle that holds it."""

from __future__ import annotations

import numpy as np
from scipy.spatial import Delaunay

from engine.meshing.texels import barycentric, filled_outwards, fragments, rasterised


def net(count: int = 300, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A triangulated square from 0 to 32, some of its points on pixel centres: (points [V, 2], faces [F, 3])."""
    random = np.random.default_rng(seed)
    points = random.uniform(0.0, 32.0, (count, 2))
    points[: count // 3] = np.floor(points[: count // 3]) + 0.5
    points = np.unique(np.concatenate([points, [[0, 0], [32, 0], [0, 32], [32, 32]]]), axis=0)
    return points, Delaunay(points).simplices


def test_a_net_without_overlaps_gives_every_pixel_exactly_once():
    for seed in range(5):
        points, faces = net(seed=seed)
        pixel, _ = fragments(points[faces], (32, 32))
        np.testing.assert_array_equal(np.sort(pixel), np.arange(32 * 32))


def test_a_pixel_is_the_mean_of_its_corners_by_their_weights():
    points, faces = net()
    pixel, face = fragments(points[faces], (32, 32))
    weights = barycentric(points[faces], face, pixel, 32)
    centres = np.stack([pixel % 32, pixel // 32], axis=1) + 0.5
    np.testing.assert_allclose(np.einsum("nk,nkc->nc", weights, points[faces][face]), centres, atol=1e-4)
    assert weights.min() > -1e-4


def test_what_lies_outside_or_nowhere_is_left_out():
    corners = np.array(
        [
            [[-5.0, -5.0], [50.0, -5.0], [-5.0, 50.0]],
            [[np.nan, 0.0], [4.0, 0.0], [0.0, 4.0]],
            [[40, 40], [50, 40], [40, 50]],
        ]
    )
    pixel, face = fragments(corners, (8, 16))
    assert sorted(pixel) == list(range(8 * 16)) and (face == 0).all()
    assert len(fragments(corners[1:], (8, 16))[0]) == 0


def test_uvs_count_upwards_and_overlaps_are_counted():
    uv = np.array([[0.0, 0.5], [1.0, 0.5], [0.0, 1.0], [1.0, 1.0]])  # the upper half of the picture
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    texels = rasterised(uv, faces, 16)
    assert (texels.face_image[:8] >= 0).all() and (texels.face_image[8:] == -1).all()
    assert texels.overlapping == 0
    found = texels.interpolated(uv, faces)
    rows, columns = np.divmod(texels.index, 16)
    np.testing.assert_allclose(found, np.stack([(columns + 0.5) / 16, 1 - (rows + 0.5) / 16], axis=1), atol=1e-6)
    assert rasterised(uv, np.concatenate([faces, faces[:1]]), 16).overlapping == 64


def test_a_triangle_smaller_than_a_texel_still_has_one():
    uv = np.array([[0.26, 0.26], [0.28, 0.26], [0.26, 0.28]])
    texels = rasterised(uv, np.array([[0, 1, 2]]), 8)
    assert texels.index.tolist() == [5 * 8 + 2] and texels.weights[0].sum() == np.float32(1.0)


def test_gutters_take_the_colour_of_the_nearest_chart():
    uv = np.array([[0.0, 0.0], [0.25, 0.0], [0.0, 1.0], [0.25, 1.0], [0.75, 0.0], [1.0, 0.0], [0.75, 1.0], [1.0, 1.0]])
    faces = np.array([[0, 1, 2], [1, 3, 2], [4, 5, 6], [5, 7, 6]])
    texels = rasterised(uv, faces, 16)
    image = np.zeros((16, 16, 1), np.uint8)
    image[:, :4], image[:, 12:] = 10, 200
    filled = filled_outwards(image, texels)
    assert (filled[:, :7] == 10).all() and (filled[:, 9:] == 200).all()
    assert set(np.unique(filled)) == {10, 200}
