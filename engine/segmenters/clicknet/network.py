"""The trained part of clicknet: a feature pyramid per photo, and a decoder per prompt.

The photo's half (``Neck``) runs once a photo and makes what is kept as its embedding; the prompts' half (``Decoder``)
turns clicks, a box and a previous mask into three masks (a part, the object, the group it touches) and how well each
is likely to fit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from engine.segmenters.clicknet.backbone import CHANNELS
from engine.segmenters.clicknet.prompt_maps import MAPS, PromptTensors, box_map, bumps, prompt_maps, sample

SCALES = ("part", "object", "group")
WIDTHS = (16, 32, 64, 96)  # channels of the embedding at strides 2, 4, 8 and 16
HEADS = 4


class Embedding(NamedTuple):
    """What the decoder needs of b photos: features at strides 2, 4, 8 and 16."""

    s2: Float[Tensor, "b 16 h w"]
    s4: Float[Tensor, "b 32 h w"]
    s8: Float[Tensor, "b 64 h w"]
    s16: Float[Tensor, "b 96 h w"]


class Decoded(NamedTuple):
    """Masks as logits [n, 3, h, w] at stride 2 (and ``coarse`` at stride 4), predicted IoU [n, 3] in [0, 1]."""

    logits: Float[Tensor, "n 3 h w"]
    coarse: Float[Tensor, "n 3 h w"]
    iou: Float[Tensor, "n 3"]


def _conv(inside: int, outside: int, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outside), nn.ReLU()
    )


def _up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class Residual(nn.Module):
    """x + conv(conv(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _conv(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return F.relu(x + self.second(self.first(x)))


class Neck(nn.Module):
    """From the backbone's features to the embedding, coarse to fine (a feature pyramid network)."""

    def __init__(self) -> None:
        super().__init__()
        c2, c4, c8, c16, c32 = CHANNELS
        w2, w4, w8, w16 = WIDTHS
        self.from32 = _conv(c32, w16, 1)
        self.at16 = nn.ModuleList([_conv(c16, w16, 1), _conv(w16, w16)])
        self.at8 = nn.ModuleList([_conv(c8, w8, 1), _conv(w16, w8, 1), _conv(w8, w8)])
        self.at4 = nn.ModuleList([_conv(c4, w4, 1), _conv(w8, w4, 1), _conv(w4, w4)])
        self.at2 = nn.ModuleList([_conv(c2, w2, 1), _conv(w4, w2, 1), _conv(w2 + 3, w2)])

    def forward(self, pyramid: list[Tensor], rgb: Float[Tensor, "b 3 h w"]) -> Embedding:
        """``pyramid``: the backbone's features; ``rgb``: the photo itself, for the finest level."""
        f2, f4, f8, f16, f32 = pyramid
        s16 = self.at16[0](f16) + _up(self.from32(f32), f16)
        s16 = self.at16[1](s16)
        s8 = self.at8[2](self.at8[0](f8) + _up(self.at8[1](s16), f8))
        s4 = self.at4[2](self.at4[0](f4) + _up(self.at4[1](s8), f4))
        s2 = self.at2[0](f2) + _up(self.at2[1](s4), f2)
        small = F.interpolate(rgb, s2.shape[-2:], mode="area").to(s2.dtype) - 0.5
        return Embedding(self.at2[2](torch.cat([s2, small], 1)), s4, s8, s16)


class Attention(nn.Module):
    """One layer of self-attention over the cells of the photo and the tokens of the prompts together."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Float[Tensor, "n t c"], ignored: Float[Tensor, "n 1 1 t"] | None) -> Float[Tensor, "n t c"]:
        """``ignored``: 0 for tokens that count, minus infinity for padding; None where all count."""
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, HEADS, c // HEADS).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=None if ignored is None else ignored.to(q.dtype))
        x = x + self.out(mixed.transpose(1, 2).reshape(n, t, c))
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    """From an embedding and prompts to masks."""

    def __init__(self) -> None:
        super().__init__()
        w2, w4, w8, w16 = WIDTHS
        self.enter = _conv(w16 + MAPS, w16)
        self.point_kind = nn.Embedding(2, w16)  # not the object, the object
        self.corner_kind = nn.Embedding(2, w16)  # a box's top left, its bottom right
        self.fine_point = nn.Linear(w8, w16)
        self.outputs = nn.Parameter(torch.randn(len(SCALES), w16) * 0.02)
        self.layers = nn.ModuleList([Attention(w16) for _ in range(3)])
        self.last = nn.LayerNorm(w16)
        self.at8 = nn.Sequential(_conv(w16 + w8 + MAPS, w8, 1), Residual(w8), Residual(w8), Residual(w8))
        self.at4 = nn.Sequential(_conv(w8 + w4 + MAPS, w4, 1), Residual(w4), Residual(w4))
        self.at2 = nn.Sequential(_conv(w4 + w2 + 4, w2), _conv(w2, w2))
        self.mix4, self.mix2 = nn.Linear(w16, w4 + 1), nn.Linear(w16, w2 + 1)
        self.iou = nn.Sequential(nn.Linear(w16 + 2, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, embedding: Embedding, prompts: PromptTensors) -> Decoded:
        """``embedding`` and ``prompts`` of the same n masks (the photos repeated for each)."""
        s2, s4, s8, s16 = embedding
        x = self.enter(torch.cat([s16, prompt_maps(s16, prompts, 16)], 1))
        x, tokens = self._attend(x, s16, s8, prompts)
        x = self.at8(torch.cat([_up(x, s8), s8, prompt_maps(s8, prompts, 8)], 1))
        x4 = self.at4(torch.cat([_up(x, s4), s4, prompt_maps(s4, prompts, 4)], 1))
        height, width = s2.shape[-2:]
        fine = [bumps(prompts, label, height, width, 2, NARROWEST) for label in (1, 0)]
        fine += [box_map(prompts.box, height, width, 2), F.interpolate(prompts.mask, (height, width), mode="area")]
        x2 = self.at2(torch.cat([_up(x4, s2), s2, torch.cat(fine, 1).to(s2.dtype)], 1))
        coarse, logits = _mixed(x4, self.mix4(tokens)), _mixed(x2, self.mix2(tokens))
        # How sharp and how large a mask is tells much of how good it is.
        sure = torch.sigmoid(coarse.detach().float())
        area = sure.mean((2, 3))
        sharp = (sure * (sure > 0.5)).sum((2, 3)) / (sure > 0.5).sum((2, 3)).clamp(min=1)
        about = torch.cat([tokens, torch.stack([area, sharp], -1).to(tokens.dtype)], -1)
        return Decoded(logits.float(), coarse.float(), torch.sigmoid(self.iou(about)[..., 0].float()))

    def _attend(self, x: Tensor, s16: Tensor, s8: Tensor, prompts: PromptTensors) -> tuple[Tensor, Tensor]:
        """The cells after attention [n, c, h, w], and the output tokens [n, 3, c]."""
        n, c, height, width = x.shape
        size = torch.tensor([width, height], dtype=torch.float32) * 16
        cells = x.flatten(2).transpose(1, 2) + _cell_positions(height, width, c).to(x.dtype)
        clicks = sample(s16, prompts.points, 16) + self.fine_point(sample(s8, prompts.points, 8))
        clicks = clicks + self.point_kind(prompts.labels.clamp(min=0)) + _positions(prompts.points, c).to(x.dtype)
        box = torch.nan_to_num(prompts.box).reshape(n, 2, 2)
        corners = self.corner_kind.weight + _positions(torch.minimum(box, size), c).to(x.dtype)
        tokens = torch.cat([self.outputs.expand(n, -1, -1).to(x.dtype), clicks, corners.to(x.dtype), cells], 1)
        missing = torch.zeros(n, tokens.shape[1])
        first = len(SCALES)
        last = first + clicks.shape[1]
        missing[:, first:last] = torch.where(prompts.labels < 0, -math.inf, 0.0)
        missing[:, last : last + 2] = torch.where(torch.isnan(prompts.box[:, :1]), -math.inf, 0.0)
        ignored: Tensor | None = missing[:, None, None]
        if n == 1:  # nothing to be padded: attention without a mask is faster
            tokens, ignored = tokens[:, missing[0] == 0], None
        for layer in self.layers:
            tokens = layer(tokens, ignored)
        tokens = self.last(tokens)
        return tokens[:, -height * width :].transpose(1, 2).reshape(n, c, height, width), tokens[:, :first]


NARROWEST = 3.0  # standard deviation of the bumps at clicks at the finest level, in pixels of the network's input


def _mixed(x: Float[Tensor, "n c h w"], weights: Float[Tensor, "n k c1"]) -> Float[Tensor, "n k h w"]:
    """Every output's own weighted sum of the channels, plus its bias (the hyper-network of SAM)."""
    return torch.einsum("nchw,nkc->nkhw", x, weights[..., :-1].to(x.dtype)) + weights[..., -1:, None].to(x.dtype)


def _positions(points: Float[Tensor, "... 2"], width: int) -> Float[Tensor, "... c"]:
    """Sines and cosines of x and y, with wavelengths from 32 to 2,048 pixels."""
    count = width // 4
    frequency = 2 * math.pi / torch.logspace(math.log10(32), math.log10(2048), count)
    phase = points[..., None].float() * frequency
    return torch.cat([phase.sin(), phase.cos()], -1).flatten(-2)


def _cell_positions(height: int, width: int, channels: int) -> Float[Tensor, "hw c"]:
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return _positions(torch.stack([x, y], -1).reshape(-1, 2) * 16, channels)


class ClickNet(nn.Module):
    """Neck and decoder: all that is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.neck, self.decoder = Neck(), Decoder()
