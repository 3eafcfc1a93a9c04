"""What the sums promise, for any numbers: no trace of order or of views taken out, no voxel in two objects."""

from __future__ import annotations

import numpy as np
import torch
from autograd_lifting import rendered_and_gradient
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from engine.lifting.evidence import Contribution, Evidence, contribution_of, exclusive, probability
from engine.lifting.projection import LEAST_EVIDENCE
from engine.lifting.voxels import SparseVoxels

COUNT = 12
amounts = st.floats(0, 100, width=32).map(lambda x: x if x >= LEAST_EVIDENCE else 0.0)


@st.composite
def contributions(draw: st.DrawFn) -> Contribution:
    """A view's evidence: what it marks is part of what it looks at."""
    marked = draw(arrays.arrays(np.float32, COUNT, elements=amounts))
    rest = draw(arrays.arrays(np.float32, COUNT, elements=amounts))
    looked = (marked + rest).astype(np.float32)
    return Contribution(SparseVoxels.of(marked, LEAST_EVIDENCE), SparseVoxels.of(looked, LEAST_EVIDENCE))


def evidence_of(views: dict[str, Contribution]) -> Evidence:
    evidence = Evidence(COUNT)
    for name, contribution in views.items():
        evidence.put(name, contribution)
    return evidence


@given(st.lists(contributions(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_the_views_leaves_no_trace(found, random):
    views = {f"{i}": contribution for i, contribution in enumerate(found)}
    shuffled = list(views.items())
    random.shuffle(shuffled)
    a, b = evidence_of(views), evidence_of(dict(shuffled))
    np.testing.assert_array_equal(a.foreground, b.foreground)
    np.testing.assert_array_equal(a.background, b.background)
    np.testing.assert_array_equal(a.seen, b.seen)


@given(st.lists(contributions(), min_size=1, max_size=6), contributions(), contributions())
def test_a_view_put_in_replaced_and_taken_out_leaves_no_trace(found, extra, other):
    views = {f"{i}": contribution for i, contribution in enumerate(found)}
    plain, edited = evidence_of(views), evidence_of(views)
    edited.put("extra", extra)
    edited.put("extra", other)
    assert edited.remove("extra") is other
    np.testing.assert_array_equal(plain.foreground, edited.foreground)
    np.testing.assert_array_equal(plain.background, edited.background)
    np.testing.assert_array_equal(plain.seen, edited.seen)
    np.testing.assert_array_equal(plain.support().index, edited.support().index)


@given(st.lists(contributions(), min_size=2, max_size=6), st.sampled_from([0.05, 0.15, 1.0, 3.0]))
def test_the_support_says_of_another_lambda_what_all_voxels_say(found, lam):
    evidence = evidence_of({f"{i}": contribution for i, contribution in enumerate(found)})
    support = evidence.support()
    everywhere = probability(evidence.foreground, evidence.background, lam)
    kept = support.scatter(support.probability(lam))
    # off the support there is not a hundredth of one pixel
    np.testing.assert_array_equal(kept[support.index], everywhere[support.index])
    assert evidence.foreground[np.setdiff1d(np.arange(COUNT), support.index)].max(initial=0) < 0.01
    np.testing.assert_array_equal(support.v(lam) > 0, support.foreground > np.float32(lam) * support.background)


@given(st.data())
def test_no_voxel_is_in_two_objects_and_the_likeliest_has_it(data):
    k = data.draw(st.integers(2, 5))
    shares = st.floats(0, 1, width=32)
    p = data.draw(arrays.arrays(np.float32, (COUNT, k), elements=shares))
    q = exclusive(p)
    assert ((q > 0.5).sum(1) <= 1).all()
    assert (q <= p).all()
    for before, after in zip(p, q, strict=True):
        if (after > 0.5).any():
            assert before[np.argmax(after)] == before.max()
        first, second = np.sort(before)[::-1][:2]
        if first > 0.5 and first > second + 1e-6:
            assert np.argmax(after) == np.argmax(before)
            assert after.max() > 0.5


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.15, 1.0]))
def test_two_sparse_products_do_what_autograd_does(stage, sampling, seed, lam):
    """Rendering and gradient of a random mask grid for a random mask: the dense reference agrees to 1e-5."""
    rng = np.random.default_rng(seed)
    view = stage.views[int(rng.integers(len(stage.views)))]
    operator = stage.operators[view.stem]
    values = rng.random(stage.voxels.count).astype(np.float32)
    mask = rng.random(operator.opacity.shape).astype(np.float32)
    v = torch.from_numpy(stage.voxels.dense(values)).double()
    flat = torch.from_numpy(mask.reshape(-1)).double()
    rendered, gradient = rendered_and_gradient(stage.volume, stage.grid, view.camera, sampling, v, flat, lam)
    np.testing.assert_allclose(operator.render(values).reshape(-1), rendered.numpy(), atol=1e-5)
    found = contribution_of(operator, mask)
    foreground, looked = (x.scatter(stage.voxels.count) for x in (found.foreground, found.looked))
    expected = -gradient.numpy()[stage.voxels.index >= 0]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(foreground - lam * (looked - foreground), expected, atol=1e-5 * scale)


def test_k_masks_at_once_are_k_masks_one_by_one(stage):
    operator = stage.operators[stage.views[0].stem]
    rng = np.random.default_rng(0)
    values = rng.random((stage.voxels.count, 3)).astype(np.float32)
    images = rng.random((*operator.opacity.shape, 3)).astype(np.float32)
    together, back = operator.render(values), operator.back_project(images)
    for k in range(3):
        np.testing.assert_allclose(together[..., k], operator.render(values[:, k]), atol=1e-6)
        np.testing.assert_allclose(back[:, k], operator.back_project(images[..., k]), atol=1e-5)
