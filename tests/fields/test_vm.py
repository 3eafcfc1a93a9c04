"""The fast look-ups of vector-matrix products are the reference's, and so are their gradients."""

from __future__ import annotations

import pytest
import torch

from engine.fields.vm import MATRIX_AXES, NEGLIGIBLE, VECTOR_AXIS, VMProducts, vm_products, vm_products_reference

RESOLUTION, RANKS = (7, 9, 12), (2, 3, 5)


@pytest.fixture
def parts():
    """(planes, lines) of unlike sizes and ranks, as leaves."""
    random = torch.Generator().manual_seed(0)
    n = RESOLUTION
    planes = [torch.randn(1, r, n[b], n[a], generator=random) for r, (a, b) in zip(RANKS, MATRIX_AXES, strict=True)]
    lines = [torch.randn(1, r, n[c], 1, generator=random) for r, c in zip(RANKS, VECTOR_AXIS, strict=True)]
    return [p.requires_grad_() for p in planes], [line.requires_grad_() for line in lines]


def points(count: int = 400) -> torch.Tensor:
    """In the cube, on its faces, edges and corners, and a little outside."""
    random = torch.Generator().manual_seed(1)
    inside = torch.rand(count, 3, generator=random) * 2 - 1
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0])] * 3)
    return torch.cat([inside, corners, inside[:20] * 1.3])


def test_products_are_plane_times_line_at_nodes(parts):
    planes, lines = parts
    i, j, k = 3, 5, 8
    unit = torch.tensor([[2 * i / 6 - 1, 2 * j / 8 - 1, 2 * k / 11 - 1]])
    found = vm_products(planes, lines, unit)[0]
    expected = torch.cat(
        [
            planes[0][0, :, j, i] * lines[0][0, :, k, 0],
            planes[1][0, :, k, i] * lines[1][0, :, j, 0],
            planes[2][0, :, k, j] * lines[2][0, :, i, 0],
        ]
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_fast_way_gives_what_the_reference_gives(parts, layout):
    planes, lines = ([p.detach().contiguous(memory_format=layout).requires_grad_() for p in each] for each in parts)
    unit = points()
    fast, slow = VMProducts.apply(unit, *planes, *lines), vm_products_reference(planes, lines, unit)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    wanted = torch.randn(fast.shape, generator=torch.Generator().manual_seed(2))
    for one, other in zip(
        torch.autograd.grad((fast * wanted).sum(), [*planes, *lines]),
        torch.autograd.grad((slow * wanted).sum(), [*planes, *lines]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_gradients_that_are_nothing_beside_the_others_are_left_out(parts):
    planes, lines = parts
    unit = points(50)
    weight = torch.ones(len(unit), 1)
    weight[7:] = NEGLIGIBLE / 100
    found = torch.autograd.grad((vm_products(planes, lines, unit) * weight).sum(), planes)
    alone = torch.autograd.grad(vm_products(planes, lines, unit[:7]).sum(), planes)
    assert all(torch.equal(one, other) for one, other in zip(found, alone, strict=True))


def test_points_that_are_to_learn_get_their_gradients_by_the_reference(parts):
    planes, lines = parts
    unit = points(30).requires_grad_()
    vm_products(planes, lines, unit).sum().backward()
    assert unit.grad is not None and float(unit.grad.abs().max()) > 0


def test_no_point_at_all_is_no_fault(parts):
    planes, lines = parts
    found = vm_products(planes, lines, torch.zeros(0, 3))
    assert found.shape == (0, sum(RANKS))
    assert all(float(g.abs().max()) == 0 for g in torch.autograd.grad(found.sum(), planes))
