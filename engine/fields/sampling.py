"""Where along a ray to look: the stretch of interest, an occupancy grid, importance sampling from its density."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from engine.fields.contraction import Contraction
from engine.fields.volume import DensityVolume

FAR = 16.0  # the farthest sample of an unbounded scene, in distances to the end of the region of interest
MOST_BELIEVED = 0.5  # opacity that one coarse interval is trusted to have, when looking for more behind it
FAR_SHARE = 0.25  # of the coarse intervals, for what lies behind the region of interest


@dataclass(frozen=True)
class Stretch:
    """The part of each ray that is looked at, as a map from s in [0, 1] to distances t.

    From ``near`` to ``split`` t grows linearly with s; behind (only if ``far_share`` > 0) linearly in disparity,
    up to ``FAR * split``.
    """

    near: Float[Tensor, " r"]
    split: Float[Tensor, " r"]
    far_share: float

    def t_of(self, s: Float[Tensor, "r n"]) -> Float[Tensor, "r n"]:
        """Distances along the rays."""
        near, split, bend = self.near[:, None], self.split[:, None], 1 - self.far_share
        if self.far_share == 0:
            return near + (split - near) * s
        linear = near + (split - near) * (s / bend).clamp_max(1)
        behind = ((s - bend) / self.far_share).clamp(0, 1)
        return torch.where(s <= bend, linear, split / (1 - behind * (1 - 1 / FAR)))


def stretch_of_rays(
    space: Contraction, rays_o: Float[Tensor, "r 3"], rays_d: Float[Tensor, "r 3"], near: float
) -> Stretch:
    """Where rays run through the scene: to the box's far side (slab method), and behind it if the world goes on there.

    In a bounded scene a ray that misses the box gets a stretch of no length.
    """
    safe = torch.where(rays_d.abs() < 1e-9, torch.full_like(rays_d, 1e-9), rays_d)
    lo, hi = (space.aabb[0] - rays_o) / safe, (space.aabb[1] - rays_o) / safe
    enter = torch.minimum(lo, hi).amax(-1)
    leave = torch.maximum(lo, hi).amin(-1)
    hits = (leave > enter) & (leave > near)
    if not space.unbounded:
        t_near = enter.clamp_min(near)
        return Stretch(torch.where(hits, t_near, near), torch.where(hits, leave, near), 0.0)
    # Nothing is looked for between a camera outside the box and the box: matter there is a floater. A ray past the box
    # starts where it comes closest to the centre, and so does one that meets it later than that at a corner: else what
    # the shell holds before the corner would be missing in a thin line.
    centre = space.aabb.mean(0)
    closest = ((centre - rays_o) * rays_d).sum(-1) / rays_d.square().sum(-1)
    reach = (space.aabb[1] - space.aabb[0]).amax() / 2 / rays_d.norm(dim=-1)  # as t, too
    past = torch.maximum(closest, reach)
    begin = torch.where(hits, torch.minimum(enter, past * 0.9).clamp_min(near), past * 0.9)
    return Stretch(begin, torch.where(hits, leave, past), FAR_SHARE)


@dataclass(frozen=True)
class OccupancyGrid:
    """The field's density on coarse cells; what is empty here is not looked at.

    ``sigma`` [X, Y, Z] is the density of a cell as the field has it, ``reach`` the largest one in its
    neighbourhood, so that a surface may move by a cell before the next update sees it. Where ``reach`` is exactly 0
    there can be nothing (``voids`` says whether there are such places).
    """

    sigma: Float[Tensor, "x y z"]
    reach: Float[Tensor, "x y z"]
    space: Contraction
    voids: bool = False

    @staticmethod
    def from_volume(volume: DensityVolume) -> OccupancyGrid:
        """The grid of a baked density: each node stands for the cell around it."""
        sigma = volume.densities()
        reach = F.max_pool3d(sigma[None, None], 3, stride=1, padding=1)[0, 0]
        return OccupancyGrid(sigma, reach, volume.space, bool((reach == 0).any()))

    def lookup(self, xyz: Float[Tensor, "r s 3"]) -> tuple[Float[Tensor, "r s"], Float[Tensor, "r s"]]:
        """(sigma, reach) of the cell that holds each world point."""
        return self.lookup_unit(self.space.to_unit(xyz).movedim(-1, 0))

    def lookup_unit(self, unit: Float[Tensor, "3 r s"]) -> tuple[Float[Tensor, "r s"], Float[Tensor, "r s"]]:
        """The same at points of the unit cube, axis by axis; the border's beyond it."""
        flat = torch.zeros((), dtype=torch.int32, device=unit.device)
        for axis, n in enumerate(self.sigma.shape):
            nearest = (unit[axis] * ((n - 1) / 2)).add_(n / 2).int()  # rounds, since half a cell is added
            flat = flat * n + nearest.clamp_(0, n - 1)
        at = flat.view(-1)
        return (
            self.sigma.view(-1).index_select(0, at).view(flat.shape),
            self.reach.view(-1).index_select(0, at).view(flat.shape),
        )


