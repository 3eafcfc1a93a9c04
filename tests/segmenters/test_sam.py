"""SAM behind the segmenter protocol, tried on a tiny SAM with random weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from engine.segmenters.base import Photo, Prompts
from engine.segmenters.sam import SamSegmenter, build_sam, low_res_logits
from engine.segmenters.torchvision_ops import ensure_torchvision_imports
from sa3d_blender.protocol.errors import PromptError, SegmenterError

IMAGE_SIZE = 128


@pytest.fixture(scope="module")
def tiny_sam():
    ensure_torchvision_imports()
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    torch.manual_seed(0)
    model = Sam(
        image_encoder=ImageEncoderViT(
            depth=2,
            embed_dim=32,
            img_size=IMAGE_SIZE,
            mlp_ratio=2,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=2,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=[1],
            window_size=4,
            out_chans=32,
        ),
        prompt_encoder=PromptEncoder(32, (8, 8), (IMAGE_SIZE, IMAGE_SIZE), 4),
        mask_decoder=MaskDecoder(
            transformer_dim=32,
            transformer=TwoWayTransformer(depth=1, embedding_dim=32, num_heads=2, mlp_dim=64),
            num_multimask_outputs=3,
            iou_head_depth=2,
            iou_head_hidden_dim=16,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    return model.eval()


@pytest.fixture(scope="module")
def photo():
    random = np.random.default_rng(3)
    return Photo(random.random((60, 90, 3), dtype=np.float32), key="a photo")


def points(*rows):
    return Prompts(np.array([row[:2] for row in rows], np.float32), np.array([row[2] for row in rows]))


def reference(model, photo, **prompts):
    """What segment_anything's own predictor says: probabilities of its best mask, and the score."""
    from segment_anything import SamPredictor

    predictor = SamPredictor(model)
    predictor.set_image(np.round(photo.rgb * 255).astype(np.uint8))
    logits, scores, _ = predictor.predict(multimask_output=True, return_logits=True, **prompts)
    best = int(scores.argmax())
    return 1 / (1 + np.exp(-logits[best].astype(np.float64))), float(scores[best])


@pytest.mark.parametrize("kind", ["points", "box", "points and box"])
def test_masks_equal_those_of_segment_anything(tiny_sam, photo, kind):
    clicks = points((40.5, 30.0, 1), (10.0, 5.0, 0))
    box = np.array([20, 10, 70, 50], np.float32)
    segmenter = SamSegmenter("tiny", tiny_sam)
    segmenter.set_image(photo)
    given, ours = {}, Prompts(np.zeros((0, 2)), np.zeros(0))
    if "points" in kind:
        given = {"point_coords": clicks.points_px, "point_labels": clicks.labels}
        ours = clicks
    if "box" in kind:
        given["box"] = box
        ours = Prompts(ours.points_px, ours.labels, box_px=box)
    mask, score = reference(tiny_sam, photo, **given)
    prediction = segmenter.predict(ours)
    assert prediction.mask.shape == (60, 90)
    assert prediction.mask.dtype == np.float32
    assert np.abs(prediction.mask - mask).max() < 1e-4  # float32 against a float64 sigmoid
    assert prediction.score == pytest.approx(np.clip(score, 0, 1), abs=1e-5)


def test_a_hint_is_given_to_sam_as_low_resolution_logits(tiny_sam, photo):
    hint = np.zeros((60, 90), np.float32)
    hint[15:45, 30:60] = 1
    segmenter = SamSegmenter("tiny", tiny_sam)
    segmenter.set_image(photo)
    prediction = segmenter.predict(Prompts(np.array([[45.0, 30.0]]), np.array([1]), mask=hint))
    given = {"point_coords": np.array([[45.0, 30.0]]), "point_labels": np.array([1])}
    mask, _ = reference(tiny_sam, photo, mask_input=low_res_logits(hint, IMAGE_SIZE, 32), **given)
    without, _ = reference(tiny_sam, photo, **given)
    assert np.abs(prediction.mask - mask).max() < 1e-4
    assert np.abs(mask - without).max() > 1e-3  # the hint matters


