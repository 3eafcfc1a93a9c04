"""The kinds of fields that can be trained, by name: how each is made for a scene and built again from disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from engine.captures.bounds import SceneBox
from engine.fields.base import TrainableField
from engine.fields.settings import PRESETS, TrainingSettings
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


KINDS: dict[str, FieldKind] = {"tensorf": FieldKind("TensoRF VM-72", _tensorf, TensoRF.rebuild, PRESETS)}


def kind_of(name: str) -> FieldKind:
    """The kind with a name.

    Raises:
        FieldError: there is none.
    """
    if name not in KINDS:
        raise FieldError(f"There is no kind of field called '{name}'.", f"Choose one of: {', '.join(KINDS)}.")
    return KINDS[name]
