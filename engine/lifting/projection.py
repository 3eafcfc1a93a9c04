"""The operator A of a view: which voxels a pixel sees, and by how much (paper, Eq. 3: M = A V).

``A[r, i] = sum_k w_k(r) * trilinear(x_k, i)`` with the volume-rendering weights ``w_k = T_k alpha_k`` of the samples
``x_k`` along the ray of pixel r. One sparse matrix a view serves both ways: rendering a voxel quantity is ``A @
V``, and
the gradient of anything linear in the rendering is ``A^T @ ...``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from engine.captures.capture import Camera
from engine.fields.rendering import RAYS_AT_ONCE, camera_rays
from engine.fields.sampling import OccupancyGrid, Stretch, sample_intervals, stretch_of_rays, weights_from_density
from engine.fields.settings import Sampling
from engine.fields.volume import DensityVolume, trilinear
from engine.lifting.voxels import SparseVoxels, VoxelGrid

LEAST_WEIGHT = 4e-3  # of a sample: below it neither evidence nor rendering would notice
# Of a voxel's evidence from one view. A float32 of at least this size is a multiple of 2^-42, and so are its sums: up
# to 2^11 they are exact in float64 (see evidence.py).
LEAST_EVIDENCE = 2.0**-19
_THREADS = ThreadPoolExecutor(os.cpu_count() or 1, "render")


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

    def render(self, values: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "h w ..."]:
        """A V: a voxel quantity, or K of them at once, as this view sees it (Eq. 3)."""
        if values.ndim == 1:
            return (self.matrix @ values).reshape(self.opacity.shape)
        return self.render_each([np.ascontiguousarray(column) for column in values.T])

    def render_each(self, columns: Sequence[Float[np.ndarray, " n"]]) -> Float[np.ndarray, "h w k"]:
        """A V for K voxel quantities: for a few columns faster one by one than SciPy's product with all of them."""
        rendered = list(_THREADS.map(self.matrix.__matmul__, columns))  # SciPy lets other threads run meanwhile
        return np.stack(rendered, -1).reshape(*self.opacity.shape, len(columns))

    def back_project(self, image: Float[np.ndarray, "h w ..."]) -> Float[np.ndarray, "n ..."]:
        """A^T m: the values of an image, or of K at once, handed to the voxels that its pixels see."""
        return self.matrix.T @ image.reshape(-1, *image.shape[2:]).astype(np.float32)

    def back_project_mask(self, mask: Float[np.ndarray, "h w"]) -> SparseVoxels:
        """A^T m for a mask that is 0 on most pixels: only the rows of the others are touched."""
        rows = np.flatnonzero(mask.reshape(-1))
        part = self.matrix[rows]
        if part.nnz == 0:
            return SparseVoxels(np.zeros(0, np.int32), np.zeros(0, np.float32))
        first = int(part.indices.min())
        each = np.repeat(mask.reshape(-1)[rows].astype(np.float64), np.diff(part.indptr)) * part.data
        found = SparseVoxels.of(np.bincount(part.indices - first, each), LEAST_EVIDENCE)
        return SparseVoxels(found.index + np.int32(first), found.values)

    @functools.cached_property
    def looked(self) -> SparseVoxels:
        """A^T 1: how much of the view each voxel takes up, whatever the masks say."""
        return self.back_project_mask(np.ones(self.opacity.shape, np.float32))

    @property
    def nbytes(self) -> int:
        """Memory of all arrays."""
        matrix = self.matrix
        arrays = (matrix.data, matrix.indices, matrix.indptr, self.opacity, self.depth)
        return sum(array.nbytes for array in arrays) + self.looked.nbytes


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
    between: tuple[Float[Tensor, " r"], Float[Tensor, " r"]] | None = None,
) -> RayWeights:
    """Volume-rendering weights from the baked density (NeRF, Eq. 3), all along the rays or ``between`` two depths.

    A volume cut to the region of interest will do: no light is lost on the way there (nothing is looked for between a
    camera and the region), and what lies behind it takes nothing from the weights inside.
    """
    stretch = stretch_of_rays(volume.space, rays_o, rays_d, sampling.near)
    if between is not None:
        near = torch.maximum(stretch.near, between[0])
        stretch = Stretch(near, torch.maximum(torch.minimum(stretch.split, between[1]), near), 0.0)
    s_edges = sample_intervals(grid, rays_o, rays_d, stretch, sampling.coarse, sampling.fine)
    t = stretch.t_of((s_edges[:, 1:] + s_edges[:, :-1]) / 2)
    points = rays_o[:, None] + rays_d[:, None] * t[..., None]
    sigmas = volume.density(points.view(-1, 3)).view(t.shape)
    lengths = stretch.t_of(s_edges).diff(dim=-1) * rays_d.norm(dim=-1, keepdim=True)
    weights, _ = weights_from_density(sigmas, lengths)
    return RayWeights(weights, points, t)


@torch.no_grad()
def render_dense(
    volume: DensityVolume,
    grid: OccupancyGrid,
    values: Float[Tensor, "x y z k"],
    camera: Camera,
    sampling: Sampling,
    only: Bool[np.ndarray, "h w"],
    between: tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]],
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, " n"]]:
    """A V for some pixels without making A: (renderings, opacities) of the N pixels in ``only``, row by row.

    The same samples and trilinear weights as `view_operator`, for pixels that are looked at once.

    Args:
        values: K quantities on all voxels of the volume's box, 0 where none is occupied.
        between: the depths between which each pixel's light stops.
    """
    device = volume.features.device
    pixels = np.flatnonzero(only)
    rays_o, rays_d = camera_rays(camera, device, pixels)
    planes = values.to(device).permute(3, 0, 1, 2)
    near, far = (torch.from_numpy(depth.reshape(-1)[pixels]).to(device) for depth in between)
    rendered, opacity = [], []
    for chunk in torch.arange(len(pixels), device=device).split(RAYS_AT_ONCE):
        found = ray_weights(volume, grid, rays_o[chunk], rays_d[chunk], sampling, (near[chunk], far[chunk]))
        weights = found.weights * (found.weights > LEAST_WEIGHT)
        # beyond the box there is no density and so no weight
        at_samples = trilinear(planes, volume.space.to_unit(found.points.view(-1, 3)))  # [K, R S]
        rendered.append((at_samples.view(-1, *weights.shape) * weights).sum(-1).t())
        opacity.append(found.weights.sum(-1))
    return torch.cat(rendered).cpu().numpy(), torch.cat(opacity).cpu().numpy()


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
