"""The protocol of radiance fields, all that the renderer and the lifting know of one; and what training adds to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from engine.fields.backdrop import Backdrop
from engine.fields.contraction import SHELL, Contraction
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

    def background(self, rays_o: Float[Tensor, "r 3"], viewdirs: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
        """Colour in [0, 1] of what lies behind everything along rays."""
        ...

    def density_volume(self, resolution: tuple[int, int, int] | None = None) -> DensityVolume:
        """The density on a regular grid over ``space``; by default at the field's own resolution."""
        ...


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at one ``rate`` (Adam's, at the start)."""

    parameters: Sequence[nn.Parameter]
    rate: float


class TrainableField(nn.Module, ABC):
    """A radiance field that can be trained and saved; satisfies `RadianceField`.

    Args:
        aabb: [2, 3], the region of interest in the capture's world.
        unbounded: whether the world goes on outside it; otherwise what is behind is white.
        resolution: nodes along x, y, z of its grids, or of the grid that its density is baked on.

    ``inhabited`` bool [I, J, K] (None: everywhere) says which nodes of a grid over the box may hold matter. Elsewhere
    the baked density is 0, and so renderers, which look where that isn't, never ask there.
    """

    kind: ClassVar[str]
    aabb: Tensor
    inhabited: Tensor | None

    def __init__(self, aabb: Float[Tensor, "2 3"], unbounded: bool, resolution: tuple[int, int, int]) -> None:
        super().__init__()
        self.register_buffer("aabb", aabb.float().clone())
        self.resolution = resolution
        self.register_buffer("inhabited", None)
        self.backdrop = Backdrop() if unbounded else None

    @property
    def space(self) -> Contraction:
        """From the world to the cube in which grids live."""
        return Contraction(self.aabb, SHELL if self.backdrop is not None else 0.0)

    @abstractmethod
    def density(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Volume density per world unit at world points; the caller keeps them inside a bounded scene."""

    @abstractmethod
    def colour(self, xyz: Float[Tensor, "n 3"], viewdirs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Colour in [0, 1] at world points seen along unit directions."""

    def background(self, rays_o: Float[Tensor, "r 3"], viewdirs: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
        """Colour in [0, 1] behind everything: learned, or white where the scene ends at its box."""
        if self.backdrop is None:
            return torch.ones_like(viewdirs)
        colours: Tensor = self.backdrop(self.space.to_unit(rays_o), viewdirs)
        return colours

    def confine(self, inhabited: Bool[Tensor, "i j k"] | None) -> None:
        """Says where matter may be, for good."""
        self.inhabited = None if inhabited is None else inhabited.to(self.aabb.device)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Loads what `state_dict` of such a field gave, where matter may be included."""
        self.confine(state.get("inhabited"))
        self.load_state_dict(dict(state))

    def within(self, volume: DensityVolume) -> DensityVolume:
        """A baked density without what lies where nothing may be: what `density_volume` returns."""
        return volume if self.inhabited is None else volume.emptied(self.inhabited)

    @property
    def proposal(self) -> TrainableField | None:
        """A coarse field of its own that is trained along and says where to look; None where the field itself does."""
        return None

    @property
    def bytes_a_sample(self) -> int:
        """What a training step keeps of a sample for its gradients; measured for TensoRF with 64 hidden units."""
        return 1500

    @abstractmethod
    def density_volume(self, resolution: tuple[int, int, int] | None = None) -> DensityVolume:
        """The density on a regular grid over ``space``; by default at ``self.resolution``."""

    @abstractmethod
    def refine(self, resolution: tuple[int, int, int]) -> None:
        """Goes to a finer grid, keeping what was learned. Parameters may be new ones afterwards."""

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """All parameters with their learning rates."""

    @abstractmethod
    def regularisation(self) -> Float[Tensor, ""]:
        """What the kind adds to the loss of every step, weighted."""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """All that building the same field again needs, as JSON values."""
