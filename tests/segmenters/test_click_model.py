"""Click models behind the segmenter protocol: what each published one is shown, and what becomes of its answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_click_models import recorded, segmenter_like

from engine.segmenters.base import Photo, Prompts
from engine.segmenters.click_description import ClickModel, InputSize, InputTensor, ZoomIn, built_in_click_models
from engine.segmenters.click_model import expected_iou
from sa3d_blender.protocol.errors import PromptError, SegmenterError

HEIGHT, WIDTH = 300, 400
PUBLISHED = built_in_click_models()
PHOTO = Photo(np.random.default_rng(7).random((HEIGHT, WIDTH, 3)).astype(np.float32))
# Pixels (row, column), as the published code counts them, and the prompts that hit their centres.
POSITIVE, NEGATIVE = [(120, 200), (140, 220)], [(40, 60)]
PLAIN = ClickModel(
    "plain",
    (InputTensor("image", ("image",)), InputTensor("maps", ("previous", "positive", "negative"))),
    InputSize("multiple", 800, enlarge=False),
    mean=(0, 0, 0),
    std=(1, 1, 1),
)


def prompts(positive=POSITIVE, negative=NEGATIVE, **more) -> Prompts:
    points = [(column + 0.5, row + 0.5) for row, column in [*positive, *negative]]
    labels = [1] * len(positive) + [0] * len(negative)
    return Prompts(np.array(points, np.float32).reshape(-1, 2), np.array(labels), **more)


def square(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    mask[top:bottom, left:right] = 1
    return mask


def says_no(inputs: list[np.ndarray]) -> np.ndarray:
    return np.full((1, 1, *inputs[0].shape[2:]), -9, np.float32)


def says_previous(inputs: list[np.ndarray]) -> np.ndarray:
    return inputs[1][:, :1] * 20 - 10


def published_image(crop: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture as RITM, SimpleClick and FocalClick make it: bilinear with aligned corners, then normalised."""
    planes = torch.from_numpy(crop.transpose(2, 0, 1))[None]
    planes = torch.nn.functional.interpolate(planes, size, mode="bilinear", align_corners=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((planes - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)).numpy()


def disks(pixels: list[tuple[float, float]], size: tuple[int, int], radius: float = 5) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    nearest = np.min([(rows - r) ** 2 + (columns - c) ** 2 for r, c in pixels], axis=0)
    return (nearest <= radius**2).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "size"), [("ritm", (300, 400)), ("simpleclick", (448, 448)), ("focalclick", (256, 256))]
)
def test_a_first_look_shows_the_photo_and_disks_as_published(name, size):
    segmenter, recorder = recorded(replace(PUBLISHED[name], flip=False), says_no)
    segmenter.set_image(PHOTO)
    segmenter.predict(prompts([POSITIVE[0]], []))
    image, maps = recorder.seen[0]
    np.testing.assert_allclose(image, published_image(PHOTO.rgb, size), atol=1e-5)
    scale = size[0] / HEIGHT, size[1] / WIDTH  # ZoomIn and ResizeTrans multiply a click's numbers by this
    assert maps.shape == (1, 3, *size)
    assert (maps[0, 0] == 0).all()  # no previous mask yet
    np.testing.assert_array_equal(maps[0, 1], disks([(120 * scale[0], 200 * scale[1])], size))
    assert (maps[0, 2] == 0).all()


