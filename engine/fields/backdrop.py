"""What a ray meets when nothing has stopped it: a small network of direction and origin.

A background that knows the direction only is right at infinity. Captures end much earlier: the walls of a room and the
trees behind a garden have some parallax, which the contracted shell of the grids is too coarse to hold. Knowing where
the ray comes from, the network can paint that.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engine.fields.encoding import fourier, fourier_size
from engine.fields.shading import colour_network

DIRECTION_FREQUENCIES = 4
ORIGIN_FREQUENCIES = 1
HIDDEN = 64


class Backdrop(nn.Module):
    """Colour in [0, 1] by unit direction [R, 3] and origin [R, 3] (in units of the field's cube, which holds 1)."""

    def __init__(self) -> None:
        super().__init__()
        width = fourier_size(3, DIRECTION_FREQUENCIES) + fourier_size(3, ORIGIN_FREQUENCIES)
        self.network = colour_network(width, HIDDEN)

    def forward(self, origins_unit: Float[Tensor, "r 3"], viewdirs: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
        """Colours of rays."""
        known = torch.cat([fourier(viewdirs, DIRECTION_FREQUENCIES), fourier(origins_unit, ORIGIN_FREQUENCIES)], -1)
        return self.network(known).sigmoid()
