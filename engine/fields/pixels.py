"""The training pixels of a capture: photos kept as bytes, rays made as they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.captures.capture import Camera
from engine.captures.rays import camera_directions, rays_distort_well, seen_pixels
from sa3d_blender.protocol.errors import FieldError

FOCUSED = 0.95  # of the rays, where some pixels matter more


@dataclass(frozen=True)
class RayBatch:
    """Rays with the colours of the photos there, ``alpha`` (1 where photos have none), ``view`` the photo's number."""

    rays_o: Float[Tensor, "r 3"]
    rays_d: Float[Tensor, "r 3"]
    rgb: Float[Tensor, "r 3"]
    alpha: Float[Tensor, " r"]
    view: Int[Tensor, " r"]

    def only(self, wanted: Bool[Tensor, " r"]) -> RayBatch:
        """Some of the rays."""
        return RayBatch(
            self.rays_o[wanted], self.rays_d[wanted], self.rgb[wanted], self.alpha[wanted], self.view[wanted]
        )


class PixelPool:
    """All pixels of the training views through which rays go; draws random batches of rays.

    Photos stay 8-bit and ray directions are stored once per distinct lens, so that memory is about one
    byte a channel and pixel.

    Args:
        cameras: at the size of the images.
        images: float [H, W, 3 or 4] in [0, 1], or uint8 [H, W, 3]; with alpha premultiplied.
        device: where batches go.
        focus: per view bool [H, W], or None: pixels drawn from `FOCUSED` of the time.
        counted: per view bool [H, W], or None for all: pixels that are drawn at all.

    Raises:
        FieldError: an image holds pixels that are not a number.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        images: Sequence[np.ndarray],
        device: torch.device,
        focus: Sequence[Bool[np.ndarray, "h w"]] | None = None,
        counted: Sequence[Bool[np.ndarray, "h w"] | None] | None = None,
    ) -> None:
        self.device = device
        lenses: dict[tuple[object, ...], int] = {}
        directions, colours, offsets, lens_offsets = [], [], [0], [0]
        view_lens: list[int] = []
        for camera, image in zip(cameras, images, strict=True):
            if image.shape[:2] != (camera.height, camera.width):
                raise ValueError(f"image {image.shape[:2]} and camera {(camera.height, camera.width)} differ in size")
            if not np.isfinite(image).all():  # as bytes it would become a black pixel, silently
                raise FieldError(
                    f"Photo {len(view_lens) + 1} of the training views holds pixels that are not a number.",
                    "Export that photo again as PNG or JPEG.",
                )
            size, focal = (camera.width, camera.height), (camera.fl_x, camera.fl_y)
            lens = (camera.model, size, focal, camera.cx, camera.cy, camera.distortion)
            if lens not in lenses:
                lenses[lens] = len(lenses)
                directions.append(camera_directions(camera).reshape(-1, 3).astype(np.float32))
                lens_offsets.append(lens_offsets[-1] + len(directions[-1]))
            view_lens.append(lenses[lens])
            levels = as_bytes(image)
            opaque = np.full(image.shape[:2], 255, np.uint8)
            colours.append((np.dstack([levels, opaque]) if image.shape[2] == 3 else levels).reshape(-1, 4))
            offsets.append(offsets[-1] + len(colours[-1]))
        self.colours = torch.from_numpy(np.concatenate(colours)).to(device)
        self.directions = torch.from_numpy(np.concatenate(directions)).to(device)
        self.view_start = torch.tensor(offsets, device=device)
        self.lens_start = torch.tensor([lens_offsets[i] for i in view_lens], device=device)
        # pixels that no ray of the lens meets show nothing of the scene
        seen = None if all(map(rays_distort_well, cameras)) else [seen_pixels(camera) for camera in cameras]
        if counted is not None:  # nor do pixels that a mask leaves out
            seen = seen or [np.ones((camera.height, camera.width), bool) for camera in cameras]
            seen = [there if wanted is None else there & wanted for there, wanted in zip(seen, counted, strict=True)]
            if not any(there.any() for there in seen):
                raise FieldError("The masks leave nothing of the photos.", "Check that they aren't inverted.")
        if seen is not None and focus is not None:
            focus = [wanted & there for wanted, there in zip(focus, seen, strict=True)]
        self.seen, self.focus = _numbers(seen, device), _numbers(focus, device)
        self.poses = torch.tensor(np.stack([c.world_from_camera for c in cameras]), dtype=torch.float32, device=device)

    @property
    def views(self) -> int:
        """How many photos there are."""
        return len(self.poses)

    def __len__(self) -> int:
        return self.colours.shape[0]

    def draw(self, rays: int, generator: torch.Generator) -> RayBatch:
        """``rays`` random pixels of all views, with replacement."""
        pixel = torch.randint(
            len(self) if self.seen is None else len(self.seen), (rays,), generator=generator, device=self.device
        )
        if self.seen is not None:
            pixel = self.seen[pixel]
        if self.focus is not None:
            focused = int(rays * FOCUSED)
            pick = torch.randint(len(self.focus), (focused,), generator=generator, device=self.device)
            pixel[:focused] = self.focus[pick]
        view = torch.searchsorted(self.view_start, pixel, right=True) - 1
        inside = pixel - self.view_start[view]
        pose = self.poses[view]
        rays_d = (pose[:, :3, :3] @ self.directions[self.lens_start[view] + inside][..., None])[..., 0]
        rgba = self.colours[pixel].float() / 255
        return RayBatch(pose[:, :3, 3], rays_d, rgba[:, :3], rgba[:, 3], view)


def as_bytes(image: np.ndarray) -> np.ndarray:
    """An image in [0, 1] as bytes, uint8; one of bytes as it is."""
    return image if image.dtype == np.uint8 else (image * 255 + 0.5).astype(np.uint8)


def _numbers(chosen: Sequence[Bool[np.ndarray, "h w"]] | None, device: torch.device) -> Int[Tensor, " p"] | None:
    """The numbers of the chosen pixels, counted through all views; None where none is chosen."""
    if chosen is None or not any(each.any() for each in chosen):
        return None
    return torch.from_numpy(np.flatnonzero(np.concatenate([each.reshape(-1) for each in chosen]))).to(device)
