"""Small fields that can be worked out by hand: random planes and lines, boxes of fog, slabs of stone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.fields.contraction import Contraction
from engine.fields.tensorf import TensoRF, TensoRFSettings
from engine.fields.volume import DensityVolume

BOX = torch.tensor([[-1.0, -2.0, 0.5], [3.0, 1.0, 2.5]])  # neither a cube nor at the origin
NOTHING = -40.0  # a feature whose softplus is 0 in float32 beside any real density


def lively_field(
    unbounded: bool = True, resolution: tuple[int, int, int] = (9, 12, 10), seed: int = 0, aabb: Tensor = BOX
) -> TensoRF:
    """A TensoRF with random components, so large that its density varies over orders of magnitude."""
    torch.manual_seed(seed)
    model = TensoRF(aabb, resolution, TensoRFSettings(density_shift=-1.0, unbounded=unbounded))
    with torch.no_grad():
        for part in [*model.density_planes, *model.density_lines]:
            part.mul_(10.0)  # components of size 1
    return model


def volume_of(density: Tensor, space: Contraction) -> DensityVolume:
    """A volume with these densities at its nodes."""
    features = torch.where(density > 0, density + torch.log(-torch.expm1(-density.clamp_min(1e-9))), NOTHING)
    return DensityVolume(features, space, 0.0, 1.0)


def points_around(aabb: Tensor, count: int, reach: float = 1.0, seed: int = 1) -> Tensor:
    """Random points in the box, or in one ``reach`` times as large around it."""
    centre, half = aabb.mean(0), (aabb[1] - aabb[0]) / 2
    random = torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return centre + half * reach * random


@pytest.fixture(scope="session")
def make_field() -> Callable[..., TensoRF]:
    return lively_field


@pytest.fixture(scope="session")
def make_volume() -> Callable[[Tensor, Contraction], DensityVolume]:
    return volume_of


@pytest.fixture(scope="session")
def points_in() -> Callable[..., Tensor]:
    return points_around
