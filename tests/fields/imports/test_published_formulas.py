"""Imported fields have the densities, colours and pixels that the published formulas give for the same checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_checkpoints import Published, PublishedDVGO, PublishedTensoRF

from engine.captures.bounds import SceneBox
from engine.captures.capture import Camera
from engine.fields.checkpoint import load_field, save_field
from engine.fields.imports.dvgo_checkpoint import dvgo_field
from engine.fields.imports.imported import ImportedField
from engine.fields.imports.reading import read_checkpoint
from engine.fields.imports.tensorf_checkpoint import tensorf_field
from engine.fields.rendering import camera_rays, render_view
from engine.fields.sampling import OccupancyGrid
from engine.fields.scene_grid import build_grid
from engine.fields.settings import PRESETS, Sampling
from engine.fields.training import TrainedField

CPU = torch.device("cpu")
MASK_BOX = np.array([[-1.2, -1.0, -0.6], [1.5, 0.75, 1.0]])  # the mask is of before the box shrank


def random_mask(shape: tuple[int, int, int] = (6, 5, 7)) -> np.ndarray:
    return np.random.default_rng(5).random(shape) < 0.2


TENSORFS = {
    "MLP_Fea": PublishedTensoRF(),
    "MLP_Fea, uneven waves": PublishedTensoRF(view_pe=4, fea_pe=1, seed=1),
    "MLP_Fea, no waves": PublishedTensoRF(view_pe=0, fea_pe=0, seed=2),
    "MLP": PublishedTensoRF("MLP", view_pe=3, seed=3),
    "SH": PublishedTensoRF("SH", seed=4),
    "RGB": PublishedTensoRF("RGB", seed=5),
    "masked": PublishedTensoRF(mask=random_mask(), mask_aabb=MASK_BOX, seed=6),
    "masked on its own box": PublishedTensoRF(mask=random_mask((4, 9, 5)), seed=7),
}
DVGOS = {
    "coarse": PublishedDVGO(fine=False, voxels_base=500),
    "fine": PublishedDVGO(seed=1),
    "fine with diffuse colour": PublishedDVGO(direct=False, seed=2),
    "two layers": PublishedDVGO(depth=2, view_pe=0, seed=3),
    "four layers": PublishedDVGO(depth=4, direct=False, seed=4),
    "a mask of another size": PublishedDVGO(mask_shape=(5, 11, 6), seed=5),
}
ALL: dict[str, Published] = {**TENSORFS, **{f"DVGO, {name}": each for name, each in DVGOS.items()}}


def imported(published: Published, folder: Path) -> ImportedField:
    if isinstance(published, PublishedTensoRF):
        return tensorf_field(read_checkpoint(published.save(folder / "field.th")), "field.th")
    assert isinstance(published, PublishedDVGO)
    return dvgo_field(read_checkpoint(published.save(folder / "field.tar")), "field.tar")


def random_points(published: Published, count: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(11)
    low, high = published.aabb
    directions = random.normal(size=(count, 3))
    return low + (high - low) * random.random((count, 3)), directions / np.linalg.norm(directions, axis=1)[:, None]


@pytest.mark.parametrize("name", ALL)
def test_densities_and_colours_are_those_of_the_formulas(name, tmp_path):
    published = ALL[name]
    field = imported(published, tmp_path)
    xyz, viewdirs = random_points(published)
    with torch.no_grad():
        sigma = field.density(torch.from_numpy(xyz).float()).numpy()
        colour = field.colour(torch.from_numpy(xyz).float(), torch.from_numpy(viewdirs).float()).numpy()
    expected = published.density(xyz)
    assert expected.max() > 20 * np.median(expected)  # there is something to get wrong
    np.testing.assert_allclose(sigma, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(colour, published.colour(xyz, viewdirs), atol=1e-4)
    assert np.array_equal(sigma == 0, expected == 0)


def a_camera(published: Published, width: int = 20, height: int = 15) -> Camera:
    """From outside at the box's middle, from a corner's side."""
    centre = published.aabb.mean(0)
    position = centre + np.array([1.4, -2.0, 1.6])
    back = (position - centre) / np.linalg.norm(position - centre)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return Camera(width, height, 20.0, 20.0, width / 2, height / 2, pose)


@pytest.mark.parametrize("white", [True, False], ids=["white", "black"])
@pytest.mark.parametrize("name", ["MLP_Fea", "masked", "SH", "DVGO, coarse", "DVGO, fine with diffuse colour"])
def test_pixels_are_those_of_marching_in_small_steps(name, white, tmp_path, monkeypatch):
    # samples of little weight are left without colour, to save time: with many samples that would be all of them
    monkeypatch.setattr("engine.fields.rendering.NO_COLOUR_BELOW", 0.0)
    published = ALL[name]
    field = imported(published, tmp_path)
    field.white = white
    camera = a_camera(published)
    # random fields change within a cell more than any that was trained: a finer grid than usual says where to look
    grid = OccupancyGrid.from_volume(field.density_volume((96, 96, 96)))
    rgb = render_view(field, grid, camera, Sampling(coarse=512, fine=4096)).rgb.reshape(-1, 3)
    rays_o, rays_d = camera_rays(camera, CPU)
    expected = published.pixels(rays_o.numpy().astype(float), rays_d.numpy().astype(float), 1.0 if white else 0.0)
    assert np.ptp(expected, axis=0).min() > 0.15
    assert (expected == (1.0 if white else 0.0)).all(1).any()  # some rays miss the box
    # Both are sums over steps, cut differently at the sharp edges of masks; four times fewer make it four times more.
    assert np.abs(rgb - expected).mean() < 2e-4
    assert np.abs(rgb - expected).max() < 5e-3


@pytest.mark.parametrize("name", ["masked", "masked on its own box", "DVGO, fine", "DVGO, a mask of another size"])
def test_what_is_baked_agrees_with_the_field_wherever_that_is_not_masked(name, tmp_path):
    published = ALL[name]
    field = imported(published, tmp_path)
    assert isinstance(published, PublishedTensoRF | PublishedDVGO)
    xyz, _ = random_points(published)
    open_ = published.masked_in(xyz)
    assert 0.1 < open_.mean() < 0.98
    volume = field.density_volume()
    with torch.no_grad():
        found = volume.density(torch.from_numpy(xyz).float()).numpy()
    # beside closed nodes what is baked sinks to nothing; where all nodes around a point are open it is the field's
    assert field.cells is not None
    nodes, _ = field.cells.on(field.aabb, field.resolution)
    unit = (xyz - published.aabb[0]) / (published.aabb[1] - published.aabb[0])
    low = np.floor(unit * (np.array(field.resolution) - 1)).astype(int)
    inside = np.all([nodes.numpy()[tuple((low + corner).T)] for corner in np.ndindex(2, 2, 2)], axis=0)
    assert inside.sum() > 20
    expected = published.density(xyz)
    good = inside & open_
    np.testing.assert_allclose(found[good], expected[good], rtol=1e-3, atol=1e-3)
    assert (found <= expected.max() * 1.001).all()


@pytest.mark.parametrize("name", ["masked", "DVGO, a mask of another size"])
@pytest.mark.parametrize("side", [6, 20, 64])
def test_no_grid_calls_a_place_void_where_there_may_be_matter(name, side, tmp_path):
    published = ALL[name]
    field = imported(published, tmp_path)
    xyz, _ = random_points(published, 20000)
    points = torch.from_numpy(xyz).float()
    grid = build_grid(field, side)
    with torch.no_grad():
        matter = field.density(points) > 0
    assert (grid.lookup(points[:, None])[1][:, 0] > 0)[matter].all()


def test_places_far_from_all_matter_are_void(tmp_path):
    mask = np.zeros((30, 30, 30), bool)
    mask[3:6, 3:6, 3:6] = True
    field = imported(PublishedTensoRF(mask=mask, grid=(30, 30, 30)), tmp_path)
    sigma = field.density_volume().densities()
    assert (sigma[10:] == 0).all()
    assert sigma[3:6, 3:6, 3:6].max() > 1
    closed_beside = sigma[8, 3:6, 3:6]  # a node away from the last open cell
    cell = float((field.aabb[1] - field.aabb[0]).max()) / 30
    assert (closed_beside * cell < 2e-4).all()


@pytest.mark.parametrize("name", ALL)
def test_a_saved_import_comes_back_the_same(name, tmp_path):
    published = ALL[name]
    field = imported(published, tmp_path).eval()
    field.white = False
    settings = PRESETS["good"]
    box = SceneBox(published.aabb, "object")
    (tmp_path / "field").mkdir()
    save_field(TrainedField(field, build_grid(field, 32), box, settings, "good"), tmp_path / "field", "capture")
    again = load_field(tmp_path / "field", CPU, "capture")
    xyz, viewdirs = (torch.from_numpy(each).float() for each in random_points(published))
    with torch.no_grad():
        assert torch.equal(again.model.density(xyz), field.density(xyz))
        assert torch.equal(again.model.colour(xyz, viewdirs), field.colour(xyz, viewdirs))
        assert torch.equal(again.model.background(xyz, viewdirs), torch.zeros_like(xyz))
    assert again.settings == settings
    assert again.model.resolution == field.resolution


@pytest.mark.parametrize("name", ["masked", "SH", "DVGO, fine"])
def test_an_import_can_be_refined_like_any_field(name, tmp_path):
    published = ALL[name]
    field = imported(published, tmp_path)
    x, y, z = field.resolution
    xyz, _ = random_points(published)
    points = torch.from_numpy(xyz).float()
    with torch.no_grad():
        before = field.density(points)
        field.refine((2 * x - 1, 2 * y - 1, 2 * z - 1))  # new nodes between the old ones: nothing is lost
        after = field.density(points)
    assert field.resolution == (2 * x - 1, 2 * y - 1, 2 * z - 1) == field.density_volume().resolution
    # a refined product of plane and line interpolates each, which is the same field
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    assert all(len(group.parameters) for group in field.parameter_groups())
    assert torch.isfinite(field.regularisation())
