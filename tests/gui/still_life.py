"""A rendered capture with the truth about its objects, for clicking on them in a window."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from tests.gui.conftest import ROOT

__all__ = ["Table", "render_table"]


@dataclass(frozen=True)
class Table:
    """A rendered capture, with the truth about its objects."""

    folder: Path

    def spots(self, view: str, name: str) -> list[tuple[float, float]]:
        """Two places on an object in a photo, as fractions of it: the innermost, and one deep inside far from it."""
        number = json.loads((self.folder / "truth" / "objects.json").read_text())[name]
        mask = np.asarray(Image.open(self.folder / "truth" / "masks" / f"{view}.png")) == number
        depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        first = np.unravel_index(depth.argmax(), depth.shape)
        rows, columns = np.indices(mask.shape)
        away = np.hypot(rows - first[0], columns - first[1])
        second = np.unravel_index(np.where(depth > depth.max() / 3, away, -1).argmax(), depth.shape)
        return [((x + 0.5) / mask.shape[1], (y + 0.5) / mask.shape[0]) for y, x in (first, second)]


def render_table(folder: Path) -> Table:
    """The demo's scene, rendered for this; SA3D_HOUR_TABLE names a folder with one that is there already."""
    ready = os.environ.get("SA3D_HOUR_TABLE", "")
    if ready:
        return Table(Path(ready))
    command = [sys.executable, "-m", "sa3d_blender.demo", "render", "--out", str(folder), "--views", "24"]
    done = subprocess.run([*command, "--samples", "8"], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return Table(folder)
