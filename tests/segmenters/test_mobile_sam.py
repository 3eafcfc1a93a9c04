"""MobileSAM: the published file's layout, and the shapes that SAM's decoder wants."""

from __future__ import annotations

import hashlib
import importlib.util
import re

import pytest
import torch

from engine.segmenters.mobile_sam import build_mobile_sam, published_to_ours
from engine.segmenters.sam import build_sam
from sa3d_blender.protocol.errors import EnvironmentFault, SegmenterError

# Names and shapes of the encoder's tensors as the authors' code (github.com/ChaoningZhang/MobileSAM, tiny_vit_sam.py)
# writes them, sorted, without the classifier, index tables and counters that are not used here.
PUBLISHED_COUNT = 271
PUBLISHED_SHA256 = "3fed426bc051d9453f707437700a7d7e798402add7377056a700a5e7447550ad"

needs_timm = pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    torch.manual_seed(0)
    return build_mobile_sam().eval()


def published(name: str) -> str:
    """The published name of one of our encoder's tensors: the way back, written independently."""
    name = re.sub(r"\.conv\.weight$", ".c.weight", name)
    name = name.replace("patch_embed.conv1", "patch_embed.seq.0").replace("patch_embed.conv2", "patch_embed.seq.2")
    stage = re.match(r"stages\.(\d)\.(.*)", name)
    if stage is None:
        return name
    number, rest = int(stage[1]), stage[2]
    return f"layers.{number - 1 if rest.startswith('downsample') else number}.{rest}"


def as_published(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    prefix = "image_encoder."
    state = {}
    for name, value in model.state_dict().items():
        inside = name.startswith(prefix)
        state[prefix + published(name.removeprefix(prefix)) if inside else name] = value
    unused = {"head.weight": torch.zeros(1000, 320), "norm_head.bias": torch.zeros(320)}
    unused["layers.1.blocks.0.attn.attention_bias_idxs"] = torch.zeros(49, 49, dtype=torch.long)
    return state | {prefix + name: value for name, value in unused.items()}


def test_the_encoder_has_just_the_published_tensors(model):
    listed = []
    for name, value in model.state_dict().items():
        if name.startswith("image_encoder.") and not name.endswith("num_batches_tracked"):
            listed.append(f"{published(name.removeprefix('image_encoder.'))} {tuple(value.shape)}")
    assert len(listed) == PUBLISHED_COUNT
    assert hashlib.sha256("\n".join(sorted(listed)).encode()).hexdigest() == PUBLISHED_SHA256


def test_published_names_become_ours(model):
    back = published_to_ours(as_published(model))
    assert set(back) == set(model.state_dict())


def test_a_published_file_gives_the_same_model(model):
    loaded = build_sam("vit_t", as_published(model))
    mine = loaded.state_dict()
    assert all(torch.equal(value, mine[name]) for name, value in model.state_dict().items())


@needs_timm
def test_weights_of_another_sam_are_refused():
    with pytest.raises(SegmenterError, match="do not fit"):
        build_sam("vit_t", {"image_encoder.pos_embed": torch.zeros(1)})


def test_embeddings_have_sams_shape(model):
    with torch.no_grad():
        assert model.image_encoder(torch.zeros(1, 3, 1024, 1024)).shape == (1, 256, 64, 64)


def test_a_missing_timm_says_what_to_do(monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *arguments, **words):
        if name.startswith("timm"):
            raise ImportError(name)
        return real(name, *arguments, **words)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EnvironmentFault, match="timm"):
        build_mobile_sam()
