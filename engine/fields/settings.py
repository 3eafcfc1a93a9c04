"""How a field is trained: all numbers in one place, and the presets that an artist chooses from."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sampling:
    """How many intervals: ``coarse`` ones looked up in the occupancy grid, ``fine`` ones evaluated in the field."""

    coarse: int = 96
    fine: int = 24
    near: float = 1e-3


@dataclass(frozen=True)
class TrainingSettings:
    """How a field is trained. Sides are grid nodes along a cube of the box's volume; steps are absolute.

    ``sides[i]`` holds from step ``upsample_at[i - 1]`` on; learning rates fall exponentially to ``decay`` of their
    start. ``max_side_px`` limits the photos' longer side; it belongs to the quality, whatever the kind of the field.
    """

    steps: int = 1500
    rays: int = 2048
    sides: tuple[int, ...] = (64, 128, 256)
    upsample_at: tuple[int, ...] = (250, 600)
    decay: float = 0.05
    compactness: float = 3e-3
    opaqueness: float = 5e-3
    explore: float = 0.15
    occupancy_every: int = 50
    occupancy_side: int = 128
    max_side_px: int = 640
    sampling: Sampling = field(default_factory=Sampling)


PRESETS: dict[str, TrainingSettings] = {
    "draft": TrainingSettings(),
    "good": TrainingSettings(
        steps=8000, rays=4096, sides=(64, 128, 192, 256), upsample_at=(500, 1500, 3000), max_side_px=1024
    ),
    "best": TrainingSettings(
        steps=30000, rays=4096, sides=(64, 128, 192, 256, 300), upsample_at=(1000, 3000, 5000, 8000), max_side_px=1600
    ),
}
