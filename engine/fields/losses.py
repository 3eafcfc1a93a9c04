"""What training asks of a field, besides looking like the photos."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from engine.fields.base import TrainableField
from engine.fields.contraction import Contraction
from engine.fields.pixels import RayBatch
from engine.fields.rendering import RayColours, render_rays
from engine.fields.sampling import OccupancyGrid
from engine.fields.settings import TrainingSettings

EXPLORING_SHARE = 0.6  # of the steps; from then on the occupancy grid knows enough
EXPLORE_LATER = 0.3  # of `TrainingSettings.explore`
EVEN = 1e3  # an ``explore`` beside which nothing else counts


@dataclass(frozen=True)
class Losses:
    """``total`` is what is minimised; ``errors`` [R] are the rays' mean squared errors of colour, detached."""

    total: Float[Tensor, ""]
    errors: Float[Tensor, " r"]


def training_loss(
    model: TrainableField,
    grid: OccupancyGrid,
    batch: RayBatch,
    settings: TrainingSettings,
    generator: torch.Generator,
    progress: float,
) -> Losses:
    """The loss of a batch of rays.

    Mean squared error of colours (NeRF, Eq. 6, the fine part), the kind's own regularisation, `compactness`, and in
    unbounded scenes `leaked`. A kind with a proposal has that rendered, too, from evenly spread samples (the coarse
    part of Eq. 6). ``progress`` is the share of the steps that are behind.
    """
    backdrop, target = None, batch.rgb
    if model.backdrop is None:
        # photos with alpha: a random colour behind them, so that nothing can hide in what is transparent
        backdrop = torch.rand(batch.rgb.shape, generator=generator, device=batch.rgb.device)
        target = batch.rgb + (1 - batch.alpha[:, None]) * backdrop
    reference = reference_distance(model.space, batch)
    # looking where the grid says nothing is worth most at the start, when the grid knows nothing
    explore = settings.explore * (1.0 if progress < EXPLORING_SHARE else EXPLORE_LATER)
    found = render_rays(
        model, grid, batch.rays_o, batch.rays_d, settings.sampling, generator, explore, backdrop, reference
    )
    errors = (found.rgb - target).square().mean(-1)
    total = errors.mean() + model.regularisation() + settings.compactness * compactness(found)
    if model.backdrop is not None:
        total = total + settings.opaqueness * leaked(found, reference)
    if model.proposal is not None:
        coarse = render_rays(
            model.proposal, grid, batch.rays_o, batch.rays_d, settings.sampling, generator, EVEN, backdrop, reference
        )
        total = total + (coarse.rgb - target).square().mean()
    return Losses(total, errors.detach())


def compactness(found: RayColours) -> Float[Tensor, ""]:
    """Distortion of the weights along rays (mip-NeRF 360, Eq. 15), in O(S) by sorted prefix sums.

    Distances are measured along each ray's stretch, so that the term has the same size in every scene.
    """
    middle, width = (found.s_edges[:, 1:] + found.s_edges[:, :-1]) / 2, found.s_edges.diff(dim=-1)
    w = found.weights
    before, moment = w.cumsum(-1) - w, (w * middle).cumsum(-1) - w * middle
    pairs = 2 * w * (middle * before - moment)
    return (pairs.sum(-1) + (w**2 * width).sum(-1) / 3).mean()


def reference_distance(space: Contraction, batch: RayBatch) -> Float[Tensor, " r"]:
    """How far along each ray the middle of the region of interest lies, as t; never behind the camera."""
    away = (space.aabb.mean(0) - batch.rays_o).norm(dim=-1) / batch.rays_d.norm(dim=-1)
    return away.clamp_min(1e-6)


def leaked(found: RayColours, reference: Float[Tensor, " r"]) -> Float[Tensor, ""]:
    """Mean share of light that nothing stops, to be lowered by matter at or beyond the ``reference`` distance only.

    What is nearer counts for the share, but isn't asked to become denser: the quickest way to stop all light would be
    fog right before the cameras.
    """
    near = found.t_mid <= reference[:, None]
    return torch.exp(-torch.where(near, found.optical.detach(), found.optical).sum(-1)).mean()
