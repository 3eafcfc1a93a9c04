"""A field in training: all that a step changes, how a step is made, and how an earlier state is put back."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from engine.fields.base import TrainableField
from engine.fields.curve import CurvePoint
from engine.fields.heldout import psnr_db
from engine.fields.kinds import kind_of
from engine.fields.losses import training_loss
from engine.fields.misfits import Misfits
from engine.fields.pixels import PixelPool
from engine.fields.pose_refinement import BEGIN, PoseRefinement
from engine.fields.sampling import OccupancyGrid
from engine.fields.scene_grid import build_grid, resolution_of
from engine.fields.settings import TrainingSettings
from sa3d_blender.protocol.errors import FieldError

SMOOTHING = 0.95  # of the running mean of the squared error
MOST_RESTARTS = 3  # after losses that are no numbers
SLOWER = 0.5  # the learning rate's factor after each of them
SECONDS_LOST_AT_MOST = 15.0  # by cancelling
KEPT_EVERY = 2  # updates of the occupancy grid


@dataclass(frozen=True)
class State:
    """A trainer's state at a step: ``tensors`` by name, ``meaning`` as JSON values."""

    tensors: Mapping[str, Tensor]
    meaning: Mapping[str, Any]


class Trainer:
    """Trains a model on the pixels of a pool, step by step; deterministic under ``seed`` on a CPU.

    Args:
        model: at the first of the settings' sides.
        pool: the training pixels.
        settings: how.
        seed: of rays and samples.
    """

    def __init__(self, model: TrainableField, pool: PixelPool, settings: TrainingSettings, seed: int) -> None:
        self.model, self.pool, self.settings, self.seed = model, pool, settings, seed
        self.device = model.aabb.device
        self.generator = torch.Generator(device=self.device).manual_seed(seed)
        self.step = self.restarts = 0
        self.rate, self.seconds, self.mse = 1.0, 0.0, math.nan
        self.curve: list[CurvePoint] = []
        self.misfits = Misfits(pool.views, self.device)
        self.poses: PoseRefinement | None = None
        if settings.refine_poses:
            size = float((model.aabb[1] - model.aabb[0]).norm())
            self.poses = PoseRefinement(pool.views, size).to(self.device)
        self.optimizer = self._new_optimizer()
        self.grid: OccupancyGrid = build_grid(model, settings.occupancy_side)
        self.good = self.state()

    @property
    def progress(self) -> float:
        """Share of the steps that are behind."""
        return self.step / self.settings.steps

    @property
    def training_psnr_db(self) -> float:
        """Running mean over the rays of the last steps; NaN before the first."""
        return math.nan if math.isnan(self.mse) else psnr_db(self.mse)

    def advance(self) -> None:
        """One step. After a loss that is no number: back to the last good state, at a lower learning rate.

        Raises:
            FieldError: that happened too often.
        """
        started = time.perf_counter()
        if not self._prepare():
            return self._return_to_good()
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_rate"] * self.rate * self.settings.decay**self.progress
        batch = self.pool.draw(self.settings.rays, self.generator)
        if bool(self.misfits.left_out.any()):
            batch = batch.only(self.misfits.wanted(batch.view))
        if self.poses is not None and self.progress >= BEGIN:
            rays_o, rays_d = self.poses(batch.view, batch.rays_o, batch.rays_d)
            batch = replace(batch, rays_o=rays_o, rays_d=rays_d)
        losses = training_loss(self.model, self.grid, batch, self.settings, self.generator, self.progress)
        mse = float(losses.errors.mean())
        if not (math.isfinite(mse) and bool(torch.isfinite(losses.total))):
            self._return_to_good()
        else:
            self.optimizer.zero_grad(set_to_none=True)
            losses.total.backward()
            self.optimizer.step()
            self.misfits.add(batch.view, losses.errors)
            self.mse = mse if math.isnan(self.mse) else SMOOTHING * self.mse + (1 - SMOOTHING) * mse
            self.step += 1
        self.seconds += time.perf_counter() - started

    def keep(self) -> None:
        """Makes the state as it is now the last good one, unless the one that is kept is a few seconds old only.

        What is taken up from it looks where the field has matter then, not where it had at the last update: as good,
        but not the same to the bit.
        """
        finite = all(bool(torch.isfinite(p).all()) for p in self._parameters())
        if finite and self.seconds - self.good.meaning["seconds"] > SECONDS_LOST_AT_MOST:
            self.good = self.state()

    def finish(self) -> None:
        """Brings the occupancy grid to the field's last state."""
        self.grid = build_grid(self.model, self.settings.occupancy_side)

    def _prepare(self) -> bool:
        """A finer grid and a newer occupancy, where the step is one for them; False where the field is broken."""
        s = self.settings
        regular = self.step % s.occupancy_every == 0
        # a loss may be a number and its gradient none
        if regular and not all(bool(torch.isfinite(p).all()) for p in self._parameters()):
            return False
        if regular and (self.step // s.occupancy_every) % KEPT_EVERY == 0:
            self.good = self.state()
        if self.step in s.upsample_at:
            side = s.sides[s.upsample_at.index(self.step) + 1]
            self.model.refine(resolution_of(self.model.aabb.cpu().numpy(), side))
            self.optimizer = self._new_optimizer()
        if regular or self.step in s.upsample_at:
            self.grid = build_grid(self.model, s.occupancy_side)
        return True

    def _return_to_good(self) -> None:
        if self.restarts >= MOST_RESTARTS:
            raise FieldError(
                f"Training stopped at step {self.step}: the loss is no number, at lower rates neither.",
                "Check the capture for broken photos or poses, or train again with another --seed.",
            )
        restarts, rate = self.restarts + 1, self.rate * SLOWER
        self.restore(self.good)
        self.restarts, self.rate = restarts, rate
        self.generator.manual_seed(self.seed + restarts)  # the same rays would end the same way

    def _new_optimizer(self) -> torch.optim.Adam:
        groups = [
            {"params": list(group.parameters), "lr": group.rate, "base_rate": group.rate}
            for group in [
                *self.model.parameter_groups(),
                *([self.poses.parameter_group()] if self.poses is not None else []),
            ]
        ]
        return torch.optim.Adam(groups, betas=(0.9, 0.99), fused=True)

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def state(self) -> State:
        """A copy of all that `restore` needs; taken right before an update of the occupancy grid it is exact."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for i, parameter in enumerate(self._parameters()):
            moments = self.optimizer.state.get(parameter, {})
            tensors |= {f"adam.{i}.{name}": value for name, value in moments.items()}
        if self.poses is not None:
            tensors |= {f"poses.{name}": value for name, value in self.poses.state_dict().items()}
        tensors |= {"generator": self.generator.get_state(), "left_out": self.misfits.left_out}
        tensors |= {"misfit_errors": self.misfits.errors, "misfit_rays": self.misfits.rays}
        meaning = {
            "step": self.step,
            "restarts": self.restarts,
            "rate": self.rate,
            "seconds": self.seconds,
            "mse": None if math.isnan(self.mse) else self.mse,
            "curve": [asdict(point) for point in self.curve],
            "kind": self.model.kind,
            "model": self.model.describe(),
        }
        return State({name: value.detach().clone() for name, value in tensors.items()}, meaning)

    def restore(self, state: State) -> None:
        """Puts a state back, taken from this trainer or from one of the same photos and settings.

        Raises:
            LookupError, TypeError, ValueError, RuntimeError: the state is not one of such a trainer.
        """
        tensors, meaning = state.tensors, state.meaning
        # all that may turn out not to fit comes first, so that a trainer is put back wholly or not at all
        model = kind_of(meaning["kind"]).rebuild(meaning["model"])
        of_model = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
        model.restore(of_model)
        step, restarts, rate = int(meaning["step"]), int(meaning["restarts"]), float(meaning["rate"])
        seconds, mse = float(meaning["seconds"]), math.nan if meaning["mse"] is None else float(meaning["mse"])
        curve = [CurvePoint(**point) for point in meaning["curve"]]
        of_photos = {name: tensors[name] for name in ("left_out", "misfit_errors", "misfit_rays")}
        if any(t.shape != (self.pool.views,) for t in of_photos.values()):
            raise ValueError("it is of other photos")
        of_poses = {}
        if self.poses is not None:
            of_poses = {name: tensors[f"poses.{name}"] for name in self.poses.state_dict()}
            if any(t.shape != self.poses.state_dict()[name].shape for name, t in of_poses.items()):
                raise ValueError("it is of other photos")
        random = tensors["generator"].cpu()

        self.model = model.to(self.device)
        if self.poses is not None:
            self.poses.load_state_dict(of_poses)
        self.optimizer = self._new_optimizer()
        for i, parameter in enumerate(self._parameters()):
            prefix = f"adam.{i}."
            moments = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            if moments:
                self.optimizer.state[parameter] = {
                    # in the parameter's own memory layout, as the fused optimiser wants it
                    name: torch.empty_like(parameter).copy_(t) if t.dim() else t.clone().to(self.device)
                    for name, t in moments.items()
                }
        if random.shape == self.generator.get_state().shape:
            self.generator.set_state(random)
        else:  # kept by a training on another device: other numbers, as random as those
            self.generator.manual_seed(self.seed + step)
        self.misfits.left_out.copy_(of_photos["left_out"])
        self.misfits.errors.copy_(of_photos["misfit_errors"])
        self.misfits.rays.copy_(of_photos["misfit_rays"])
        self.step, self.restarts, self.rate, self.seconds, self.mse = step, restarts, rate, seconds, mse
        self.curve = curve
        self.grid = build_grid(self.model, self.settings.occupancy_side)
        self.good = state
