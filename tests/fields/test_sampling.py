"""Rays are looked at where they cross the scene, and there mostly where the occupancy grid says that light stops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.fields.contraction import SHELL, Contraction
from engine.fields.sampling import FAR, OccupancyGrid, Stretch, sample_intervals, stretch_of_rays, weights_from_density

CUBE = torch.tensor([[-1.0] * 3, [1.0] * 3])
BOUNDED, WORLD = Contraction(CUBE), Contraction(CUBE, SHELL)


def rays(*pairs: tuple[tuple[float, ...], tuple[float, ...]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([o for o, _ in pairs]), torch.tensor([d for _, d in pairs])


@pytest.fixture
def slab_grid(make_volume):
    """Makes the grid of a cube with opaque slabs from x = low to x = high."""

    def make(*slabs: tuple[float, float], nodes: int = 65, space: Contraction = BOUNDED) -> OccupancyGrid:
        x = torch.linspace(-1, 1, nodes) * (1 + space.shell)
        density = torch.zeros(nodes)
        for low, high in slabs:
            density[(x >= low) & (x <= high)] = 200.0
        return OccupancyGrid.from_volume(make_volume(density[:, None, None].expand(-1, 8, 8), space))

    return make


# the rendering weights (NeRF, Eq. 3)


def test_weights_and_what_passes_sum_to_one():
    generator = torch.Generator().manual_seed(0)
    sigmas = torch.rand(50, 40, generator=generator) * 20
    lengths = torch.rand(50, 40, generator=generator) * 0.1
    weights, through = weights_from_density(sigmas, lengths)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1) + through, torch.ones(50))


def test_weights_of_a_constant_density_follow_the_closed_form():
    sigma, length, count = 3.0, 0.05, 30
    weights, through = weights_from_density(torch.full((1, count), sigma), torch.full((1, count), length))
    k = torch.arange(count)
    expected = torch.exp(-sigma * length * k) * (1 - torch.exp(torch.tensor(-sigma * length)))
    torch.testing.assert_close(weights[0], expected, rtol=1e-4, atol=1e-7)
    assert float(through) == pytest.approx(float(torch.exp(torch.tensor(-sigma * length * count))), rel=1e-4)


def test_nothing_is_seen_behind_a_wall():
    weights, through = weights_from_density(torch.tensor([[0.0, 1e4, 5.0]]), torch.ones(1, 3))
    torch.testing.assert_close(weights, torch.tensor([[0.0, 1.0, 0.0]]))
    assert float(through) == 0.0


# the stretch


def test_in_a_bounded_scene_a_ray_is_looked_at_from_where_it_enters_the_box_to_where_it_leaves():
    o, d = rays(
        ((3, 0, 0), (-1, 0, 0)),  # straight on
        ((3, 0, 0), (-2, 0, 0)),  # t counts in lengths of the direction
        ((0.5, 0, 0), (-1, 0, 0)),  # from inside
        ((-3, -3, 0), (1, 1, 0)),  # through two edges
        ((0, 0.5, 4), (0, 0, -1)),
    )
    stretch = stretch_of_rays(BOUNDED, o.float(), d.float(), 0.01)
    torch.testing.assert_close(stretch.near, torch.tensor([2.0, 1.0, 0.01, 2.0, 3.0]))
    torch.testing.assert_close(stretch.split, torch.tensor([4.0, 2.0, 1.5, 4.0, 5.0]))


@pytest.mark.parametrize("ray", [((3, 0, 0), (1, 0, 0)), ((3, 0, 0), (0, 1, 0)), ((0, 5, 5), (1, 0, 0))])
def test_a_ray_that_misses_a_bounded_scene_gets_no_length(ray):
    o, d = rays(ray)
    stretch = stretch_of_rays(BOUNDED, o.float(), d.float(), 0.01)
    assert float(stretch.t_of(torch.linspace(0, 1, 9)[None]).diff().abs().max()) == 0


def test_an_unbounded_stretch_crosses_the_box_and_goes_on_to_the_horizon():
    o, d = rays(((3, 0, 0), (-1, 0, 0)))
    stretch = stretch_of_rays(WORLD, o.float(), d.float(), 0.01)
    t = stretch.t_of(torch.tensor([[0.0, 1 - stretch.far_share, 1.0]]))
    torch.testing.assert_close(t, torch.tensor([[2.0, 4.0, FAR * 4.0]]))


def test_a_ray_past_the_box_is_looked_at_beyond_it():
    o, d = rays(((3, 0, 0), (0, 1, 0)), ((0, 5, 5), (0, -1, 0)))
    stretch = stretch_of_rays(WORLD, o.float(), d.float(), 0.01)
    t = stretch.t_of(torch.linspace(0, 1, 33).expand(2, -1))
    assert (t > 0).all()
    assert (t.diff(dim=-1) > 0).all()
    assert float(t[1, 0]) < 5 < float(t[1, -1])  # the place nearest to the centre is among what is looked at


@pytest.mark.parametrize("far_share", [0.0, 0.25, 0.6])
def test_distances_grow_with_s_without_a_jump(far_share):
    stretch = Stretch(torch.tensor([0.5, 0.01]), torch.tensor([2.0, 30.0]), far_share)
    t = stretch.t_of(torch.linspace(0, 1, 2001).expand(2, -1))
    assert (t.diff(dim=-1) > 0).all()
    torch.testing.assert_close(t[:, 0], stretch.near)
    last = FAR * stretch.split if far_share else stretch.split
    torch.testing.assert_close(t[:, -1], last)
    bend = torch.tensor([1 - far_share - 1e-4, 1 - far_share + 1e-4]).clamp_max(1).expand(2, -1)
    assert (stretch.t_of(bend).diff(dim=-1)[:, 0] < 0.01 * stretch.split).all()


# the occupancy grid


def test_the_grid_tells_the_density_of_the_node_a_point_is_nearest_to(slab_grid):
    grid = slab_grid((-0.02, 0.02), nodes=65)  # the middle node alone; cells of 1/32
    probes = torch.tensor([[[0.0, 0.3, 0.1], [0.014, 0, 0], [0.02, 0, 0], [-0.045, 0, 0], [0.06, 0, 0]]])
    sigma, reach = grid.lookup(probes)
    assert (sigma[0] > 100).tolist() == [True, True, False, False, False]
    assert (reach[0] > 100).tolist() == [True, True, True, True, False]


def test_points_outside_the_grid_are_those_of_its_border(slab_grid):
    grid = slab_grid((0.9, 1.0))
    sigma, _ = grid.lookup(torch.tensor([[[9.0, 0, 0], [-9.0, 0, 0]]]))
    assert float(sigma[0, 0]) > 100
    assert float(sigma[0, 1]) < 1e-9


# importance sampling


def crossing(count: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rays along -x through the cube, from a plane at x = 3: s = 0 at x = 1, s = 1 at x = -1."""
    yz = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) - 0.5
    rays_o = torch.cat([torch.full((count, 1), 3.0), yz], -1)
    return rays_o, torch.tensor([-1.0, 0.0, 0.0]).expand(count, 3)


