"""A field cut to an object holds it alone, exactly, and comes back from disk as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.captures.bounds import SceneBox
from engine.fields.checkpoint import load_field, save_field
from engine.fields.crop import cropped
from engine.fields.cut import CutField
from engine.fields.dvgo import DVGO, DVGOSettings
from engine.fields.kinds import KINDS, kind_of
from engine.fields.nerf import NeRF, NeRFSettings, NetworkSize
from engine.fields.scene_grid import build_grid
from engine.fields.settings import TrainingSettings
from engine.fields.tensorf import TensoRF
from engine.fields.training import TrainedField
from sa3d_blender.protocol.errors import FieldError

CPU = torch.device("cpu")
PART = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.5, 2.0]])  # of the box of the fields in conftest.py
SETTINGS = TrainingSettings(occupancy_side=16)


def half_and_half() -> torch.Tensor:
    """Probabilities that rise from 0 to 1 along x."""
    return torch.linspace(0, 1, 5)[:, None, None].expand(5, 4, 6).clone()


def test_density_is_the_inner_ones_times_the_objects_share(make_field, points_in):
    inner = make_field()
    cut = CutField(inner, PART, half_and_half())
    points = points_in(PART, 400)
    unit = (points[:, 0] - PART[0, 0]) / (PART[1, 0] - PART[0, 0])
    share = ((unit - 0.5) / 0.4 + 0.5).clamp(0, 1)
    with torch.no_grad():
        torch.testing.assert_close(cut.density(points), inner.density(points) * share, rtol=1e-4, atol=1e-4)
        assert torch.equal(cut.density(points)[unit < 0.29], torch.zeros(int((unit < 0.29).sum())))
        viewdirs = torch.nn.functional.normalize(points, dim=-1)
        assert torch.equal(cut.colour(points, viewdirs), inner.colour(points, viewdirs))


def test_outside_of_the_objects_box_there_is_nothing(make_field, points_in):
    cut = CutField(make_field(), PART, torch.ones(4, 4, 4))
    points = points_in(PART, 500, reach=4.0)
    outside = ((points < PART[0]) | (points > PART[1])).any(-1)
    assert outside.sum() > 300
    with torch.no_grad():
        density = cut.density(points)
    assert (density[outside] == 0).all()
    assert (density[~outside] > 0).all()
    assert not cut.space.unbounded


@pytest.mark.parametrize("resolution", [None, (7, 9, 4)])
def test_the_bake_is_exact_at_its_nodes_and_empty_where_the_field_is(make_field, resolution):
    cut = CutField(make_field(), PART, half_and_half())
    volume = cut.density_volume(resolution)
    axes = [torch.linspace(float(PART[0, k]), float(PART[1, k]), n) for k, n in enumerate(volume.resolution)]
    nodes = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    with torch.no_grad():
        truth = cut.density(nodes.view(-1, 3)).view(volume.resolution)
    torch.testing.assert_close(volume.densities(), truth, rtol=1e-3, atol=1e-4)
    assert torch.equal(volume.densities() == 0, truth == 0)
    assert (truth == 0).any()


def small_dvgo() -> DVGO:
    torch.manual_seed(1)
    model = DVGO(torch.tensor([[-1.0, -2.0, 0.5], [3.0, 1.0, 2.5]]), (9, 8, 7), DVGOSettings())
    with torch.no_grad():
        model.density_grid.uniform_(0, 10)
        model.feature_grid.normal_()
    return model


def small_nerf() -> NeRF:
    torch.manual_seed(2)
    size = NetworkSize(depth=2, width=16, view_width=8, rate=1e-3)
    settings = NeRFSettings(fine=size, coarse=size, density_shift=1.0)
    return NeRF(torch.tensor([[-1.0, -2.0, 0.5], [3.0, 1.0, 2.5]]), (12, 12, 12), settings)


def trained(model) -> TrainedField:
    box = SceneBox(model.aabb.numpy().astype(np.float64), "object")
    return TrainedField(model, build_grid(model, SETTINGS.occupancy_side), box, SETTINGS)


@pytest.mark.parametrize("kind", ["tensorf", "dvgo", "nerf", "cut", "carved tensorf"])
def test_it_comes_back_from_disk_whatever_is_inside(make_field, points_in, tmp_path, kind):
    made = {"dvgo": small_dvgo, "nerf": small_nerf}.get(kind, make_field)
    inner = made()
    if kind == "cut":
        inner = CutField(inner, PART, torch.ones(4, 4, 4))
    if kind == "carved tensorf":
        inner.confine(torch.ones(3, 3, 3, dtype=torch.bool))
    cut = CutField(inner, PART, half_and_half()).eval()
    save_field(trained(cut), tmp_path, "the-capture")
    loaded = load_field(tmp_path, CPU, "the-capture")
    points = points_in(PART, 300, reach=1.5)
    viewdirs = torch.nn.functional.normalize(points, dim=-1)
    with torch.no_grad():
        assert torch.equal(loaded.model.density(points), cut.density(points))
        assert torch.equal(loaded.model.colour(points, viewdirs), cut.colour(points, viewdirs))
    assert torch.equal(loaded.grid.sigma, trained(cut).grid.sigma)
    assert loaded.grid.voids
    assert loaded.model.kind == "cut"


def test_nobody_is_offered_to_train_one():
    assert "cut" not in KINDS
    with pytest.raises(FieldError, match="cut from another"):
        kind_of("cut").make(SceneBox(np.zeros((2, 3)), "object"), (8, 8, 8), SETTINGS)


@pytest.mark.parametrize("unbounded", [True, False])
def test_a_cropped_tensorf_is_the_same_in_its_box_and_smaller(make_field, points_in, unbounded):
    model = make_field(unbounded=unbounded, resolution=(31, 26, 29)).eval()
    small = cropped(model, PART.double().numpy())
    assert isinstance(small, TensoRF)
    assert sum(p.numel() for p in small.parameters()) < 0.5 * sum(p.numel() for p in model.parameters())
    low, high = small.aabb
    assert (low <= PART[0]).all()
    assert (high >= PART[1]).all()
    points = points_in(PART, 400)
    viewdirs = torch.nn.functional.normalize(points, dim=-1)
    with torch.no_grad():
        # float32 places in other units
        torch.testing.assert_close(small.density(points), model.density(points), rtol=2e-3, atol=1e-3)
        torch.testing.assert_close(small.colour(points, viewdirs), model.colour(points, viewdirs), rtol=0, atol=1e-4)


def test_what_can_not_be_cropped_stays_whole(make_field):
    dvgo, tensorf = small_dvgo(), make_field()
    assert cropped(dvgo, PART.double().numpy()) is dvgo
    assert cropped(tensorf, np.array([[-9.0, -1.0, 1.0], [1.0, 0.5, 2.0]])) is tensorf
