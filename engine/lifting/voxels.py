"""The occupied voxels of the region of interest, and values on a few of them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from engine.fields.volume import DensityVolume


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

    @functools.cached_property
    def count(self) -> int:
        """Number of occupied voxels."""
        return int(self.index.max()) + 1

    @property
    def cell_size(self) -> Float[np.ndarray, " 3"]:
        """Distance of neighbouring voxel centres along x, y, z, in world units."""
        return (self.aabb[1] - self.aabb[0]) / (np.array(self.shape) - 1)

    @functools.cached_property
    def flat_positions(self) -> Int[np.ndarray, " n"]:
        """Where the occupied voxels stand in the flattened grid (x slowest), in the order of their numbers."""
        return np.flatnonzero(self.index.reshape(-1) >= 0)

    def cells(self, voxels: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n 3"]:
        """Where on the grid (x, y, z) voxels stand that are given by number."""
        return np.stack(np.unravel_index(self.flat_positions[voxels], self.shape), -1)

    def centres(self) -> Float[np.ndarray, "n 3"]:
        """World positions of the occupied voxels, in the order of their numbers."""
        where = np.stack(np.unravel_index(self.flat_positions, self.shape), -1)
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
class SparseVoxels:
    """A value on each of a few voxels: ``index`` int32 [n], ascending, and ``values`` float32 [n]."""

    index: Int[np.ndarray, " n"]
    values: Float[np.ndarray, " n"]

    @staticmethod
    def of(dense: Float[np.ndarray, " n"], least: float) -> SparseVoxels:
        """The voxels whose value is at least ``least``."""
        index = np.flatnonzero(dense >= least).astype(np.int32)
        return SparseVoxels(index, dense[index].astype(np.float32))

    def scatter(self, count: int) -> Float[np.ndarray, " count"]:
        """As float32 on all ``count`` voxels, 0 elsewhere."""
        full = np.zeros(count, np.float32)
        full[self.index] = self.values
        return full

    def at(self, index: Int[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """The values of other voxels, given by number: 0 for those that aren't among these."""
        if len(self.index) == 0:
            return np.zeros(len(index), np.float32)
        where = np.minimum(np.searchsorted(self.index, index), len(self.index) - 1)
        return np.where(self.index[where] == index, self.values[where], np.float32(0))

    def times(self, factor: float, least: float = 0.0) -> SparseVoxels:
        """All values times a factor; 0 where that gives less than ``least``."""
        values = self.values * np.float32(factor)
        return SparseVoxels(self.index, np.where(values >= least, values, np.float32(0)))

    @property
    def nbytes(self) -> int:
        """Memory of both arrays."""
        return self.index.nbytes + self.values.nbytes
