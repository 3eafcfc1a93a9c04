"""What all commands share, and how an object is to be segmented."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine.fields.settings import Corner
from engine.lifting.operators import OperatorBudget
from engine.lifting.settings import LiftingSettings
from engine.meshing.from_field import SurfaceSettings
from engine.meshing.texture import TextureSettings


@dataclass(frozen=True)
class Options:
    """What all commands share: where the cache is, the device by name, the seed of everything random.

    ``budget`` is the room that ray weights may take in memory and on disk.
    """

    cache: Path
    device: str = "auto"
    seed: int = 0
    budget: OperatorBudget = field(default_factory=OperatorBudget)


@dataclass(frozen=True)
class MeshOptions:
    """How an object's mesh is made; a result folder remembers it.

    ``level`` of the surface, in (0, 1): lower grows, higher shrinks. An ``open`` mesh lacks the part that no photo
    shows, which is closed by a guess otherwise. ``texture_px`` texels a side, 0 for coloured vertices alone, None for
    what the field's quality has.
    """

    level: float = 0.5
    open: bool = False
    texture_px: int | None = None


@dataclass(frozen=True)
class SegmentOptions:
    """How an object is segmented; see `LiftingSettings` for the paper's knobs.

    ``texture`` of the mesh; by default what the field's quality has (`TEXTURES`). ``region``: the box of interest of a
    field that has to be trained first, as for `train`. ``masks``: what the photos' masks are taken for, as for `train`;
    a named field says so itself.
    """

    quality: str = "draft"
    segmenter: str = "auto"
    weights: Path | None = None
    lifting: LiftingSettings = field(default_factory=LiftingSettings)
    surface: SurfaceSettings = field(default_factory=SurfaceSettings)
    field_folder: Path | None = None
    texture: TextureSettings | None = None
    mesh: MeshOptions = field(default_factory=MeshOptions)
    region: tuple[Corner, Corner] | None = None
    masks: str = "auto"
