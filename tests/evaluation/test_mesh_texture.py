"""A mesh's colours are compared with the photo's where the object is and the mesh shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from engine.captures.capture import Camera
from engine.evaluation.mesh_pictures import GAP_PX, PANEL_SIDE_PX, meshes_beside
from engine.evaluation.mesh_render import read_render, surface_colours
from engine.evaluation.mesh_texture import SeenMesh, compare_texture, straight_photo
from sa3d_blender.protocol.errors import MeshError, StorageError
from sa3d_blender.scene.description import SceneView
from sa3d_blender.scene.lens import photo_from_frame


def seen(error: float, mask_rows: int, covered_rows: int, stem: str = "a", side: int = 10) -> SeenMesh:
    """A flat photo and a mesh that is off by ``error``; the object and the mesh fill the upper rows."""
    photo = np.full((side, side, 3), 0.5, np.float32)
    rows = np.arange(side)[:, None].repeat(side, 1)
    return SeenMesh(stem, photo, rows < mask_rows, photo + np.float32(error), (rows < covered_rows).astype(np.float32))


def test_an_even_error_of_a_tenth_is_20_db_and_half_a_mask_may_be_covered():
    found = compare_texture([seen(0.1, mask_rows=8, covered_rows=4)])
    assert found.psnr_db == pytest.approx(20.0, abs=1e-4)
    assert found.coverage == 0.5
    assert found.views[0].pixels == 80


def test_what_lies_outside_the_mask_or_shows_no_mesh_is_not_compared():
    view = seen(0.1, mask_rows=4, covered_rows=8)
    view.rgb[4:] = 0.0
    view.photo[8:] = 1.0
    found = compare_texture([view])
    assert found.psnr_db == pytest.approx(20.0, abs=1e-4)
    assert found.coverage == 1.0


def test_pixels_count_alike_in_one_figure_and_views_in_the_other():
    found = compare_texture([seen(0.1, 3, 3, "a"), seen(0.2, 1, 1, "b")])
    assert found.psnr_db == pytest.approx(-10 * np.log10((30 * 0.01 + 10 * 0.04) / 40), abs=1e-4)
    assert found.mean_psnr_db == pytest.approx((20.0 - 10 * np.log10(0.04)) / 2, abs=1e-4)
    assert [view.stem for view in found.views] == ["a", "b"]


def test_equal_colours_have_100_db_and_no_pixels_no_number():
    assert compare_texture([seen(0.0, 4, 4)]).psnr_db == 100.0
    nothing = compare_texture([seen(0.1, 4, 0)])
    assert np.isnan(nothing.psnr_db) and np.isnan(nothing.mean_psnr_db) and nothing.coverage == 0.0
    both = compare_texture([seen(0.1, 4, 0), seen(0.1, 4, 4)])
    assert both.psnr_db == pytest.approx(20.0, abs=1e-4) and both.mean_psnr_db == pytest.approx(20.0, abs=1e-4)
    assert both.coverage == 0.5


LENSES = [("opencv", (-0.2, 0.05, 0.001, -0.002)), ("fisheye", (0.03, -0.01, 0.0, 0.0))]


@pytest.mark.parametrize(("model", "distortion"), LENSES)
def test_a_bent_photo_is_straightened_as_blenders_side_does_it(model, distortion):
    width, height = 64, 48
    camera = Camera(width, height, 60.0, 62.0, 30.0, 25.0, np.eye(4), model, distortion)
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    photo = np.stack([x, y, 0 * x], -1).astype(np.float32)  # colours that tell where in the photo they are from
    straight, mask = straight_photo(camera, photo, x > 0.5)
    pose = tuple(tuple(row) for row in np.eye(4))
    view = SceneView("a", "a", Path("a"), width, height, 60.0, 62.0, 30.0, 25.0, pose, model, distortion)
    centres = np.stack([x * width, y * height], -1).reshape(-1, 2)
    expected = (photo_from_frame(view, centres) / (width, height)).reshape(height, width, 2)
    inner = (expected > 0.05).all(-1) & (expected < 0.95).all(-1)
    assert inner.mean() > 0.7
    np.testing.assert_allclose(straight[..., :2][inner], expected[inner], atol=1e-4)
    clear = inner & (np.abs(expected[..., 0] - 0.5) > 1 / width)
    np.testing.assert_array_equal(mask[clear], expected[..., 0][clear] > 0.5)


def test_where_the_photo_ends_the_straight_mask_does():
    camera = Camera(40, 40, 20.0, 20.0, 20.0, 20.0, np.eye(4), "opencv", (0.5,))  # corners are pushed out of the photo
    _, mask = straight_photo(camera, np.zeros((40, 40, 3), np.float32), np.ones((40, 40), bool))
    assert mask[20, 20] and not mask[0, 0]


@pytest.mark.parametrize(("model", "distortion"), [("pinhole", ()), ("opencv", (0.0, 0.0, 0.0, 0.0))])
def test_a_straight_photo_stays_as_it_is(model, distortion):
    photo, mask = np.zeros((6, 8, 3), np.float32), np.zeros((6, 8), bool)
    found = straight_photo(Camera(8, 6, 8.0, 8.0, 4.0, 3.0, np.eye(4), model, distortion), photo, mask)
    assert found[0] is photo and found[1] is mask


def test_a_meshs_colours_are_its_textures_or_its_vertices():
    box = trimesh.creation.box()
    with pytest.raises(MeshError, match="no colours"):
        surface_colours(box)
    box.visual.vertex_colors = np.tile(np.array([[1, 2, 3, 255]], np.uint8), (8, 1))
    colours, image = surface_colours(box)
    assert image is None and colours["colours"].tolist() == [[1, 2, 3, 255]] * 8
    uv = np.random.default_rng(0).random((8, 2))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.new("RGBA", (4, 2), (9, 8, 7, 255)))
    box.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    colours, image = surface_colours(box)
    assert image is not None and (image.size, image.mode) == ((4, 2), "RGB")
    np.testing.assert_array_equal(colours["uv"], uv)


def test_a_picture_that_was_not_rendered_is_told(tmp_path):
    with pytest.raises(StorageError, match=r"0000\.png was not rendered"):
        read_render(tmp_path / "0000.png")


def test_photo_and_meshes_lie_side_by_side_around_the_object():
    photo, mask = np.full((60, 80, 3), 0.25, np.float32), np.zeros((60, 80), bool)
    mask[20:30, 30:50] = True  # 20 pixels across: a margin of 1 + 0.2 * 19 = 5
    red = np.zeros((60, 80, 3), np.float32)
    red[..., 0] = 1.0
    strip = meshes_beside(photo, mask, [(red, mask.astype(np.float32)), (red, np.zeros((60, 80), np.float32))])
    scale = PANEL_SIDE_PX // 30
    width = 30 * scale
    assert strip.shape == (20 * scale, 3 * width + 2 * GAP_PX, 3)
    panels = [strip[:, i * (width + GAP_PX) :][:, :width] for i in range(3)]
    middle = [panel[10 * scale, 15 * scale].tolist() for panel in panels]
    assert middle == [[0.25] * 3, [1.0, 0.0, 0.0], [1.0] * 3]
    assert panels[1][0, 0].tolist() == [1.0] * 3  # white paper around the mesh
    assert meshes_beside(photo, np.zeros((60, 80), bool), []).shape == (60 * 4, 80 * 4, 3)
