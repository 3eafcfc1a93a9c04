"""The network's shortcuts change nothing: batches or one prompt, normalisations worked into convolutions."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from engine.segmenters.clicknet.network import WIDTHS, ClickNet, Decoded, Embedding
from engine.segmenters.clicknet.prompt_maps import PromptTensors
from engine.segmenters.clicknet.segmenter import _fused

NONE = float("nan")


@pytest.fixture
def net() -> ClickNet:
    """A random network whose normalisations do something."""
    torch.manual_seed(0)
    found = ClickNet().eval()
    for module in found.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return found


@pytest.fixture
def embedding() -> Embedding:
    torch.manual_seed(1)
    return Embedding(*(torch.randn(1, c, 64 // s, 96 // s) for c, s in zip(WIDTHS, (2, 4, 8, 16), strict=True)))


def prompts() -> PromptTensors:
    """Two clicks without a box, and a box without a click."""
    points = torch.tensor([[[10.0, 20.0], [70.0, 40.0]], [[0.0, 0.0], [0.0, 0.0]]])
    box = torch.tensor([[NONE] * 4, [8.0, 8.0, 60.0, 50.0]])
    return PromptTensors(points, torch.tensor([[1, 0], [-1, -1]]), box, torch.zeros(2, 1, 32, 48))


def one(all_of_them: PromptTensors, k: int) -> PromptTensors:
    rows = slice(k, k + 1)
    return PromptTensors(
        all_of_them.points[rows], all_of_them.labels[rows], all_of_them.box[rows], all_of_them.mask[rows]
    )


@torch.inference_mode()
def test_a_prompt_alone_gives_what_it_gives_among_others(net, embedding):
    twice = Embedding(*(level.expand(2, -1, -1, -1) for level in embedding))
    together: Decoded = net.decoder(twice, prompts())
    for k in range(2):
        alone: Decoded = net.decoder(embedding, one(prompts(), k))
        # float32 sums in another order
        assert torch.allclose(alone.logits[0], together.logits[k], atol=1e-4)
        assert torch.allclose(alone.iou[0], together.iou[k], atol=1e-5)


@torch.inference_mode()
def test_normalisations_worked_into_convolutions_change_nothing(net, embedding):
    fused = _fused(copy.deepcopy(net).requires_grad_(False))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    before, after = net.decoder(embedding, one(prompts(), 0)), fused.decoder(embedding, one(prompts(), 0))
    assert torch.allclose(before.logits, after.logits, atol=1e-4)
    assert before.logits.std() > 0.01  # a difference would show
