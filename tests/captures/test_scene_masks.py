"""The two kinds of masks: those that cut an object out, and those that leave out what is in the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_captures import HEIGHT, WIDTH, says_what_and_cure, write_transforms

from engine.cache import Cache
from engine.captures.images import read_mask, read_rgb, working_key
from engine.captures.load import load_capture
from engine.captures.scene_masks import used_masks, with_masks
from engine.fields.heldout import HeldOut
from engine.fields.pixels import PixelPool
from engine.workspace import counted_pixels, working_photo
from sa3d_blender.protocol.errors import CaptureError, FieldError


def write_masks(folder, cut_out: bool) -> None:
    """White in the middle of every photo, one pixel lower in every second one, or black there."""
    (folder / "masks").mkdir(exist_ok=True)
    for number, photo in enumerate(sorted((folder / "images").iterdir())):
        mask = np.full((HEIGHT, WIDTH), 0 if cut_out else 255, np.uint8)
        low = number % 2
        mask[HEIGHT // 4 + low : HEIGHT // 2 + low, WIDTH // 4 : WIDTH // 2] = 255 if cut_out else 0
        Image.fromarray(mask).save(folder / "masks" / f"{photo.stem}.png")


def test_masks_that_stand_free_of_the_border_are_opacity(tmp_path):
    write_transforms(tmp_path)
    write_masks(tmp_path, cut_out=True)
    capture = load_capture(tmp_path)
    assert capture.has_alpha and all(view.silhouette for view in capture.views)
    assert any("cut out one thing" in line for line in capture.warnings)
    view = capture.views[0]
    pixels = read_rgb(view)
    assert pixels.shape == (HEIGHT, WIDTH, 4)
    np.testing.assert_array_equal(pixels[..., 3], read_mask(view))
    assert pixels[..., 3].mean() == pytest.approx((HEIGHT // 4) * (WIDTH // 4) / (HEIGHT * WIDTH), rel=0.2)
    assert counted_pixels(view, 640) is None
    premultiplied = working_photo(view, 640)[1]
    assert (premultiplied[premultiplied[..., 3] == 0][:, :3] == 0).all()


def test_the_same_frame_around_every_photo_is_no_silhouette(tmp_path):
    write_transforms(tmp_path)
    write_masks(tmp_path, cut_out=True)
    first = sorted((tmp_path / "masks").iterdir())[0].read_bytes()
    for path in (tmp_path / "masks").iterdir():
        path.write_bytes(first)
    capture = load_capture(tmp_path)
    assert not capture.has_alpha and not any(view.silhouette for view in capture.views)
    assert all(view.mask_path is not None for view in capture.views)


def test_masks_that_leave_out_what_is_in_the_way_leave_the_photo_opaque(tmp_path):
    write_transforms(tmp_path)
    write_masks(tmp_path, cut_out=False)
    capture = load_capture(tmp_path)
    assert not capture.has_alpha and not any(view.silhouette for view in capture.views)
    assert any("isn't trained on" in line for line in capture.warnings)
    view = capture.views[0]
    assert read_rgb(view).shape == (HEIGHT, WIDTH, 3)
    counted = counted_pixels(view, 640)
    assert counted is not None and not counted[HEIGHT // 3, WIDTH // 3] and counted[0, 0]

    camera, image = working_photo(view, 640)
    pool = PixelPool([camera], [image * 0 + counted[..., None]], torch.device("cpu"), counted=[counted])
    drawn = pool.draw(2000, torch.Generator().manual_seed(0))
    assert (drawn.rgb == 1).all()  # what is left out would be black
    heldout = HeldOut(["a", "b"], [camera] * 2, [image] * 2, [counted, None])
    assert len(heldout.pixels_of(0)) == counted.sum() and len(heldout.pixels_of(1)) == WIDTH * HEIGHT
    assert len(heldout.some(1).pixels_of(0)) == counted.sum()
    with pytest.raises(FieldError, match="leave nothing"):
        PixelPool([camera], [image], torch.device("cpu"), counted=[counted & False])


def test_a_field_and_what_segmenters_remember_belong_to_the_masks_too(tmp_path):
    write_transforms(tmp_path / "capture")
    cache = Cache(tmp_path / "cache")
    plain = load_capture(tmp_path / "capture")
    write_masks(tmp_path / "capture", cut_out=True)
    masked = load_capture(tmp_path / "capture")
    assert cache.capture_key(plain) != cache.capture_key(masked)
    assert working_key(plain.views[0], 640) != working_key(masked.views[0], 640)
    before = cache.capture_key(masked)
    mask = masked.views[3].mask_path
    Image.fromarray(255 - np.asarray(Image.open(mask))).save(mask)
    assert cache.capture_key(masked) != before


@pytest.mark.parametrize("cut_out", [True, False])
def test_the_user_says_what_masks_are_taken_for(tmp_path, cut_out):
    write_transforms(tmp_path / "capture")
    plain = load_capture(tmp_path / "capture")
    write_masks(tmp_path / "capture", cut_out)
    read = load_capture(tmp_path / "capture")
    assert used_masks(read) == ("object" if cut_out else "ignore")
    keys = {}
    cache = Cache(tmp_path / "cache")
    for mode, said in (("object", "cut out one"), ("ignore", "trained on"), ("none", "not used")):
        found = with_masks(read, mode)
        assert used_masks(found) == mode and found.has_alpha == (mode == "object")
        assert [said in line for line in found.warnings if "mask" in line] == [True]
        assert read_rgb(found.views[0]).shape[-1] == (4 if mode == "object" else 3)
        assert (counted_pixels(found.views[0], 640) is None) == (mode != "ignore")
        keys[mode] = cache.capture_key(found)
    assert len(set(keys.values())) == 3 and keys["none"] == cache.capture_key(plain)
    assert with_masks(read, "auto") is read


def test_masks_that_are_not_there_cannot_be_used(tmp_path):
    write_transforms(tmp_path)
    capture = load_capture(tmp_path)
    assert with_masks(capture, "none") is capture and used_masks(capture) == "none"
    for mode, word in (("object", "no masks"), ("ignore", "no masks"), ("perhaps", "perhaps")):
        with pytest.raises(CaptureError) as caught:
            with_masks(capture, mode)
        says_what_and_cure(caught.value, word)
    write_masks(tmp_path, cut_out=True)
    read = load_capture(tmp_path)
    partly = replace(read, views=(replace(read.views[0], mask_path=None, silhouette=False), *read.views[1:]))
    with pytest.raises(CaptureError) as caught:
        with_masks(partly, "object")
    says_what_and_cure(caught.value, "1 of")
