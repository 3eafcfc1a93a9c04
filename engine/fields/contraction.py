"""One world for bounded and unbounded scenes: the region of interest at full resolution, the rest in a thin shell.

Inside the region of interest space is left alone. Outside, a cuboid version of the mip-NeRF 360 contraction
(Barron et al.,
CVPR 2022, Eq. 10, with the maximum norm and a shell of adjustable thickness as in DVGO's unbounded mode) squeezes
everything up to infinity into a shell around it. Nobody outside `engine.fields` sees contracted coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

SHELL = 0.25  # thickness in half sides: a fifth of the grid's nodes along an axis serve all that is far away


@dataclass(frozen=True)
class Contraction:
    """Maps the world to the cube [-1, 1]^3 in which fields keep their grids.

    ``aabb`` [2, 3] is the region of interest in the world; ``shell`` the thickness of the contracted rest
    in half sides, or 0 for scenes that end at the box.
    """

    aabb: Float[Tensor, "2 3"]
    shell: float = 0.0

    @property
    def unbounded(self) -> bool:
        """Whether there is anything outside the box."""
        return self.shell > 0

    def to_unit(self, xyz: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """World points in [-1, 1]^3; beyond it where a bounded scene has ended."""
        centre, half = (self.aabb[0] + self.aabb[1]) / 2, (self.aabb[1] - self.aabb[0]) / 2
        local = (xyz - centre) / half
        if not self.unbounded:
            return local
        norm = local.abs().amax(-1, keepdim=True).clamp_min(1.0)
        return local * ((1 + self.shell - self.shell / norm) / norm / (1 + self.shell))

    def along(
        self, rays_o: Float[Tensor, "r 3"], rays_d: Float[Tensor, "r 3"], t: Float[Tensor, "r n"]
    ) -> Float[Tensor, "3 r n"]:
        """``to_unit(rays_o + t * rays_d)`` for many distances a ray, axis by axis: a third of the time of doing it
        point by point, whose short last axis keeps processors from working on several values at once."""
        centre, half = (self.aabb[0] + self.aabb[1]) / 2, (self.aabb[1] - self.aabb[0]) / 2
        start, slope = ((rays_o - centre) / half).t()[..., None], (rays_d / half).t()[..., None]  # [3, R, 1]
        local = torch.addcmul(start, slope, t[None])
        if not self.unbounded:
            return local
        inverse = torch.maximum(torch.maximum(local[0].abs(), local[1].abs()), local[2].abs()).clamp_min_(1.0)
        inverse.reciprocal_()
        # (1 + shell - shell / norm) / norm / (1 + shell)
        factor = inverse.mul(-self.shell / (1 + self.shell)).add_(1.0).mul_(inverse)
        return local.mul_(factor)

    def cell_lengths(
        self, edges: Float[Tensor, "3 r edges"], rays_d: Float[Tensor, "r 3"], t: Float[Tensor, "r edges"]
    ) -> Float[Tensor, "r s"]:
        """Lengths of the intervals between distances ``t``, after contraction and in world units.

        ``edges`` are their places in the cube, by `along`. In the region of interest these are the true lengths. In the
        shell they are those of the cells, which keeps the rest of the world from becoming opaque at a touch: by true
        lengths the far intervals are so long that the least density there stops all light, and training then paints
        tables onto the horizon.
        """
        if not self.unbounded:
            return t.diff(dim=-1) * rays_d.norm(dim=-1, keepdim=True)
        half = (self.aabb[1] - self.aabb[0]) / 2 * (1 + self.shell)
        x, y, z = (edges[axis].diff(dim=-1).mul_(half[axis]).square_() for axis in range(3))
        return x.add_(y).add_(z).sqrt_()

    def core(self, resolution: tuple[int, int, int]) -> tuple[tuple[slice, slice, slice], Float[Tensor, "2 3"]]:
        """The grid nodes that lie in the region of interest, and the world box from the first to the last of them."""
        centre, half = (self.aabb[0] + self.aabb[1]) / 2, (self.aabb[1] - self.aabb[0]) / 2
        parts, low, high = [], [], []
        for n in resolution:
            local = torch.linspace(-1, 1, n) * (1 + self.shell)
            nodes = (local.abs() <= 1 + 1e-6).nonzero()[:, 0]
            first, last = int(nodes[0]), int(nodes[-1])
            parts.append(slice(first, last + 1))
            low.append(float(local[first]))
            high.append(float(local[last]))
        bounds = torch.tensor([low, high], device=self.aabb.device, dtype=self.aabb.dtype)
        return (parts[0], parts[1], parts[2]), centre + half * bounds
