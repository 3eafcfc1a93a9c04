"""The operator A of a view: which voxels a pixel sees, and by how much (paper, Eq. 3: M = A V).

``A[r, i] = sum_k w_k(r) * trilinear(x_k, i)`` with the volume-rendering weights ``w_k = T_k alpha_k`` of the samples
``x_k`` along the ray of pixel r. One sparse matrix a view serves both ways: rendering a voxel quantity is ``A @
V``, and
the gradient of anything linear in the rendering is ``A^T @ ...``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.captures.capture import Camera
from engine.fields.rendering import RAYS_AT_ONCE, Sampling, camera_rays
from engine.fields.sampling import OccupancyGrid, sample_intervals, stretch_of_rays, weights_from_density
from engine.fields.volume import DensityVolume

LEAST_WEIGHT = 4e-3  # of a sample: below it neither evidence nor rendering would notice


@dataclass(frozen=True)
class VoxelGrid:
    """The occupied voxels of the region of interest: the only ones that hold evidence.

    ``index`` [X, Y, Z] int32 is the number of an occupied voxel, or -1; ``shape`` and ``aabb`` [2, 3] (world) place the
    voxels' centres on a regular grid, first and last at the box's corners. ``count`` voxels are occupied.
    """

    index: Int[np.ndarray, "x y z"]
    aabb: Float[np.ndarray, "2 3"]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        x, y, z = self.index.shape
        return x, y, z

    @property
    def count(self) -> int:
        """Number of occupied voxels."""
        return int(self.index.max()) + 1

    @property
    def cell_size(self) -> Float[np.ndarray, " 3"]:
        """Distance of neighbouring voxel centres along x, y, z, in world units."""
        return (self.aabb[1] - self.aabb[0]) / (np.array(self.shape) - 1)

    def centres(self) -> Float[np.ndarray, "n 3"]:
        """World positions of the occupied voxels, in the order of their numbers."""
        where = np.argwhere(self.index >= 0)
        return self.aabb[0] + where * self.cell_size

    def dense(self, values: Float[np.ndarray, " n"], elsewhere: float = 0.0) -> Float[np.ndarray, "x y z"]:
        """Values of the occupied voxels as a dense grid."""
        full = np.full(self.shape, elsewhere, np.float32)
        full[self.index >= 0] = values
        return full

    @staticmethod
    def from_volume(volume: DensityVolume, least_opacity: float = 5e-3) -> VoxelGrid:
        """The voxels of a bounded volume whose neighbourhood stops more than ``least_opacity`` of the crossing light.

        Neighbours of such voxels count as occupied, because trilinear weights reach one voxel further.
        """
        densities = volume.densities()
        box = volume.space.aabb.cpu().numpy().astype(np.float64)
        cell = float(np.mean((box[1] - box[0]) / (np.array(densities.shape) - 1)))
        opaque = 1 - torch.exp(-densities * cell) > least_opacity
        occupied = torch.nn.functional.max_pool3d(opaque[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
        index = np.full(tuple(densities.shape), -1, np.int32)
        mask = occupied.cpu().numpy()
        index[mask] = np.arange(int(mask.sum()), dtype=np.int32)
        return VoxelGrid(index, box)


@dataclass(frozen=True)
class ViewOperator:
    """A of one view, with what rendering it gave besides; ``camera`` says for which pixels.

    ``matrix`` is CSR [pixels, voxels] float32, pixels row by row; ``opacity`` [H, W] is the share of light that stops
    inside the region of interest; ``depth`` [H, W] where it stops (0 = nowhere).
    """

    camera: Camera
    matrix: scipy.sparse.csr_matrix
    opacity: Float[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]

    def render(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "h w"]:
        """A V: a voxel quantity as this view sees it (Eq. 3)."""
        return (self.matrix @ values).reshape(self.opacity.shape)

    def back_project(self, image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, " n"]:
        """A^T m: an image's values handed to the voxels its pixels see."""
        return self.matrix.T @ image.reshape(-1).astype(np.float32)


@dataclass(frozen=True)
class RayWeights:
    """Samples along rays that stop light: ``weights`` [R, S] at ``points`` [R, S, 3] (world), ``t`` [R, S]."""

    weights: Float[Tensor, "r s"]
    points: Float[Tensor, "r s 3"]
    t: Float[Tensor, "r s"]


