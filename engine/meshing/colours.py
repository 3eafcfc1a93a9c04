"""A photo to take colours from, with what the field and the mask say of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.captures.capture import Camera
from sa3d_blender.protocol.errors import MeshError

__all__ = ["PhotoForColour"]


@dataclass(frozen=True)
class PhotoForColour:
    """One photo to take colours from.

    ``rgb`` float32 [H, W, 3] in [0, 1] as stored (sRGB); ``depth`` float32 [H, W] along the viewing axis, rendered by
    the field, 0 where the ray meets nothing; ``mask`` float32 [H, W] in [0, 1], the object in this photo, or None to
    trust the depth alone.
    """

    camera: Camera
    rgb: np.ndarray
    depth: np.ndarray
    mask: np.ndarray | None = None

    def fitting_camera(self) -> Camera:
        """The camera at the photo's size. Raises MeshError where depth or mask are of another size than the photo."""
        height, width = self.rgb.shape[:2]
        if self.depth.shape != (height, width) or (self.mask is not None and self.mask.shape != (height, width)):
            raise MeshError(
                f"A photo of {width} x {height} pixels came with a depth map or mask of another size.",
                "Render depth and mask at the photo's size.",
            )
        camera = self.camera
        return camera if (camera.width, camera.height) == (width, height) else camera.resized(width, height)
