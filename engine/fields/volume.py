"""A field's density baked on a regular grid: the cheap stand-in for sampling, lifting and meshing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.fields.contraction import Contraction

EMPTY = -1e4  # a feature whose softplus is exactly 0
MANY = 4096  # points from which on it pays to share them out


def trilinear(values: Float[Tensor, "k x y z"], unit: Float[Tensor, "n 3"]) -> Float[Tensor, "k n"]:
    """K quantities on the nodes of a grid, interpolated at points of its unit cube [-1, 1]; the border's beyond it."""
    count = len(unit)
    # PyTorch shares three-dimensional sampling out among threads by batch entries only, so each thread gets one
    parts = torch.get_num_threads() if unit.device.type == "cpu" and count >= MANY else 1
    # grid_sample names coordinates from the innermost axis out: (z, y, x) of an [X, Y, Z] array
    grid = F.pad(unit.flip(-1), (0, 0, 0, -count % parts)).view(parts, -1, 1, 1, 3)
    found = F.grid_sample(values.expand(parts, -1, -1, -1, -1), grid, align_corners=True, padding_mode="border")
    return found.transpose(0, 1).reshape(len(values), -1)[:, :count]


def interpolated_rows(values: Float[Tensor, "x y z c"], unit: Float[Tensor, "n 3"]) -> Float[Tensor, "n c"]:
    """What `trilinear` gives, for grids with their channels last.

    One weighted sum of eight rows a point. With a dozen channels it takes less than half of `trilinear`'s time, most of
    which goes into filling one gradient of the whole grid for each thread.
    """
    at, weights = _surrounding_nodes(unit, values.shape[:3])
    return F.embedding_bag(at, values.view(-1, values.shape[-1]), mode="sum", per_sample_weights=weights)


def _surrounding_nodes(
    unit: Float[Tensor, "n 3"], resolution: tuple[int, ...]
) -> tuple[Int[Tensor, "n 8"], Float[Tensor, "n 8"]]:
    """The flat indices of the nodes around points of the unit cube, and their trilinear weights; clamped to it."""
    at, weights = None, None
    for axis, n in enumerate(resolution):
        place = ((unit[:, axis] + 1) * ((n - 1) / 2)).clamp(0, n - 1)
        low = place.long().clamp_max(n - 2)
        part = place - low
        ends = torch.stack([low, low + 1], -1)  # [N, 2]
        shares = torch.stack([1 - part, part], -1)  # [N, 2]
        at = ends if at is None else (at[:, :, None] * n + ends[:, None]).flatten(1)
        weights = shares if weights is None else (weights[:, :, None] * shares[:, None]).flatten(1)
    assert at is not None and weights is not None
    return at, weights


@dataclass(frozen=True)
class DensityVolume:
    """Density as ``scale * softplus(feature + shift)`` of a trilinearly interpolated feature grid.

    For the VM decomposition this is no approximation: a bilinear plane times a linear line *is* the trilinear
    interpolation of their products at the nodes, so at the field's own resolution one look-up here gives exactly what
    three planes and three lines of many channels give there.

    ``features`` is [X, Y, Z] with nodes at the corners (align_corners) of the space's unit cube; densities come
    out per world unit.
    """

    features: Float[Tensor, "x y z"]
    space: Contraction
    shift: float
    scale: float

    @property
    def resolution(self) -> tuple[int, int, int]:
        """Nodes along x, y, z."""
        x, y, z = self.features.shape
        return x, y, z

    def activate(self, features: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Density per world unit of interpolated features."""
        return self.scale * F.softplus(features + self.shift)

    def density(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Density at world points; 0 where a bounded scene has ended."""
        unit = self.space.to_unit(xyz)
        return self.activate(trilinear(self.features[None], unit)[0]) * (unit.abs() <= 1).all(-1)

    def densities(self) -> Float[Tensor, "x y z"]:
        """Density at the nodes."""
        return self.activate(self.features)

    def normals(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Unit normals at world points, to where density falls; 0 where it is even. Differences over two cells."""
        low, high = self.space.aabb
        cells = (high - low) * (1 + self.space.shell) / (torch.tensor(self.resolution).to(low) - 1)
        slopes = []
        for axis in range(3):
            step = torch.zeros_like(low)
            step[axis] = cells[axis]
            ahead, behind = (trilinear(self.features[None], self.space.to_unit(xyz + s))[0] for s in (step, -step))
            slopes.append((behind - ahead) / (2 * cells[axis]))
        return F.normalize(torch.stack(slopes, -1), dim=-1)

    def emptied(self, inhabited: Bool[Tensor, "i j k"]) -> DensityVolume:
        """The same with density exactly 0 where ``inhabited``, on nodes over the same cube, is False (nearest)."""
        grown = F.interpolate(inhabited[None, None].float(), size=self.resolution, mode="nearest-exact")[0, 0]
        return replace(self, features=self.features.masked_fill(grown == 0, EMPTY))

    def core(self) -> DensityVolume:
        """The volume cut to the region of interest: bounded, its box the nodes that lie inside."""
        parts, aabb = self.space.core(self.resolution)
        return replace(self, features=self.features[parts], space=Contraction(aabb))

    def to(self, device: torch.device | str) -> DensityVolume:
        """The same volume on another device."""
        return replace(
            self, features=self.features.to(device), space=replace(self.space, aabb=self.space.aabb.to(device))
        )
