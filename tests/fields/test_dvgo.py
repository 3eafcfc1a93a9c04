"""DVGO activates what it interpolates, keeps its function when refined, and learns what photos show."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_capture import TinyCapture

from engine.captures.bounds import SceneBox
from engine.captures.load import load_capture
from engine.fields.checkpoint import load_field, save_field
from engine.fields.dvgo import DVGO, DVGOSettings
from engine.fields.kinds import KINDS, kind_of
from engine.fields.settings import PRESETS, TrainingSettings
from engine.fields.training import train_field
from engine.fields.volume import interpolated_rows, trilinear
from engine.progress import Job
from engine.workspace import working_photo

CPU = torch.device("cpu")
BOX = torch.tensor([[-1.0, -2.0, 0.5], [3.0, 1.0, 2.5]])  # neither a cube nor at the origin; its longest side is 4
AROUND_TINY = SceneBox(np.array([[-1.2, -1.2, -0.3], [1.2, 1.2, 1.2]]), "inward")


def lively(unbounded: bool = False, resolution: tuple[int, int, int] = (4, 5, 6)) -> DVGO:
    """A field with random grids, so large that its density varies over orders of magnitude."""
    torch.manual_seed(0)
    model = DVGO(BOX, resolution, DVGOSettings(feature_dim=3, cells=8, first_alpha=0.1, unbounded=unbounded))
    with torch.no_grad():
        model.density_grid.normal_(0.0, 3.0)
        model.feature_grid.normal_()
    return model


def nodes_of(model: DVGO) -> torch.Tensor:
    """World positions [X * Y * Z, 3] of the grid's nodes in a bounded scene."""
    axes = [torch.linspace(float(lo), float(hi), n) for lo, hi, n in zip(*model.aabb, model.resolution, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)


def test_density_at_nodes_is_the_softplus_of_the_shifted_grid():
    model = lively()
    expected = 8 / 4 * F.softplus(model.density_grid - np.log(9))  # log(1 / (1 - 0.1) - 1) = -log 9
    found = model.density(nodes_of(model)).view(4, 5, 6)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(model.density_volume().densities(), expected.detach())


def test_between_two_nodes_the_grid_is_interpolated_before_it_is_activated():
    model = lively()
    with torch.no_grad():
        model.density_grid[1, 2, 3], model.density_grid[2, 2, 3] = -20.0, 26.0
    nodes = nodes_of(model).view(4, 5, 6, 3)
    middle = (nodes[1, 2, 3] + nodes[2, 2, 3]) / 2
    found = model.density(middle[None])
    torch.testing.assert_close(found, 2 * F.softplus(torch.tensor([3.0 - float(np.log(9))])), rtol=1e-3, atol=0)


def test_an_untrained_field_has_its_first_opacity_over_each_cell_of_the_box(points_in):
    model = DVGO(BOX, (8, 8, 8), DVGOSettings(cells=100, first_alpha=0.01))
    cell = 4.0 / 100
    alpha = 1 - torch.exp(-model.density(points_in(BOX, 20)) * cell)
    torch.testing.assert_close(alpha, torch.full((20,), 0.01), rtol=1e-3, atol=0)


@pytest.mark.parametrize("unbounded, reach", [(False, 1.0), (True, 8.0)])
def test_the_baked_volume_at_the_fields_own_resolution_is_the_field(points_in, unbounded, reach):
    model = lively(unbounded, (9, 12, 10))
    points = points_in(BOX, 2000, reach=reach)
    with torch.no_grad():
        expected = model.density(points)
        assert expected.max() > 100 * expected.min()  # there is something to compare
        torch.testing.assert_close(model.density_volume().density(points), expected, rtol=1e-4, atol=1e-6)


def test_a_baked_volume_does_not_change_when_the_field_learns_on():
    model = lively()
    volume = model.density_volume()
    before = volume.features.clone()
    with torch.no_grad():
        model.density_grid.add_(1.0)
    assert torch.equal(volume.features, before)


def test_where_nothing_may_be_nothing_is_baked():
    model = lively()
    inhabited = torch.zeros(4, 5, 6, dtype=torch.bool)
    inhabited[2, 3, 1] = True
    model.confine(inhabited)
    assert torch.equal(model.density_volume().densities() > 0, inhabited)


def test_doubling_the_cells_keeps_the_field_everywhere(points_in):
    """2n - 1 nodes hold the n old ones and the middles between them: the interpolated field is the same function."""
    model = lively()
    points, directions = points_in(BOX, 1000), F.normalize(torch.ones(1000, 3), dim=-1)
    with torch.no_grad():
        before = model.density(points), model.colour(points, directions)
        model.refine((7, 9, 11))
        after = model.density(points), model.colour(points, directions)
    assert model.resolution == (7, 9, 11)
    assert model.density_grid.shape == (7, 9, 11) and model.feature_grid.shape == (7, 9, 11, 3)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-5)