@pytest.mark.parametrize(
    ("name", "target", "least"), [("ritm", 400, 200), ("simpleclick", 448, 200), ("focalclick", 256, 10)]
)
def test_with_a_previous_mask_the_look_is_at_the_crop_that_is_published(name, target, least):
    segmenter, recorder = recorded(replace(PUBLISHED[name], flip=False), says_previous)
    segmenter.set_image(PHOTO)
    previous = square(100, 180, 150, 260)
    mask = segmenter.predict(prompts([(120, 200), (90, 220)], NEGATIVE, mask=previous)).mask
    assert len(recorder.seen) == 1

    # The published box: of the mask and the positive clicks, inclusive, times 1.4, at least so long, about the middle.
    height, width = max(1.4 * (149 - 90 + 1), least), max(1.4 * (259 - 180 + 1), least)
    top, bottom = round((90 + 149) / 2 - height / 2), min(HEIGHT - 1, round((90 + 149) / 2 + height / 2))
    left, right = round((180 + 259) / 2 - width / 2), round((180 + 259) / 2 + width / 2)
    crop = PHOTO.rgb[max(0, top) : bottom + 1, max(0, left) : right + 1]
    longest = max(crop.shape[:2])
    size = (
        (round(crop.shape[0] * target / longest), round(crop.shape[1] * target / longest))
        if PUBLISHED[name].size.rule == "multiple"
        else (target, target)
    )
    image, maps = recorder.seen[0]
    np.testing.assert_allclose(image, published_image(crop, size), atol=1e-5)
    scale = size[0] / crop.shape[0], size[1] / crop.shape[1]
    moved = [
        ((row - max(0, top)) * scale[0], (column - max(0, left)) * scale[1]) for row, column in [(120, 200), (90, 220)]
    ]
    np.testing.assert_array_equal(maps[0, 1], disks(moved, size))
    assert maps[0, 0].max() == pytest.approx(1)  # the previous mask is shown
    beside = np.ones((HEIGHT, WIDTH), bool)
    beside[max(0, top) : bottom + 1, max(0, left) : right + 1] = False
    assert (mask[beside] == 0).all()
    assert ((mask > 0.5) != (previous > 0.5)).sum() < 0.02 * previous.sum()


def test_simpleclick_looks_twice_where_the_first_answer_is_small_and_once_where_it_is_large():
    for answer, looks in ((square(100, 180, 150, 260), 2), (square(20, 20, 280, 380), 1)):
        known = torch.nn.functional.interpolate(torch.from_numpy(answer)[None, None], (448, 448)).numpy() * 20 - 10
        segmenter, recorder = recorded(replace(PUBLISHED["simpleclick"], flip=False), lambda _, known=known: known)
        segmenter.set_image(PHOTO)
        segmenter.predict(prompts([POSITIVE[0]], []))
        assert len(recorder.seen) == looks


def test_clicks_that_come_at_once_are_answered_first_and_then_looked_at_closely():
    def finds_the_disks(inputs: list[np.ndarray]) -> np.ndarray:
        return inputs[1][:, 1:2] * 20 - 10

    segmenter, recorder = recorded(replace(PUBLISHED["ritm"], flip=False), finds_the_disks)
    segmenter.set_image(PHOTO)
    segmenter.predict(prompts(POSITIVE, NEGATIVE))
    (_, first), (image, second) = recorder.seen
    assert image.shape[2:] == (400, 400)
    assert first[0, 0].max() == 0 and second[0, 0].max() > 0.9  # the first answer is the second look's previous mask


def test_seem_sees_colours_up_to_255_padded_to_a_multiple_of_32_and_squares_of_three():
    segmenter, recorder = recorded(PUBLISHED["seem"], says_no)
    segmenter.set_image(PHOTO)
    segmenter.predict(prompts(mask=square(50, 50, 200, 200)))
    image, positive, negative, previous = recorder.seen[0]
    assert image.shape == (1, 3, 512, 704)  # the shortest side 512, 683 up to a multiple of 32
    assert all(each.shape == (1, 1, 512, 704) for each in (positive, negative, previous))
    assert (image[..., 683:] == 0).all()
    mean, std = np.array([123.675, 116.280, 103.530]), np.array([58.395, 57.120, 57.375])
    assert np.abs(image).max() < 3  # normalised
    np.testing.assert_allclose(
        image[0, :, :, :683].mean(axis=(1, 2)), (PHOTO.rgb.mean(axis=(0, 1)) * 255 - mean) / std, atol=0.01
    )
    assert (positive.sum(), negative.sum()) == (18, 9)
    row, column = np.argwhere(negative[0, 0]).mean(axis=0)
    np.testing.assert_allclose([row, column], [(40.5 * 512 / 300) - 0.5, (60.5 * 683 / 400) - 0.5], atol=0.5)
    assert previous.max() == pytest.approx(1, abs=1e-5)


