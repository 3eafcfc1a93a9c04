"""The kinds of fields that can be trained, by name: how each is made for a scene and built again from disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.captures.bounds import SceneBox
from engine.fields.base import TrainableField
from engine.fields.cut import CutField
from engine.fields.dvgo import DVGO, DVGOSettings
from engine.fields.imports.imported import ImportedField
from engine.fields.nerf import NETWORKS, NeRF, NeRFSettings
from engine.fields.settings import DVGO_PRESETS, NERF_PRESETS, PRESETS, TrainingSettings
from engine.fields.tensorf import TensoRF, TensoRFSettings
from sa3d_blender.protocol.errors import FieldError


@dataclass(frozen=True)
class FieldKind:
    """One kind: its ``label`` for people, how to ``make`` one for a box at a resolution (seeded by torch's global
    generator), how to ``rebuild`` it, untrained, from what its ``describe`` gave, and how it is trained (`presets`, by
    quality)."""

    label: str
    make: Callable[[SceneBox, tuple[int, int, int], TrainingSettings], TrainableField]
    rebuild: Callable[[Mapping[str, Any]], TrainableField]
    presets: Mapping[str, TrainingSettings]


def _tensorf(box: SceneBox, resolution: tuple[int, int, int], training: TrainingSettings) -> TensoRF:
    settings = TensoRFSettings(unbounded=box.kind != "object")
    return TensoRF(torch.tensor(box.aabb, dtype=torch.float32), resolution, settings)


def _dvgo(box: SceneBox, resolution: tuple[int, int, int], training: TrainingSettings) -> DVGO:
    return DVGO(torch.tensor(box.aabb, dtype=torch.float32), resolution, DVGOSettings(unbounded=box.kind != "object"))


def _nerf(box: SceneBox, resolution: tuple[int, int, int], training: TrainingSettings) -> NeRF:
    fine, coarse = NETWORKS[training.networks]
    settings = NeRFSettings(fine, coarse, unbounded=box.kind != "object")
    return NeRF(torch.tensor(box.aabb, dtype=torch.float32), resolution, settings)


KINDS: dict[str, FieldKind] = {
    "tensorf": FieldKind("TensoRF", _tensorf, TensoRF.rebuild, PRESETS),
    "dvgo": FieldKind("DVGO", _dvgo, DVGO.rebuild, DVGO_PRESETS),
    "nerf": FieldKind("NeRF", _nerf, NeRF.rebuild, NERF_PRESETS),
}


def _only_imported(box: SceneBox, resolution: tuple[int, int, int], training: TrainingSettings) -> ImportedField:
    raise FieldError("Fields of other programs are imported, not trained.", "Give the checkpoint with --from.")


def _only_cut(box: SceneBox, resolution: tuple[int, int, int], training: TrainingSettings) -> CutField:
    raise FieldError("A field of one object is cut from another, not trained.", "Cut it with `sa3d cut`.")


def _rebuilt_cut(description: Mapping[str, Any]) -> CutField:
    inner = kind_of(description["kind"]).rebuild(description["field"])
    return CutField.around(inner, description)


# What `engine.import_field` and `engine.object_field` make can be built again from disk like the others, but nobody
# should be offered it.
NOT_TRAINED = {
    ImportedField.kind: FieldKind("imported from another program", _only_imported, ImportedField.rebuild, PRESETS),
    CutField.kind: FieldKind("cut to an object", _only_cut, _rebuilt_cut, PRESETS),
}


def kind_of(name: str) -> FieldKind:
    """The kind with a name.

    Raises:
        FieldError: there is none.
    """
    if name in NOT_TRAINED:
        return NOT_TRAINED[name]
    if name not in KINDS:
        raise FieldError(f"There is no kind of field called '{name}'.", f"Choose one of: {', '.join(KINDS)}.")
    return KINDS[name]
