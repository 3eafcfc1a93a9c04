"""A TensoRF whose features are colours, or spherical harmonics of them, with no network to shade them (TensoRF-SH)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from engine.fields.tensorf import TensoRF, TensoRFSettings
from engine.fields.vm import vm_products

HARMONICS = 9  # of degrees 0, 1 and 2


def harmonics(viewdirs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 9"]:
    """Real spherical harmonics up to degree 2 of unit directions, in the order and with the signs of PlenOctrees."""
    x, y, z = viewdirs.unbind(-1)
    one, two = math.sqrt(3 / math.pi) / 2, math.sqrt(15 / math.pi) / 2
    terms = (
        torch.full_like(x, 1 / (2 * math.sqrt(math.pi))),
        -one * y,
        one * z,
        -one * x,
        two * x * y,
        -two * y * z,
        math.sqrt(5 / math.pi) / 4 * (2 * z**2 - x**2 - y**2),
        -two * x * z,
        two / 2 * (x**2 - y**2),
    )
    return torch.stack(terms, -1)


class PlainTensoRF(TensoRF):
    """A TensoRF without a shading network.

    Args:
        aabb: [2, 3], the box in the capture's world.
        resolution: grid nodes along x, y, z.
        settings: ``feature_dim`` is 3 (a colour) or 27 (nine coefficients for red, then green, then blue).
    """

    kind = "tensorf-plain"

    def __init__(self, aabb: Float[Tensor, "2 3"], resolution: tuple[int, int, int], settings: TensoRFSettings) -> None:
        super().__init__(aabb, resolution, settings)
        self.shading = nn.Sequential()

    def colour(self, xyz: Float[Tensor, "n 3"], viewdirs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Colour at world points seen along unit directions. As published it may leave [0, 1]; pixels are cut to it."""
        products = vm_products([*self.appearance_planes], [*self.appearance_lines], self.space.to_unit(xyz))
        features: Tensor = self.basis(products)
        if self.settings.feature_dim == 3:
            return features
        return ((features.view(-1, 3, HARMONICS) * harmonics(viewdirs)[:, None]).sum(-1) + 0.5).relu()

    @staticmethod
    def rebuild(description: Mapping[str, Any]) -> PlainTensoRF:
        """The field of a description, without its numbers."""
        like = TensoRF.rebuild(description)
        return PlainTensoRF(like.aabb, like.resolution, like.settings)
