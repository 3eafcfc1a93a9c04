"""Where an imported field may hold anything: a grid of open and closed cells in the world."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from engine.fields.volume import EMPTY, DensityVolume

FAINT = 1e-4  # of the light that a cell stops: what is closed, but next to what isn't, stops no more


class OpenCells(nn.Module):
    """Cells of equal size, each open or closed; outside all of them everything is closed.

    Args:
        open_: bool [I, J, K].
        origin: [3], the outer corner of the first cell in the world.
        cell: [3], its sides.
    """

    open: Tensor
    origin: Tensor
    cell: Tensor

    def __init__(self, open_: Bool[Tensor, "i j k"], origin: Float[Tensor, " 3"], cell: Float[Tensor, " 3"]) -> None:
        super().__init__()
        self.register_buffer("open", open_)
        self.register_buffer("origin", origin.float())
        self.register_buffer("cell", cell.float())

    @staticmethod
    def where_interpolated(nodes: Bool[Tensor, "x y z"], aabb: Float[Tensor, "2 3"]) -> OpenCells:
        """Open where the trilinear interpolation of flags at nodes (the outer ones on the box) is above zero.

        That is: between nodes of which at least one is set. Around the box nodes that aren't are imagined, and so the
        interpolation fades out within one cell outside it, as `grid_sample` with zeros around does.
        """
        cell = (aabb[1] - aabb[0]) / (torch.tensor(nodes.shape) - 1)
        padded = F.pad(nodes[None, None].float(), (1,) * 6)
        return OpenCells(F.max_pool3d(padded, 2, stride=1)[0, 0] > 0, aabb[0] - cell, cell)

    @staticmethod
    def where_nearest(nodes: Bool[Tensor, "x y z"], aabb: Float[Tensor, "2 3"]) -> OpenCells:
        """Open where the nearest of the nodes (the outer ones on the box) is set."""
        cell = (aabb[1] - aabb[0]) / (torch.tensor(nodes.shape) - 1)
        return OpenCells(nodes, aabb[0] - cell / 2, cell)

    def at(self, xyz: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
        """Whether world points lie in open cells."""
        sides = torch.tensor(self.open.shape, device=xyz.device)
        place = ((xyz - self.origin) / self.cell).floor().long()
        inside = ((place >= 0) & (place < sides)).all(-1)
        x, y, z = torch.minimum(place.clamp_min(0), sides - 1).unbind(-1)
        found: Tensor = self.open[x, y, z] & inside
        return found

    def on(
        self, aabb: Float[Tensor, "2 3"], resolution: tuple[int, int, int]
    ) -> tuple[Bool[Tensor, "x y z"], Bool[Tensor, "x y z"]]:
        """(open at, open near) the nodes of a grid on a box: at the node itself, and anywhere up to its neighbours."""
        at = near = self.open
        for axis, n in enumerate(resolution):
            step = float(aabb[1, axis] - aabb[0, axis]) / max(n - 1, 1)
            nodes = torch.linspace(float(aabb[0, axis]), float(aabb[1, axis]), n, device=aabb.device)
            at = _within(at, axis, *self._range(axis, nodes, 0.0))
            near = _within(near, axis, *self._range(axis, nodes, step))
        return at, near

    def _range(self, axis: int, nodes: Float[Tensor, " n"], reach: float) -> tuple[Tensor, Tensor]:
        """First cell, and the one after the last, that intervals around nodes touch along an axis."""
        first = ((nodes - reach - self.origin[axis]) / self.cell[axis]).floor().long()
        last = ((nodes + reach - self.origin[axis]) / self.cell[axis]).floor().long()
        count = self.open.shape[axis]
        return first.clamp(0, count), (last + 1).clamp(0, count)

    def emptied(self, volume: DensityVolume) -> DensityVolume:
        """A density baked on a bounded box, closed cells emptied.

        What is interpolated in an open cell stays what it was. Nodes that are closed but next to an open cell keep at
        most a faint density for that; all others have none.
        """
        at, near = self.on(volume.space.aabb, volume.resolution)
        sides = (volume.space.aabb[1] - volume.space.aabb[0]) / torch.tensor(volume.resolution, device=at.device)
        faint = torch.tensor(FAINT / (volume.scale * float(sides.max())), dtype=torch.float64)
        features = volume.features
        features = torch.where(at, features, features.clamp_max(float(faint.expm1().log()) - volume.shift))
        return DensityVolume(features.masked_fill(~near, EMPTY), volume.space, volume.shift, volume.scale)


def _within(cells: Bool[Tensor, "*sides"], axis: int, first: Tensor, after: Tensor) -> Bool[Tensor, "*out"]:
    """Whether any of the cells from ``first`` to before ``after`` is open, along one axis for each pair of bounds."""
    counts = F.pad(cells.movedim(axis, -1).int().cumsum(-1, dtype=torch.int32), (1, 0))
    found: Tensor = (counts[..., after] > counts[..., first]).movedim(-1, axis)
    return found