def test_the_mean_with_the_mirrored_photo_is_taken_where_it_is_asked_for():
    def leans_right(inputs: list[np.ndarray]) -> np.ndarray:
        ramp = np.linspace(-4, 4, inputs[0].shape[3], dtype=np.float32)
        return np.broadcast_to(ramp, (1, 1, *inputs[0].shape[2:]))

    segmenter, recorder = recorded(replace(PLAIN, flip=True), leans_right)
    segmenter.set_image(PHOTO)
    mask = segmenter.predict(prompts()).mask
    straight, mirrored = recorder.seen
    for one, other in zip(straight, mirrored, strict=True):
        np.testing.assert_array_equal(one[..., ::-1], other)
    np.testing.assert_allclose(mask, 0.5, atol=1e-6)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3])
def test_masks_of_any_resolution_layout_and_channel_are_understood(layout, channels):
    truth = square(96, 160, 192, 320)

    def quarter(inputs: list[np.ndarray]) -> np.ndarray:
        small = truth.reshape(75, 4, 100, 4).mean(axis=(1, 3)) * 20 - 10
        planes = np.stack([small if index == channels - 1 else -small for index in range(channels)])[None]
        return planes if layout == "NCHW" else planes.transpose(0, 2, 3, 1)

    segmenter, recorder = recorded(replace(PLAIN, layout=layout, output_channel=channels - 1), quarter)
    segmenter.set_image(PHOTO)
    found = segmenter.predict(prompts()).mask
    assert recorder.seen[0][0].shape == ((1, 3, HEIGHT, WIDTH) if layout == "NCHW" else (1, HEIGHT, WIDTH, 3))
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    assert ((found > 0.5) & (truth > 0.5)).sum() / ((found > 0.5) | (truth > 0.5)).sum() > 0.95


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH), (1, HEIGHT, WIDTH)])
def test_probabilities_without_a_batch_are_taken_as_they_are(shape):
    truth = np.random.default_rng(0).random((HEIGHT, WIDTH)).astype(np.float32)
    segmenter, _ = recorded(replace(PLAIN, output_kind="probabilities"), lambda _: truth.reshape(shape))
    segmenter.set_image(PHOTO)
    np.testing.assert_allclose(segmenter.predict(prompts()).mask, truth, atol=1e-6)


def test_a_box_alone_is_a_click_in_its_middle_and_cuts_the_mask():
    segmenter, recorder = recorded(PLAIN, lambda inputs: -says_no(inputs))
    segmenter.set_image(PHOTO)
    found = segmenter.predict(Prompts(np.zeros((0, 2)), np.zeros(0), np.array([100, 50, 200, 150])))
    np.testing.assert_array_equal(recorder.seen[0][1][0, 1], disks([(99.5, 149.5)], (HEIGHT, WIDTH)))
    inside = np.argwhere(found.mask > 0.5)
    assert inside.min(axis=0).tolist() == [45, 95] and inside.max(axis=0).tolist() == [154, 204]  # 5 % beyond the box


def test_a_box_is_what_a_zooming_model_looks_at():
    segmenter, recorder = recorded(replace(PLAIN, zoom=ZoomIn(200, 1.5, 10)), says_no)
    segmenter.set_image(PHOTO)
    segmenter.predict(Prompts(np.zeros((0, 2)), np.zeros(0), np.array([100, 50, 200, 150])))
    np.testing.assert_allclose(
        recorder.seen[0][0][0],
        torch.nn.functional.interpolate(
            torch.from_numpy(PHOTO.rgb[24:175, 74:225].transpose(2, 0, 1))[None], (200, 200), mode="bilinear",
            align_corners=True,
        )[0].numpy(),
        atol=1e-5,
    )  # fmt: skip


def test_a_hint_alone_is_the_previous_mask_and_a_click_where_it_is_thickest():
    segmenter, recorder = recorded(PLAIN, says_no)
    segmenter.set_image(PHOTO)
    hint = np.maximum(square(100, 100, 141, 141), square(118, 140, 123, 300)) * np.float32(0.8)
    segmenter.predict(Prompts(np.zeros((0, 2)), np.zeros(0), mask=hint))
    np.testing.assert_array_equal(recorder.seen[0][1][0, 0], hint)
    np.testing.assert_array_equal(recorder.seen[0][1][0, 1], disks([(120, 120)], (HEIGHT, WIDTH)))


