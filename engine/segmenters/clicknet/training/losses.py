"""The training loss: cross entropy, normalised focal and dice on masks; squared error on the predicted IoU."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def mask_loss(logits: Float[Tensor, "n k h w"], truth: Float[Tensor, "n k h w"]) -> Float[Tensor, "n k"]:
    """Cross entropy + half the normalised focal loss (Sofiiuk et al. 2019) + dice, of every mask."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    likelihood = torch.exp(-entropy)
    focus = (1 - likelihood) ** 2
    # As large a sum of weights as plain cross entropy has: the gradient doesn't fade as masks get better.
    norm = (focus.mean((2, 3), keepdim=True) + 1e-4).detach()
    focal = (focus / norm * entropy).mean((2, 3))
    p = torch.sigmoid(logits)
    dice = 1 - (2 * (p * truth).sum((2, 3)) + 1) / (p.sum((2, 3)) + truth.sum((2, 3)) + 1)
    return entropy.mean((2, 3)) + 0.5 * focal + dice


def iou(found: Float[Tensor, "n k h w"], truth: Float[Tensor, "n 1 h w"]) -> Float[Tensor, "n k"]:
    """Intersection over union of masks cut at logit 0 and at one half."""
    a, b = found > 0, truth > 0.5
    union = (a | b).sum((2, 3)).clamp(min=1)
    return (a & b).sum((2, 3)) / union
