"""NeRF (Mildenhall et al., ECCV 2020): the world in the weights of two networks, a coarse one that says where to look.

The networks are those of the paper at `PAPER_SIZE`: 8 layers of 256, the encoded position once more after the fifth,
a branch of 128 for colours. They are made for a GPU. On a CPU a step with them takes seconds, so drafts make do with
`DRAFT_SIZE`, narrower and half as deep: about 3 % of the paper's parameters, and coarser pictures for it.

What is different from the paper: places are encoded in the (contracted) unit cube; densities are activated by a
shifted softplus, as in mip-NeRF, rather than by a ReLU, which has no gradient where it is 0;
and fine samples are drawn from a grid on which the coarse network is baked now and then (`TrainableField.proposal`),
not from its weights along each ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from engine.fields.base import ParameterGroup, TrainableField
from engine.fields.encoding import fourier, fourier_size
from engine.fields.volume import EMPTY, DensityVolume

POINTS_AT_ONCE = 65536  # when a network is baked; their activations take 64 MB a layer of 256
BAKED_FIRST = 2  # nodes of a fine bake to one of the coarse bake that says where it is worth while
LEAST_ALPHA = 1e-2  # opacity of a cell of the coarse bake from which on there is something


@dataclass(frozen=True)
class NetworkSize:
    """Layers and their widths; ``rate`` is Adam's at the start."""

    depth: int
    width: int
    view_width: int
    rate: float

    @property
    def skip(self) -> int:
        """The number of layers after which the encoded position is given once more: 5 of 8."""
        return self.depth // 2 + 1


PAPER_SIZE = NetworkSize(8, 256, 128, 5e-4)
GOOD_SIZE = NetworkSize(6, 128, 64, 1e-3)
DRAFT_SIZE = NetworkSize(4, 64, 32, 5e-3)
DRAFT_COARSE_SIZE = NetworkSize(4, 32, 16, 5e-3)


NETWORKS = {"small": (DRAFT_SIZE, DRAFT_COARSE_SIZE), "middle": (GOOD_SIZE, DRAFT_SIZE), "paper": (PAPER_SIZE,) * 2}


@dataclass(frozen=True)
class NeRFSettings:
    """What has to be known to build the networks again.

    An untrained field's density is about ``optical_side * softplus(density_shift)`` over its box's longest side.
    """

    fine: NetworkSize = field(default_factory=lambda: PAPER_SIZE)
    coarse: NetworkSize = field(default_factory=lambda: PAPER_SIZE)
    position_frequencies: int = 10
    view_frequencies: int = 4
    optical_side: float = 75.0
    density_shift: float = -5.0
    unbounded: bool = True


