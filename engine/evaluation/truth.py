"""The truth that lies beside a capture: instance masks, their names, true meshes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from engine.meshing.export import read_mesh
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["Truth", "read_truth"]


@dataclass(frozen=True)
class Truth:
    """A folder of masks (``masks/<stem>.png``) and, where there are any, true meshes (``meshes/NAME.ply``).

    ``objects`` maps names to the index under which they stand in the masks. Without ``objects.json`` the masks are
    0/255 ones of a single object, and ``objects`` is {"object": 255}.
    """

    root: Path
    objects: dict[str, int]
    stems: tuple[str, ...]
    indexed: bool

    def mask(self, stem: str, name: str) -> np.ndarray:
        """Where object ``name`` is in view ``stem``, bool [H, W].

        Raises CaptureError for an unknown name or a missing mask.
        """
        index = self._index(name)
        if stem not in self.stems:
            raise CaptureError(f"There is no true mask of view {stem}.", f"Choose among {_some(self.stems)}.")
        return self._pixels(stem) == index if self.indexed else self._pixels(stem) > 127

    def stems_with(self, name: str, pixels: int = 1) -> tuple[str, ...]:
        """The views in which the object covers at least ``pixels`` pixels."""
        return tuple(stem for stem in self.stems if np.count_nonzero(self.mask(stem, name)) >= pixels)

    def has_mesh(self, name: str) -> bool:
        """Whether there is a true mesh of object ``name``."""
        self._index(name)
        return self._mesh_path(name).is_file()

    def mesh(self, name: str) -> trimesh.Trimesh:
        """The true mesh of object ``name`` in the capture's world. Raises CaptureError where there is none."""
        if not self.has_mesh(name):
            raise CaptureError(f"There is no true mesh of {name}.", f"Put one at {self._mesh_path(name)}.")
        return read_mesh(self._mesh_path(name))

    def _index(self, name: str) -> int:
        if name not in self.objects:
            raise CaptureError(f"The truth knows no object {name}.", f"Choose among {_some(tuple(self.objects))}.")
        return self.objects[name]

    def _mesh_path(self, name: str) -> Path:
        return self.root / "meshes" / f"{name}.ply"

    def _pixels(self, stem: str) -> np.ndarray:
        path = self.root / "masks" / f"{stem}.png"
        try:
            with Image.open(path) as image:
                # A palette's indices are the instances; other colours than grey have none.
                pixels = np.asarray(image if image.mode in ("L", "P", "I;16", "I", "1") else image.convert("L"))
        except OSError as fault:
            raise CaptureError(f"The true mask {path} can't be read.", "Check that it is a whole PNG file.") from fault
        return pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels


def read_truth(root: Path | str) -> Truth:
    """The truth in the folder ``root``, or in ``truth`` beside that, where the demo puts it; reads no mask yet.

    Raises CaptureError where there are no masks or objects.json is damaged.
    """
    root = Path(root).absolute()
    beside = root.parent / "truth"
    if not (root / "masks").is_dir() and (beside / "masks").is_dir():
        root = beside
    stems = tuple(sorted(path.stem for path in (root / "masks").glob("*.png")))
    if not stems:
        raise CaptureError(
            f"There are no true masks in {root / 'masks'}.", "Put one PNG per view there, named as the photo."
        )
    names = root / "objects.json"
    if not names.is_file():
        return Truth(root, {"object": 255}, stems, indexed=False)
    try:
        objects = json.loads(names.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise CaptureError(f"{names} can't be read: {fault}.", 'Write it as {"name": index}.') from fault
    if not isinstance(objects, dict) or not all(type(v) is int and 0 < v < 65536 for v in objects.values()):
        raise CaptureError(f"{names} does not map names to indices.", 'Write it as {"name": index}, indices from 1 on.')
    return Truth(root, objects, stems, indexed=True)


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