def test_a_hint_fills_the_top_left_of_sams_square():
    wide = np.zeros((100, 200), np.float32)
    wide[:, 100:] = 1
    logits = low_res_logits(wide, 1024, 256)
    assert logits.shape == (1, 256, 256)
    inside = logits[0] > 0
    assert inside[10:118, 140:250].all()
    assert not inside[:, :118].any()
    assert not inside[138:].any()  # the padding below the photo is outside


def test_a_cached_embedding_gives_the_same_mask_without_encoding(tiny_sam, photo, tmp_path, monkeypatch):
    prompts = points((40.5, 30.0, 1))
    first = SamSegmenter("tiny", tiny_sam, cache_dir=tmp_path, weights_sha256="abc")
    first.set_image(photo)
    assert len(list((tmp_path / "embeddings").glob("*/*.safetensors"))) == 1

    def must_not_run(*args):
        raise AssertionError("encoded although cached")

    second = SamSegmenter("tiny", tiny_sam, cache_dir=tmp_path, weights_sha256="abc")
    with monkeypatch.context() as patch:
        patch.setattr(tiny_sam.image_encoder, "forward", must_not_run)
        second.set_image(photo)
    assert np.array_equal(first.predict(prompts).mask, second.predict(prompts).mask)
    fresh = SamSegmenter("tiny", tiny_sam)
    fresh.set_image(photo)
    # float16 keeps 11 bits of the embedding: the masks differ by about that much.
    assert np.abs(fresh.predict(prompts).mask - second.predict(prompts).mask).max() < 1e-2


def test_other_weights_do_not_use_the_cached_embedding(tiny_sam, photo, tmp_path):
    for digest in ("abc", "def"):
        SamSegmenter("tiny", tiny_sam, cache_dir=tmp_path, weights_sha256=digest).set_image(photo)
    assert len(list((tmp_path / "embeddings").glob("*/*.safetensors"))) == 2


def test_a_damaged_cached_embedding_is_made_again_and_said_in_the_log(tiny_sam, photo, tmp_path):
    prompts, lines = points((40.5, 30.0, 1)), []
    segmenter = SamSegmenter("tiny", tiny_sam, cache_dir=tmp_path, weights_sha256="abc", log=lines.append)
    segmenter.set_image(photo)
    before = segmenter.predict(prompts).mask
    (file,) = (tmp_path / "embeddings").glob("*/*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    segmenter.set_image(photo)
    assert len(lines) == 1
    assert "damaged" in lines[0]
    assert np.array_equal(before, segmenter.predict(prompts).mask)


def test_the_three_masks_are_told_apart_by_size(tiny_sam, photo):
    segmenter = SamSegmenter("tiny", tiny_sam)
    segmenter.set_image(photo)
    found = segmenter.predict(points((40.5, 30.0, 1)))
    assert [candidate.scale for candidate in found.candidates] == ["sub-part", "part", "whole"]
    areas = [(candidate.mask > 0.5).sum() for candidate in found.candidates]
    assert areas == sorted(areas)
    best = max(found.candidates, key=lambda candidate: candidate.score)
    assert np.array_equal(found.mask, best.mask) and found.score == best.score


@pytest.mark.parametrize("place, scale", list(enumerate(["sub-part", "part", "whole"])))
def test_a_scale_can_be_asked_for(tiny_sam, photo, place, scale):
    segmenter = SamSegmenter("tiny", tiny_sam)
    segmenter.set_image(photo)
    found = segmenter.predict(replace(points((40.5, 30.0, 1)), scale=scale))
    assert np.array_equal(found.mask, found.candidates[place].mask)


def test_an_unknown_scale_is_refused(tiny_sam, photo):
    segmenter = SamSegmenter("tiny", tiny_sam)
    segmenter.set_image(photo)
    with pytest.raises(PromptError, match="sub-part, part, whole"):
        segmenter.predict(replace(points((40.5, 30.0, 1)), scale="group"))


def test_a_batch_gives_the_masks_of_segment_anything(tiny_sam, tmp_path):
    random = np.random.default_rng(5)
    photos = [Photo(random.random((60, 90, 3), dtype=np.float32), key=f"photo {k}") for k in range(3)]
    segmenter = SamSegmenter("tiny", tiny_sam, cache_dir=tmp_path, weights_sha256="abc")
    segmenter.encode(photos)
    assert all(segmenter.is_encoded(photo) for photo in photos)
    plain = SamSegmenter("tiny", tiny_sam)
    for one, features in zip(photos, plain._encode(photos), strict=True):
        plain.set_image(one)
        assert torch.allclose(plain._predictor.features, features, atol=1e-5)
        mask, _ = reference(tiny_sam, one, point_coords=np.array([[40.5, 30.0]]), point_labels=np.array([1]))
        assert np.abs(plain.predict(points((40.5, 30.0, 1))).mask - mask).max() < 1e-4


def test_too_many_photos_for_the_memory_are_encoded_half_at_a_time(tiny_sam, monkeypatch):
    random = np.random.default_rng(6)
    photos = [Photo(random.random((60, 90, 3), dtype=np.float32)) for _ in range(3)]
    lines: list[str] = []
    segmenter = SamSegmenter("tiny", tiny_sam, log=lines.append)
    whole = segmenter._encode(photos)
    forward = tiny_sam.image_encoder.forward

    def small(square):
        if len(square) > 1:
            raise torch.OutOfMemoryError("too much")
        return forward(square)

    monkeypatch.setattr(tiny_sam.image_encoder, "forward", small)
    halves = segmenter._encode(photos)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, halves, strict=True))
    assert "half as many" in lines[0]