class RadianceNetwork(TrainableField):
    """One network of place and direction: the coarse field, and what the fine one is made of.

    Args:
        aabb: [2, 3], the region of interest in the capture's world.
        resolution: nodes along x, y, z of the grid that its density is baked on; the network itself has none.
        size: of the network.
        settings: encodings and activation.
    """

    kind = "nerf"

    def __init__(
        self, aabb: Float[Tensor, "2 3"], resolution: tuple[int, int, int], size: NetworkSize, settings: NeRFSettings
    ) -> None:
        self.size, self.settings = size, settings
        super().__init__(aabb, settings.unbounded, resolution)
        known = fourier_size(3, settings.position_frequencies)
        inputs = [known] + [size.width + (known if i == size.skip else 0) for i in range(1, size.depth)]
        self.layers = nn.ModuleList(nn.Linear(n, size.width) for n in inputs)
        self.density_head = nn.Linear(size.width, 1)
        self.bottleneck = nn.Linear(size.width, size.width)
        self.view_layer = nn.Linear(size.width + fourier_size(3, settings.view_frequencies), size.view_width)
        self.colour_head = nn.Linear(size.view_width, 3)

    @property
    def distance_scale(self) -> float:
        """Factor from softplus to density per world unit, so that a box of any size trains alike."""
        return self.settings.optical_side / float((self.aabb[1] - self.aabb[0]).max())

    def _trunk(self, unit: Float[Tensor, "n 3"]) -> Float[Tensor, "n width"]:
        known = fourier(unit, self.settings.position_frequencies)
        hidden = known
        for i, layer in enumerate(self.layers):
            hidden = F.relu(layer(torch.cat([known, hidden], -1) if i == self.size.skip else hidden), inplace=True)
        return hidden

    def density(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Density per world unit at world points; the caller keeps them inside a bounded scene."""
        feature = self.density_head(self._trunk(self.space.to_unit(xyz)))[:, 0]
        return self.distance_scale * F.softplus(feature + self.settings.density_shift)

    def colour(self, xyz: Float[Tensor, "n 3"], viewdirs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Colour in [0, 1] at world points seen along unit directions."""
        known = [
            self.bottleneck(self._trunk(self.space.to_unit(xyz))),
            fourier(viewdirs, self.settings.view_frequencies),
        ]
        return self.colour_head(F.relu(self.view_layer(torch.cat(known, -1)))).sigmoid()

    @torch.no_grad()
    def density_volume(self, resolution: tuple[int, int, int] | None = None) -> DensityVolume:
        """The density features at all nodes that may hold matter, in batches: exact there."""
        n = resolution or self.resolution
        return self._baked(n, torch.ones(n, dtype=torch.bool, device=self.aabb.device))

    def _baked(self, resolution: tuple[int, int, int], wanted: Bool[Tensor, "x y z"]) -> DensityVolume:
        """The density at the nodes that are ``wanted``; exactly 0 at the others."""
        features = torch.full(resolution, EMPTY, device=self.aabb.device)
        empty = self.within(DensityVolume(torch.zeros_like(features), self.space, 0.0, 1.0)).features == EMPTY
        for nodes in (wanted & ~empty).nonzero().split(POINTS_AT_ONCE):
            last = torch.tensor(resolution, device=nodes.device) - 1
            features[tuple(nodes.t())] = self.density_head(self._trunk(nodes * (2 / last) - 1))[:, 0]
        return DensityVolume(features, self.space, self.settings.density_shift, self.distance_scale)

    @property
    def bytes_a_sample(self) -> int:
        """Two passes (density, then colour) over all layers, and the encodings: measured a tenth more."""
        encoded = fourier_size(3, self.settings.position_frequencies) + fourier_size(3, self.settings.view_frequencies)
        layers = (self.size.depth + 1) * self.size.width + self.size.view_width
        return 4 * 2 * (encoded + layers)

    def refine(self, resolution: tuple[int, int, int]) -> None:
        """Will be baked on a finer grid; the network stays."""
        self.resolution = resolution

    def parameter_groups(self) -> list[ParameterGroup]:
        """All of the network's, the backdrop's among them."""
        return [ParameterGroup(list(self.parameters()), self.size.rate)]

    def regularisation(self) -> Float[Tensor, ""]:
        """Nothing: a small network is smooth by itself."""
        return torch.zeros((), device=self.aabb.device)

    def describe(self) -> dict[str, object]:
        """Its size, resolution and box, as JSON values."""
        return {"resolution": list(self.resolution), "aabb": self.aabb.tolist(), "settings": asdict(self.settings)}


class NeRF(RadianceNetwork):
    """The fine network, with the coarse one that says where it is asked.

    Args:
        aabb: [2, 3], the region of interest in the capture's world.
        resolution: nodes along x, y, z of the grid that its density is baked on.
        settings: sizes of both networks.
    """

    def __init__(
        self, aabb: Float[Tensor, "2 3"], resolution: tuple[int, int, int], settings: NeRFSettings | None = None
    ) -> None:
        settings = settings or NeRFSettings()
        super().__init__(aabb, resolution, settings.fine, settings)
        self.coarse = RadianceNetwork(aabb, resolution, settings.coarse, settings)

    @property
    def proposal(self) -> RadianceNetwork:
        """The coarse network."""
        return self.coarse

    @property
    def bytes_a_sample(self) -> int:
        """Of both networks, each of which is asked at samples of its own."""
        return super().bytes_a_sample + self.coarse.bytes_a_sample

    def confine(self, inhabited: Bool[Tensor, "i j k"] | None) -> None:
        """Says where matter may be, to both networks."""
        super().confine(inhabited)
        # a copy: on disk no two tensors may share their memory
        self.coarse.confine(None if inhabited is None else inhabited.clone())

    @torch.no_grad()
    def density_volume(self, resolution: tuple[int, int, int] | None = None) -> DensityVolume:
        """The fine density features where the coarse network has something in the neighbourhood, else no density.

        Elsewhere nothing has been asked of the fine network in training, so that what it would say there means nothing;
        and most of a scene is empty, so that most of the work is saved.
        """
        n = resolution or self.resolution
        x, y, z = (max(2, (nodes + BAKED_FIRST - 1) // BAKED_FIRST) for nodes in n)
        first = self.coarse.density_volume((x, y, z))
        sizes = (self.aabb[1] - self.aabb[0]) * (1 + self.space.shell) / (torch.tensor((x, y, z)).to(self.aabb) - 1)
        reach = F.max_pool3d(first.densities()[None, None], 3, stride=1, padding=1)
        something = (1 - torch.exp(-reach * sizes.max()) > LEAST_ALPHA).float()
        return self._baked(n, F.interpolate(something, size=n, mode="nearest-exact")[0, 0] > 0)

    def refine(self, resolution: tuple[int, int, int]) -> None:
        """Both will be baked on finer grids; the networks stay."""
        super().refine(resolution)
        self.coarse.refine(resolution)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The fine network's parameters and the coarse one's."""
        coarse = list(self.coarse.parameters())
        own = {id(p) for p in coarse}
        fine = [p for p in self.parameters() if id(p) not in own]
        return [ParameterGroup(fine, self.size.rate), ParameterGroup(coarse, self.coarse.size.rate)]

    @staticmethod
    def rebuild(description: Mapping[str, Any]) -> NeRF:
        """The (untrained) field of a description."""
        x, y, z = (int(n) for n in description["resolution"])
        settings = dict(description["settings"])
        for network in ("fine", "coarse"):
            settings[network] = NetworkSize(**settings[network])
        return NeRF(torch.tensor(description["aabb"]), (x, y, z), NeRFSettings(**settings))
