"""True masks and scribbles as picture files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from sa3d_blender.protocol.errors import CaptureError


def read_index(path: Path) -> np.ndarray:
    """A picture's values [H, W] as stored (indices or 0/255); colours become grey. Raises CaptureError."""
    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode in ("L", "P", "I;16", "I", "1") else image.convert("L"))
    except (OSError, ValueError, SyntaxError) as error:
        raise CaptureError(f"The picture {path} can't be read.", "Check that it is a whole PNG file.") from error


def read_painted(path: Path) -> Bool[np.ndarray, "h w"]:
    """Where a picture is painted: brighter than half of its brightest value. Raises CaptureError."""
    values = read_index(path).astype(np.float64)
    painted: Bool[np.ndarray, "h w"] = values > values.max() / 2
    return painted


def need_folder(folder: Path, layout: str) -> Path:
    """The folder. Raises CaptureError, naming the layout that is expected, where there is none."""
    if not folder.is_dir():
        raise CaptureError(f"There is no folder {folder}.", f"The layout is {layout}.")
    return folder


def pngs(folder: Path, skip: Iterable[str] = ()) -> list[Path]:
    """PNG files of a folder by name, but those whose stem ends in one of ``skip``."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() == ".png" and not path.stem.endswith(tuple(skip)) and not path.name.startswith(".")
    )
