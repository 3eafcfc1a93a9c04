"""A segmented object seen alone: pictures of it on nothing, from the capture's cameras or from all around."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from scipy import ndimage

from engine.cache import atomic_file
from engine.captures.capture import Camera
from engine.captures.load import find_view
from engine.captures.rays import project
from engine.fields.base import RadianceField
from engine.fields.rendering import RAYS_AT_ONCE, camera_rays, render_rays
from engine.fields.sampling import OccupancyGrid, stretch_of_rays
from engine.fields.settings import Sampling
from engine.object_field import object_field
from engine.objects import reopen
from engine.options import Options
from engine.out_folder import refuse_capture
from engine.progress import Job, Stage
from engine.turntable import orbit
from engine.video import FRAMES_A_SECOND, check_film, is_film, write_film
from sa3d_blender.protocol.errors import Sa3dError

__all__ = ["PictureOptions", "render_alone", "render_result", "straight"]

TURNTABLE = "turntable"
TURNTABLE_S = 6.0
SIDE_PX = 512  # of a turntable's frames
SHARED = 8  # of 64 samples around a surface: 2.1 s become 0.8 for 256 x 256 pixels, and differ as little from many more
FAINT = 0.5 / 255  # opacity below which nothing is left in eight bits


@dataclass(frozen=True)
class PictureOptions:
    """Which pictures of an object are wanted.

    ``views`` names photos from whose cameras it is seen (None: all of them), if it is to be ``seen_from_views`` or if
    there is nothing else to do. ``turntable_s`` is how many seconds once around take (None: no turntable), ``side_px``
    the pictures' longer side (None: the photos' working size, 512 for a turntable).
    """

    views: tuple[str, ...] | None = None
    seen_from_views: bool = False
    turntable_s: float | None = None
    side_px: int | None = None


@torch.no_grad()
def render_alone(
    field: RadianceField,
    grid: OccupancyGrid,
    camera: Camera,
    sampling: Sampling,
    check: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "h w 4"]:
    """A field without what lies behind it: colours in [0, 1] premultiplied by opacity, and opacity.

    ``check`` is called for each batch of rays and may raise.
    """
    rays_o, rays_d = camera_rays(camera, field.space.aabb.device)
    stretch = stretch_of_rays(field.space, rays_o, rays_d, sampling.near)
    picture = torch.zeros(len(rays_o), 4, device=rays_o.device)
    hopeful = (stretch.split > stretch.near) & torch.from_numpy(in_sight(grid, camera).reshape(-1)).to(rays_o.device)
    for part in hopeful.nonzero()[:, 0].split(RAYS_AT_ONCE):
        check()
        nothing = torch.zeros_like(rays_o[part])
        found = render_rays(field, grid, rays_o[part], rays_d[part], sampling, background=nothing, shared=SHARED)
        picture[part] = torch.cat([found.rgb, found.opacity[:, None]], -1).clamp(0, 1)
    return picture.view(camera.height, camera.width, 4).cpu().numpy()


def in_sight(grid: OccupancyGrid, camera: Camera) -> Bool[np.ndarray, "h w"]:
    """Pixels whose rays may meet something: near cells that aren't void. An object fills few of those of its box.

    All pixels where that can't be told: where the world goes on outside the box, or cells lie beside the camera.
    """
    everywhere = np.ones((camera.height, camera.width), bool)
    if grid.space.unbounded or not grid.voids:
        return everywhere
    low, high = grid.space.aabb.double().cpu().numpy()
    cell = (high - low) / (np.array(grid.reach.shape) - 1)
    points_px, depth = project(camera, low + grid.reach.nonzero().cpu().numpy() * cell)
    diagonal = float(np.linalg.norm(cell))
    if len(depth) == 0 or not depth.min() > 4 * diagonal or not np.isfinite(points_px).all():
        return everywhere
    # Half a diagonal around each node is its cell, whatever the direction; lenses bend and stretch a little.
    reach = int(np.ceil(max(camera.fl_x, camera.fl_y) * diagonal / depth.min())) + 1
    column, row = np.floor(points_px).astype(np.int64).T
    room = reach + 1
    seen = np.zeros((camera.height + 2 * room, camera.width + 2 * room), bool)
    inside = (column >= -room) & (row >= -room) & (column < camera.width + room) & (row < camera.height + room)
    seen[row[inside] + room, column[inside] + room] = True
    near: np.ndarray = ndimage.maximum_filter(seen, 2 * reach + 1)[room:-room, room:-room]
    return near


def straight(premultiplied: Float[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 4"]:
    """A picture as PNG has it: eight bits, colours not multiplied by opacity; black where there is nothing."""
    alpha = premultiplied[..., 3:]
    rgb = np.where(alpha > FAINT, premultiplied[..., :3] / np.maximum(alpha, FAINT), 0)
    found: np.ndarray = (np.clip(np.concatenate([rgb, alpha], -1), 0, 1) * 255 + 0.5).astype(np.uint8)
    return found


def render_result(folder: Path, out: Path, wanted: PictureOptions, options: Options, job: Job) -> dict[str, Any]:
    """`sa3d render`: pictures of a result folder's object alone, as PNGs with straight alpha in ``out``; or, where
    ``out`` ends with .mp4 or .webp, a turntable as a film. Returns what was written.

    PNGs are called after their views; a turntable's are ``turntable/0000.png`` and so on.

    Raises:
        StorageError: ``folder`` is no result, or ``out`` can't be written. EnvironmentFault: .mp4 needs what isn't
        installed. PromptError: a view isn't in the capture. MeshError: no part of the field belongs to the object.
    """
    film = is_film(out)
    if film:
        check_film(out)
        if wanted.seen_from_views:
            raise Sa3dError(
                f"{out.name} holds a turntable, no views.", "Name a folder with --out, or leave --views out."
            )
    workspace, _, kept = reopen(folder, options, job)
    refuse_capture(out, workspace.capture.root)
    names: Sequence[str] = ()
    if wanted.seen_from_views or not (film or wanted.turntable_s):
        names = tuple(workspace.views) if wanted.views is None else wanted.views
    cameras = {}
    for name in names:
        view = workspace.views[find_view(workspace.capture, name).stem]
        cameras[view.stem] = _sized(view.camera, wanted.side_px)
    found = object_field(workspace, kept.stored, job)
    sampling = found.field.settings.rendering

    def picture(camera: Camera) -> UInt8[np.ndarray, "h w 4"]:
        return straight(render_alone(found.field.model, found.field.grid, camera, sampling, job.check))

    pictures = []
    if cameras:
        with job.stage("Rendering views", len(cameras)) as stage:
            for stem, camera in cameras.items():
                pictures.append(_write_png(out / f"{stem}.png", picture(camera)))
                stage.advance(1, stem)
    frames = 0
    if film or wanted.turntable_s is not None:
        frames = max(2, round((wanted.turntable_s or TURNTABLE_S) * FRAMES_A_SECOND))
        side = (wanted.side_px or SIDE_PX) // 2 * 2  # films want even sides
        seen = [view.camera for view in workspace.views.values()]
        first = workspace.views[kept.stored.start].camera
        path = orbit(found.centre, found.radius, seen, first, frames, side)
        with job.stage("Rendering the turntable", frames) as stage:
            made = _turned(path, picture, stage)
            if film:
                write_film(made, out)
            else:
                for i, frame in enumerate(made):
                    pictures.append(_write_png(out / TURNTABLE / f"{i:04d}.png", frame))
    return {
        "out": str(out),
        "views": list(cameras),
        "frames": frames,
        "pictures": [str(path) for path in pictures],
        "alpha": "straight",
        "seconds": job.timings,
    }


def _turned(
    cameras: Sequence[Camera], picture: Callable[[Camera], UInt8[np.ndarray, "h w 4"]], stage: Stage
) -> Iterator[UInt8[np.ndarray, "h w 4"]]:
    for camera in cameras:
        yield picture(camera)
        stage.advance()


def _sized(camera: Camera, side_px: int | None) -> Camera:
    if side_px is None:
        return camera
    scale = side_px / max(camera.width, camera.height)
    return camera.resized(max(1, round(camera.width * scale)), max(1, round(camera.height * scale)))


def _write_png(path: Path, picture: UInt8[np.ndarray, "h w 4"]) -> Path:
    with atomic_file(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
    return path