def edges_in(grid: OccupancyGrid, fine: int = 32, **kw: Any) -> Tensor:
    """x of the edges [R, fine + 1]."""
    rays_o, rays_d = crossing()
    stretch = stretch_of_rays(grid.space, rays_o, rays_d, 1e-3)
    s = sample_intervals(grid, rays_o, rays_d, stretch, 96, fine, **kw)
    return 3.0 - stretch.t_of(s)


@pytest.mark.parametrize("space", [BOUNDED, WORLD], ids=["bounded", "unbounded"])
@pytest.mark.parametrize("random", [False, True], ids=["rendering", "training"])
@pytest.mark.parametrize("slabs", [(), ((-0.1, 0.1),), ((0.5, 0.52), (-0.8, -0.2))], ids=["empty", "one", "two"])
def test_edges_increase_from_nought_to_one(slab_grid, space, random, slabs):
    grid = slab_grid(*slabs, space=space)
    rays_o, rays_d = crossing()
    generator = torch.Generator().manual_seed(3) if random else None
    stretch = stretch_of_rays(space, rays_o, rays_d, 1e-3)
    s = sample_intervals(grid, rays_o, rays_d, stretch, 96, 32, generator, 0.15)
    assert s.shape == (16, 33)
    assert (s.diff(dim=-1) > 0).all()
    torch.testing.assert_close(s[:, [0, -1]], torch.tensor([0.0, 1.0]).expand(16, 2))


def test_without_a_generator_they_are_always_the_same_with_one_they_follow_its_seed(slab_grid):
    grid = slab_grid((-0.1, 0.1))
    assert torch.equal(edges_in(grid), edges_in(grid))
    first, again, other = (edges_in(grid, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_they_crowd_at_the_face_of_a_dense_slab(slab_grid):
    """The slab's face at x = 0.1 and two cells around it are a tenth of the ray, and get most of the samples."""
    x = edges_in(slab_grid((-0.1, 0.1)))
    assert float(((x - 0.1).abs() < 0.1).float().mean()) > 0.6


def test_they_spread_evenly_where_the_grid_is_empty(slab_grid):
    x = edges_in(slab_grid())
    torch.testing.assert_close(x, torch.linspace(1, -1, 33).expand(16, -1), atol=1e-3, rtol=0)


def test_exploring_spreads_part_of_them_evenly(slab_grid):
    grid = slab_grid((-0.1, 0.1))
    away = [float(((edges_in(grid, explore=e) - 0.0).abs() > 0.25).float().mean()) for e in (0.0, 0.5, 4.0)]
    assert away[0] < away[1] < away[2]
    assert away[2] > 0.5


def test_they_also_look_behind_a_slab_that_the_coarse_grid_takes_for_opaque(slab_grid):
    """A thin slab may only be grazed: what is behind it must get samples of its own."""
    nodes = 129  # cells of 1/64, as long as the intervals
    alone, behind = slab_grid((0.49, 0.51), nodes=nodes), slab_grid((0.49, 0.51), (-0.55, -0.45), nodes=nodes)
    counts = [int(((edges_in(g, fine=128) + 0.5).abs() < 0.15).sum(-1).min()) for g in (alone, behind)]
    assert counts[1] > counts[0]


def test_rays_that_graze_the_box_start_where_their_neighbours_do():
    """A fan of rays over the box's edge: no jump from one that just meets it to one that just misses it."""
    space = Contraction(torch.tensor([[-1.0] * 3, [1.0] * 3]), 0.25)
    angles = torch.linspace(-0.9, 0.9, 4001)
    rays_d = torch.stack([angles.sin(), torch.full_like(angles, 0.1), -angles.cos()], -1)
    rays_o = torch.tensor([[1.5, 0.2, 3.0]]).expand_as(rays_d)
    near = stretch_of_rays(space, rays_o, rays_d, 1e-3).near
    assert float(near.diff().abs().max()) < 0.02
