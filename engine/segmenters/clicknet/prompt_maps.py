"""Prompts as tensors: the clicks, and maps of them at any stride of the feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

NARROW, BROAD = 5.0, 24.0  # standard deviations of the bumps at clicks, in pixels of the network's input
MAPS = 8  # channels of ``prompt_maps``


@dataclass(frozen=True)
class PromptTensors:
    """Prompts for n masks, in pixels of the network's input (x right, y down, from the top-left corner).

    ``points`` [n, p, 2]; ``labels`` [n, p]: 1 = the object, 0 = not the object, -1 = no point; ``box`` [n, 4]
    (x0, y0, x1, y1), NaN where there is none; ``mask`` [n, 1, h/2, w/2]: a previous or rendered mask as 2 p - 1, so
    that 0 says nothing.
    """

    points: Float[Tensor, "n p 2"]
    labels: Int[Tensor, "n p"]
    box: Float[Tensor, "n 4"]
    mask: Float[Tensor, "n 1 h w"]


def bumps(
    prompts: PromptTensors, label: int, height: int, width: int, stride: int, deviation: float
) -> Float[Tensor, "n 1 h w"]:
    """The largest Gaussian bump of all clicks with that label at every cell of a map."""
    y = (torch.arange(height, dtype=torch.float32) + 0.5) * stride
    x = (torch.arange(width, dtype=torch.float32) + 0.5) * stride
    at, scale = prompts.points, -0.5 / deviation**2
    along_x = torch.exp(scale * (x - at[..., :1]) ** 2)  # [n, p, w]
    along_y = torch.exp(scale * (y - at[..., 1:]) ** 2)
    along_y = along_y * (prompts.labels == label)[..., None]
    return (along_y[..., :, None] * along_x[..., None, :]).amax(1, keepdim=True)


def box_map(box: Float[Tensor, "n 4"], height: int, width: int, stride: int) -> Float[Tensor, "n 1 h w"]:
    """1 inside the box, -1 outside, 0 everywhere where there is none."""
    y = (torch.arange(height, dtype=torch.float32) + 0.5) * stride
    x = (torch.arange(width, dtype=torch.float32) + 0.5) * stride
    in_x = (x >= box[:, :1]) & (x <= box[:, 2:3])
    in_y = (y >= box[:, 1:2]) & (y <= box[:, 3:])
    inside = (in_y[:, :, None] & in_x[:, None, :]).float() * 2 - 1
    return torch.where(torch.isnan(box[:, :1, None]), torch.zeros(()), inside)[:, None]


def sample(features: Float[Tensor, "n c h w"], points: Float[Tensor, "n p 2"], stride: int) -> Float[Tensor, "n p c"]:
    """Features under the points, bilinearly."""
    height, width = features.shape[-2:]
    size = torch.tensor([width, height], dtype=torch.float32) * stride
    grid = (2 * points / size - 1)[:, None].to(features.dtype)
    return F.grid_sample(features, grid, align_corners=False, padding_mode="border")[:, :, 0].transpose(1, 2)


def similarities(
    features: Float[Tensor, "n c h w"], prompts: PromptTensors, labels: Sequence[int], stride: int
) -> list[Float[Tensor, "n 1 h w"]]:
    """For each label the largest cosine between a cell's features and those under its clicks; 0 without clicks."""
    normed = F.normalize(features.float(), dim=1)
    clicked = F.normalize(sample(normed, prompts.points, stride), dim=-1)
    cosine = torch.einsum("npc,nchw->nphw", clicked, normed)
    found = []
    for label in labels:
        wanted = (prompts.labels == label)[..., None, None]
        best = cosine.masked_fill(~wanted, -2.0).amax(1, keepdim=True)
        found.append(torch.where(best < -1.5, torch.zeros(()), best))
    return found


def prompt_maps(features: Float[Tensor, "n c h w"], prompts: PromptTensors, stride: int) -> Float[Tensor, "n 8 h w"]:
    """All that the prompts say at a stride: clicks (two widths, two labels), similarities, box, previous mask."""
    height, width = features.shape[-2:]
    maps = [
        bumps(prompts, label, height, width, stride, s) for label in (1, 0) for s in (max(NARROW, stride / 2), BROAD)
    ]
    maps += similarities(features, prompts, (1, 0), stride)
    maps.append(box_map(prompts.box, height, width, stride))
    maps.append(F.interpolate(prompts.mask, (height, width), mode="area"))
    return torch.cat(maps, 1).to(features.dtype)
