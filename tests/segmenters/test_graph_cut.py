"""The graph cut finds drawn shapes from clicks, boxes and rough masks, with and without geometry."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from engine.segmenters.base import Photo, Prompts
from engine.segmenters.graph_cut import GraphCutSegmenter
from sa3d_blender.protocol.errors import PromptError, SegmenterError

HEIGHT, WIDTH = 120, 160
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]


def textured(seed, base, strength=0.08, shape=(HEIGHT, WIDTH)):
    """A cloudy surface around the colour ``base``, float32 [H, W, 3]."""
    clouds = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    return np.clip(np.array(base) + strength * (clouds / clouds.std())[..., None], 0, 1).astype(np.float32)


def paint(background, *parts):
    image = background.copy()
    for mask, colour in parts:
        image[mask] = textured(7, colour, 0.03, mask.shape)[mask]
    return image


def disk(x, y, radius):
    return (COLUMNS + 0.5 - x) ** 2 + (ROWS + 0.5 - y) ** 2 < radius**2


def iou(mask, truth):
    found = mask > 0.5
    return (found & truth).sum() / (found | truth).sum()


def clicks(*rows, **more):
    return Prompts(np.array([row[:2] for row in rows], float).reshape(-1, 2), np.array([r[2] for r in rows]), **more)


def segment(image, prompts, **geometry):
    segmenter = GraphCutSegmenter()
    segmenter.set_image(Photo(image, **geometry))
    return segmenter.predict(prompts)


TABLE = textured(1, (0.6, 0.5, 0.4))
RED, BLUE = (0.8, 0.1, 0.1), (0.1, 0.2, 0.8)
DISK = disk(70, 60, 25)
DISK_PHOTO = paint(TABLE, (DISK, RED))


def test_one_click_finds_a_disk_on_a_textured_background():
    prediction = segment(DISK_PHOTO, clicks((70, 60, 1)))
    assert prediction.mask.shape == (HEIGHT, WIDTH)
    assert prediction.mask.dtype == np.float32
    assert prediction.mask.min() >= 0
    assert prediction.mask.max() <= 1
    assert iou(prediction.mask, DISK) > 0.95  # the outline is off by well under a pixel of 25
    assert 0.5 < prediction.score <= 1


def test_the_same_prompts_give_the_same_mask():
    first, second = (segment(DISK_PHOTO, clicks((70, 60, 1), (20, 20, 0))) for _ in range(2))
    assert np.array_equal(first.mask, second.mask)
    assert first.score == second.score


def test_the_mask_is_soft_along_the_outline_only():
    mask = segment(DISK_PHOTO, clicks((70, 60, 1))).mask
    soft = (mask > 0.05) & (mask < 0.95)
    from_outline = np.abs(np.hypot(COLUMNS + 0.5 - 70, ROWS + 0.5 - 60) - 25)
    assert soft.any()
    assert from_outline[soft].max() < 5


def test_a_negative_click_removes_a_part():
    left, right = disk(55, 60, 22), disk(105, 60, 22)
    bridge = (abs(ROWS - 60) < 6) & (COLUMNS > 60) & (COLUMNS < 100)
    image = paint(TABLE, (left | right | bridge, RED))
    both = segment(image, clicks((55, 60, 1)))
    assert both.mask[60, 105] > 0.5
    one = segment(image, clicks((55, 60, 1), (105, 60, 0)))
    assert one.mask[60, 105] < 0.5
    assert (one.mask > 0.5)[left].mean() > 0.9
    assert (one.mask > 0.5)[right].mean() < 0.3


def test_depth_parts_two_touching_squares_of_one_colour():
    left = (ROWS > 35) & (ROWS < 85) & (COLUMNS > 30) & (COLUMNS <= 80)
    right = (ROWS > 35) & (ROWS < 85) & (COLUMNS > 80) & (COLUMNS < 130)
    image = paint(TABLE, (left | right, RED))
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    depth[left], depth[right] = 1.2, 1.5
    depth += np.random.default_rng(0).normal(0, 0.003, depth.shape).astype(np.float32)
    with_depth = segment(image, clicks((55, 60, 1)), depth=depth)
    without = segment(image, clicks((55, 60, 1)))
    assert iou(with_depth.mask, left) > 0.93
    assert iou(without.mask, left) < 0.6  # nothing in the colours tells them apart


def test_a_box_is_filled_with_the_object_in_it():
    other = disk(130, 60, 18)
    image = paint(TABLE, (DISK, RED), (other, RED))
    prediction = segment(image, clicks(box_px=np.array([42, 32, 98, 88])))
    assert iou(prediction.mask, DISK) > 0.93
    assert prediction.mask[60, 130] < 0.5


@pytest.mark.parametrize("damage", ["cut", "eroded", "halo", "blobs"])
def test_a_rough_hint_is_brought_to_the_true_outline(damage):
    hint = {
        "cut": DISK & (COLUMNS < 80),
        "eroded": ndimage.binary_erosion(DISK, iterations=5),
        "halo": ndimage.binary_dilation(DISK, iterations=4),
        "blobs": DISK | disk(140, 20, 4) | disk(20, 100, 4),
    }[damage]
    hint = ndimage.gaussian_filter(hint.astype(np.float32), 1.5)
    prediction = segment(DISK_PHOTO, clicks((60, 60, 1), (65, 50, 1), (66, 70, 1), mask=hint))
    assert iou(prediction.mask, DISK) > max(0.95, iou(hint, DISK))


def test_a_hint_of_one_half_says_nothing_about_what_no_view_has_seen():
    hint = np.where(COLUMNS < 75, DISK, 0.5).astype(np.float32)
    prediction = segment(DISK_PHOTO, clicks((60, 60, 1), (65, 50, 1), (66, 70, 1), mask=hint))
    assert iou(prediction.mask, DISK) > 0.95


def test_a_negative_click_overrules_a_hint():
    part = disk(110, 60, 12)
    hint = (DISK | part).astype(np.float32)
    image = paint(TABLE, (DISK, RED), (part, BLUE))
    mask = segment(image, clicks((70, 60, 1), (110, 60, 0), mask=hint)).mask
    assert iou(mask, DISK) > 0.95
    assert (mask > 0.5)[part].mean() < 0.05


def test_a_hint_alone_is_prompt_enough():
    hint = ndimage.binary_erosion(DISK, iterations=4).astype(np.float32)
    assert iou(segment(DISK_PHOTO, clicks(mask=hint)).mask, DISK) > 0.95


def test_a_faint_hint_yields_to_the_click():
    hint = np.zeros((HEIGHT, WIDTH), np.float32)
    hint[:10, :10] = 0.2
    assert iou(segment(DISK_PHOTO, clicks((70, 60, 1), mask=hint)).mask, DISK) > 0.95


def test_a_click_on_the_rim_does_not_make_the_mask_spill():
    prediction = segment(DISK_PHOTO, clicks((70, 60, 1), (94, 60, 1), (70, 35.5, 1)))
    assert iou(prediction.mask, DISK) > 0.93


def test_a_large_photo_is_cut_small_and_followed_at_full_size():
    shape = (900, 1200)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    truth = (columns - 500.0) ** 2 + (rows - 450.0) ** 2 < 190.0**2
    image = textured(1, (0.6, 0.5, 0.4), 0.05, shape)
    image[truth] = RED
    mask = segment(image, clicks((500, 450, 1))).mask
    assert mask.shape == shape
    assert iou(mask, truth) > 0.97  # a working pixel is three photo pixels wide


def test_a_photo_of_one_colour_gives_some_answer_and_a_low_score():
    flat = np.full((60, 80, 3), 0.5, np.float32)
    prediction = segment(flat, clicks((40, 30, 1)))
    assert np.isfinite(prediction.mask).all()
    assert prediction.score < 0.5


@pytest.mark.parametrize("size", [(2, 2), (3, 40), (40, 3)])
def test_tiny_photos_do_not_break_it(size):
    image = np.random.default_rng(0).random((*size, 3)).astype(np.float32)
    for prompts in (clicks((0.5, 0.5, 1)), clicks(box_px=np.array([0, 0, 2, 2])), clicks(mask=np.ones(size))):
        mask = segment(image, prompts, depth=np.ones(size, np.float32)).mask
        assert mask.shape == size
        assert np.isfinite(mask).all()


@pytest.mark.parametrize(
    "prompts",
    [
        clicks(),
        clicks((200, 60, 1)),
        clicks((np.nan, 60, 1)),
        clicks((70, 60, 0)),
        clicks((70, 60, 1), mask=np.zeros((10, 10))),
    ],
)
def test_bad_prompts_are_refused(prompts):
    with pytest.raises(PromptError):
        segment(DISK_PHOTO, prompts)


def test_without_a_photo_it_refuses():
    with pytest.raises(SegmenterError, match="photo"):
        GraphCutSegmenter().predict(clicks((1, 1, 1)))
