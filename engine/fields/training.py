"""Training a radiance field from photos with cameras: coarse to fine, in the time that the preset allows."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from engine.captures.bounds import SceneBox
from engine.captures.capture import Camera
from engine.fields.base import TrainableField
from engine.fields.contraction import Contraction
from engine.fields.kinds import kind_of
from engine.fields.pixels import PixelPool, RayBatch
from engine.fields.rendering import RayColours, render_rays, render_view
from engine.fields.sampling import OccupancyGrid
from engine.fields.settings import TrainingSettings
from engine.progress import Job
from sa3d_blender.protocol.errors import FieldError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedField:
    """A field that is ready to render, with its occupancy grid and how well it predicts views it never saw.

    ``heldout_psnr_db`` maps the names of held-out views to PSNR, and ``history`` holds (seconds, step, training PSNR).
    """

    model: TrainableField
    grid: OccupancyGrid
    box: SceneBox
    settings: TrainingSettings
    quality: str = "draft"
    heldout_psnr_db: dict[str, float] = field(default_factory=dict)
    history: tuple[tuple[float, int, float], ...] = ()

    @property
    def mean_heldout_psnr_db(self) -> float:
        """Mean PSNR over the held-out views in dB; NaN if there are none."""
        values = list(self.heldout_psnr_db.values())
        return float(np.mean(values)) if values else math.nan


def resolution_of(aabb: np.ndarray, side: int) -> tuple[int, int, int]:
    """Grid nodes along x, y, z so that cells are cubes and there are about ``side``^3 of them."""
    extent = aabb[1] - aabb[0]
    cell = float(np.prod(extent)) ** (1 / 3) / side
    x, y, z = (max(8, round(e / cell)) for e in extent)
    return x, y, z


def build_grid(model: TrainableField, side: int) -> OccupancyGrid:
    """The occupancy grid of a field, at most ``side``^3 cells and never finer than the field itself."""
    aabb = model.aabb.cpu().numpy()
    wanted = resolution_of(aabb, side)
    n = tuple(min(a, b) for a, b in zip(wanted, model.resolution, strict=True))
    return OccupancyGrid.from_volume(model.density_volume((n[0], n[1], n[2])))


def compactness(found: RayColours) -> Float[Tensor, ""]:
    """Distortion of the weights along rays (mip-NeRF 360, Eq. 15), in O(S) by sorted prefix sums.

    Distances are measured along each ray's stretch, so that the term has the same size in every scene.
    """
    middle, width = (found.s_edges[:, 1:] + found.s_edges[:, :-1]) / 2, found.s_edges.diff(dim=-1)
    w = found.weights
    before, moment = w.cumsum(-1) - w, (w * middle).cumsum(-1) - w * middle
    pairs = 2 * w * (middle * before - moment)
    return (pairs.sum(-1) + (w**2 * width).sum(-1) / 3).mean()


def train_field(
    cameras: list[Camera],
    images: list[np.ndarray],
    box: SceneBox,
    settings: TrainingSettings,
    device: torch.device,
    job: Job,
    seed: int = 0,
    kind: str = "tensorf",
) -> TrainedField:
    """Trains a field on photos; deterministic under ``seed`` on a CPU.

    Args:
        cameras: of the training views, at the images' sizes.
        images: float [H, W, 3 or 4] in [0, 1], alpha premultiplied.
        box: the region of interest; what lies outside is contracted into a thin shell, or nothing (kind "object").

    Raises:
        FieldError: the loss stopped being a number.
        Cancelled: on request, within a step.
    """
    torch.manual_seed(seed)
    generator = torch.Generator(device=device).manual_seed(seed)
    model = kind_of(kind).make(box, resolution_of(box.aabb, settings.sides[0])).to(device)
    pool = PixelPool(cameras, images, device)
    grid = build_grid(model, settings.occupancy_side)
    optimizer = _optimizer(model, settings, 1.0)
    history: list[tuple[float, int, float]] = []
    smooth_mse = math.nan

    import time

    started = time.perf_counter()
    with job.stage("Training field", settings.steps) as stage:
        for step in range(settings.steps):
            if step in settings.upsample_at:
                side = settings.sides[settings.upsample_at.index(step) + 1]
                model.refine(resolution_of(box.aabb, side))
                optimizer = _optimizer(model, settings, settings.decay ** (step / settings.steps))
                grid = build_grid(model, settings.occupancy_side)
            elif step % settings.occupancy_every == 0:
                grid = build_grid(model, settings.occupancy_side)
            for group in optimizer.param_groups:
                group["lr"] = group["base_rate"] * settings.decay ** (step / settings.steps)
            batch = pool.draw(settings.rays, generator)
            # looking where the grid says nothing is worth most at the start, when the grid knows nothing
            explore = settings.explore * (1.0 if step < settings.steps * 0.6 else 0.3)
            mse, loss = _loss(model, grid, batch, settings, generator, explore)
            if not torch.isfinite(loss):
                raise FieldError(
                    f"Training stopped at step {step}: the loss is no longer a number.",
                    "Check the capture for broken photos or poses, or train again with another --seed.",
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            value = float(mse)
            smooth_mse = value if math.isnan(smooth_mse) else 0.95 * smooth_mse + 0.05 * value
            if step % 20 == 19 or step == settings.steps - 1:
                psnr = -10 * math.log10(max(smooth_mse, 1e-10))
                history.append((time.perf_counter() - started, step + 1, psnr))
                stage.at(step + 1, f"PSNR {psnr:.1f} dB")
            else:
                job.check()
    return TrainedField(model, build_grid(model, settings.occupancy_side), box, settings, history=tuple(history))


def _loss(
    model: TrainableField,
    grid: OccupancyGrid,
    batch: RayBatch,
    settings: TrainingSettings,
    generator: torch.Generator,
    explore: float,
) -> tuple[Tensor, Tensor]:
    backdrop, target = None, batch.rgb
    if model.backdrop is None:
        # photos with alpha: a random colour behind them, so that nothing can hide in what is transparent
        backdrop = torch.rand(batch.rgb.shape, generator=generator, device=batch.rgb.device)
        target = batch.rgb + (1 - batch.alpha[:, None]) * backdrop
    reference = reference_distance(model.space, batch)
    found = render_rays(
        model, grid, batch.rays_o, batch.rays_d, settings.sampling, generator, explore, backdrop, reference
    )
    mse = torch.nn.functional.mse_loss(found.rgb, target)
    loss = mse + model.regularisation() + settings.compactness * compactness(found)
    if model.backdrop is not None:
        loss = loss + settings.opaqueness * leaked(found, reference)
    return mse.detach(), loss


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


def _optimizer(model: TrainableField, settings: TrainingSettings, rate: float) -> torch.optim.Adam:
    groups = [
        {"params": list(group.parameters), "lr": group.rate * rate, "base_rate": group.rate}
        for group in model.parameter_groups()
    ]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)


def measure_heldout(
    trained: TrainedField, names: list[str], cameras: list[Camera], images: list[np.ndarray], job: Job
) -> TrainedField:
    """PSNR of views that the training never saw; photos with alpha are compared over white."""
    found: dict[str, float] = {}
    with job.stage("Rendering held-out views", len(names)) as stage:
        for name, camera, image in zip(names, cameras, images, strict=True):
            rgb = render_view(trained.model, trained.grid, camera, trained.settings.sampling).rgb
            truth = image[..., :3] + (1 - image[..., 3:]) if image.shape[2] == 4 else image
            mse = float(np.mean((rgb - truth) ** 2))
            found[name] = -10 * math.log10(max(mse, 1e-10))
            stage.advance(1, f"{name} {found[name]:.1f} dB")
    return replace(trained, heldout_psnr_db=found)
