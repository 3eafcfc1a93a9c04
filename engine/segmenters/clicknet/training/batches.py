"""A batch: pictures with several simulated users each, and what they say as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.segmenters.clicknet.prompt_maps import PromptTensors
from engine.segmenters.clicknet.training.clicks import MOST_POINTS, Session, begin
from engine.segmenters.clicknet.training.compose import Material, compose
from engine.segmenters.clicknet.training.targets import draw_targets


@dataclass(frozen=True)
class Batch:
    """``rgb`` uint8 pictures of one size; ``sessions``, and for each the number of its ``picture``."""

    rgb: Sequence[np.ndarray]
    sessions: list[Session]
    picture: Tensor


def draw_batch(
    rng: np.random.Generator, material: Material, pictures: int, targets: int, side: int, thin_first: bool = False
) -> Batch:
    """``pictures`` pictures with ``targets`` simulated users each, who have given their first prompts."""
    rgb: list[np.ndarray] = []
    sessions: list[Session] = []
    which: list[int] = []
    while len(rgb) < pictures:
        picture = compose(rng, material, side)
        wanted = draw_targets(rng, picture.identity, targets, thin_first)
        if not wanted:
            continue
        for target in wanted:
            rivals = (picture.identity[..., 0] > 0) & ~target.masks[2]
            sessions.append(begin(rng, target, rivals))
            which.append(len(rgb))
        rgb.append(picture.rgb)
    return Batch(rgb, sessions, torch.tensor(which))


def rgb_tensor(batch: Batch) -> Float[Tensor, "b 3 h w"]:
    """The pictures in [0, 1]."""
    stacked = torch.from_numpy(np.stack(batch.rgb)).permute(0, 3, 1, 2)  # already in the order "channels last"
    return stacked.float() / 255


def as_prompts(batch: Batch) -> PromptTensors:
    """What the users have said so far."""
    n, side = len(batch.sessions), batch.rgb[0].shape[0]
    points, labels = torch.zeros(n, MOST_POINTS, 2), torch.full((n, MOST_POINTS), -1)
    box, mask = torch.full((n, 4), float("nan")), torch.zeros(n, 1, side // 2, side // 2)
    for k, session in enumerate(batch.sessions):
        count = len(session.points)
        if count:
            points[k, :count] = torch.tensor(session.points)
            labels[k, :count] = torch.tensor(session.labels)
        if session.box is not None:
            box[k] = torch.from_numpy(session.box)
        if session.mask is not None:
            handed = torch.from_numpy(session.mask)
            step = session.mask.shape[0] // (side // 2)
            mask[k, 0] = 2 * handed[::step, ::step] - 1
    return PromptTensors(points, labels, box, mask)
