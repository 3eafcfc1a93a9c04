"""How a field is trained: all numbers in one place, and the presets that an artist chooses from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

Corner = tuple[float, float, float]


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
    start. Rays are trained with few samples (``sampling``), each of which costs a colour, and seen with more of them
    (``rendering``). An object alone, whose thin parts stand before nothing, is trained with ``object_fine``: in *good*,
    lego came to 32.5 dB with 32 of them (seen with 48), to 31.5 with 24 (32). The samples go where the occupancy grid
    says, so it must not be much coarser than the field: with an ``occupancy_side`` of 192 instead of 128, the field
    having 224 to 256, lego gained 1.1 dB in *draft* and some 1.5 in *good*, the tabletop 0.3 in *draft*, for 2 to 10 %
    more time.

    ``max_side_px`` limits the photos' longer side; it belongs to the quality, whatever the kind of the field.
    ``networks`` is the size of a NeRF's. With ``refine_poses`` the cameras are learned a little, too. ``box`` is the
    region of interest, lowest and highest corner in the capture's world; None: the one that its cameras suggest.
    """

    steps: int = 1500
    rays: int = 2048
    sides: tuple[int, ...] = (64, 128, 224)
    upsample_at: tuple[int, ...] = (250, 600)
    decay: float = 0.05
    compactness: float = 3e-3
    opaqueness: float = 5e-3
    explore: float = 0.15
    occupancy_every: int = 50
    occupancy_side: int = 192
    max_side_px: int = 640
    sampling: Sampling = field(default_factory=lambda: Sampling(fine=16))
    object_fine: int = 24
    rendering: Sampling = field(default_factory=Sampling)
    networks: Literal["small", "middle", "paper"] = "small"
    refine_poses: bool = False
    box: tuple[Corner, Corner] | None = None

    def of_scene(self, bounded: bool) -> TrainingSettings:
        """The settings for a scene that ends at its box, or doesn't."""
        fine = max(self.sampling.fine, self.object_fine)
        return replace(self, sampling=replace(self.sampling, fine=fine)) if bounded else self


PRESETS: dict[str, TrainingSettings] = {
    "draft": TrainingSettings(),
    "good": TrainingSettings(
        steps=9000,
        sides=(64, 128, 192, 256),
        upsample_at=(300, 800, 1800),
        max_side_px=1024,
        object_fine=32,
        rendering=Sampling(coarse=128, fine=48),
    ),
    "best": TrainingSettings(
        steps=30000,
        rays=4096,
        sides=(64, 128, 192, 256, 300),
        upsample_at=(500, 1500, 3000, 6000),
        max_side_px=1600,
        occupancy_side=256,
        sampling=Sampling(fine=24),
        object_fine=32,
        rendering=Sampling(coarse=192, fine=64),
    ),
}

# A node of DVGO's grids has 13 numbers, and Adam keeps four of each: 128^3 nodes take 0.4 GB, 200^3 take 1.7 GB.
DVGO_PRESETS = {
    "draft": replace(PRESETS["draft"], sides=(64, 96, 128)),
    "good": replace(PRESETS["good"], sides=(64, 96, 128, 160)),
    "best": replace(PRESETS["best"], sides=(64, 96, 128, 160, 200)),
}

# NeRF has no grid to refine; its side is that of the bake of its density.
NERF_PRESETS = {
    "draft": replace(
        PRESETS["draft"],
        rays=1024,
        sides=(128,),
        upsample_at=(),
        decay=0.1,
        occupancy_every=100,
        occupancy_side=64,
    ),
    "good": replace(
        PRESETS["good"],
        steps=20000,
        rays=2048,
        sides=(192,),
        upsample_at=(),
        decay=0.1,
        occupancy_every=200,
        occupancy_side=128,
        networks="middle",
    ),
    "best": replace(
        PRESETS["best"],
        steps=100000,
        rays=1024,  # with the paper's networks a sample takes 45 kB
        sides=(256,),
        upsample_at=(),
        decay=0.1,
        occupancy_every=500,
        occupancy_side=128,
        networks="paper",
        sampling=Sampling(coarse=192, fine=64),
    ),
}
