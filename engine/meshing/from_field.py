"""From a lifted object to its mesh: the object's box, its solidity on a fine grid there, surface and colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage

from engine.captures.capture import Camera
from engine.captures.rays import project
from engine.fields.volume import DensityVolume
from engine.lifting.voxels import VoxelGrid
from engine.meshing.coloured import coloured
from engine.meshing.colours import PhotoForColour
from engine.meshing.extract import extract_mesh
from engine.meshing.simplify import simplified
from engine.meshing.solidity import object_solidity
from engine.meshing.support import Standing, SupportSettings, places_shown, standing, support_plane
from engine.meshing.texture import TextureSettings, textured
from engine.progress import Job
from sa3d_blender.protocol.errors import MeshError

Way = Literal["solidity", "fusion"]
WAYS: tuple[Way, ...] = get_args(Way)
AROUND = 0.3  # of the box's sides: how far beyond it one looks for what the object stands on
POINTS_AT_ONCE = 16_384  # that ways into the box are marched to
SHOWN_CELLS = 1.5  # how near to a view's depth a voxel is taken to be what is seen there


@dataclass(frozen=True)
class SurfaceSettings:
    """``refine`` grid steps per field cell, within ``least`` and ``most`` nodes a side.

    ``witnesses`` views decide what is seen. ``faces`` is the budget of the mesh; None: as many as its grid gives.
    ``way``: "solidity" is this file's, "fusion" that of `engine.meshing.fusion`, which needs an extra.
    Parts apart from the largest stay from ``part_share`` of its size on, such as a handle whose rods the field lost.

    The surface is where ``absorb_cells`` field cells of the density there stop half of the light. Measured on the
    tabletop with true masks (mean F-score of five objects at 1 % of the diagonal, *good* and *draft* field): 0.86 and
    0.81 with 3 cells, which is some 1 mm too far out; 0.89 and 0.83 with 1.5; 0.88 and 0.74 with 1, 0.57 and 0.49 where
    the best camera's light has fallen to 0.7: a field's skin is soft, and what it hides lies before its middle.
    """

    refine: float = 2.5
    least: int = 40
    most: int = 144
    witnesses: int = 16
    margin_cells: float = 3.0
    part_share: float = 0.05
    hidden_share: float = 0.25
    absorb_cells: float = 1.5
    faces: int | None = None
    way: Way = "solidity"


@dataclass(frozen=True)
class DepthView:
    """A view that can tell what is hidden: its camera and depth map [H, W] (0 = nothing)."""

    camera: Camera
    depth: Float[np.ndarray, "h w"]


def object_box(
    probability: Float[np.ndarray, "x y z"],
    opacity: Float[np.ndarray, "x y z"],
    voxels: VoxelGrid,
    views: Sequence[DepthView],
    settings: SurfaceSettings,
    log: Callable[[str], None] = lambda line: None,
) -> Float[np.ndarray, "2 3"]:
    """The world box around the object's opaque voxels, with a margin; stray ones apart from it don't count.

    How large a part is, is how much of it any of the ``views`` shows: below a table and inside of things a field holds
    whatever it likes, and with it goes whatever probability. For the same reason the box reaches beyond what is seen by
    no more than ``hidden_share`` of that.

    Raises:
        MeshError: no voxel is both opaque and the object's.
    """
    solid = (probability > 0.5) & (opacity > 0.2)
    if not solid.any():
        raise MeshError("No part of the field belongs to the object.", "Prompt it again, in a view that shows it well.")
    where = np.argwhere(solid)
    shown = shown_points(voxels.aabb[0] + where * voxels.cell_size, views, SHOWN_CELLS * float(voxels.cell_size.max()))
    if not shown.any():  # a mesh of what nobody sees is better than none
        log("Warning: no view shows the object, so all that the field holds of it counts.")
        shown[:] = True
    labels = ndimage.label(solid, np.ones((3, 3, 3)))[0][tuple(where.T)]
    sizes = np.bincount(labels[shown], minlength=int(labels.max()) + 1)
    kept = np.isin(labels, np.flatnonzero(sizes >= max(1, settings.part_share * sizes.max())))
    whole, seen = where[kept], where[kept & shown]
    hidden = settings.hidden_share * float((seen.max(0) - seen.min(0)).max())
    low = np.maximum(whole.min(0), seen.min(0) - hidden) - settings.margin_cells
    high = np.minimum(whole.max(0), seen.max(0) + hidden) + settings.margin_cells
    box = np.stack([voxels.aabb[0] + low * voxels.cell_size, voxels.aabb[0] + high * voxels.cell_size])
    return np.clip(box, voxels.aabb[0], voxels.aabb[1])


def shown_points(points: Float[np.ndarray, "n 3"], views: Sequence[DepthView], reach: float) -> Bool[np.ndarray, " n"]:
    """Which world points lie within ``reach`` of the depth that any of the views has there."""
    found = np.zeros(len(points), bool)
    for view in views:
        pixels, depths = project(view.camera, points)
        with np.errstate(invalid="ignore"):
            inside = (pixels >= 0).all(1) & (pixels[:, 0] < view.camera.width) & (pixels[:, 1] < view.camera.height)
            inside &= depths > 0
        column, row = pixels[inside].astype(int).T
        looked = view.depth[row, column]
        found[inside] |= (looked > 0) & (np.abs(looked - depths[inside]) < reach)
    return found


def nearest_filled(values: Float[np.ndarray, "x y z"], known: np.ndarray) -> Float[np.ndarray, "x y z"]:
    """Values where they are known, elsewhere those of the nearest known place."""
    if not known.any():
        return values
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return values[tuple(nearest)]


def grid_nodes(aabb: np.ndarray, shape: tuple[int, int, int]) -> torch.Tensor:
    """World points [X, Y, Z, 3] of a grid over a box, the outer ones on its faces."""
    axes = [torch.linspace(float(aabb[0, k]), float(aabb[1, k]), shape[k]) for k in range(3)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def _on_grid(values: torch.Tensor, grid_aabb: np.ndarray, points: torch.Tensor) -> torch.Tensor:
    """Trilinear look-up of [X, Y, Z] values with nodes at the corners of ``grid_aabb``."""
    low, high = (torch.from_numpy(grid_aabb[i]).float() for i in (0, 1))
    unit = (points - low) / (high - low) * 2 - 1
    flat = unit.flip(-1).view(1, -1, 1, 1, 3)
    found = F.grid_sample(values[None, None], flat, align_corners=True, padding_mode="border")
    return found.view(points.shape[:-1])


@torch.no_grad()
def light_reaching(
    volume: DensityVolume, aabb: np.ndarray, nodes: torch.Tensor, views: Sequence[DepthView], step: float, job: Job
) -> torch.Tensor:
    """The share of light that reaches each node from the camera that sees it best, [X, Y, Z] in [0, 1].

    Inside the box the density is marched through in steps of about ``step``; what stands between a camera
    and the box is taken from the camera's depth map.
    """
    flat = nodes.reshape(-1, 3)
    best = torch.zeros(len(flat))
    low, high = (torch.from_numpy(aabb[i]).float() for i in (0, 1))
    diagonal = float((high - low).norm())
    for view in views:
        job.check()
        origin = torch.from_numpy(view.camera.position).float()
        towards = flat - origin
        distance = towards.norm(dim=-1).clamp_min(1e-9)
        safe = torch.where(towards.abs() < 1e-9, torch.full_like(towards, 1e-9), towards)
        enter = torch.minimum((low - origin) / safe, (high - origin) / safe).amax(-1).clamp(0, 1)  # share of the way
        pixels, depths = project(view.camera, flat.numpy())
        columns, rows = np.floor(pixels[:, 0]), np.floor(pixels[:, 1])
        inside = (columns >= 0) & (rows >= 0) & (columns < view.camera.width) & (rows < view.camera.height)
        inside &= depths > 0
        stops = np.full(len(flat), np.inf)
        looked = view.depth[rows[inside].astype(int), columns[inside].astype(int)]
        stops[inside] = np.where(looked > 0, looked, np.inf)
        clear = inside & (stops >= enter.numpy() * depths - step)
        candidate = torch.from_numpy(clear) & (best < 0.99)
        if not candidate.any():
            continue
        length = distance * (1 - enter)
        which = candidate.nonzero()[:, 0]
        # Those of a similar length together: short ways need few steps, and memory is bounded.
        for some in which[length[which].argsort()].split(POINTS_AT_ONCE):
            count = max(2, min(64, int(np.ceil(min(diagonal, float(length[some].max())) / step))))
            share = enter[some, None] + (1 - enter[some, None]) * (torch.arange(count) + 0.5) / count
            points = origin + towards[some][:, None] * share[..., None]
            sigma = volume.density(points.view(-1, 3)).view(share.shape)
            best[some] = torch.maximum(best[some], torch.exp(-(sigma.sum(-1) * length[some] / count)))
    return best.view(nodes.shape[:-1])


def light_on_grid(
    volume: DensityVolume,
    aabb: np.ndarray,
    shape: tuple[int, int, int],
    views: Sequence[DepthView],
    cell: float,
    job: Job,
) -> Float[np.ndarray, "x y z"]:
    """`light_reaching` on the nodes of a grid of that shape over a box, for a field of cells of that size.

    Light is smooth at the scale of these: looking at finer nodes would cost eight times as much for nothing.
    """
    x, y, z = (int(np.clip(np.ceil(e / cell) + 1, 12, 64)) for e in aabb[1] - aabb[0])
    rough = light_reaching(volume, aabb, grid_nodes(aabb, (x, y, z)), views, 0.7 * cell, job)[None, None]
    light: np.ndarray = F.interpolate(rough, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()
    return light


def object_standing(
    probability: torch.Tensor,
    aabb: np.ndarray,
    box: Float[np.ndarray, "2 3"],
    nodes: torch.Tensor,
    step: float,
    views: Sequence[DepthView],
    job: Job,
) -> Standing | None:
    """The object on the plane that supports it, if the views show one.

    Args:
        probability: [X, Y, Z] on the nodes of a grid over ``aabb``, known or guessed everywhere.
        box: around the object, and ``nodes`` [X, Y, Z, 3] of a grid over it, ``step`` apart.
    """
    settings, rng = SupportSettings(), np.random.default_rng(0)
    around = np.stack([box[0], box[1]]) + AROUND * (box[1] - box[0]) * np.array([[-1.0], [1.0]])

    def belongs(points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        found: np.ndarray = _on_grid(probability, aabb, torch.from_numpy(points).float()).numpy()
        return found

    own, others = places_shown(views, around, belongs, settings.places, rng)
    plane = support_plane(own, others, settings, rng)
    if plane is None:
        return None
    job.log(
        "The object stands on, or hangs at, a plane that the photos show: its hidden side is closed flat towards it."
    )
    return standing(plane, own, nodes.numpy().astype(np.float64), step, settings.gap)


def spread_views(views: Sequence[DepthView], count: int) -> list[DepthView]:
    """``count`` views as far apart as can be: the next is always the one farthest from those chosen."""
    positions = np.array([v.camera.position for v in views])
    chosen = [0]
    gap = np.linalg.norm(positions - positions[0], axis=1)
    while len(chosen) < min(count, len(views)):
        chosen.append(int(gap.argmax()))
        gap = np.minimum(gap, np.linalg.norm(positions - positions[chosen[-1]], axis=1))
    return [views[i] for i in chosen]


def object_mesh(
    volume: DensityVolume,
    voxels: VoxelGrid,
    probability: Float[np.ndarray, " n"],
    seen: np.ndarray,
    depth_views: Sequence[DepthView],
    photos: Sequence[PhotoForColour],
    settings: SurfaceSettings,
    job: Job,
    level: float = 0.5,
    texture: TextureSettings | None = None,
) -> trimesh.Trimesh:
    """The object's closed surface in the capture's world, with vertex colours or a texture.

    Args:
        volume: the field's density, cut to the region of interest.
        probability: of the occupied voxels to be the object's; ``seen`` says which of them any view has voted on.
        depth_views: all views; those that are ``witnesses`` decide what is hidden.
        photos: to take colours from.
        texture: how it is to be; by default the vertices are coloured.

    Raises:
        MeshError: there is no such object in the field.
    """
    if not np.isfinite(probability).all():
        raise MeshError("The object's evidence holds values that are not finite.", "Segment the object again.")
    volume = volume.to("cpu")
    densities = volume.densities()
    cell = float(voxels.cell_size.mean())
    known = np.zeros(voxels.shape, bool)
    known[voxels.index >= 0] = seen
    dense = voxels.dense(probability)
    with job.stage("Extracting the surface", 3) as stage:
        witnesses = spread_views(depth_views, settings.witnesses)
        box = object_box(dense, (1 - torch.exp(-densities * cell)).numpy(), voxels, witnesses, settings, job.log)
        extent = box[1] - box[0]
        step = float(np.clip(cell / settings.refine, extent.max() / settings.most, extent.max() / settings.least))
        x, y, z = (max(8, int(np.ceil(e / step)) + 1) for e in extent)
        nodes = grid_nodes(box, (x, y, z))

        inner = tuple(
            slice(max(0, int(a)), int(b) + 2) for a, b in zip(*((box - voxels.aabb[0]) / voxels.cell_size), strict=True)
        )
        dense[inner] = nearest_filled(dense[inner], known[inner])
        if settings.way == "fusion":
            from engine.meshing.fusion import fused_surface  # which asks this file what the views show

            mesh = fused_surface(volume, voxels, dense, box, step, depth_views, job, level, settings.part_share)
        else:
            belongs = _on_grid(torch.from_numpy(dense), voxels.aabb, nodes).numpy()
            length = settings.absorb_cells * cell
            opacity = (1 - torch.exp(-volume.density(nodes.view(-1, 3)) * length)).view(x, y, z).numpy()
            stage.advance()
            light = light_on_grid(volume, box, (x, y, z), witnesses, cell, job)
            # a soft skin is nowhere dense, and yet lets no light through: what has been lost on the way counts, too
            opacity = np.maximum(opacity, 1 - light)
            stage.advance()
            stands = object_standing(torch.from_numpy(dense), voxels.aabb, box, nodes, step, witnesses, job)
            solidity = object_solidity(opacity, belongs, light, stands=stands)
            mesh = extract_mesh(solidity, box, level, keep_share=settings.part_share)
            stage.advance()
    fine = mesh
    if settings.faces is not None and len(fine.faces) > settings.faces:
        with job.stage("Simplifying the mesh"):
            mesh = simplified(fine, settings.faces)
        if len(mesh.faces) > settings.faces:
            job.log(f"The mesh keeps {len(mesh.faces):,} faces: with {settings.faces:,} it would not stay closed.")
    if texture is not None:
        return textured(mesh, fine, photos, texture, job)
    return coloured(mesh, photos, job)
