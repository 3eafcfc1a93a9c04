"""TensoRF's density is the sum of its products, the same whether asked point by point, baked, or upsampled."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from engine.fields.encoding import fourier
from engine.fields.tensorf import SMOOTHNESS, SPARSITY, TensoRF, TensoRFSettings
from engine.fields.vm import MATRIX_AXES, VECTOR_AXIS


def grids(model: TensoRF) -> list[torch.nn.Parameter]:
    """Planes and lines."""
    return list(model.parameter_groups()[0].parameters)


def nodes_of(model: TensoRF) -> torch.Tensor:
    """World positions [X, Y, Z, 3] of the grid's nodes in a bounded scene."""
    axes = [torch.linspace(float(lo), float(hi), n) for lo, hi, n in zip(*model.aabb, model.resolution, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def test_density_at_nodes_is_the_sum_over_modes_and_ranks_of_plane_times_line(make_field):
    model = make_field(unbounded=False, resolution=(4, 5, 6))
    feature = torch.zeros(4, 5, 6)
    for (a, b), v, plane, line in zip(MATRIX_AXES, VECTOR_AXIS, model.density_planes, model.density_lines, strict=True):
        for index in torch.cartesian_prod(torch.arange(4), torch.arange(5), torch.arange(6)):
            feature[tuple(index)] += (plane[0, :, index[b], index[a]] * line[0, :, index[v], 0]).sum()
    scale = 25.0 * 3.0 / 4.0  # of a box of longest side 4
    expected = scale * F.softplus(feature - 1.0)
    found = model.density(nodes_of(model).view(-1, 3)).view(4, 5, 6)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(model.density_volume().densities(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("unbounded", [False, True])
def test_the_baked_volume_at_the_fields_own_resolution_is_the_field(make_field, points_in, unbounded):
    model = make_field(unbounded=unbounded)
    volume = model.density_volume()
    points = points_in(model.aabb, 2000)
    with torch.no_grad():
        torch.testing.assert_close(volume.density(points), model.density(points), rtol=1e-4, atol=1e-6)


def test_the_baked_volume_is_the_field_in_the_contracted_shell_too(make_field, points_in):
    model = make_field(unbounded=True)
    volume = model.density_volume()
    points = points_in(model.aabb, 4000, reach=8.0)
    points = points[((points < model.aabb[0]) | (points > model.aabb[1])).any(-1)]
    assert len(points) > 3000
    with torch.no_grad():
        expected = model.density(points)
        assert expected.max() > 100 * expected.min()  # there is something to compare
        torch.testing.assert_close(volume.density(points), expected, rtol=1e-4, atol=1e-6)


def test_density_is_per_world_unit_a_box_twice_as_large_is_half_as_dense():
    small, large = (TensoRF(torch.tensor([[-s] * 3, [s] * 3]), (8, 8, 8)) for s in (1.0, 2.0))
    assert large.distance_scale == pytest.approx(small.distance_scale / 2)


def test_a_new_field_is_almost_empty_but_can_learn(points_in):
    torch.manual_seed(0)
    model = TensoRF(torch.tensor([[-1.0] * 3, [1.0] * 3]), (16, 16, 16))
    density = model.density(points_in(model.aabb, 500))
    assert float(density.detach().max()) * 2 < 0.7  # optical thickness across the box
    density.sum().backward()
    assert all(float(p.grad.abs().max()) > 0 for p in [*model.density_planes, *model.density_lines])


def test_doubling_the_cells_keeps_the_field_everywhere(make_field, points_in):
    """2n - 1 nodes hold the n old ones and the middles between them: the interpolated field is the same function."""
    model = make_field(unbounded=False)
    points = points_in(model.aabb, 1000)
    directions = F.normalize(torch.ones(1000, 3), dim=-1)
    nodes, resolution = nodes_of(model).view(-1, 3), model.resolution
    with torch.no_grad():
        before = model.density(points), model.density(nodes), model.colour(points, directions)
        x, y, z = (2 * n - 1 for n in resolution)
        model.refine((x, y, z))
        after = model.density(points), model.density(nodes), model.colour(points, directions)
    assert model.resolution == (x, y, z)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-5)


def test_after_upsampling_the_parameters_are_those_of_the_finer_grid(make_field):
    model = make_field(resolution=(9, 12, 10))
    model.refine((20, 25, 30))
    shapes = [tuple(p.shape[2:]) for p in model.density_planes]
    assert shapes == [(25, 20), (30, 20), (30, 25)]
    assert [p.shape[2] for p in model.density_lines] == [30, 25, 20]
    assert all(p.requires_grad and p.is_leaf for p in grids(model))


def test_colours_lie_in_the_unit_interval_and_depend_on_place_and_direction(make_field, points_in):
    model = make_field()
    with torch.no_grad():
        for part in grids(model):
            part.mul_(5.0)
    points = points_in(model.aabb, 100)
    one, other = (F.normalize(torch.tensor(d), dim=-1).expand(100, 3) for d in ([1.0, 0, 0], [0, 1.0, 1.0]))
    with torch.no_grad():
        colour, from_there = model.colour(points, one), model.colour(points, other)
    assert colour.shape == (100, 3)
    assert 0 <= float(colour.min()) < float(colour.max()) <= 1
    assert float((colour - from_there).abs().max()) > 1e-4
    assert float(colour.std(0).max()) > 1e-4


def test_behind_a_bounded_scene_is_white_behind_the_world_a_sky(make_field):
    directions = F.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    here = torch.zeros_like(directions)
    assert make_field(unbounded=False).background(here, directions).eq(1).all()
    field = make_field(unbounded=True)
    sky = field.background(here, directions).detach()
    assert 0 < float(sky.min()) < float(sky.max()) < 1
    assert not torch.equal(sky, field.background(here + 0.5, directions))  # walls have parallax


def test_regularisation_is_the_mean_absolute_value_of_the_density_components():
    model = TensoRF(torch.tensor([[-1.0] * 3, [1.0] * 3]), (8, 8, 8), TensoRFSettings(density_ranks=(2, 2, 2)))
    with torch.no_grad():
        for i, part in enumerate([*model.density_planes, *model.density_lines]):
            part.fill_((-1) ** i * (i + 1.0))
    assert model.regularisation().item() == pytest.approx(SPARSITY * (1 + 2 + 3 + 4 + 5 + 6))


def test_fourier_features_are_the_value_then_its_sines_and_cosines():
    x = torch.tensor([[0.3, -0.7]])
    expected = torch.cat([x, x.sin(), (2 * x).sin(), x.cos(), (2 * x).cos()], -1)
    torch.testing.assert_close(fourier(x, 2), expected)
    assert fourier(x, 0) is x


def test_steps_from_node_to_node_cost_too():
    """Squares of differences, their mean along each axis of each plane."""
    model = TensoRF(torch.tensor([[-1.0] * 3, [1.0] * 3]), (8, 8, 8), TensoRFSettings(density_ranks=(2, 2, 2)))
    with torch.no_grad():
        for part in [*model.density_planes, *model.density_lines]:
            part.fill_(1.0)
        even = model.regularisation().item()
        model.density_planes[1][..., 4:] = 3.0  # a step of 2 once along 7 of an axis
        stepped = model.regularisation().item()
    assert even == pytest.approx(6 * SPARSITY)
    assert stepped - even == pytest.approx(SMOOTHNESS * 4 / 7 + SPARSITY * 1.0, rel=1e-4)
