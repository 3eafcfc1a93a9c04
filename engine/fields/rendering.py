"""Volume rendering: rays into colours, depths and opacities, for any field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from engine.captures.capture import Camera
from engine.captures.rays import camera_directions
from engine.fields.base import RadianceField
from engine.fields.sampling import OccupancyGrid, sample_intervals, stretch_of_rays, weights_from_density
from engine.fields.settings import Sampling
from engine.fields.volume import DensityVolume

NO_COLOUR_BELOW = 1e-3  # a sample that adds less than this to its pixel is not worth a network evaluation
RAYS_AT_ONCE = 8192


@dataclass(frozen=True)
class RayColours:
    """What rendering gives a batch of rays, all per ray or per (ray, sample).

    ``rgb`` [R, 3] over the background, ``opacity`` [R], ``depth`` [R] the expected t of what stops the light (0 where
    nothing does; t is depth, since rays_d has z = -1 in the camera), ``weights`` [R, S], ``s_edges`` [R, S + 1] of the
    intervals along the ray's stretch, ``t_mid`` [R, S] where the field was asked, ``optical`` [R, S] the optical depths
    (density times length) of the intervals.
    """

    rgb: Float[Tensor, "r 3"]
    opacity: Float[Tensor, " r"]
    depth: Float[Tensor, " r"]
    weights: Float[Tensor, "r s"]
    s_edges: Float[Tensor, "r edges"]
    t_mid: Float[Tensor, "r s"]
    optical: Float[Tensor, "r s"]


def render_rays(
    field: RadianceField,
    grid: OccupancyGrid,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    sampling: Sampling,
    generator: torch.Generator | None = None,
    explore: float = 0.0,
    background: Float[Tensor, "r 3"] | None = None,
    reference: Float[Tensor, " r"] | None = None,
    shared: int = 1,
) -> RayColours:
    """Renders rays (NeRF, Eq. 3), looking only where the occupancy grid says that light stops.

    ``background`` replaces the field's own; ``generator`` makes the samples random (training). With ``reference``
    distances t, densities nearer than that learn the more slowly the nearer they are (`slowed_near_camera`).
    ``shared`` neighbouring samples of a ray have one colour, that of the place where most of their light stops:
    near a surface samples are much closer to each other than colours change, and colours cost most of the time.
    """
    # where to look is not learned by cameras that are: only what is seen there
    still_o, still_d = rays_o.detach(), rays_d.detach()
    stretch = stretch_of_rays(field.space, still_o, still_d, sampling.near)
    s_edges = sample_intervals(grid, still_o, still_d, stretch, sampling.coarse, sampling.fine, generator, explore)
    viewdirs = torch.nn.functional.normalize(rays_d, dim=-1)
    shape = s_edges[:, 1:].shape
    where = torch.rand(shape, generator=generator, device=rays_o.device) if generator is not None else 0.5
    t_mid = stretch.t_of(s_edges[:, :-1] + s_edges.diff(dim=-1) * where)
    xyz = rays_o[:, None] + rays_d[:, None] * t_mid[..., None]  # [R, S, 3]
    sigmas = _densities(field, grid, xyz)
    if reference is not None:
        sigmas = slowed_near_camera(sigmas, t_mid, reference)
    t_edges = stretch.t_of(s_edges)
    lengths = field.space.cell_lengths(field.space.along(still_o, still_d, t_edges), still_d, t_edges)
    weights, through = weights_from_density(sigmas, lengths)

    coloured, places = (weights, xyz) if shared == 1 else _together(weights, xyz, shared)
    seen = coloured > NO_COLOUR_BELOW
    ray_indices = seen.nonzero()[:, 0]
    rgb = torch.zeros_like(rays_o)
    if ray_indices.numel():
        colours = field.colour(places[seen], viewdirs[ray_indices])
        rgb = rgb.index_add(0, ray_indices, colours * coloured[seen][:, None])
    behind = field.background(rays_o, viewdirs) if background is None else background
    opacity = weights.sum(-1)
    depth = (weights * t_mid).sum(-1) / opacity.clamp_min(1e-6) * (opacity > 0.5)
    return RayColours(rgb + through[:, None] * behind, opacity, depth, weights, s_edges, t_mid, sigmas * lengths)


def _together(
    weights: Float[Tensor, "r s"], xyz: Float[Tensor, "r s 3"], count: int
) -> tuple[Float[Tensor, "r g"], Float[Tensor, "r g 3"]]:
    """The weights of every ``count`` neighbouring samples in one, and their mean place."""
    room = -weights.shape[1] % count
    grouped = torch.nn.functional.pad(weights, (0, room)).unflatten(1, (-1, count))  # [R, G, count]
    places = torch.nn.functional.pad(xyz, (0, 0, 0, room)).unflatten(1, (-1, count))
    total = grouped.sum(-1)
    return total, (grouped[..., None] * places).sum(-2) / total.clamp_min(1e-9)[..., None]


def _densities(field: RadianceField, grid: OccupancyGrid, xyz: Float[Tensor, "r s 3"]) -> Float[Tensor, "r s"]:
    """The field's density at points of rays; it isn't asked in voids."""
    if not grid.voids:
        return field.density(xyz.view(-1, 3)).view(xyz.shape[:-1])
    maybe = grid.lookup(xyz)[1] > 0
    sigmas = torch.zeros_like(xyz[..., 0])
    return sigmas.masked_scatter(maybe, field.density(xyz[maybe]))


def slowed_near_camera(
    values: Float[Tensor, "r s"], t: Float[Tensor, "r s"], reference: Float[Tensor, " r"]
) -> Float[Tensor, "r s"]:
    """The same values; their gradients times min(1, (t / reference)^2).

    A camera sees the volume right before it with the most rays per cell, and no other camera sees it: left alone, it
    fills with floaters that paint the photo. Philip and Deschaintre ("Floaters No More", EGSR 2023, Eq. 7) weigh
    gradients by the share of rays that a place gets at its distance.
    """
    factor = (t / reference[:, None]).square().clamp_max(1.0)
    return values * factor + (values * (1 - factor)).detach()


@dataclass(frozen=True)
class RenderedView:
    """A view of a field as arrays: ``rgb`` [H, W, 3], ``depth`` [H, W] (0 = nothing), ``opacity`` [H, W].

    ``normals`` [H, W, 3] are unit vectors in the world, 0 where there is no depth; None where they weren't asked for.
    """

    rgb: np.ndarray
    depth: np.ndarray
    opacity: np.ndarray
    normals: np.ndarray | None = None


def camera_rays(
    camera: Camera, device: torch.device, pixels: Int[np.ndarray, " p"] | None = None
) -> tuple[Float[Tensor, "p 3"], Float[Tensor, "p 3"]]:
    """(rays_o, rays_d) through pixel centres; rays_d has z = -1 in the camera, so t is depth.

    All pixels row by row, or those with the numbers ``pixels`` in that order.
    """
    directions = torch.from_numpy(camera_directions(camera, pixels).reshape(-1, 3)).float().to(device)
    pose = torch.from_numpy(camera.world_from_camera).float().to(device)
    rays_d = directions @ pose[:3, :3].t()
    return pose[:3, 3].expand_as(rays_d), rays_d


@torch.no_grad()
def render_view(
    field: RadianceField,
    grid: OccupancyGrid,
    camera: Camera,
    sampling: Sampling,
    surface: DensityVolume | None = None,
    check: Callable[[], None] = lambda: None,
) -> RenderedView:
    """Renders a whole view, in batches of rays; with normals where the ``surface``, the field's bake, is given.

    ``check`` is called for each batch and may raise.
    """
    rays_o, rays_d = camera_rays(camera, field.space.aabb.device)
    parts = []
    for i in range(0, rays_o.shape[0], RAYS_AT_ONCE):
        check()
        parts.append(render_rays(field, grid, rays_o[i : i + RAYS_AT_ONCE], rays_d[i : i + RAYS_AT_ONCE], sampling))
    shape = (camera.height, camera.width)
    depth = torch.cat([p.depth for p in parts])
    normals = None
    if surface is not None:
        found = surface.normals(rays_o + rays_d * depth[:, None]) * (depth > 0)[:, None]
        normals = found.view(*shape, 3).cpu().numpy()
    return RenderedView(
        rgb=torch.cat([p.rgb for p in parts]).clamp(0, 1).view(*shape, 3).cpu().numpy(),
        depth=depth.view(shape).cpu().numpy(),
        opacity=torch.cat([p.opacity for p in parts]).view(shape).cpu().numpy(),
        normals=normals,
    )
