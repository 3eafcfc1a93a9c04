"""What a COLMAP model holds, read from its files: lenses, photos with poses, sparse points.

The files are read by ourselves, a record at a time: nothing is believed that the file's own size doesn't bear out, so
that a header that claims a million cameras costs nothing. Source: COLMAP's documentation, "Output Format".
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.captures.capture import SparsePoints
from sa3d_blender.protocol.errors import CaptureError

__all__ = [
    "MAX_NAME",
    "MAX_POINTS",
    "MODELS",
    "ColmapImage",
    "ColmapLens",
    "PointBatch",
    "damaged",
    "good_points",
    "model_files",
]

AGAIN = "Export the model again from COLMAP."
MAX_NAME = 4096  # bytes of a photo's name
MAX_POINTS = 2_000_000

# The camera models by COLMAP's number: its name and how many parameters it has.
MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    12: ("SIMPLE_DIVISION", 4),
    13: ("DIVISION", 5),
    14: ("SIMPLE_FISHEYE", 3),
    15: ("FISHEYE", 4),
    16: ("EUCM", 6),
    17: ("EQUIRECTANGULAR", 2),
}


@dataclass(frozen=True)
class ColmapLens:
    """A camera in COLMAP's sense: the name of its model, its photos' size and its parameters in COLMAP's order."""

    model: str
    width: int
    height: int
    params: tuple[float, ...]


@dataclass(frozen=True)
class ColmapImage:
    """A registered photo: its name as written, its lens's number, and its pose: ``camera_from_world`` by the
    quaternion ``qvec`` (w, x, y, z) and the translation ``tvec``, in OpenCV's axes.
    """

    name: str
    lens: int
    qvec: tuple[float, float, float, float]
    tvec: tuple[float, float, float]


class PointBatch:
    """Sparse points that are being read, 31 bytes each."""

    def __init__(self) -> None:
        self._xyz, self._rgb, self._count = array("d"), bytearray(), array("i")

    def __len__(self) -> int:
        return len(self._count)

    def add(self, xyz: tuple[float, float, float], rgb: tuple[int, int, int], count: int) -> None:
        self._xyz.extend(xyz)
        self._rgb.extend(rgb)
        self._count.append(min(count, 2**31 - 1))

    def points(self) -> SparsePoints | None:
        """The good ones of them; None where none is."""
        xyz, rgb = np.array(self._xyz, np.float64).reshape(-1, 3), np.array(self._rgb, np.uint8).reshape(-1, 3)
        return good_points(xyz, rgb, np.array(self._count, np.int32))


def good_points(xyz: np.ndarray, rgb: np.ndarray, count: np.ndarray) -> SparsePoints | None:
    """Those of the points that are finite and within a million units of the origin; None where none is."""
    with np.errstate(invalid="ignore"):
        good = np.isfinite(xyz).all(axis=1) & (np.abs(xyz) < 1e6).all(axis=1)
    return SparsePoints(xyz[good], rgb[good], count[good]) if good.any() else None


def model_files(folder: Path) -> tuple[Path, Path, Path] | None:
    """(cameras, images, points3D) of the model in ``folder``, as COLMAP itself prefers them: .bin before .txt.

    None where there is no model. The points need not exist.
    """
    for suffix in (".bin", ".txt"):
        cameras, images = folder / f"cameras{suffix}", folder / f"images{suffix}"
        if cameras.is_file() and images.is_file():
            return cameras, images, folder / f"points3D{suffix}"
    return None


def damaged(path: Path, reason: str) -> CaptureError:
    return CaptureError(f"{path.name} is not a file of COLMAP's, or is damaged: {reason}.", AGAIN)
