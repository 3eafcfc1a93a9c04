"""Positional encoding (NeRF, Eq. 4): lets a small network see fine detail in its few inputs."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def fourier(x: Float[Tensor, "n c"], frequencies: int) -> Float[Tensor, "n d"]:
    """``x`` followed by its sines and cosines at 1, 2, 4, ...; d is `fourier_size`."""
    if frequencies == 0:
        return x
    scaled = torch.cat([x * 2.0**k for k in range(frequencies)], dim=-1)
    return torch.cat([x, scaled.sin(), scaled.cos()], dim=-1)


def fourier_size(channels: int, frequencies: int) -> int:
    """Columns that `fourier` makes of ``channels`` ones."""
    return channels * (1 + 2 * frequencies)
