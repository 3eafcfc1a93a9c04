"""Contact sheets hold every picture, in order, and the drawings lie where they should."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from engine.contact_sheet import Tile, contact_sheet, draw_prompts, overlay_mask
from sa3d_blender.protocol.errors import StorageError


def flat(colour: tuple[int, int, int], height: int = 30, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def test_tiles_stand_in_reading_order(tmp_path):
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]
    path = contact_sheet([Tile(str(c), flat(c)) for c in colours], tmp_path / "new" / "sheet.png", 2, "Heading")
    page = np.asarray(Image.open(path)).astype(int)
    centres = [np.argwhere((np.abs(page - c) < 5).all(axis=2)).mean(axis=0) for c in colours]
    assert centres[0][0] == pytest.approx(centres[1][0], abs=1)
    assert centres[0][1] < centres[1][1]
    assert centres[2][0] > centres[0][0]
    assert centres[2][1] == pytest.approx(centres[0][1], abs=1)
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]


def test_small_pictures_grow_by_whole_multiples_so_pixels_stay_even(tmp_path):
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    image[1, 2] = (255, 0, 0)
    page = np.asarray(Image.open(contact_sheet([Tile("t", image)], tmp_path / "s.png", tile_width=360))).astype(int)
    red = (page == (255, 0, 0)).all(axis=2)
    assert red.sum() == 90 * 90


def test_a_table_makes_the_page_taller_by_its_rows(tmp_path):
    def height(name, table):
        return Image.open(contact_sheet([Tile("t", flat((9, 9, 9)))], tmp_path / name, table=table)).height

    none, one, two = height("0.png", []), height("1.png", [["a", "b"]]), height("2.png", [["a", "b"], ["c"]])
    assert none < one < two


def test_long_captions_and_tall_pictures_fit(tmp_path):
    tiles = [Tile("a very long caption " * 20, flat((200, 200, 200), 900, 30)), Tile("wide", flat((1, 2, 3), 5, 900))]
    page = Image.open(contact_sheet(tiles, tmp_path / "s.png", 2, heading="h" * 500))
    assert page.width < 1000
    assert page.height < 1100


def test_a_mask_tints_its_inside_outlines_it_and_leaves_the_rest(tmp_path):
    rgb = flat((100, 100, 100), 60, 60)
    mask = np.zeros((60, 60))
    mask[20:40, 20:40] = 1.0
    result = overlay_mask(rgb, mask, (255, 0, 0), fill=0.5)
    assert result[30, 30].tolist() == [178, 50, 50]
    assert result[20, 30].tolist() == [255, 0, 0]
    assert result[19, 30].max() < 60
    assert (result[:15] == 100).all()
    assert (rgb == 100).all()


def test_clicks_are_green_or_red_discs_centred_on_their_points():
    result = draw_prompts(flat((120, 120, 120), 200, 300), np.array([[60.0, 50.0], [240.0, 150.0]]), np.array([1, 0]))
    changed = (result != 120).any(axis=2)
    left = np.argwhere(changed[:, :150])
    np.testing.assert_allclose(left.mean(axis=0) + 0.5, (50.0, 60.0), atol=0.3)
    assert result[50, 60].tolist() == [255, 255, 255]  # the plus
    green, red = result[46, 64].astype(int), result[146, 244].astype(int)
    assert green[1] > green[0] + 50
    assert red[0] > red[1] + 50


def test_clicks_at_the_border_and_outside_do_no_harm():
    result = draw_prompts(
        flat((0, 0, 0)), np.array([[0.0, 0.0], [39.9, 29.9], [500.0, -70.0], [np.nan, 1.0]]), np.array([1, 0, 1, 1])
    )
    assert result.shape == (30, 40, 3)
    assert result[0, 0].any()


def test_no_tiles_or_unmatched_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match="tile"):
        contact_sheet([], tmp_path / "s.png")
    with pytest.raises(ValueError, match="labels"):
        draw_prompts(flat((0, 0, 0)), np.zeros((2, 2)), np.zeros(3))


def test_a_path_that_can_not_be_written_has_a_cure(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError) as caught:
        contact_sheet([Tile("t", flat((1, 1, 1)))], tmp_path / "file" / "s.png")
    assert caught.value.cure
