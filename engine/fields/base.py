"""The protocol of radiance fields: all that the renderer and the lifting know of a field."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from engine.fields.contraction import Contraction
from engine.fields.volume import DensityVolume


class RadianceField(Protocol):
    """Density and colour of a world of which a box is of interest.

    ``space`` holds that box and says whether the world goes on outside it. Densities are per world unit.
    """

    @property
    def space(self) -> Contraction:
        """The region of interest and the mapping of the world around it."""
        ...

    def density(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Volume density at world points."""
        ...

    def colour(self, xyz: Float[Tensor, "n 3"], viewdirs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Colour in [0, 1] at world points seen along unit directions."""
        ...

    def background(self, viewdirs: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
        """Colour in [0, 1] of what lies behind everything."""
        ...

    def density_volume(self, resolution: tuple[int, int, int] | None = None) -> DensityVolume:
        """The density on a regular grid over ``space``; by default at the field's own resolution."""
        ...
