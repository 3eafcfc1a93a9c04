"""Metrics give the numbers that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from engine.evaluation.metrics import boundary_iou, chamfer_distance, f_score, iou, outer_surface, pixel_accuracy, psnr
from sa3d_blender.protocol.errors import MeshError, Sa3dError


def square(x: int, size: int = 20, image: int = 60) -> np.ndarray:
    mask = np.zeros((image, image), dtype=bool)
    mask[20 : 20 + size, x : x + size] = True
    return mask


def test_iou_of_two_squares_that_overlap_by_half_is_a_third():
    assert iou(square(10), square(20)) == pytest.approx(1 / 3)
    assert iou(square(10), square(10)) == 1.0
    assert iou(square(0), square(40)) == 0.0


def test_two_empty_masks_agree():
    nothing = np.zeros((5, 5), dtype=bool)
    assert iou(nothing, nothing) == 1.0
    assert boundary_iou(nothing, nothing) == 1.0


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_masks_may_be_bytes_or_soft(kind):
    scale = 255 if kind is np.uint8 else 0.9
    assert iou((square(10) * scale).astype(kind), square(20)) == pytest.approx(1 / 3)
    assert iou(square(10).astype(np.uint8), square(20)) == pytest.approx(1 / 3)  # 0/1 bytes


def test_pixel_accuracy_counts_agreement_everywhere():
    assert pixel_accuracy(square(10), square(20)) == pytest.approx(1 - 400 / 3600)


def test_boundary_iou_sees_a_coarse_outline_that_iou_forgives():
    big, dented = square(10, 40, 100), square(10, 40, 100)
    dented[20:22] = False
    assert iou(big, dented) == pytest.approx(0.95)
    assert boundary_iou(big, dented) < 0.85


def test_boundary_iou_of_a_square_and_a_smaller_one_inside_is_that_of_their_rims():
    # A band is round(0.02 * 141.4) = 3 pixels wide. The inner square is 2 pixels smaller on each side, so that the two
    # bands share a ring one pixel wide.
    outer, inner = square(20, 40, 100), np.zeros((100, 100), dtype=bool)
    inner[22:58, 22:58] = True

    def ring(from_side: int, to_side: int) -> int:
        return from_side**2 - to_side**2

    both, either = ring(36, 34), ring(40, 34) + ring(36, 30) - ring(36, 34)
    assert boundary_iou(outer, inner) == pytest.approx(both / either)


def test_psnr_of_an_even_error_of_a_tenth_is_20_db():
    truth = np.full((8, 9, 3), 0.5)
    assert psnr(truth + 0.1, truth) == pytest.approx(20.0)
    assert psnr(truth, truth) == float("inf")


def test_psnr_within_a_mask_ignores_the_rest():
    truth = np.full((8, 9, 3), 0.5)
    image = truth + 0.1
    image[:4] = 0.0
    mask = np.zeros((8, 9), dtype=bool)
    mask[4:] = True
    assert psnr(image, truth, mask) == pytest.approx(20.0)


def test_what_can_not_be_compared_is_an_error_with_a_cure():
    for call in (
        lambda: iou(np.zeros((3, 4)), np.zeros((4, 3))),
        lambda: psnr(np.zeros((3, 4, 3)), np.zeros((4, 3, 3))),
        lambda: psnr(np.zeros((3, 4, 3)), np.zeros((3, 4, 3)), np.zeros((3, 4))),
    ):
        with pytest.raises(Sa3dError) as caught:
            call()
        assert caught.value.cure


def test_chamfer_of_two_concentric_balls_is_the_difference_of_their_radii():
    inner, outer = trimesh.creation.icosphere(4, 1.0), trimesh.creation.icosphere(4, 1.1)
    result = chamfer_distance(inner, outer, samples=20_000)
    # The nearest of 20 000 samples lies up to 0.02 aside of the foot point: sqrt(0.1^2 + 0.012^2) = 0.1007.
    assert result.distance == pytest.approx(0.1, rel=0.03)
    assert result.fraction == pytest.approx(0.1 / np.linalg.norm([2.2] * 3), rel=0.03)
    assert result.distance == pytest.approx((result.to_truth + result.from_truth) / 2)


def test_the_same_seed_gives_the_same_number_and_another_nearly_the_same():
    a, b = trimesh.creation.icosphere(3, 1.0), trimesh.creation.box((1.8, 1.8, 1.8))
    first, again, other = (chamfer_distance(a, b, samples=5_000, seed=s).distance for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert first == pytest.approx(other, rel=0.05)


def test_f_score_falls_from_one_to_zero_at_the_threshold():
    ball = trimesh.creation.icosphere(4, 1.0)
    diagonal = np.linalg.norm([2.0] * 3)
    near, far = ball.copy().apply_scale(1.0 + 0.015 * diagonal), ball.copy().apply_scale(1.0 + 0.025 * diagonal)
    assert f_score(near, ball, samples=20_000).score > 0.99
    assert f_score(far, ball, samples=20_000).score == 0.0


def test_half_a_ball_is_precise_but_recalls_half():
    ball = trimesh.creation.icosphere(4, 1.0)
    half = ball.submesh([np.flatnonzero(ball.triangles_center[:, 2] > 0)], append=True)
    result = f_score(half, ball, samples=20_000)
    assert result.precision > 0.99
    assert result.recall == pytest.approx(0.5, abs=0.04)  # and what lies within 2 % of the rim
    assert result.threshold == pytest.approx(0.02 * np.linalg.norm([2.0] * 3), rel=0.01)


def test_a_cavity_is_not_measured():
    ball, cavity = trimesh.creation.icosphere(3, 1.0), trimesh.creation.icosphere(3, 0.4)
    cavity.invert()
    hollow = trimesh.util.concatenate([ball, cavity])
    assert outer_surface(hollow).area == pytest.approx(ball.area)
    assert f_score(hollow, ball, samples=10_000).score > 0.99


def test_parts_side_by_side_are_all_measured():
    box = trimesh.creation.box().apply_translation((3, 0, 0))
    pair = trimesh.util.concatenate([trimesh.creation.icosphere(2, 1.0), box])
    assert outer_surface(pair).area == pytest.approx(pair.area)


def test_an_empty_mesh_is_an_error():
    with pytest.raises(MeshError, match="no surface"):
        chamfer_distance(trimesh.Trimesh(), trimesh.creation.box())