def test_a_photo_too_large_for_the_memory_is_one_sentence(tiny_sam, photo, monkeypatch):
    def never(square):
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(tiny_sam.image_encoder, "forward", never)
    with pytest.raises(SegmenterError, match="could not encode"):
        SamSegmenter("tiny", tiny_sam).set_image(photo)


def test_a_real_vit_b_gives_the_masks_of_segment_anything():
    """The published architecture at full size, with random weights: points, box and mask at once."""
    torch.manual_seed(1)
    model = build_sam("vit_b")
    photo = Photo(np.random.default_rng(4).random((48, 64, 3), dtype=np.float32))
    hint = np.zeros((48, 64), np.float32)
    hint[10:30, 20:50] = 1
    box = np.array([15, 8, 55, 40], np.float32)
    at, labels = np.array([[30.0, 20.0], [5.0, 5.0]], np.float32), np.array([1, 0])
    segmenter = SamSegmenter("sam-vit-b", model)
    segmenter.set_image(photo)
    found = segmenter.predict(Prompts(at, labels, box, hint))
    given = {"point_coords": at, "point_labels": labels, "box": box, "mask_input": low_res_logits(hint, 1024, 256)}
    mask, score = reference(model, photo, **given)
    assert np.abs(found.mask - mask).max() < 1e-4
    assert found.score == pytest.approx(np.clip(score, 0, 1), abs=1e-5)


def test_without_a_photo_it_refuses(tiny_sam):
    with pytest.raises(SegmenterError, match="photo"):
        SamSegmenter("tiny", tiny_sam).predict(points((1, 1, 1)))


def test_a_point_outside_the_photo_is_refused(tiny_sam, photo):
    segmenter = SamSegmenter("tiny", tiny_sam)
    segmenter.set_image(photo)
    with pytest.raises(PromptError, match="outside"):
        segmenter.predict(points((90.0, 10.0, 1)))


def test_weights_of_another_model_are_refused(tiny_sam, monkeypatch):
    import segment_anything

    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", lambda: tiny_sam)
    with pytest.raises(SegmenterError, match="do not fit"):
        build_sam("vit_b", {"nonsense": torch.zeros(1)})
    with pytest.raises(SegmenterError, match="no SAM called"):
        build_sam("vit_xxl")
