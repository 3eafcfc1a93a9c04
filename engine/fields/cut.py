"""A field cut to one object: the density of another field times the object's share of it, and nothing around."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from engine.fields.base import ParameterGroup, TrainableField
from engine.fields.volume import EMPTY, DensityVolume, trilinear

EDGE = 0.2  # around a probability of one half, in which density fades: what is below is gone, what is above is whole
POINTS_AT_ONCE = 1 << 18


class CutField(TrainableField):
    """A bounded field that holds an object alone: what a box holds of another field, times the object's share.

    The share of a place is 0 up to a probability of ``0.5 - EDGE``, 1 from ``0.5 + EDGE`` on, and linear between.
    Multiplying by the bare probability would leave a haze of the neighbours: stone of which a tenth is left still
    stops most light.

    Args:
        inner: density and colour; its world may go on outside the box.
        aabb: [2, 3], the object's box in the capture's world.
        probability: [X, Y, Z] in [0, 1], of the nodes of a grid over that box (the outer ones on its faces) to be the
        object's; between them it is interpolated, outside of the box it is 0.
    """

    kind = "cut"
    probability: Tensor

    def __init__(self, inner: TrainableField, aabb: Float[Tensor, "2 3"], probability: Float[Tensor, "x y z"]) -> None:
        # Twice as fine as the probability, which cuts through cells: renderers look where this bake says.
        x, y, z = (2 * n - 1 for n in probability.shape)
        super().__init__(aabb, False, (x, y, z))
        self.inner = inner
        self.register_buffer("probability", probability.float())

    def share(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """The object's share of the density at world points, in [0, 1]."""
        unit = self.space.to_unit(xyz)
        ramp = (trilinear(self.probability[None], unit)[0] - 0.5) / (2 * EDGE) + 0.5
        found: Tensor = ramp.clamp(0, 1) * (unit.abs() <= 1).all(-1)
        return found

    def density(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Volume density per world unit at world points; the inner field is asked only where the object is."""
        share = self.share(xyz)
        maybe = share > 0
        found = torch.zeros_like(share)
        return (
            found.masked_scatter(maybe, self.inner.density(xyz[maybe]) * share[maybe]) if bool(maybe.any()) else found
        )

    def colour(self, xyz: Float[Tensor, "n 3"], viewdirs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Colour at world points seen along unit directions, as the inner field has it."""
        return self.inner.colour(xyz, viewdirs)

    @torch.no_grad()
    def density_volume(self, resolution: tuple[int, int, int] | None = None) -> DensityVolume:
        """The density at the nodes of a grid over the box: exact there, and exactly 0 where there is no object."""
        n = resolution or self.resolution
        low, high = self.aabb
        axes = [
            torch.linspace(0, 1, count, device=low.device) * (high[k] - low[k]) + low[k] for k, count in enumerate(n)
        ]
        nodes = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)
        density = torch.cat([self.density(part) for part in nodes.split(POINTS_AT_ONCE)])
        # the inverse of softplus
        features = density + torch.log(-torch.expm1(-density.clamp_min(1e-30)))
        features = torch.where(density > 0, features, torch.full_like(features, EMPTY))
        return self.within(DensityVolume(features.view(n), self.space, 0.0, 1.0))

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Loads what `state_dict` of such a field gave, where matter may be in the inner field included."""
        own = "inner."
        self.inner.restore({name.removeprefix(own): part for name, part in state.items() if name.startswith(own)})
        super().restore(state)

    def refine(self, resolution: tuple[int, int, int]) -> None:
        """Will be baked on a finer grid; what is inside stays as it is."""
        self.resolution = resolution

    def parameter_groups(self) -> list[ParameterGroup]:
        """The inner field's."""
        return self.inner.parameter_groups()

    def regularisation(self) -> Float[Tensor, ""]:
        """The inner field's."""
        return self.inner.regularisation()

    def describe(self) -> dict[str, object]:
        """All that `around` needs, and how the inner field is built again, as JSON values."""
        nodes = list(self.probability.shape)
        return {"kind": self.inner.kind, "field": self.inner.describe(), "aabb": self.aabb.tolist(), "nodes": nodes}

    @staticmethod
    def around(inner: TrainableField, description: Mapping[str, Any]) -> CutField:
        """The field of a description around its inner field, without its numbers."""
        x, y, z = (int(n) for n in description["nodes"])
        return CutField(inner, torch.tensor(description["aabb"]), torch.zeros(x, y, z))
