"""The contraction leaves the region of interest alone and squeezes the rest of the world into a shell around it."""

from __future__ import annotations

import pytest
import torch

from engine.fields.contraction import SHELL, Contraction

BOX = torch.tensor([[-1.0, -2.0, 0.5], [3.0, 1.0, 2.5]])
CENTRE, HALF = BOX.mean(0), (BOX[1] - BOX[0]) / 2
WORLD = Contraction(BOX, SHELL)
BOUNDED = Contraction(BOX)


def test_a_bounded_box_becomes_the_unit_cube_and_what_lies_outside_stays_outside():
    torch.testing.assert_close(BOUNDED.to_unit(BOX), torch.tensor([[-1.0] * 3, [1.0] * 3]))
    torch.testing.assert_close(BOUNDED.to_unit(CENTRE + 3 * HALF), torch.full((3,), 3.0))


def test_inside_the_region_it_is_the_identity_up_to_the_cubes_scale(points_in):
    xyz = points_in(BOX, 200)
    torch.testing.assert_close(WORLD.to_unit(xyz) * (1 + SHELL) * HALF + CENTRE, xyz, atol=1e-5, rtol=0)


def test_outside_it_is_monotone_and_stays_within_the_cube():
    distance = torch.logspace(-2, 4, 400)  # in half sides, from inside to a horizon
    for direction in (torch.tensor([1.0, 0.0, 0.0]), torch.tensor([-0.3, 1.0, 0.2]), torch.tensor([1.0, -1.0, 1.0])):
        unit = WORLD.to_unit(CENTRE + HALF * direction * distance[:, None])
        norm = unit.abs().amax(-1)
        assert (norm.diff() > 0).all()
        assert norm.max() < 1
        # the ray's direction from the centre is kept
        torch.testing.assert_close(unit / norm[:, None], direction.expand_as(unit), atol=1e-4, rtol=0)


def test_the_farthest_away_reaches_the_cubes_face():
    assert float(WORLD.to_unit(CENTRE + HALF * torch.tensor([1e6, 0.0, 0.0]))[0]) == pytest.approx(1.0, abs=1e-5)


def test_it_is_continuous_at_the_border():
    step = 1e-3
    at = torch.tensor([1 - step, 1.0, 1 + step])
    unit = WORLD.to_unit(CENTRE + HALF * at[:, None] * torch.tensor([1.0, 0.2, 0.1]))[:, 0] * (1 + SHELL)
    assert float(unit[1]) == pytest.approx(1.0, abs=1e-6)
    inner, outer = unit.diff() / step
    assert float(inner) == pytest.approx(1.0, abs=1e-3)
    assert float(outer) == pytest.approx(SHELL, abs=2e-3)  # d/dn (1 + shell - shell/n) at n = 1


def test_lengths_are_true_inside_and_those_of_the_cells_outside():
    direction = torch.tensor([1.0, 0.0, 0.0])
    rays_o, rays_d = CENTRE[None], (HALF * direction)[None]
    t = torch.tensor([[0.0, 0.25, 0.5, 0.75]])

    def lengths(space: Contraction, t: torch.Tensor) -> torch.Tensor:
        return space.cell_lengths(space.along(rays_o, rays_d, t), rays_d, t)

    torch.testing.assert_close(lengths(WORLD, t), t.diff() * HALF[0])
    far = 2 + 200 * t
    assert lengths(WORLD, far).sum() < SHELL * HALF[0]
    torch.testing.assert_close(lengths(BOUNDED, far), far.diff() * HALF[0])


@pytest.mark.parametrize("space", [WORLD, BOUNDED], ids=["unbounded", "bounded"])
def test_along_rays_places_and_lengths_are_those_of_the_points(space, points_in):
    rays_o, rays_d = points_in(BOX, 30, reach=2.0), torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.1, 9.0, 12).expand(30, -1)
    points = rays_o[:, None] + rays_d[:, None] * t[..., None]
    edges = space.along(rays_o, rays_d, t)
    torch.testing.assert_close(edges.movedim(0, -1), space.to_unit(points), rtol=1e-4, atol=1e-5)
    stretched = space.to_unit(points) * HALF * (1 + space.shell)
    torch.testing.assert_close(
        space.cell_lengths(edges, rays_d, t), stretched.diff(dim=1).norm(dim=-1), rtol=1e-3, atol=1e-4
    )


def test_the_core_is_the_nodes_inside_and_its_box_runs_from_the_first_to_the_last():
    resolution = (21, 30, 17)
    parts, aabb = WORLD.core(resolution)
    for axis, (part, n) in enumerate(zip(parts, resolution, strict=True)):
        nodes = CENTRE[axis] + HALF[axis] * (1 + SHELL) * torch.linspace(-1, 1, n)
        inside = (nodes >= BOX[0, axis] - 1e-5) & (nodes <= BOX[1, axis] + 1e-5)
        assert inside.nonzero()[:, 0].tolist() == list(range(part.start, part.stop))
        torch.testing.assert_close(nodes[part][[0, -1]], aabb[:, axis])


def test_the_core_of_a_bounded_scene_is_all_of_it():
    parts, aabb = BOUNDED.core((5, 6, 7))
    assert [(p.start, p.stop) for p in parts] == [(0, 5), (0, 6), (0, 7)]
    torch.testing.assert_close(aabb, BOX)
