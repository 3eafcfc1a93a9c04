"""NeRF's two networks: the paper's shape, a bake that looks only where the coarse one has something, joint training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_capture import TinyCapture

from engine.captures.bounds import SceneBox
from engine.captures.load import load_capture
from engine.fields.checkpoint import load_field, save_field
from engine.fields.heldout import HeldOut, heldout_psnr_db
from engine.fields.kinds import KINDS, kind_of
from engine.fields.nerf import PAPER_SIZE, NeRF, NeRFSettings, NetworkSize
from engine.fields.scene_grid import build_grid
from engine.fields.settings import PRESETS, TrainingSettings
from engine.fields.training import train_field
from engine.progress import Job
from engine.workspace import working_photo

CPU = torch.device("cpu")
BOX = torch.tensor([[-1.0, -2.0, 0.5], [3.0, 1.0, 2.5]])  # neither a cube nor at the origin; its longest side is 4
AROUND_TINY = SceneBox(np.array([[-1.2, -1.2, -0.3], [1.2, 1.2, 1.2]]), "inward")
SMALL = NetworkSize(3, 16, 8, 1e-2)


def small(unbounded: bool = False, resolution: tuple[int, int, int] = (9, 12, 10)) -> NeRF:
    """Two small random networks that believe in some matter everywhere, a lot here, little there."""
    torch.manual_seed(0)
    settings = NeRFSettings(SMALL, SMALL, position_frequencies=4, density_shift=0.0, unbounded=unbounded)
    model = NeRF(BOX, resolution, settings)
    with torch.no_grad():
        for network in (model, model.coarse):
            network.density_head.weight.mul_(20.0)
    return model


def nodes_of(model: NeRF) -> torch.Tensor:
    """World positions [X * Y * Z, 3] of the nodes of a bounded field's bake."""
    axes = [torch.linspace(float(lo), float(hi), n) for lo, hi, n in zip(*model.aabb, model.resolution, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)


def test_at_its_best_it_is_the_networks_of_the_paper():
    """8 layers of 256 on 63 encoded coordinates, these again after the fifth; 128 for colours with 27 of direction."""
    model = kind_of("nerf").make(AROUND_TINY, (8, 8, 8), KINDS["nerf"].presets["best"])
    assert isinstance(model, NeRF)
    for network in (model, model.coarse):
        assert [(n.in_features, n.out_features) for n in network.layers] == [
            (63, 256),
            *[(256, 256)] * 4,
            (63 + 256, 256),
            *[(256, 256)] * 2,
        ]
        assert (network.view_layer.in_features, network.view_layer.out_features) == (256 + 27, 128)
    assert PAPER_SIZE.rate == 5e-4


def test_drafts_have_smaller_networks_than_good_fields_and_these_than_the_best():
    def count(quality: str) -> int:
        model = kind_of("nerf").make(AROUND_TINY, (8, 8, 8), KINDS["nerf"].presets[quality])
        return sum(p.numel() for p in model.parameters())

    assert 4 * count("draft") < 2 * count("good") < count("best")


def test_the_density_is_the_softplus_of_the_network_at_the_encoded_place():
    """One layer, worked out by hand: relu of a weighted sum of x, sin x and cos x of the first coordinate."""
    settings = NeRFSettings(NetworkSize(1, 1, 1, 1.0), SMALL, 1, 0, optical_side=8, density_shift=-1, unbounded=False)
    model = NeRF(BOX, (8, 8, 8), settings)
    with torch.no_grad():
        model.layers[0].weight.copy_(torch.tensor([[2.0, 0, 0, 3.0, 0, 0, 5.0, 0, 0]]))
        model.layers[0].bias.fill_(0.5)
        model.density_head.weight.fill_(0.7)
        model.density_head.bias.fill_(0.1)
    x = 0.25  # of the unit cube: -1 + 4 * (1 + 0.25) / 2 = 1.5 in the world
    hidden = 2 * x + 3 * np.sin(x) + 5 * np.cos(x) + 0.5
    expected = 8 / 4 * np.log1p(np.exp(0.7 * hidden + 0.1 - 1))
    assert model.density(torch.tensor([[1.5, 0.0, 1.0]])).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("unbounded", [False, True])
def test_the_coarse_volume_is_the_coarse_network_at_its_nodes(unbounded):
    model = small(unbounded).coarse
    volume = model.density_volume((5, 7, 6))
    assert volume.resolution == (5, 7, 6)
    # of an unbounded scene only the nodes in the region of interest are at places one can name
    core = volume.core()
    axes = [
        torch.linspace(float(lo), float(hi), n) for lo, hi, n in zip(*core.space.aabb, core.resolution, strict=True)
    ]
    nodes = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)
    with torch.no_grad():
        torch.testing.assert_close(core.densities().view(-1), model.density(nodes), rtol=1e-3, atol=1e-5)