@torch.no_grad()
def ray_weights(
    volume: DensityVolume,
    grid: OccupancyGrid,
    rays_o: Float[Tensor, "r 3"],
    rays_d: Float[Tensor, "r 3"],
    sampling: Sampling,
) -> RayWeights:
    """Volume-rendering weights from the baked density (NeRF, Eq. 3).

    A volume cut to the region of interest will do: no light is lost on the way there (nothing is looked for between a
    camera and the region), and what lies behind it takes nothing from the weights inside.
    """
    stretch = stretch_of_rays(volume.space, rays_o, rays_d, sampling.near)
    s_edges = sample_intervals(grid, rays_o, rays_d, stretch, sampling.coarse, sampling.fine)
    t = stretch.t_of((s_edges[:, 1:] + s_edges[:, :-1]) / 2)
    points = rays_o[:, None] + rays_d[:, None] * t[..., None]
    sigmas = volume.density(points.view(-1, 3)).view(t.shape)
    lengths = stretch.t_of(s_edges).diff(dim=-1) * rays_d.norm(dim=-1, keepdim=True)
    weights, _ = weights_from_density(sigmas, lengths)
    return RayWeights(weights, points, t)


def view_operator(
    volume: DensityVolume,
    grid: OccupancyGrid,
    voxels: VoxelGrid,
    camera: Camera,
    sampling: Sampling,
    only: Bool[np.ndarray, "h w"] | None = None,
) -> ViewOperator:
    """Makes A for one view; with ``only``, rows of other pixels stay empty (and their depth and opacity 0)."""
    device = volume.features.device
    rays_o, rays_d = camera_rays(camera, device)
    pixels = torch.arange(rays_o.shape[0], device=device)
    if only is not None:
        pixels = torch.from_numpy(np.flatnonzero(only)).to(device)
    index = torch.from_numpy(voxels.index).to(device)
    opacity = torch.zeros(rays_o.shape[0], device=device)
    depth = torch.zeros(rays_o.shape[0], device=device)
    rows, columns, values = [], [], []
    for chunk in pixels.split(RAYS_AT_ONCE):
        found = ray_weights(volume, grid, rays_o[chunk], rays_d[chunk], sampling)
        stopped = found.weights.sum(-1)
        opacity[chunk] = stopped
        depth[chunk] = (found.weights * found.t).sum(-1) / stopped.clamp_min(1e-6) * (stopped > 0.5)
        r, c, v = _scatter_rows(found, chunk, index, voxels)
        rows.append(r)
        columns.append(c)
        values.append(v)
    shape = (rays_o.shape[0], voxels.count)
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    matrix = scipy.sparse.coo_matrix(entries, shape=shape, dtype=np.float32).tocsr()  # sums what falls together
    size = (camera.height, camera.width)
    return ViewOperator(camera, matrix, opacity.view(size).cpu().numpy(), depth.view(size).cpu().numpy())


def _scatter_rows(
    found: RayWeights, pixels: Int[Tensor, " r"], index: Int[Tensor, "x y z"], voxels: VoxelGrid
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pixel, voxel, weight) of the eight voxels around every sample that matters."""
    low = torch.from_numpy(voxels.aabb[0]).float().to(index.device)
    cell = torch.from_numpy(voxels.cell_size).float().to(index.device)
    ray, sample = (found.weights > LEAST_WEIGHT).nonzero(as_tuple=True)
    position = (found.points[ray, sample] - low) / cell
    weight = found.weights[ray, sample]
    n = torch.tensor(voxels.shape, device=index.device)
    inside = ((position >= 0) & (position <= n - 1)).all(-1)
    position, weight, pixel = position[inside], weight[inside], pixels[ray[inside]]
    base = torch.minimum(position.floor().long(), n - 2)
    part = position - base
    flat_index = index.view(-1)
    rows, columns, values = [], [], []
    for dx in (0, 1):
        for dy in (0, 1):
            for dz in (0, 1):
                share = (
                    (part[:, 0] if dx else 1 - part[:, 0])
                    * (part[:, 1] if dy else 1 - part[:, 1])
                    * (part[:, 2] if dz else 1 - part[:, 2])
                )
                flat = ((base[:, 0] + dx) * n[1] + base[:, 1] + dy) * n[2] + base[:, 2] + dz
                voxel = flat_index[flat]
                keep = (voxel >= 0) & (share > 0)
                rows.append(pixel[keep])
                columns.append(voxel[keep])
                values.append((weight * share)[keep])
    return (
        torch.cat(rows).int().cpu().numpy(),
        torch.cat(columns).int().cpu().numpy(),
        torch.cat(values).float().cpu().numpy(),
    )
