"""What a capture is: photos with cameras, whatever format they came in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

CameraModel = Literal["pinhole", "opencv", "fisheye"]


@dataclass(frozen=True)
class Camera:
    """One camera, in pixels of its photo and in the capture's world.

    Pixels: x right, y down, (0, 0) the top-left corner of the photo, pixel centres at +0.5.
    Camera axes are OpenGL's (and Blender's): +X right, +Y up, looking along -Z.

    ``world_from_camera`` is float64 [4, 4]. ``distortion`` is (k1, k2, p1, p2, k3, k4), OpenCV's
    meaning under ``opencv`` and (k1, k2, k3, k4) under ``fisheye``; empty under ``pinhole``.
    """

    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    world_from_camera: np.ndarray
    model: CameraModel = "pinhole"
    distortion: tuple[float, ...] = ()

    @property
    def position(self) -> np.ndarray:
        """Centre of projection in the world, float64 [3]."""
        return self.world_from_camera[:3, 3]

    @property
    def forward(self) -> np.ndarray:
        """Unit viewing direction in the world, float64 [3]."""
        return -self.world_from_camera[:3, 2]

    def resized(self, width: int, height: int) -> Camera:
        """The same camera for its photo resampled to ``width`` x ``height`` pixels."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fl_x=self.fl_x * sx,
            fl_y=self.fl_y * sy,
            cx=self.cx * sx,
            cy=self.cy * sy,
        )


@dataclass(frozen=True)
class View:
    """One photo of a capture and the camera that took it.

    ``name`` is the photo's path inside the capture, with forward slashes and suffix ("images/000.png"
    in a transforms.json). ``stem`` is the name under which results of this view are
    written; it is unique in the capture. ``split`` is "train", "val" or "test" where the format says so.
    ``opaque``: the opacity that its file may hold means nothing. ``mask_path``: a picture of the photo's size that is
    black where the photo shows what is no part of the scene (a background that doesn't follow the poses);
    with ``silhouette`` it is the photo's opacity, without it these pixels say nothing.
    """

    name: str
    stem: str
    image_path: Path
    camera: Camera
    split: str = "train"
    near_far: tuple[float, float] | None = None
    opaque: bool = False
    mask_path: Path | None = None
    silhouette: bool = False


@dataclass(frozen=True)
class SparsePoints:
    """Points that structure from motion has found: ``xyz`` float64 [N, 3] in the capture's world, finite; their
    colours ``rgb`` uint8 [N, 3] in sRGB; by how many photos each is seen, ``count`` int32 [N], 0 where the source
    doesn't say.
    """

    xyz: np.ndarray
    rgb: np.ndarray
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.xyz)


@dataclass(frozen=True)
class Capture:
    """Photos with cameras. ``warnings`` says in one sentence each what was skipped on reading.

    ``root`` is the folder (never written to), ``format`` the reader's name.
    ``has_alpha``: the photos carry opacity, and what is transparent is no part of the scene. ``points``: where the
    source has sparse points.
    """

    root: Path
    format: str
    views: tuple[View, ...]
    warnings: tuple[str, ...] = ()
    has_alpha: bool = False
    extra: dict[str, object] = field(default_factory=dict)
    points: SparsePoints | None = None

    def __len__(self) -> int:
        return len(self.views)
