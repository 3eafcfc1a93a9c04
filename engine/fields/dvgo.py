"""DVGO (Sun et al., CVPR 2022): a dense grid of densities, activated after interpolation, and one of colour features.

Activating what was interpolated, rather than interpolating what was activated (their section 4, "post-activation"),
lets a surface run through the middle of a cell. A feature grid and a shallow network make the colours (their
section 5.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from engine.fields.base import ParameterGroup, TrainableField
from engine.fields.encoding import fourier, fourier_size
from engine.fields.shading import colour_network
from engine.fields.volume import DensityVolume, interpolated_rows, trilinear

# Adam's, at the start. A density has to rise by some 7 before it stops light, in 1500 steps rather than DVGO's 20000,
# of which few meet a given node: at DVGO's own 0.1 the first hundreds of steps leave it transparent.
DENSITY_RATE, FEATURE_RATE, NETWORK_RATE = 0.5, 0.05, 5e-3


@dataclass(frozen=True)
class DVGOSettings:
    """What has to be known to build the field again.

    ``first_alpha`` is the opacity that an untrained field has over a ``cells``-th of its box's longest side.
    """

    feature_dim: int = 12
    hidden_dim: int = 64
    view_frequencies: int = 4
    cells: int = 160
    first_alpha: float = 1e-3
    unbounded: bool = True

    @property
    def density_shift(self) -> float:
        """Added to features, so that those of 0 are almost transparent (DVGO, section 5.1; cells are 1 long)."""
        return math.log(1 / (1 - self.first_alpha) - 1)


class DVGO(TrainableField):
    """A radiance field as two dense grids over the (contracted) world, nodes at its corners.

    Args:
        aabb: [2, 3], the region of interest in the capture's world.
        resolution: grid nodes along x, y, z.
        settings: sizes.

    ``density_grid`` [X, Y, Z] holds densities before activation, ``feature_grid`` [X, Y, Z, C] what the shading network
    makes colours of; a node's features lie side by side in memory, since they are always asked for together.
    """

    kind = "dvgo"

    def __init__(
        self, aabb: Float[Tensor, "2 3"], resolution: tuple[int, int, int], settings: DVGOSettings | None = None
    ) -> None:
        self.settings = s = settings or DVGOSettings()
        super().__init__(aabb, s.unbounded, resolution)
        self.density_grid = nn.Parameter(torch.zeros(resolution))
        self.feature_grid = nn.Parameter(torch.zeros(*resolution, s.feature_dim))
        self.shading = colour_network(s.feature_dim + fourier_size(3, s.view_frequencies), s.hidden_dim)

    @property
    def distance_scale(self) -> float:
        """Factor from softplus to density per world unit, so that a box of any size trains alike."""
        return self.settings.cells / float((self.aabb[1] - self.aabb[0]).max())

    def density(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Density per world unit; the caller keeps the points inside a bounded scene (DVGO, section 4)."""
        feature = trilinear(self.density_grid[None], self.space.to_unit(xyz))[0]
        return self.distance_scale * F.softplus(feature + self.settings.density_shift)

    def colour(self, xyz: Float[Tensor, "n 3"], viewdirs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Colour in [0, 1] at world points seen along unit directions (DVGO, section 5.2; without encoded place)."""
        features = interpolated_rows(self.feature_grid, self.space.to_unit(xyz))
        return self.shading(torch.cat([features, fourier(viewdirs, self.settings.view_frequencies)], -1)).sigmoid()

    @torch.no_grad()
    def density_volume(self, resolution: tuple[int, int, int] | None = None) -> DensityVolume:
        """The density features at grid nodes: exact at the field's own resolution, else interpolated."""
        features = self.density_grid.detach().clone() if resolution is None else self._resized_density(resolution)
        return self.within(DensityVolume(features, self.space, self.settings.density_shift, self.distance_scale))

    def _resized_density(self, resolution: tuple[int, int, int]) -> Float[Tensor, "x y z"]:
        grid = self.density_grid.detach()[None, None]
        return F.interpolate(grid, size=resolution, mode="trilinear", align_corners=True)[0, 0]

    @torch.no_grad()
    def refine(self, resolution: tuple[int, int, int]) -> None:
        """Goes to finer grids by trilinear interpolation (DVGO, section 5.2, "progressive scaling")."""
        self.density_grid = nn.Parameter(self._resized_density(resolution))
        channels_first = self.feature_grid.detach().movedim(-1, 0)[None]  # [1, C, X, Y, Z]
        finer = F.interpolate(channels_first, size=resolution, mode="trilinear", align_corners=True)[0]
        self.feature_grid = nn.Parameter(finer.movedim(0, -1).contiguous())
        self.resolution = resolution

    def parameter_groups(self) -> list[ParameterGroup]:
        """The grids, which learn fast; shading and backdrop networks, which learn slowly."""
        behind = list(self.backdrop.parameters()) if self.backdrop is not None else []
        return [
            ParameterGroup([self.density_grid], DENSITY_RATE),
            ParameterGroup([self.feature_grid], FEATURE_RATE),
            ParameterGroup([*self.shading.parameters(), *behind], NETWORK_RATE),
        ]

    def regularisation(self) -> Float[Tensor, ""]:
        """Nothing: total variation would take passes over all nodes at every step, of which a batch meets few."""
        return torch.zeros((), device=self.aabb.device)

    def describe(self) -> dict[str, object]:
        """All that `rebuild` needs, as JSON values."""
        return {"resolution": list(self.resolution), "aabb": self.aabb.tolist(), "settings": asdict(self.settings)}

    @staticmethod
    def rebuild(description: Mapping[str, Any]) -> DVGO:
        """The (untrained) field of a description."""
        x, y, z = (int(n) for n in description["resolution"])
        return DVGO(torch.tensor(description["aabb"]), (x, y, z), DVGOSettings(**description["settings"]))
