"""Batches for training hold the colour and the ray of the same pixel, of all views alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.captures.capture import Camera
from engine.captures.rays import seen_pixels
from engine.fields.pixels import PixelPool
from engine.fields.rendering import camera_rays
from sa3d_blender.protocol.errors import FieldError

CPU = torch.device("cpu")


def camera(i: int, width: int = 7, height: int = 5, focal: float = 6.0) -> Camera:
    """The i-th of some cameras that all stand and look elsewhere."""
    angle = 0.7 * i
    pose = np.eye(4)
    pose[:3, :3] = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    pose[:3, 3] = [i, -2.0 * i, 3.0]
    return Camera(width, height, focal, focal, width / 2, height / 2, pose)


def labelled(i: int, width: int = 7, height: int = 5) -> np.ndarray:
    """A photo whose colours say which view, row and column they are of."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.full_like(rows, i), rows, columns], -1).astype(np.float32) / 255


CAMERAS = [camera(0), camera(1), camera(2, 4, 6, 9.0), camera(3)]  # two lenses and sizes, interleaved
IMAGES = [labelled(0), labelled(1), labelled(2, 4, 6), labelled(3)]


def test_every_drawn_colour_comes_with_the_ray_of_its_pixel():
    pool = PixelPool(CAMERAS, IMAGES, CPU)
    assert len(pool) == 3 * 35 + 24
    batch = pool.draw(600, torch.Generator().manual_seed(0))
    rays = [camera_rays(c, CPU) for c in CAMERAS]
    view, row, column = (batch.rgb * 255).round().long().unbind(-1)
    for k in range(600):
        rays_o, rays_d = rays[int(view[k])]
        pixel = int(row[k]) * CAMERAS[int(view[k])].width + int(column[k])
        torch.testing.assert_close(batch.rays_o[k], rays_o[pixel])
        torch.testing.assert_close(batch.rays_d[k], rays_d[pixel])
    places = torch.stack([view, row, column], -1)
    assert len(torch.unique(places, dim=0)) == pytest.approx(129 * (1 - np.exp(-600 / 129)), abs=6)  # all are drawn


def test_photos_as_bytes_give_the_same_pixels():
    as_floats = PixelPool(CAMERAS, IMAGES, CPU)
    levels = PixelPool(CAMERAS, [(image * 255).round().astype(np.uint8) for image in IMAGES], CPU)
    assert torch.equal(levels.colours, as_floats.colours) and levels.colours[:, 3].min() == 255


def test_cameras_that_differ_in_nothing_but_the_lens_s_model_have_rays_of_their_own():
    fisheye = replace(CAMERAS[1], model="fisheye", distortion=(0.0,) * 4)
    pinhole = replace(CAMERAS[0], model="opencv", distortion=(0.0,) * 4)
    batch = PixelPool([pinhole, fisheye], IMAGES[:2], CPU).draw(50, torch.Generator().manual_seed(0))
    view, row, column = (batch.rgb * 255).round().long().unbind(-1)
    for k in range(50):
        _, rays_d = camera_rays([pinhole, fisheye][int(view[k])], CPU)
        torch.testing.assert_close(batch.rays_d[k], rays_d[int(row[k]) * 7 + int(column[k])])


def test_pixels_beyond_the_fold_of_a_lens_are_never_drawn():
    folding = replace(camera(0, 40, 30, 20.0), model="opencv", distortion=(-0.5, 0.0, 0.0, 0.0))
    seen = seen_pixels(folding)
    assert 0.2 < seen.mean() < 0.95
    for focus in (None, [np.ones((30, 40), bool)]):
        batch = PixelPool([folding], [labelled(0, 40, 30)], CPU, focus).draw(4000, torch.Generator().manual_seed(0))
        _, row, column = (batch.rgb * 255).round().long().unbind(-1)
        assert seen[row, column].all()


def test_photos_without_alpha_are_opaque_and_alpha_is_kept():
    assert (PixelPool(CAMERAS, IMAGES, CPU).draw(50, torch.Generator().manual_seed(0)).alpha == 1).all()
    clear = [np.dstack([image, np.full(image.shape[:2], 0.2, np.float32)]) for image in IMAGES]
    alpha = PixelPool(CAMERAS, clear, CPU).draw(50, torch.Generator().manual_seed(0)).alpha
    torch.testing.assert_close(alpha, torch.full((50,), 0.2))  # 51/255 exactly


def test_draws_follow_the_generator():
    pool = PixelPool(CAMERAS, IMAGES, CPU)
    first, again, other = (pool.draw(40, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first.rgb, again.rgb)
    assert not torch.equal(first.rgb, other.rgb)


def test_a_photo_and_a_camera_of_different_sizes_are_refused():
    with pytest.raises(ValueError, match="differ in size"):
        PixelPool(CAMERAS, [*IMAGES[:3], labelled(3, 8, 5)], CPU)


def test_a_photo_with_numbers_that_are_none_is_refused_with_a_sentence():
    broken = IMAGES[1].copy()
    broken[2, 3, 0] = np.nan
    with pytest.raises(FieldError, match="not a number") as caught:
        PixelPool(CAMERAS, [IMAGES[0], broken, *IMAGES[2:]], CPU)
    assert caught.value.cure