def test_rows_of_a_grid_are_interpolated_as_trilinear_does_and_learn_as_much(points_in):
    torch.manual_seed(0)
    values = torch.randn(4, 5, 6, 3, requires_grad=True)
    unit = points_in(torch.tensor([[-1.0] * 3, [1.0] * 3]), 500, reach=1.2)  # some beyond the cube
    other = values.detach().movedim(-1, 0).contiguous().requires_grad_()
    found, expected = interpolated_rows(values, unit), trilinear(other, unit).t()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(values.grad, other.grad.movedim(0, -1), rtol=1e-4, atol=1e-4)


def test_rows_at_the_eight_corners_are_the_nodes_themselves():
    values = torch.arange(24.0).view(2, 3, 2, 2)
    corners = torch.tensor(list(product((-1.0, 1.0), repeat=3)))
    assert torch.equal(interpolated_rows(values, corners), values[:, ::2].reshape(8, 2))


def test_colours_lie_in_the_unit_interval_and_depend_on_place_and_direction(points_in):
    model = lively()
    points = points_in(BOX, 100)
    one, other = (F.normalize(torch.tensor(d), dim=-1).expand(100, 3) for d in ([1.0, 0, 0], [0, 1.0, 1.0]))
    with torch.no_grad():
        colour, from_there = model.colour(points, one), model.colour(points, other)
    assert 0 <= float(colour.min()) < float(colour.max()) <= 1
    assert float((colour - from_there).abs().max()) > 1e-4
    assert float(colour.std(0).max()) > 1e-4


def test_every_parameter_learns_at_one_rate():
    for model in (lively(), lively(unbounded=True)):
        named = [id(p) for group in model.parameter_groups() for p in group.parameters]
        assert sorted(named) == sorted(id(p) for p in model.parameters())


def test_every_quality_has_a_preset_with_photos_of_the_same_size():
    presets = KINDS["dvgo"].presets
    assert {name: p.max_side_px for name, p in presets.items()} == {name: p.max_side_px for name, p in PRESETS.items()}
    assert all(len(p.sides) == len(p.upsample_at) + 1 for p in presets.values())


def test_a_short_training_brings_it_nearer_to_the_photos_and_survives_the_disk(
    tiny_capture: TinyCapture, tmp_path, points_in
):
    pairs = [working_photo(view, 80) for view in load_capture(tiny_capture.folder).views[::3]]
    settings = TrainingSettings(steps=100, rays=256, sides=(12, 24), upsample_at=(50,), occupancy_side=24)
    trained = train_field([c for c, _ in pairs], [i for _, i in pairs], AROUND_TINY, settings, CPU, Job(), kind="dvgo")
    assert isinstance(trained.model, DVGO) and trained.model.space.unbounded
    psnr = [point.training_psnr_db for point in trained.history]
    assert psnr[-1] > psnr[0] + 2  # dB, on the photos themselves

    save_field(trained, tmp_path, "the-capture")
    loaded = load_field(tmp_path, CPU, "the-capture")
    assert loaded.model.kind == "dvgo" and loaded.model.settings == trained.model.settings
    points = points_in(trained.model.aabb, 200, reach=3.0)
    directions = F.normalize(points, dim=-1)
    with torch.no_grad():
        assert torch.equal(loaded.model.density(points), trained.model.density(points))
        assert torch.equal(loaded.model.colour(points, directions), trained.model.colour(points, directions))
        assert torch.equal(loaded.model.background(points, directions), trained.model.background(points, directions))


def test_an_objects_scene_is_bounded_and_white_behind():
    model = kind_of("dvgo").make(replace(AROUND_TINY, kind="object"), (8, 8, 8), TrainingSettings())
    directions = F.normalize(torch.ones(5, 3), dim=-1)
    assert not model.space.unbounded
    assert model.background(torch.zeros(5, 3), directions).eq(1).all()
