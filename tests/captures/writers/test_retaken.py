"""Photos taken again through another lens, block by block: as if they were looked at as a whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from engine.captures.capture import Camera
from engine.captures.rays import project, rays_through
from engine.captures.writers import base
from engine.captures.writers.base import filling, retaken

LONG = Camera(800, 600, 700.0, 700.0, 410.0, 290.0, np.eye(4), "opencv", (-0.1, 0.02, 0.001, 0.0))
WIDE = replace(LONG, model="pinhole", distortion=(), fl_x=300.0, fl_y=300.0)
LONGER = filling(replace(WIDE, fl_x=700.0, fl_y=700.0), LONG)


def whole(photo: np.ndarray, source: Camera, target: Camera, order: int) -> np.ndarray:
    """Each pixel looked up in the whole photo; not a number where it shows nothing."""
    x, y = np.meshgrid(np.arange(target.width) + 0.5, np.arange(target.height) + 0.5)
    rays_o, rays_d = rays_through(target, np.stack([x.ravel(), y.ravel()], axis=1))
    at, _ = project(source, rays_o + rays_d)
    with np.errstate(invalid="ignore"):
        shown = ((at >= 0) & (at <= (source.width, source.height))).all(1).reshape(x.shape)
    places = np.where(shown.ravel()[:, None], at - 0.5, 0).T[::-1]
    found = [map_coordinates(photo[..., c], places, order=order, mode="nearest") for c in range(photo.shape[-1])]
    return np.where(shown[..., None], np.clip(np.stack(found, -1).reshape(*x.shape, -1), 0, 1), np.nan)


def part_of(photo: np.ndarray, asked: list[int]) -> Callable[[int, int, int, int], np.ndarray]:
    def part(left: int, top: int, right: int, bottom: int) -> np.ndarray:
        assert 0 <= left < right <= photo.shape[1] and 0 <= top < bottom <= photo.shape[0]
        asked.append((right - left) * (bottom - top))
        return photo[top:bottom, left:right]

    return part


@pytest.mark.parametrize(
    "target", [filling(replace(WIDE, fl_x=700.0, fl_y=700.0), LONG), WIDE], ids=["longer", "wider"]
)
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("most", [10_000_000, 20_000])
def test_blocks_make_the_picture_that_the_whole_photo_makes(monkeypatch, target, smooth, most):
    monkeypatch.setattr(base, "PART_PIXELS", most)
    photo = np.random.default_rng(0).random((LONG.height, LONG.width, 3)).astype(np.float32)
    found = np.full((target.height, target.width, 3), -1.0, np.float32)
    unseen = np.zeros(found.shape[:2], bool)
    asked: list[int] = []
    for block in retaken(part_of(photo, asked), LONG, target, smooth):
        assert (found[block.rows, block.columns] == -1).all()
        found[block.rows, block.columns] = block.pixels
        unseen[block.rows, block.columns] = block.unseen
    expected = whole(photo, LONG, target, 3 if smooth else 0)
    np.testing.assert_array_equal(unseen, np.isnan(expected[..., 0]))
    assert unseen.any() == (target is WIDE) and (found[unseen] == 0).all()
    np.testing.assert_allclose(found, np.nan_to_num(expected), atol=1e-5)
    assert max(asked) <= most


def test_colours_are_weighted_by_opacity():
    photo = np.zeros((LONG.height, LONG.width, 4), np.float32)
    photo[:, :400] = (1, 0, 0, 1)
    photo[:, 400:] = (0, 1, 0, 0)
    blocks = list(retaken(part_of(photo, []), LONG, LONGER))
    shown = np.concatenate([block.pixels[block.pixels[..., 3] > 0.05] for block in blocks])
    assert len(shown) and shown[:, 1].max() < 1e-3 and shown[:, 0].min() > 0.9
