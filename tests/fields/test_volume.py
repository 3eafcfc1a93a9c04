"""A baked density is interpolated, ends where a bounded scene ends, and can be cut to the region of interest."""

from __future__ import annotations

import torch

from engine.fields.contraction import Contraction
from engine.fields.volume import DensityVolume


def test_the_core_holds_the_same_densities(make_field, points_in):
    volume = make_field(unbounded=True, resolution=(21, 26, 24)).density_volume()
    core = volume.core()
    parts, aabb = volume.space.core(volume.resolution)
    assert not core.space.unbounded
    torch.testing.assert_close(core.densities(), volume.densities()[parts])
    points = points_in(aabb, 2000, reach=0.999)
    torch.testing.assert_close(core.density(points), volume.density(points), rtol=1e-4, atol=1e-6)


def test_there_is_nothing_where_a_bounded_scene_has_ended(make_field, points_in):
    volume = make_field(unbounded=False).density_volume()
    points = points_in(volume.space.aabb, 2000, reach=2.0)
    inside = ((points >= volume.space.aabb[0]) & (points <= volume.space.aabb[1])).all(-1)
    density = volume.density(points)
    assert (density[~inside] == 0).all()
    assert (density[inside] > 0).all()


def test_features_are_interpolated_along_each_axis_in_its_own_order():
    """A feature that is linear in x, y, z is reproduced exactly: axes can't be swapped."""
    aabb = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    x, y, z = torch.meshgrid(*(torch.linspace(0, 1, n) for n in (3, 4, 5)), indexing="ij")
    volume = DensityVolume(30 + x + 10 * y - 5 * z, Contraction(aabb), shift=0.0, scale=2.0)
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    expected = 2 * (30 + points @ torch.tensor([1.0, 10.0, -5.0]))  # softplus is the identity up here
    torch.testing.assert_close(volume.density(points), expected, rtol=1e-5, atol=0)


def test_a_volume_says_its_resolution_and_can_move(make_field):
    volume = make_field(resolution=(9, 12, 10)).density_volume((5, 6, 7))
    assert volume.resolution == (5, 6, 7)
    moved = volume.to("cpu")
    torch.testing.assert_close(moved.features, volume.features)


def test_normals_point_to_where_density_falls(make_volume):
    """A ball in a stretched box: away from its middle, to a degree or two."""
    space = Contraction(torch.tensor([[-1.0, -2.0, -1.0], [1.0, 2.0, 3.0]]))
    axes = [torch.linspace(float(low), float(high), 41) for low, high in space.aabb.t()]
    nodes = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    centre = torch.tensor([0.1, 0.2, 1.0])
    volume = make_volume(torch.sigmoid((0.7 - (nodes - centre).norm(dim=-1)) * 10), space)
    outward = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    found = volume.normals(centre + 0.7 * outward)
    assert float((found * outward).sum(-1).min()) > 0.999
    assert torch.equal(make_volume(torch.ones(5, 5, 5), space).normals(centre[None]), torch.zeros(1, 3))
