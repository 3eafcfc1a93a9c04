"""Views that a field isn't trained on: how well it predicts them, quickly while it learns and exactly at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from engine.captures.capture import Camera
from engine.fields.base import RadianceField
from engine.fields.rendering import camera_rays, render_rays, render_view
from engine.fields.sampling import OccupancyGrid
from engine.fields.settings import Sampling
from engine.progress import Job

WATCHED_PIXELS, WATCHED_VIEWS = 6144, 8  # in all; few pixels of many views miss the few that are far off
PREVIEW_SIDE_PX = 160
LEAST_MSE = 1e-10  # 100 dB: no picture is better than that


def psnr_db(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of colours in [0, 1]."""
    return -10 * math.log10(max(mse, LEAST_MSE))


def on_white(image: Float[np.ndarray, "*n c"]) -> Float[np.ndarray, "*n 3"]:
    """Colours (with alpha: premultiplied) over white, as a bounded field renders."""
    return image[..., :3] + (1 - image[..., 3:]) if image.shape[-1] == 4 else image


def spread_numbers(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``count``, from the first to the last, evenly."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(most, count))})


@dataclass(frozen=True)
class HeldOut:
    """Held-out views: names, cameras at the images' sizes, images float [H, W, 3 or 4] with alpha premultiplied.

    ``counted`` bool [H, W] are the pixels of each that say something of the scene; None for all of them, or of all.
    """

    names: Sequence[str] = ()
    cameras: Sequence[Camera] = ()
    images: Sequence[np.ndarray] = field(default=(), repr=False)
    counted: Sequence[Bool[np.ndarray, "h w"] | None] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def some(self, most: int) -> HeldOut:
        """At most that many of the views, spread evenly."""
        picks = spread_numbers(len(self), most)
        names, cameras, images = self.names, self.cameras, self.images
        counted = None if self.counted is None else [self.counted[i] for i in picks]
        return HeldOut([names[i] for i in picks], [cameras[i] for i in picks], [images[i] for i in picks], counted)

    def pixels_of(self, view: int) -> Int[np.ndarray, " p"]:
        """The numbers, row by row, of the pixels that count; all where none does."""
        camera = self.cameras[view]
        counted = None if self.counted is None else self.counted[view]
        every = np.arange(camera.width * camera.height)
        return every if counted is None or not counted.any() else every[counted.ravel()]


class Watcher:
    """Looks at the same pixels of some held-out views again and again.

    Args:
        heldout: at least one view.
        device: of the field. seed: which pixels.
    """

    def __init__(self, heldout: HeldOut, device: torch.device, seed: int) -> None:
        self.heldout = heldout = heldout.some(WATCHED_VIEWS)
        random = np.random.default_rng(seed)
        each = max(1, WATCHED_PIXELS // len(heldout))
        self._views = []
        for number, (camera, image) in enumerate(zip(heldout.cameras, heldout.images, strict=True)):
            there = heldout.pixels_of(number)
            pixels = there[random.integers(len(there), size=each)]
            truth = on_white(image).reshape(-1, 3)[pixels]
            self._views.append((*camera_rays(camera, device, pixels), torch.from_numpy(truth).float().to(device)))

    @torch.no_grad()
    def psnr_db(
        self, model: RadianceField, grid: OccupancyGrid, sampling: Sampling, check: Callable[[], None] = lambda: None
    ) -> float:
        """Mean over the views of the PSNR of the watched pixels. ``check`` is called for each and may raise."""
        found = []
        for rays_o, rays_d, truth in self._views:
            check()
            rgb = render_rays(model, grid, rays_o, rays_d, sampling).rgb.clamp(0, 1)
            found.append(psnr_db(float((rgb - truth).square().mean())))
        return float(np.mean(found))

    def preview(
        self, model: RadianceField, grid: OccupancyGrid, sampling: Sampling, check: Callable[[], None] = lambda: None
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The first held-out view as the field renders it now, small. ``check`` is called for each batch of rays."""
        camera = self.heldout.cameras[0]
        scale = min(1.0, PREVIEW_SIDE_PX / max(camera.width, camera.height))
        small = camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))
        rgb = render_view(model, grid, small, sampling, check=check).rgb
        picture: np.ndarray = (rgb * 255 + 0.5).astype(np.uint8)
        return picture


def heldout_psnr_db(
    model: RadianceField, grid: OccupancyGrid, sampling: Sampling, heldout: HeldOut, job: Job
) -> dict[str, float]:
    """PSNR in dB of held-out views, of all pixels that count, by name; photos with alpha are compared over white."""
    found: dict[str, float] = {}
    with job.stage("Rendering held-out views", len(heldout)) as stage:
        for number, (name, camera) in enumerate(zip(heldout.names, heldout.cameras, strict=True)):
            rgb = render_view(model, grid, camera, sampling, check=job.check).rgb
            errors = (rgb - on_white(heldout.images[number])) ** 2
            found[name] = psnr_db(float(np.mean(errors.reshape(-1, 3)[heldout.pixels_of(number)])))
            stage.advance(1, f"{name} {found[name]:.1f} dB")
    return found
