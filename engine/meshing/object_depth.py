"""How far an object is from virtual cameras around it: the depth at which the light of a ray is half absorbed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from engine.captures.capture import Camera
from engine.captures.rays import project
from engine.fields.contraction import Contraction
from engine.fields.cut import EDGE
from engine.fields.rendering import camera_rays
from engine.fields.volume import DensityVolume, trilinear

__all__ = ["Density", "absorbed_depth", "faces_away", "facing", "object_density", "sphere", "surroundings"]

Density = Callable[[Tensor], Tensor]
"""Density per world unit, [N], at world points [N, 3]."""

STEPS_AT_ONCE = 16  # along a ray, before rays that have ended are put aside


def object_density(
    volume: DensityVolume, probability: Float[np.ndarray, "x y z"], box: Float[np.ndarray, "2 3"]
) -> Density:
    """The density of an object alone within a world box: the volume's, times the object's share as `CutField` has it.

    Args:
        volume: bounded. probability: of its nodes to be the object's.
    """
    low, high = volume.space.aabb.cpu().numpy().astype(np.float64)
    count = np.array(volume.resolution)
    cell = (high - low) / (count - 1)
    first = np.clip(np.floor((box[0] - low) / cell).astype(int), 0, count - 2)
    last = np.clip(np.ceil((box[1] - low) / cell).astype(int), first + 1, count - 1)
    part = tuple(slice(a, b + 1) for a, b in zip(first, last, strict=True))
    both = torch.stack([volume.features[part].float(), torch.from_numpy(probability[part]).float()])
    space = Contraction(torch.from_numpy(np.stack([low + first * cell, low + last * cell])).float())

    def density(xyz: Tensor) -> Tensor:
        unit = space.to_unit(xyz)
        feature, belongs = trilinear(both, unit)
        share = ((belongs - 0.5) / (2 * EDGE) + 0.5).clamp(0, 1)
        return volume.activate(feature) * share * (unit.abs() <= 1).all(-1)

    return density


@torch.no_grad()
def absorbed_depth(
    density: Density,
    box: Float[np.ndarray, "2 3"],
    camera: Camera,
    step: float,
    share: float = 0.5,
    hopeful: Bool[np.ndarray, "h w"] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Float[np.ndarray, "h w"]:
    """The depth at which a ``share`` of each pixel's light is absorbed: the median depth, by default.

    Unlike the expected depth (NeRF's), which lies between two surfaces where a ray meets both, it is always on one.
    infinite where less is absorbed in all of the ``box``, and for pixels that aren't ``hopeful`` (None: all are). Rays
    are followed in steps of ``step`` world units, and within a step density is taken to be even. ``check`` is called
    now and then and may raise.
    """
    wanted = np.arange(camera.width * camera.height) if hopeful is None else np.flatnonzero(hopeful)
    rays_o, rays_d = camera_rays(camera, torch.device("cpu"), wanted)
    low, high = (torch.from_numpy(np.asarray(box[i])).float() for i in (0, 1))
    safe = torch.where(rays_d.abs() < 1e-9, torch.full_like(rays_d, 1e-9), rays_d)
    ends = torch.stack([(low - rays_o) / safe, (high - rays_o) / safe])
    t, leave = ends.amin(0).amax(-1).clamp_min(0), ends.amax(0).amin(-1)
    stride = step / rays_d.norm(dim=-1)  # of t, which is depth
    enough = -math.log1p(-share)
    found = torch.full((len(wanted),), torch.inf)
    absorbed = torch.zeros(len(wanted))
    alive = (leave > t).nonzero()[:, 0]
    ahead = torch.arange(STEPS_AT_ONCE) + 0.5
    while len(alive):
        check()
        middles = t[alive, None] + ahead * stride[alive, None]  # [A, S]
        xyz = rays_o[alive, None] + rays_d[alive, None] * middles[..., None]
        optical = density(xyz.view(-1, 3)).view(middles.shape) * step
        total = absorbed[alive, None] + optical.cumsum(-1)
        hit = total[:, -1] >= enough
        at = (total[hit] >= enough).int().argmax(-1, keepdim=True)  # the first of them
        over = (total[hit].gather(1, at) - enough) / optical[hit].gather(1, at).clamp_min(1e-12)
        stopped = alive[hit]
        found[stopped] = (middles[hit].gather(1, at) + (0.5 - over) * stride[stopped, None])[:, 0]
        absorbed[alive] = total[:, -1]
        t[alive] += STEPS_AT_ONCE * stride[alive]
        alive = alive[~hit & (t[alive] < leave[alive])]
    depth = np.full(camera.width * camera.height, np.inf, np.float32)
    depth[wanted] = found.numpy()
    return depth.reshape(camera.height, camera.width)


def facing(position: Float[np.ndarray, " 3"], centre: Float[np.ndarray, " 3"], radius: float, side_px: int) -> Camera:
    """A square camera at a place outside of a ball that sees the whole ball, its frame's sides just touching it."""
    back = position - centre
    distance = float(np.linalg.norm(back))
    back = back / distance
    right = np.cross(np.eye(3)[int(np.abs(back).argmin())], back)
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    focal = side_px / 2 / math.tan(math.asin(min(1.0, radius / distance)))
    return Camera(side_px, side_px, focal, focal, side_px / 2, side_px / 2, pose)


def sphere(count: int) -> Float[np.ndarray, "n 3"]:
    """Unit directions, spread evenly over a sphere on a golden spiral."""
    z = 1 - (2 * np.arange(count) + 1) / count
    turn = np.arange(count) * np.pi * (3 - np.sqrt(5))
    flat = np.sqrt(1 - z * z)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=1)


def surroundings(camera: Camera, points: Float[np.ndarray, "n 3"], reach: float) -> Bool[np.ndarray, "h w"]:
    """Pixels that come within ``reach`` (world units) of any of the points: rays elsewhere meet nothing."""
    pixels, depth = project(camera, points)
    good = np.isfinite(pixels).all(1) & (depth > 0)
    if not good.any():
        return np.zeros((camera.height, camera.width), bool)
    column, row = np.floor(pixels[good]).astype(int).T
    size = max(1, math.ceil(max(camera.fl_x, camera.fl_y) * reach / float(depth[good].min())))
    seen = np.zeros((camera.height, camera.width), bool)
    inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
    seen[row[inside], column[inside]] = True
    near: np.ndarray = ndimage.maximum_filter(seen, 2 * size + 1)
    return near


def faces_away(depth: Float[np.ndarray, "h w"], camera: Camera, least: float) -> Bool[np.ndarray, "h w"]:
    """Pixels whose surface is seen at a grazing angle (cosine below ``least``), and those on both sides of an outline.

    There the soft shell of a field is crossed slantwise and stops light too early, or just not.
    """
    known = np.isfinite(depth)
    plane = np.where(known, depth, 0.0).astype(np.float64)
    rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
    x, y = (columns - camera.cx) / camera.fl_x, -(rows - camera.cy) / camera.fl_y
    points = np.stack([x * plane, y * plane, -plane], -1)
    normal = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
    towards = -points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-12)
    cosine = np.abs((normal * towards).sum(-1)) / np.maximum(np.linalg.norm(normal, axis=-1), 1e-30)
    around = np.ones((3, 3))
    outline = ndimage.binary_dilation(known, around) & ~ndimage.binary_erosion(known, around, border_value=1)
    away: np.ndarray = outline | (known & (cosine < least))
    return away
