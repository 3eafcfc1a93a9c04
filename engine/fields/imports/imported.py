"""A field that another program trained: one of ours inside, with what is known to be empty and what lies behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from engine.fields.base import ParameterGroup, TrainableField
from engine.fields.imports.open_cells import OpenCells
from engine.fields.imports.plain_tensorf import PlainTensoRF
from engine.fields.imports.voxels import VoxelField
from engine.fields.tensorf import TensoRF
from engine.fields.volume import DensityVolume

REBUILT: Mapping[str, Callable[[Mapping[str, Any]], TrainableField]] = {
    TensoRF.kind: TensoRF.rebuild,
    PlainTensoRF.kind: PlainTensoRF.rebuild,
    VoxelField.kind: VoxelField.rebuild,
}


class ImportedField(TrainableField):
    """A bounded field whose density is exactly 0 where it is known to be empty.

    Args:
        inner: density and colour; its scene ends at its box.
        cells: where there may be anything; None: everywhere.
        white: whether what lies behind is white rather than black.
    """

    kind = "imported"

    def __init__(self, inner: TrainableField, cells: OpenCells | None, white: bool = True) -> None:
        super().__init__(inner.aabb, False, inner.resolution)
        self.inner, self.cells, self.white = inner, cells, white

    def density(self, xyz: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Volume density per world unit at world points inside the box; 0 in closed cells."""
        if self.cells is None:
            return self.inner.density(xyz)
        maybe = self.cells.at(xyz)
        found = torch.zeros_like(xyz[:, 0])
        return found.masked_scatter(maybe, self.inner.density(xyz[maybe])) if bool(maybe.any()) else found

    def colour(self, xyz: Float[Tensor, "n 3"], viewdirs: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Colour at world points seen along unit directions, as the inner field has it."""
        return self.inner.colour(xyz, viewdirs)

    def background(self, rays_o: Float[Tensor, "r 3"], viewdirs: Float[Tensor, "r 3"]) -> Float[Tensor, "r 3"]:
        """White or black."""
        return torch.full_like(viewdirs, 1.0 if self.white else 0.0)

    @torch.no_grad()
    def density_volume(self, resolution: tuple[int, int, int] | None = None) -> DensityVolume:
        """The inner field's density on a regular grid over the box, without that of closed cells."""
        volume = self.inner.density_volume(resolution)
        return self.within(volume if self.cells is None else self.cells.emptied(volume))

    def refine(self, resolution: tuple[int, int, int]) -> None:
        """The inner field goes to a finer grid; what is empty stays."""
        self.inner.refine(resolution)
        self.resolution = self.inner.resolution

    def parameter_groups(self) -> list[ParameterGroup]:
        """The inner field's."""
        return self.inner.parameter_groups()

    def regularisation(self) -> Float[Tensor, ""]:
        """The inner field's."""
        return self.inner.regularisation()

    def describe(self) -> dict[str, object]:
        """All that `rebuild` needs, as JSON values."""
        cells = None if self.cells is None else list(self.cells.open.shape)
        return {"kind": self.inner.kind, "field": self.inner.describe(), "cells": cells, "white": self.white}

    @staticmethod
    def rebuild(description: Mapping[str, Any]) -> ImportedField:
        """The field of a description, without its numbers."""
        inner = REBUILT[description["kind"]](description["field"])
        cells = None
        if description["cells"] is not None:
            shape = [int(n) for n in description["cells"]]
            cells = OpenCells(torch.zeros(shape, dtype=torch.bool), torch.zeros(3), torch.ones(3))
        return ImportedField(inner, cells, bool(description["white"]))
