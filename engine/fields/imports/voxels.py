"""Density and features on dense voxel grids with a small network: DirectVoxGO (Sun et al., CVPR 2022) as published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from engine.fields.base import ParameterGroup, TrainableField
from engine.fields.encoding import fourier, fourier_size
from engine.fields.volume import DensityVolume, trilinear

GRID_RATE, NETWORK_RATE = 0.1, 1e-3  # the authors', at the start


@dataclass(frozen=True)
class VoxelSettings:
    """What has to be known to build the field again.

    ``layers`` of the network (0: there is none, and three features are a colour before the sigmoid), of ``hidden_dim``.
    With ``diffuse`` the first three features are added behind the network instead of going into it. Density per world
    unit is ``scale * softplus(value + shift)``.
    """

    feature_dim: int
    layers: int
    hidden_dim: int
    view_frequencies: int
    diffuse: bool
    shift: float
    scale: float


class VoxelField(TrainableField):
    """A bounded radiance field on two dense grids, nodes on the box's corners.

    Args:
        aabb: [2, 3], the box in the capture's world.
        resolution: grid nodes along x, y, z.
        settings: sizes.
    """

    kind = "voxels"

    def __init__(self, aabb: Float[Tensor, "2 3"], resolution: tuple[int, int, int], settings: VoxelSettings) -> None:
        super().__init__(aabb, False, resolution)
        self.settings = s = settings
        self.values = nn.Parameter(torch.zeros(1, 1, *resolution))
        self.features = nn.Parameter(torch.zeros(1, s.feature_dim, *resolution))
        known = s.feature_dim - (3 if s.diffuse else 0) + fourier_size(3, s.view_frequencies)
        widths = [known, *[s.hidden_dim] * (s.layers - 1), 3] if s.layers else []
        steps: list[nn.Module] = []
        for before, after in pairwise(widths):
            steps += [nn.Linear(before, after), nn.ReLU()]
        self.network = nn.Sequential(*steps[:-1])

    def density(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Density per world unit at world points inside the box, activated after interpolation (DVGO, Eqs. 5, 7c)."""
        return self._volume().activate(trilinear(self.values[0], self.space.to_unit(xyz))[0])

    def colour(self, xyz: Float[Tensor, "n 3"], viewdirs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Colour in [0, 1] at world points seen along unit directions (DVGO, Eq. 12, without the positions)."""
        found = trilinear(self.features[0], self.space.to_unit(xyz)).t()
        s = self.settings
        if not s.layers:
            return found.sigmoid()
        seen = found[:, 3:] if s.diffuse else found
        logits: Tensor = self.network(torch.cat([seen, fourier(viewdirs, s.view_frequencies)], -1))
        return (logits + found[:, :3] if s.diffuse else logits).sigmoid()

    def _volume(self) -> DensityVolume:
        return DensityVolume(self.values[0, 0], self.space, self.settings.shift, self.settings.scale)

    @torch.no_grad()
    def density_volume(self, resolution: tuple[int, int, int] | None = None) -> DensityVolume:
        """The density's own grid, or one interpolated from it."""
        values = self.values.detach()
        if resolution is not None and resolution != self.resolution:
            values = F.interpolate(values, size=resolution, mode="trilinear", align_corners=True)
        return self.within(DensityVolume(values[0, 0], self.space, self.settings.shift, self.settings.scale))

    @torch.no_grad()
    def refine(self, resolution: tuple[int, int, int]) -> None:
        """Goes to a finer grid by trilinear interpolation (DVGO, section 5.2)."""
        for name in ("values", "features"):
            grid = getattr(self, name).data
            finer = F.interpolate(grid, size=resolution, mode="trilinear", align_corners=True)
            setattr(self, name, nn.Parameter(finer))
        self.resolution = resolution

    def parameter_groups(self) -> list[ParameterGroup]:
        """Grids, which learn fast, and the network."""
        grids = ParameterGroup([self.values, self.features], GRID_RATE)
        return [grids, ParameterGroup([*self.network.parameters()], NETWORK_RATE)] if self.settings.layers else [grids]

    def regularisation(self) -> Float[Tensor, ""]:
        """Nothing: the authors' terms belong to their sampling."""
        return torch.zeros((), device=self.aabb.device)

    def describe(self) -> dict[str, object]:
        """All that `rebuild` needs, as JSON values."""
        return {"resolution": list(self.resolution), "aabb": self.aabb.tolist(), "settings": asdict(self.settings)}

    @staticmethod
    def rebuild(description: Mapping[str, Any]) -> VoxelField:
        """The field of a description, without its numbers."""
        x, y, z = (int(n) for n in description["resolution"])
        return VoxelField(torch.tensor(description["aabb"]), (x, y, z), VoxelSettings(**description["settings"]))
