"""Evidence is the gradient of the paper's loss, adds up over views, and can be taken back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from engine.fields.rendering import camera_rays
from engine.lifting.evidence import SEEN, Contribution, Evidence, contribution_of, probability
from engine.lifting.projection import LEAST_WEIGHT, ray_weights
from engine.lifting.voxels import SparseVoxels


def gradient_of_equation_5(stage, sampling, view, mask: np.ndarray, lam: float) -> np.ndarray:
    """dL/dV by autograd on a dense grid, float64 [X, Y, Z]: Eq. 3 as a sum over samples, Eq. 5 as a sum over rays."""
    found = ray_weights(stage.volume, stage.grid, *camera_rays(view.camera, torch.device("cpu")), sampling)
    weights = (found.weights * (found.weights > LEAST_WEIGHT)).double()  # lighter samples are left out on purpose
    low, high = stage.volume.space.aabb.double()
    unit = 2 * (found.points.double() - low) / (high - low) - 1
    v = torch.zeros(stage.voxels.shape, dtype=torch.float64, requires_grad=True)
    at_samples = F.grid_sample(v[None, None], unit.flip(-1)[None, None], align_corners=True)[0, 0, 0]
    rendered = (weights * at_samples).sum(-1)
    m = torch.from_numpy(mask.reshape(-1).astype(np.float64))
    loss = -(m * rendered).sum() + lam * ((1 - m) * rendered).sum()
    loss.backward()
    assert v.grad is not None
    return v.grad.numpy()


@pytest.mark.parametrize("lam", [0.15, 1.0])
def test_evidence_for_less_lambda_times_evidence_against_is_minus_the_gradient(stage, sampling, lam):
    view = stage.views[6]
    mask = np.random.default_rng(1).random((60, 80)).astype(np.float32)
    gradient = gradient_of_equation_5(stage, sampling, view, mask, lam)
    found = contribution_of(stage.operators[view.stem], mask)
    foreground, looked = found.foreground.scatter(stage.voxels.count), found.looked.scatter(stage.voxels.count)
    difference = foreground - lam * (looked - foreground)
    expected = -gradient[stage.voxels.index >= 0]
    # float32 sums and positions against float64 ones: a hundred-thousandth of the largest
    scale = float(np.abs(expected).max())
    assert scale > 0.1
    np.testing.assert_allclose(difference, expected, atol=1e-5 * max(scale, 1.0))
    assert np.abs(gradient[stage.voxels.index < 0]).max(initial=0) < 1e-2 * scale  # next to nothing is left out


def test_evidence_of_several_views_is_the_gradient_of_the_summed_loss(stage, sampling):
    views = stage.views[:3]
    evidence, gradient = Evidence(stage.voxels.count), np.zeros(stage.voxels.shape)
    for view in views:
        mask = stage.mask("ball", view)
        evidence.put(view.stem, contribution_of(stage.operators[view.stem], mask))
        gradient = gradient + gradient_of_equation_5(stage, sampling, view, mask, 0.3)
    expected = -gradient[stage.voxels.index >= 0]
    difference = evidence.foreground - 0.3 * evidence.background
    np.testing.assert_allclose(difference, expected, atol=3e-5 * max(1.0, float(np.abs(expected).max())))


def random_contribution(seed: int, count: int = 500) -> Contribution:
    f, b = np.random.default_rng(seed).random((2, count)).astype(np.float32)
    return Contribution(SparseVoxels.of(f, 0.0), SparseVoxels.of(f + b, 0.0))


def test_a_view_can_be_replaced_and_taken_out_without_a_trace():
    """Bit for bit, not only nearly: the sums never hold what rounding left of a view that is gone."""
    a, b, c = (random_contribution(seed) for seed in range(3))
    changed, straight = Evidence(500), Evidence(500)
    changed.put("a", a)
    changed.put("b", b)
    changed.put("b", c)
    straight.put("a", a)
    straight.put("b", c)
    np.testing.assert_array_equal(changed.foreground, straight.foreground)
    np.testing.assert_array_equal(changed.background, straight.background)
    changed.remove("b")
    np.testing.assert_array_equal(changed.foreground, a.foreground.values)
    changed.remove("a")
    assert not changed.foreground.any()
    assert not changed.background.any()
    with pytest.raises(KeyError):
        changed.remove("a")


@pytest.mark.parametrize("lam", [0.15, 1.0, 4.0])
def test_probability_is_above_one_half_exactly_where_the_papers_v_is_positive(lam):
    f, b = np.random.default_rng(0).random((2, 10_000)).astype(np.float32)
    known = f + b > SEEN
    p = probability(f, b, lam)
    clear = known & (np.abs(f - lam * b) > 1e-6)  # nearer to equal than float32 can tell
    np.testing.assert_array_equal(p[clear] > 0.5, (f > lam * b)[clear])
    assert p.min() >= 0
    assert p.max() <= 1


def test_what_was_never_seen_has_no_probability_and_is_told_apart_from_what_was_voted_out():
    f, b = np.array([0, SEEN / 4, 1, 0, 1], np.float32), np.array([0, SEEN / 4, 0, 1, 1], np.float32)
    np.testing.assert_allclose(probability(f, b, 1.0), [0, 0, 1, 0, 0.5])
    evidence = Evidence(5)
    evidence.put("v", Contribution(SparseVoxels.of(f, 1e-6), SparseVoxels.of(f + b, 1e-6)))
    assert evidence.seen.tolist() == [False, False, True, True, True]


def test_with_no_weight_of_evidence_against_all_that_was_ever_marked_belongs_to_the_object():
    f, b = np.array([0.1, 0.0], np.float32), np.array([5.0, 5.0], np.float32)
    np.testing.assert_allclose(probability(f, b, 0.0), [1, 0])