def test_the_volume_is_the_fine_network_at_its_nodes_where_the_coarse_one_has_something():
    model = small()
    volume = model.density_volume()
    assert volume.resolution == (9, 12, 10)
    with torch.no_grad():
        expected = model.density(nodes_of(model))
        assert expected.max() > 10 * expected.min()  # there is something to compare
        torch.testing.assert_close(volume.densities().view(-1), expected, rtol=1e-3, atol=1e-5)


def test_where_the_coarse_network_has_nothing_the_fine_one_is_not_asked(monkeypatch):
    model = small(resolution=(40, 40, 40))
    with torch.no_grad():
        # coarse: density where the first coordinate of the unit cube is above 0.5, nothing below
        for i, layer in enumerate(model.coarse.layers):
            layer.weight.zero_()
            layer.bias.zero_()
            layer.weight[0, -16 if i else 0] = 1.0  # the first of the previous layer's 16
        model.coarse.layers[0].bias[0] = -0.5
        model.coarse.density_head.weight.zero_()
        model.coarse.density_head.weight[0, 0] = 1e3
        model.coarse.density_head.bias.fill_(-20.0)
    asked = []
    trunk = model._trunk
    monkeypatch.setattr(model, "_trunk", lambda unit: (asked.append(unit), trunk(unit))[1])
    densities = model.density_volume().densities()
    places = torch.cat(asked)
    cell = 2 / 19  # of the coarse bake, 20 nodes a side
    assert float(places[:, 0].min()) > 0.5 - 2.5 * cell  # its neighbours are looked at too
    assert len(places) == int((densities > 0).sum()) < 0.4 * densities.numel()
    assert torch.all(densities[30:] > 0)  # nodes from 0.54 on


def test_where_nothing_may_be_neither_network_bakes_anything():
    model = small()
    inhabited = torch.zeros(9, 12, 10, dtype=torch.bool)
    inhabited[2, 3, 1] = True
    model.confine(inhabited)
    for network in (model, model.coarse):
        assert torch.equal(network._baked((9, 12, 10), torch.ones_like(inhabited)).densities() > 0, inhabited)
    model.confine(None)
    assert model.coarse.inhabited is None


def test_where_nothing_may_be_is_kept_for_both_networks_without_sharing_memory():
    model = small()
    inhabited = torch.rand(9, 12, 10, generator=torch.Generator().manual_seed(0)) > 0.5
    model.confine(inhabited)
    assert model.inhabited is not None and model.coarse.inhabited is not None
    assert model.inhabited.data_ptr() != model.coarse.inhabited.data_ptr()  # safetensors would refuse
    other = NeRF.rebuild(model.describe())
    other.restore(model.state_dict())
    for one, same in ((model, other), (model.coarse, other.coarse)):
        assert torch.equal(one.density_volume().features, same.density_volume().features)


def test_refining_keeps_the_field_and_bakes_it_finer(points_in):
    model = small()
    points = points_in(BOX, 100)
    with torch.no_grad():
        before = model.density(points)
        model.refine((17, 23, 19))
        assert torch.equal(model.density(points), before)
    assert model.resolution == model.coarse.resolution == (17, 23, 19)
    assert model.density_volume().resolution == (17, 23, 19)


