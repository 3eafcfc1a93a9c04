"""Training a radiance field from photos with cameras: coarse to fine, in the time that the preset allows."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool
from scipy.ndimage import maximum_filter

from engine.captures.bounds import SceneBox
from engine.captures.capture import Camera
from engine.captures.hull import VisualHull, visual_hull
from engine.devices import describe
from engine.fields.base import TrainableField
from engine.fields.cost import Pace, tried_pace
from engine.fields.curve import CurvePoint, is_flat
from engine.fields.heldout import HeldOut, Watcher
from engine.fields.kinds import kind_of
from engine.fields.misfits import LOOK_AT
from engine.fields.pixels import PixelPool
from engine.fields.resume import Keeper
from engine.fields.sampling import OccupancyGrid
from engine.fields.scene_grid import resolution_of
from engine.fields.settings import TrainingSettings
from engine.fields.trainer import Trainer
from engine.progress import Job, Stage, readable_seconds
from sa3d_blender.protocol.errors import Cancelled, FieldError

RIM_PX = 6  # around silhouettes that is drawn from as much as they are
REPORTED_EVERY = 10  # steps
MEASURED_SHARE = 0.02  # of the steps, between two looks at held-out views
FLAT_SHARE, FLAT_DB = 0.25, 0.0  # stopped early where the last quarter of all steps gained no more than this
NEVER_BEFORE = 0.5  # of the steps
SECONDS_BETWEEN_PREVIEWS = 5.0


@dataclass(frozen=True)
class TrainedField:
    """A field that is ready to render, with its occupancy grid and how well it predicts views it never saw.

    ``box`` is the region that it models, ``heldout_psnr_db`` maps the names of held-out views to PSNR, ``history`` is
    the training's curve, ``left_out`` names photos that didn't fit the others, and ``poses`` holds corrected ones
    (world_from_camera [4, 4]) by the names of their views, where they were learned. ``masks`` is what the photos' masks
    were taken for: "object", "ignore", or "none"; None where the field doesn't say.
    """

    model: TrainableField
    grid: OccupancyGrid
    box: SceneBox
    settings: TrainingSettings
    quality: str = "draft"
    heldout_psnr_db: dict[str, float] = field(default_factory=dict)
    history: tuple[CurvePoint, ...] = ()
    left_out: tuple[str, ...] = ()
    poses: dict[str, np.ndarray] = field(default_factory=dict)
    masks: str | None = None

    @property
    def mean_heldout_psnr_db(self) -> float:
        """Mean PSNR over the held-out views in dB; NaN if there are none."""
        values = list(self.heldout_psnr_db.values())
        return float(np.mean(values)) if values else math.nan


def train_field(
    cameras: Sequence[Camera],
    images: Sequence[np.ndarray],
    box: SceneBox,
    settings: TrainingSettings,
    device: torch.device,
    job: Job,
    seed: int = 0,
    kind: str = "tensorf",
    heldout: HeldOut | None = None,
    keeper: Keeper | None = None,
    names: Sequence[str] = (),
    counted: Sequence[Bool[np.ndarray, "h w"] | None] | None = None,
) -> TrainedField:
    """Trains a field on photos; deterministic under ``seed`` on a CPU.

    Args:
        cameras: of the training views, at the images' sizes.
        images: float [H, W, 3 or 4] in [0, 1], alpha premultiplied; or uint8 [H, W, 3].
        box: the region of interest; what lies outside is contracted into a thin shell, or nothing (kind "object",
            which is tightened to what the photos' alpha leaves of it).
        heldout: views to be watched, so that training can stop when they get no better.
        keeper: where the training is kept, and taken up again.
        names: of the training views, for messages.
        counted: the pixels of each photo that say something of the scene (None: all of them).

    Raises:
        FieldError: the loss stopped being a number, again and again.
        Cancelled: on request, within a step; what was learned until then is kept.
    """
    hull = _hull(cameras, images, box, job)
    box = hull.box if hull is not None else box
    as_given, settings = settings, settings.of_scene(bounded=box.kind == "object")
    pool = PixelPool(cameras, images, device, None if hull is None else _silhouettes(images), counted)
    torch.manual_seed(seed)
    with job.stage("Trying the pace"):
        inhabited = None if hull is None else torch.from_numpy(hull.inhabited)
        pace = tried_pace(kind, box, inhabited, pool, settings, device, seed, job)
    torch.manual_seed(seed)
    model = kind_of(kind).make(box, resolution_of(box.aabb, settings.sides[0]), settings).to(device)
    model.confine(inhabited)
    trainer = Trainer(model, pool, settings, seed)
    if keeper is not None and keeper.take_up(trainer):
        job.log(f"Going on after step {trainer.step} of {settings.steps}.")
    left = pace.left(trainer.step, trainer.seconds)
    job.log(f"Training will take about {readable_seconds(left)} on this machine.")
    watcher = Watcher(heldout, device, seed) if heldout else None
    with job.stage("Training field", settings.steps) as stage:
        try:
            _run(trainer, pace, watcher, keeper, job, stage, names)
        except Cancelled:
            if keeper is not None:
                trainer.keep()
                keeper.offer(trainer, now=True)
            raise
        except torch.OutOfMemoryError as error:
            raise FieldError(
                f"The memory of {describe(device)} is full after step {trainer.step}.",
                "Close other programs that use it, choose a lower --quality, or train with --device cpu.",
            ) from error
    trainer.finish()
    left_out = [_name(i, names) for i in trainer.misfits.left_out.nonzero()[:, 0].tolist()]
    refined = [] if trainer.poses is None else trainer.poses.poses(cameras)
    poses = {_name(i, names): pose for i, pose in enumerate(refined)}
    return TrainedField(
        trainer.model.eval(),
        trainer.grid,
        box,
        as_given,
        history=tuple(trainer.curve),
        left_out=tuple(left_out),
        poses=poses,
    )


def _run(
    trainer: Trainer,
    pace: Pace,
    watcher: Watcher | None,
    keeper: Keeper | None,
    job: Job,
    stage: Stage,
    names: Sequence[str],
) -> None:
    settings, restarts, shown = trainer.settings, trainer.restarts, -math.inf
    measured_every = max(1, round(settings.steps * MEASURED_SHARE))
    compared_at = {max(1, round(settings.steps * share)) for share in LOOK_AT}
    while trainer.step < settings.steps:
        job.check()
        trainer.advance()
        step = trainer.step
        if trainer.restarts != restarts:
            restarts = trainer.restarts
            job.log(f"Warning: the loss was no number; back to step {step}, at {trainer.rate:g} of the learning rate.")
            continue
        if keeper is not None:
            keeper.offer(trainer)
        if step in compared_at:
            for i, psnr in trainer.misfits.find().items():
                job.log(
                    f"Warning: {_name(i, names)} doesn't fit the others ({psnr:.1f} dB) and is left out: "
                    "look whether it shows the same scene and whether its camera is right."
                )
        last = step == settings.steps
        if step % measured_every == 0 or last:
            heldout = None
            if watcher is not None:
                heldout = watcher.psnr_db(trainer.model, trainer.grid, settings.rendering, job.check)
                if job.watched and time.monotonic() - shown >= SECONDS_BETWEEN_PREVIEWS:
                    _show(trainer, watcher, job, heldout)
                    shown = time.monotonic()
            trainer.curve.append(CurvePoint(trainer.seconds, step, trainer.training_psnr_db, heldout))
            window = round(settings.steps * FLAT_SHARE)
            if not last and trainer.progress > NEVER_BEFORE and is_flat(trainer.curve, window, FLAT_DB):
                job.log(f"Held-out PSNR has stopped rising: done after {step} of {settings.steps} steps.")
                return
        if step % REPORTED_EVERY == 0 or last:
            stage.at(step, _detail(trainer), pace.left(step, trainer.seconds))


def _detail(trainer: Trainer) -> str:
    """Held-out PSNR where it is measured, else that of the training rays."""
    heldout = trainer.curve[-1].heldout_psnr_db if trainer.curve else None
    return f"PSNR {trainer.training_psnr_db:.1f} dB" if heldout is None else f"PSNR {heldout:.1f} dB held out"


def _show(trainer: Trainer, watcher: Watcher, job: Job, heldout: float) -> None:
    curve = [(p.step, p.heldout_psnr_db) for p in trainer.curve if p.heldout_psnr_db is not None]
    body = {
        "view": watcher.heldout.names[0],
        "step": trainer.step,
        "steps": trainer.settings.steps,
        "psnr_db": heldout,
        "curve": [*curve, (trainer.step, heldout)],
    }
    picture = watcher.preview(trainer.model, trainer.grid, trainer.settings.rendering, job.check)
    job.preview("training", body, picture=picture)


def _name(index: int, names: Sequence[str]) -> str:
    return names[index] if index < len(names) else f"photo {index + 1}"


def _hull(cameras: Sequence[Camera], images: Sequence[np.ndarray], box: SceneBox, job: Job) -> VisualHull | None:
    """What the photos' transparency leaves of an object's box; None where they have none, or it contradicts itself."""
    if box.kind != "object" or any(image.shape[2] != 4 for image in images):
        return None
    with job.stage("Carving by transparency"):
        found = visual_hull(cameras, [image[..., 3] for image in images], box, job.check)
    if found is None:
        job.log("Warning: the photos' transparency leaves nothing, or everything: it isn't used to find the object.")
    return found


def _silhouettes(images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The pixels in and near what each photo shows: the others show only what the hull has ruled out already."""
    return [maximum_filter(image[..., 3], size=2 * RIM_PX + 1) > 0 for image in images]
