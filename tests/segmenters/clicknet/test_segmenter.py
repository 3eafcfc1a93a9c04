"""clicknet behind the segmenter protocol, with random weights where only the plumbing counts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.segmenters.base import Encoder, Photo, Prompts, Segmenter
from engine.segmenters.clicked_parts import clicked_parts
from engine.segmenters.clicknet.network import SCALES, ClickNet
from engine.segmenters.clicknet.segmenter import SHIPPED, ClickNetSegmenter
from sa3d_blender.protocol.errors import PromptError, SegmenterError

NOTHING = np.zeros((0, 2), np.float32), np.zeros(0, np.int64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network, as the training writes it."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    state = {k: v for k, v in ClickNet().state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file({name: value.to(torch.float16) for name, value in state.items()}, path)
    return path


@pytest.fixture
def photo() -> Photo:
    rng = np.random.default_rng(1)
    return Photo(rng.random((60, 100, 3)).astype(np.float32), key="a photo")


def click(x: float, y: float, label: int = 1) -> Prompts:
    return Prompts(np.array([[x, y]], np.float32), np.array([label]))


def test_it_is_a_segmenter_that_encodes_ahead(weights):
    segmenter = ClickNetSegmenter(weights)
    assert isinstance(segmenter, Encoder)
    assert segmenter.name == "clicknet" and segmenter.scales == ("part", "object", "group")
    as_protocol: Segmenter = segmenter
    assert as_protocol is segmenter


def test_masks_have_the_photos_size_whatever_its_shape(weights):
    segmenter = ClickNetSegmenter(weights)
    for height, width in ((60, 100), (100, 60), (33, 900), (700, 500)):
        segmenter.set_image(Photo(np.full((height, width, 3), 0.4, np.float32)))
        found = segmenter.predict(click(width / 2, height / 2))
        assert found.mask.shape == (height, width) and found.mask.dtype == np.float32
        assert found.mask.min() >= 0 and found.mask.max() <= 1 and 0 <= found.score <= 1


def test_the_default_is_the_candidate_with_the_best_score(weights, photo):
    segmenter = ClickNetSegmenter(weights)
    segmenter.set_image(photo)
    found = segmenter.predict(click(50, 30))
    assert [candidate.scale for candidate in found.candidates] == list(SCALES)
    best = max(found.candidates, key=lambda candidate: candidate.score)
    assert found.score == best.score and np.array_equal(found.mask, best.mask)


@pytest.mark.parametrize("scale", SCALES)
def test_a_scale_can_be_asked_for(weights, photo, scale):
    segmenter = ClickNetSegmenter(weights)
    segmenter.set_image(photo)
    found = segmenter.predict(Prompts(np.array([[50, 30]], np.float32), np.ones(1), scale=scale))
    wanted = found.candidates[SCALES.index(scale)]
    assert np.array_equal(found.mask, wanted.mask) and found.score == wanted.score


def test_an_unknown_scale_is_refused_with_those_that_there_are(weights, photo):
    segmenter = ClickNetSegmenter(weights)
    segmenter.set_image(photo)
    with pytest.raises(PromptError, match="part, object, group"):
        segmenter.predict(Prompts(np.array([[50, 30]], np.float32), np.ones(1), scale="whole"))


def test_a_stored_embedding_gives_bit_identical_masks(weights, photo, tmp_path):
    fresh = ClickNetSegmenter(weights, cache_dir=tmp_path)
    assert not fresh.is_encoded(photo)
    fresh.set_image(photo)
    first = fresh.predict(click(40, 20))
    again = ClickNetSegmenter(weights, cache_dir=tmp_path)
    assert again.is_encoded(photo)
    again._encode = lambda photos: pytest.fail("encoded again")  # type: ignore[method-assign]
    again.set_image(photo)
    second = again.predict(click(40, 20))
    alone = ClickNetSegmenter(weights)
    alone.set_image(photo)
    third = alone.predict(click(40, 20))
    for one, two, three in zip(first.candidates, second.candidates, third.candidates, strict=True):
        assert np.array_equal(one.mask, two.mask) and np.array_equal(one.mask, three.mask)
        assert one.score == two.score == three.score


def test_a_batch_encodes_every_photo_as_if_alone(weights, tmp_path):
    rng = np.random.default_rng(2)
    photos = [Photo(rng.random((48, 64, 3)).astype(np.float32), key=f"photo {k}") for k in range(3)]
    together = ClickNetSegmenter(weights, cache_dir=tmp_path)
    together.encode(photos)
    assert all(together.is_encoded(photo) for photo in photos)
    for one in photos:
        together.set_image(one)
        alone = ClickNetSegmenter(weights)
        alone.set_image(one)
        a, b = together.predict(click(30, 20)), alone.predict(click(30, 20))
        # float16 rounding may fall either way where a batch sums in another order
        assert np.abs(a.mask - b.mask).max() < 0.02


def test_prompts_of_all_kinds_change_the_mask(weights, photo):
    segmenter = ClickNetSegmenter(weights)
    segmenter.set_image(photo)
    hint = np.zeros((60, 100), np.float32)
    hint[20:40, 30:60] = 1
    several = [
        click(50, 30),
        Prompts(np.array([[50, 30], [10, 10]], np.float32), np.array([1, 0])),
        Prompts(*NOTHING, box_px=np.array([30, 20, 60, 40], np.float32)),
        Prompts(*NOTHING, mask=hint),
    ]
    masks = [segmenter.predict(prompts).candidates[1].mask for prompts in several]
    for k, mask in enumerate(masks):
        assert all(not np.array_equal(mask, other) for other in masks[:k])


def test_predicting_without_a_photo_is_one_sentence(weights):
    with pytest.raises(SegmenterError, match="No photo"):
        ClickNetSegmenter(weights).predict(click(1, 1))


def test_prompts_that_name_nothing_are_refused(weights, photo):
    segmenter = ClickNetSegmenter(weights)
    segmenter.set_image(photo)
    with pytest.raises(PromptError, match="name no object"):
        segmenter.predict(Prompts(np.array([[5, 5]], np.float32), np.zeros(1)))


def test_missing_damaged_and_foreign_weights_are_refused(tmp_path, weights):
    with pytest.raises(SegmenterError, match="can't be read"):
        ClickNetSegmenter(tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(SegmenterError, match="can't be read"):
        ClickNetSegmenter(tmp_path / "cut.safetensors")
    save_file({"a": torch.zeros(3)}, tmp_path / "foreign.safetensors")
    with pytest.raises(SegmenterError, match="another network"):
        ClickNetSegmenter(tmp_path / "foreign.safetensors")


def test_masks_are_cut_to_what_hangs_together_with_the_clicks(weights, photo):
    prompts = click(60, 40)
    whole, cut = (ClickNetSegmenter(weights, attached=attached) for attached in (False, True))
    for segmenter in (whole, cut):
        segmenter.set_image(photo)
    found = cut.predict(prompts)
    for candidate, raw in zip(found.candidates, whole.predict(prompts).candidates, strict=True):
        assert np.array_equal(candidate.mask, clicked_parts(raw.mask, prompts))


def test_the_shipped_network_finds_a_disc_from_one_click():
    """The real weights on a picture drawn here: coarse, but no random network passes."""
    rows, columns = np.mgrid[:240, :320]
    disc = (rows - 120) ** 2 + (columns - 200) ** 2 < 50**2
    rng = np.random.default_rng(0)
    rgb = np.where(disc[..., None], (0.8, 0.2, 0.1), (0.3, 0.35, 0.3)) + rng.normal(0, 0.02, (240, 320, 3))
    segmenter = ClickNetSegmenter()
    segmenter.set_image(Photo(rgb.clip(0, 1).astype(np.float32)))
    found = segmenter.predict(click(200, 120)).mask > 0.5
    assert (found & disc).sum() / (found | disc).sum() > 0.9


def test_the_shipped_weights_are_small():
    assert SHIPPED.stat().st_size < 8_000_000