def test_colours_lie_in_the_unit_interval_and_depend_on_place_and_direction(points_in):
    model = small()
    points = points_in(BOX, 100)
    one, other = (F.normalize(torch.tensor(d), dim=-1).expand(100, 3) for d in ([1.0, 0, 0], [0, 1.0, 1.0]))
    with torch.no_grad():
        colour, from_there = model.colour(points, one), model.colour(points, other)
    assert 0 <= float(colour.min()) < float(colour.max()) <= 1
    assert float((colour - from_there).abs().max()) > 1e-4
    assert float(colour.std(0).max()) > 1e-4


def test_every_parameter_learns_at_one_rate():
    for model in (small(), small(unbounded=True)):
        named = [id(p) for group in model.parameter_groups() for p in group.parameters]
        assert sorted(named) == sorted(id(p) for p in model.parameters())


def test_every_quality_has_a_preset_with_photos_of_the_same_size():
    presets = KINDS["nerf"].presets
    assert {name: p.max_side_px for name, p in presets.items()} == {name: p.max_side_px for name, p in PRESETS.items()}
    assert all(len(p.sides) == len(p.upsample_at) + 1 for p in presets.values())


def test_the_occupancy_grid_is_the_coarse_networks():
    model = small(resolution=(12, 12, 12))
    grid = build_grid(model, 300)
    torch.testing.assert_close(grid.sigma, model.coarse.density_volume().densities())


def test_a_short_training_brings_both_networks_nearer_to_the_photos_and_survives_the_disk(
    tiny_capture: TinyCapture, tmp_path, points_in, monkeypatch
):
    settings = NeRFSettings(NetworkSize(3, 32, 16, 5e-3), NetworkSize(2, 16, 8, 5e-3), position_frequencies=5)

    def make(box: SceneBox, resolution: tuple[int, int, int], training: TrainingSettings | None = None) -> NeRF:
        return NeRF(torch.tensor(box.aabb, dtype=torch.float32), resolution, settings)

    monkeypatch.setitem(KINDS, "nerf", replace(KINDS["nerf"], make=make))
    pairs = [working_photo(view, 80) for view in load_capture(tiny_capture.folder).views[::3]]
    cameras, images = [camera for camera, _ in pairs], [image for _, image in pairs]
    training = TrainingSettings(steps=100, rays=256, sides=(24,), upsample_at=(), occupancy_side=24)
    trained = train_field(cameras, images, AROUND_TINY, training, CPU, Job(), kind="nerf")
    assert isinstance(trained.model, NeRF)
    new = make(AROUND_TINY, trained.model.resolution)
    shown = HeldOut(["0"], cameras[:1], images[:1])
    for before, after in ((new, trained.model), (new.coarse, trained.model.coarse)):
        first = heldout_psnr_db(before, build_grid(new, 24), training.sampling, shown, Job())["0"]
        last = heldout_psnr_db(after, trained.grid, training.sampling, shown, Job())["0"]
        assert last > first + 2  # dB, on one of the photos

    save_field(trained, tmp_path, "the-capture")
    loaded = load_field(tmp_path, CPU, "the-capture")
    assert isinstance(loaded.model, NeRF) and loaded.model.settings == settings
    points = points_in(trained.model.aabb, 200, reach=3.0)
    directions = F.normalize(points, dim=-1)
    with torch.no_grad():
        for one, other in ((loaded.model, trained.model), (loaded.model.coarse, trained.model.coarse)):
            assert torch.equal(one.density(points), other.density(points))
            assert torch.equal(one.colour(points, directions), other.colour(points, directions))
            assert torch.equal(one.background(points, directions), other.background(points, directions))


def test_an_objects_scene_is_bounded_and_white_behind_both_networks():
    model = kind_of("nerf").make(replace(AROUND_TINY, kind="object"), (8, 8, 8), TrainingSettings())
    assert isinstance(model, NeRF)
    directions = F.normalize(torch.ones(5, 3), dim=-1)
    for network in (model, model.coarse):
        assert not network.space.unbounded
        assert network.background(torch.zeros(5, 3), directions).eq(1).all()