def weights_from_density(
    sigmas: Float[Tensor, "r s"], lengths: Float[Tensor, "r s"]
) -> tuple[Float[Tensor, "r s"], Float[Tensor, " r"]]:
    """Rendering weights ``w_k = T_k alpha_k`` and the transmittance behind the last interval (NeRF, Eq. 3).

    ``lengths`` are those of the intervals in world units.
    """
    optical = sigmas * lengths
    passed = torch.cumsum(optical, dim=-1)
    transmittance = torch.exp(-(passed - optical))  # [R, S], light that reaches interval k
    return transmittance * (1 - torch.exp(-optical)), torch.exp(-passed[:, -1])


@torch.no_grad()
def sample_intervals(
    grid: OccupancyGrid,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    stretch: Stretch,
    coarse: int,
    fine: int,
    generator: torch.Generator | None = None,
    explore: float = 0.0,
) -> Float[Tensor, "r edges"]:
    """Edges, in s, of ``fine`` intervals a ray: dense where the coarse density says that the light stops.

    The probability of a place is its rendering weight in the occupancy grid, widened to its neighbours, plus a
    little where the grid is occupied at all, plus ``explore`` spread evenly (training must be able to find matter where
    the grid has none yet). Without ``generator`` the result is deterministic (rendering); with it, stratified.
    """
    rays = rays_o.shape[0]
    ramp = torch.linspace(0, 1, coarse + 1, device=rays_o.device).expand(rays, -1)
    shift = torch.rand(rays, 1, generator=generator, device=rays_o.device) if generator is not None else 0.5
    t_edges = stretch.t_of(ramp)
    edges = grid.space.along(rays_o, rays_d, t_edges)
    sigma, reach = grid.lookup_unit(edges[..., :-1] + edges.diff(dim=-1) * shift)
    lengths = grid.space.cell_lengths(edges, rays_d, t_edges)
    weights, _ = weights_from_density(sigma, lengths)
    widened = F.max_pool1d(weights[:, None], 3, stride=1, padding=1)[:, 0]
    # Matter in this cell or the next: worth a look, even where the coarse grid believes that light has stopped
    # before. Without it rays that graze an object find nothing behind it, and silhouettes get a dotted rim.
    alpha = (1 - torch.exp(-reach * lengths)).clamp_max(MOST_BELIEVED)
    candidates = alpha * F.pad((1 - alpha).cumprod(-1)[:, :-1], (1, 0), value=1.0)
    pdf = widened + 0.25 * candidates
    pdf = pdf / pdf.sum(-1, keepdim=True).clamp_min(1e-6)
    floor = explore + 1e-3
    even = torch.full_like(pdf, floor / coarse)
    if grid.voids:
        even = even * (reach > 0) + 1e-9  # nothing is to be found in voids; rays through them alone stay defined
    pdf = pdf + even
    cdf = F.pad(pdf.cumsum(-1), (1, 0))
    cdf = cdf / cdf[:, -1:]

    u = torch.linspace(0, 1, fine + 1, device=rays_o.device).expand(rays, -1)
    if generator is not None:
        jitter = torch.rand(rays, fine + 1, generator=generator, device=rays_o.device) - 0.5
        jitter[:, 0] = jitter[:, -1] = 0
        u = u + jitter / fine
    right = torch.searchsorted(cdf, u.contiguous(), right=True).clamp(1, coarse)
    left = right - 1
    c0, c1 = cdf.gather(-1, left), cdf.gather(-1, right)
    fraction = ((u - c0) / (c1 - c0).clamp_min(1e-9)).clamp(0, 1)
    return (left + fraction) / coarse
