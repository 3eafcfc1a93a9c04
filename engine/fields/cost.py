"""What a training will cost, before it starts and while it runs: seconds, and memory."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool
from torch import Tensor

from engine.captures.bounds import SceneBox
from engine.captures.capture import View
from engine.captures.images import working_size
from engine.fields.kinds import kind_of
from engine.fields.pixels import PixelPool
from engine.fields.pose_refinement import BEGIN
from engine.fields.scene_grid import build_grid, resolution_of
from engine.fields.settings import TrainingSettings
from engine.fields.trainer import Trainer
from engine.progress import Job
from sa3d_blender.protocol.errors import FieldError

WARMING_STEPS = 15  # at the first side: a field that has just begun asks for colours everywhere
TRIED_STEPS = 2
FIRST = 1  # a step at which the occupancy grid, which is timed by itself, isn't updated
# of each parameter: itself, its gradient, two moments, three of these as they were last good, and some
COPIES = 8
# as read (bytes, or float32 with opacity), as kept (bytes), and its silhouette
BYTES_A_PHOTO_PIXEL, BYTES_WITH_ALPHA = 3 + 4 + 4, 16 + 4 + 4
BYTES_A_DIRECTION = 12  # of a lens's pixel
BASE_BYTES = 500 << 20  # of torch, libraries and what else the process holds


@dataclass(frozen=True)
class Pace:
    """Seconds a step takes at each of the settings' sides, tried out on this machine.

    ``posed``: the same once poses are learned, which only some trainings do.
    """

    settings: TrainingSettings
    seconds: tuple[float, ...]
    posed: tuple[float, ...] = ()

    def between(self, start: int, end: int) -> float:
        """Seconds that the steps from ``start`` up to ``end`` should take."""
        if not (self.posed and self.settings.refine_poses):
            return self._of(self.seconds, start, end)
        begin = math.ceil(BEGIN * self.settings.steps)
        before = self._of(self.seconds, min(start, begin), min(end, begin))
        return before + self._of(self.posed, max(start, begin), max(end, begin))

    def _of(self, seconds: tuple[float, ...], start: int, end: int) -> float:
        edges = [0, *self.settings.upsample_at, self.settings.steps]
        return sum(
            max(0, min(end, high) - max(start, low)) * each
            for low, high, each in zip(edges, edges[1:], seconds, strict=False)
        )

    def left(self, step: int, seconds: float) -> float:
        """Seconds left after ``step`` steps that took ``seconds``: what was tried out, times how true that has been."""
        steps, expected = self.settings.steps, self.between(0, step)
        trust = min(1.0, step / (0.02 * steps)) if steps else 0.0  # the first steps say little
        true = 1.0 + trust * (seconds / expected - 1.0) if expected > 0 else 1.0
        return self.between(step, steps) * true


def tried_pace(
    kind: str,
    box: SceneBox,
    inhabited: Bool[Tensor, "i j k"] | None,
    pool: PixelPool,
    settings: TrainingSettings,
    device: torch.device,
    seed: int,
    job: Job,
) -> Pace:
    """Tries a few steps at each side with a field that is thrown away; also as they are once poses are learned."""
    found, posed = [], []
    model = kind_of(kind).make(box, resolution_of(box.aabb, settings.sides[0]), settings).to(device)
    model.confine(inhabited)
    for i, side in enumerate(settings.sides):
        wanted = resolution_of(box.aabb, side)
        if wanted != model.resolution:
            model.refine(wanted)
        trainer = Trainer(model, pool, settings, seed)
        for _ in range(WARMING_STEPS if i == 0 else 1):
            _try_step(trainer, FIRST, job)
        step = _tried(trainer, FIRST, job)
        started = time.perf_counter()
        build_grid(model, settings.occupancy_side)
        _wait(device)
        grid = (time.perf_counter() - started) / settings.occupancy_every
        found.append(step + grid)
        posed.append(step + grid if trainer.poses is None else _tried(trainer, _while_posing(settings), job) + grid)
    return Pace(settings, tuple(found), tuple(posed))


def _tried(trainer: Trainer, at: int, job: Job) -> float:
    """Seconds that a step takes like that numbered ``at``."""
    started = time.perf_counter()
    for _ in range(TRIED_STEPS):
        _try_step(trainer, at, job)
    _wait(trainer.device)
    return (time.perf_counter() - started) / TRIED_STEPS


def _try_step(trainer: Trainer, at: int, job: Job) -> None:
    job.check()
    trainer.step = at
    trainer.advance()


def _while_posing(settings: TrainingSettings) -> int:
    """A step at which poses are learned and the occupancy grid isn't updated, which is timed by itself."""
    busy = {*settings.upsample_at}
    step = math.ceil(BEGIN * settings.steps) + 1
    while step in busy or step % settings.occupancy_every == 0:
        step += 1
    return step


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def needed_bytes(
    views: Sequence[View], box: SceneBox, settings: TrainingSettings, kind: str, has_alpha: bool = True
) -> int:
    """Memory that training will take, within about a third. ``has_alpha``: the photos carry opacity."""
    pixels = 0
    lenses: dict[tuple[object, ...], int] = {}  # directions are kept once for each
    for c in (view.camera for view in views):
        width, height = working_size(c, settings.max_side_px)
        pixels += width * height
        lenses[c.model, c.width, c.height, c.fl_x, c.fl_y, c.cx, c.cy, c.distortion] = width * height
    resolution = resolution_of(box.aabb, settings.sides[-1])
    with torch.device("meta"):  # parameters without memory
        model = kind_of(kind).make(box, resolution, settings)
    numbers = sum(p.numel() for p in model.parameters())
    samples = settings.rays * settings.of_scene(bounded=box.kind == "object").sampling.fine
    photos = pixels * (BYTES_WITH_ALPHA if has_alpha else BYTES_A_PHOTO_PIXEL)
    photos += sum(lenses.values()) * BYTES_A_DIRECTION
    return BASE_BYTES + photos + numbers * 4 * COPIES + samples * model.bytes_a_sample


def available_bytes(device: torch.device | None = None) -> int | None:
    """Memory that programs may still take without swapping; None where the system doesn't say (only Linux does).

    On a CUDA ``device`` its own free memory, where that is less.
    """
    host = _host_bytes()
    if device is None or device.type != "cuda":
        return host
    free = int(torch.cuda.mem_get_info(device)[0])
    return free if host is None else min(host, free)


def _host_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = next((line.split()[1] for line in lines if line.startswith("MemAvailable:")), None)
    return None if found is None else int(found) << 10


def refuse_without_memory(needed: int, available: int | None) -> None:
    """Raises FieldError where what is needed isn't there. Nothing happens where that isn't known."""
    if available is not None and needed > available:
        raise FieldError(
            f"Training needs about {needed / 2**30:.1f} GB of memory, {available / 2**30:.1f} GB are free.",
            "Close other programs, or choose a lower --quality, or give fewer or smaller photos.",
        )
