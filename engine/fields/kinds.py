"""The kinds of fields that can be trained, by name: how each is made for a scene and built again from disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from engine.captures.bounds import SceneBox
from engine.fields.base import TrainableField
from engine.fields.dvgo import DVGO, DVGOSettings
from engine.fields.imports.imported import ImportedField
from engine.fields.nerf import DRAFT_COARSE_SIZE, DRAFT_SIZE, GOOD_SIZE, PAPER_SIZE, NeRF, NeRFSettings
from engine.fields.settings import PRESETS, Sampling, TrainingSettings
from engine.fields.tensorf import TensoRF, TensoRFSettings
from sa3d_blender.protocol.errors import FieldError


@dataclass(frozen=True)
class FieldKind:
    """One kind: its ``label`` for people, how to ``make`` one for a box at a resolution (seeded by torch's global
    generator), how to ``rebuild`` it, untrained, from what its ``describe`` gave, and how it is trained (`presets`, by
    quality)."""

    label: str
    make: Callable[[SceneBox, tuple[int, int, int]], TrainableField]
    rebuild: Callable[[Mapping[str, Any]], TrainableField]
    presets: Mapping[str, TrainingSettings]


def _tensorf(box: SceneBox, resolution: tuple[int, int, int]) -> TensoRF:
    settings = TensoRFSettings(unbounded=box.kind != "object")
    return TensoRF(torch.tensor(box.aabb, dtype=torch.float32), resolution, settings)


def _dvgo(box: SceneBox, resolution: tuple[int, int, int]) -> DVGO:
    return DVGO(torch.tensor(box.aabb, dtype=torch.float32), resolution, DVGOSettings(unbounded=box.kind != "object"))


# A node of DVGO's grids has 13 numbers, and Adam keeps four of each: 128^3 nodes take 0.4 GB, 200^3 take 1.7 GB.
DVGO_PRESETS = {
    "draft": replace(PRESETS["draft"], sides=(64, 96, 128)),
    "good": replace(PRESETS["good"], sides=(64, 96, 128, 160)),
    "best": replace(PRESETS["best"], sides=(64, 96, 128, 160, 200)),
}

# NeRF has no grid to refine; its side is that of the bake of its density.
NERF_PRESETS = {
    "draft": replace(
        PRESETS["draft"],
        rays=1024,
        sides=(128,),
        upsample_at=(),
        decay=0.1,
        occupancy_every=100,
        occupancy_side=64,
    ),
    "good": replace(
        PRESETS["good"], steps=20000, rays=2048, sides=(192,), upsample_at=(), decay=0.1, occupancy_every=200
    ),
    "best": replace(
        PRESETS["best"],
        steps=100000,
        sides=(256,),
        upsample_at=(),
        decay=0.1,
        occupancy_every=500,
        sampling=Sampling(coarse=192, fine=64),
    ),
}


def _nerf(box: SceneBox, resolution: tuple[int, int, int]) -> NeRF:
    """As large as the quality allows, which the resolution of its bake tells: finer ones are worth larger networks."""
    side = math.prod(resolution) ** (1 / 3)
    if side < 160:
        fine, coarse = DRAFT_SIZE, DRAFT_COARSE_SIZE
    elif side < 224:
        fine, coarse = GOOD_SIZE, DRAFT_SIZE
    else:
        fine, coarse = PAPER_SIZE, PAPER_SIZE
    settings = NeRFSettings(fine, coarse, unbounded=box.kind != "object")
    return NeRF(torch.tensor(box.aabb, dtype=torch.float32), resolution, settings)


KINDS: dict[str, FieldKind] = {
    "tensorf": FieldKind("TensoRF VM-72", _tensorf, TensoRF.rebuild, PRESETS),
    "dvgo": FieldKind("DVGO", _dvgo, DVGO.rebuild, DVGO_PRESETS),
    "nerf": FieldKind("NeRF", _nerf, NeRF.rebuild, NERF_PRESETS),
}


def _only_imported(box: SceneBox, resolution: tuple[int, int, int]) -> ImportedField:
    raise FieldError("Fields of other programs are imported, not trained.", "Give the checkpoint with --from.")


# What `engine.import_field` makes can be built again from disk like the others, but nobody should be offered it.
IMPORTED = {
    ImportedField.kind: FieldKind("imported from another program", _only_imported, ImportedField.rebuild, PRESETS)
}


def kind_of(name: str) -> FieldKind:
    """The kind with a name.

    Raises:
        FieldError: there is none.
    """
    if name in IMPORTED:
        return IMPORTED[name]
    if name not in KINDS:
        raise FieldError(f"There is no kind of field called '{name}'.", f"Choose one of: {', '.join(KINDS)}.")
    return KINDS[name]