def test_the_score_is_the_iou_to_expect():
    assert expected_iou(square(10, 10, 60, 60)) == 1
    assert expected_iou(square(10, 10, 60, 60) * np.float32(0.8)) == pytest.approx(0.8)
    assert expected_iou(np.full((4, 4), 0.4, np.float32)) == 0
    half = np.zeros((10, 10), np.float32)
    half[:5], half[5:] = 0.9, 0.1
    assert expected_iou(half) == pytest.approx(0.9 * 50 / (50 + 5))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (np.full((1, 1, HEIGHT, WIDTH), np.nan), "values that are no numbers"),
        (np.full((1, 1, HEIGHT, WIDTH), np.inf), "values that are no numbers"),
        (np.zeros((1, 1, WIDTH, HEIGHT)), "400 x 300 pixels to a picture of 300 x 400"),
        (np.zeros((1, 1, 1, 1)), "1 x 1 pixels"),
        (np.zeros(12), r"shape \[12\]"),
        (np.zeros((2, 1, HEIGHT, WIDTH)), r"shape \[2, 1, 300, 400\]"),
        (np.zeros((1, 0, HEIGHT, WIDTH)), r"shape \[1, 0, 300, 400\]"),
        (np.zeros((0, 0)), r"shape \[0, 0\]"),
    ],
)
def test_an_answer_that_is_no_mask_is_one_sentence(answer, told):
    segmenter, _ = recorded(PLAIN, lambda _: answer.astype(np.float32))
    segmenter.set_image(PHOTO)
    with pytest.raises(SegmenterError, match=told) as caught:
        segmenter.predict(prompts())
    assert "plain" in caught.value.what and caught.value.cure


def test_logits_that_are_said_to_be_probabilities_are_noticed():
    segmenter, _ = recorded(replace(PLAIN, output_kind="probabilities"), says_no)
    segmenter.set_image(PHOTO)
    with pytest.raises(SegmenterError, match="no probabilities") as caught:
        segmenter.predict(prompts())
    assert "logits" in caught.value.cure


def test_wrong_prompts_are_refused_like_everywhere():
    segmenter, _ = recorded(PLAIN, says_no)
    with pytest.raises(SegmenterError, match="No photo"):
        segmenter.predict(prompts())
    segmenter.set_image(PHOTO)
    with pytest.raises(PromptError, match="name no object"):
        segmenter.predict(prompts([], NEGATIVE))
    with pytest.raises(PromptError, match="outside the photo"):
        segmenter.predict(prompts([(HEIGHT, 5)], []))
    with pytest.raises(PromptError, match="scales"):
        segmenter.predict(prompts(scale="part"))
    assert segmenter.scales == ()


@pytest.mark.parametrize("name", PUBLISHED)
def test_onnx_and_torchscript_exports_of_one_model_give_the_same_masks(tmp_path, name):
    made = [segmenter_like(name, tmp_path, suffix, seed=3) for suffix in (".onnx", ".pt")]
    asked = [
        prompts(),
        prompts([POSITIVE[0]], []),
        prompts(mask=square(80, 150, 200, 300)),
        prompts(box_px=np.array([100, 60, 300, 220])),
    ]
    answers = []
    for segmenter in made:
        segmenter.set_image(PHOTO)
        answers.append([segmenter.predict(each).mask for each in asked])
    for one, other in zip(*answers, strict=True):
        assert one.shape == (HEIGHT, WIDTH) and one.std() > 1e-3  # not the same because both say nothing
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert all(np.abs(answers[0][0] - each).max() > 1e-3 for each in answers[0][1:])  # clicks, hint and box all matter


@pytest.mark.parametrize("name", PUBLISHED)
def test_another_photo_of_another_size_is_another_mask(tmp_path, name):
    segmenter = segmenter_like(name, tmp_path, ".pt")
    click = prompts([(50, 60)], [])
    segmenter.set_image(PHOTO)
    assert segmenter.predict(click).mask.shape == (HEIGHT, WIDTH)
    segmenter.set_image(Photo(np.random.default_rng(1).random((211, 97, 3)).astype(np.float32)))
    again = [segmenter.predict(click).mask for _ in range(2)]
    assert again[0].shape == (211, 97)
    np.testing.assert_array_equal(again[0], again[1])
