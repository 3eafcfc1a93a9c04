"""Depth maps fused into one truncated signed distance on a grid, by Open3D."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from engine.captures.capture import Camera
from sa3d_blender.protocol.errors import EnvironmentFault

__all__ = ["check_fusion", "fused_distance"]

_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])  # between OpenGL's camera axes and OpenCV's


def check_fusion() -> None:
    """Raises EnvironmentFault where Open3D isn't installed or can't be loaded."""
    _open3d()


def _open3d() -> Any:
    if importlib.util.find_spec("open3d") is None:
        raise EnvironmentFault(
            "Fusing depth maps needs Open3D.",
            "Run `pip install open3d libusb-package` in the engine's Python, or make the surface by solidity.",
        )
    _load_libusb()
    try:
        import open3d
    except ImportError as error:  # it is there, but a library of the system or a package that it asks for is not
        raise EnvironmentFault(
            f"Open3D can't be loaded: {error}.",
            "Install what is missing (`pip install open3d libusb-package` brings all of it), or make the surface by "
            "solidity.",
        ) from error
    return open3d


def _load_libusb() -> None:
    """On Linux Open3D is bound to libusb, for depth cameras, which servers lack: the one of a package does as well."""
    found = importlib.util.find_spec("libusb_package")
    for folder in (found.submodule_search_locations if found is not None else None) or ():
        library = Path(folder) / "libusb-1.0.so"
        if library.is_file():
            ctypes.CDLL(str(library))  # stays loaded; whoever asks for that name gets it


def fused_distance(
    cameras: Sequence[Camera],
    depths: Sequence[Float[np.ndarray, "h w"]],
    box: Float[np.ndarray, "2 3"],
    step: float,
    truncation: float,
) -> tuple[Float[np.ndarray, "x y z"], Bool[np.ndarray, "x y z"], Float[np.ndarray, "2 3"]]:
    """The mean signed distance to the surfaces of depth maps (Curless and Levoy 1996), in units of ``truncation``.

    Args:
        cameras: without distortion. depths: along their axes; 0 where nothing is told, infinite where all is free.
        box: the part of the world that is wanted, and ``step``, the distance of the grid's nodes in it.

    Returns:
        float32 [X, Y, Z] from 1 (free) to -1 (behind a surface); which nodes any camera has told anything about, the
        others are 1; and the world places of the first and the last node, [2, 3].

    Raises:
        EnvironmentFault: Open3D can't be used.
    """
    open3d = _open3d()
    x, y, z = (max(8, int(np.ceil(extent / step)) + 1) for extent in box[1] - box[0])
    most = max(x, y, z)  # the library's grid is a cube whose nodes are the middles of its cells
    volume = open3d.pipelines.integration.UniformTSDFVolume(
        length=most * step,
        resolution=most,
        sdf_trunc=truncation,
        color_type=open3d.pipelines.integration.TSDFVolumeColorType.NoColor,
        origin=(box[0] - step / 2).reshape(3, 1),
    )
    for camera, depth in zip(cameras, depths, strict=True):
        # farther than everything in the box, and so free up to there
        far = 2 * (float(np.linalg.norm(camera.position - box.mean(0))) + float(np.linalg.norm(box[1] - box[0])))
        picture = open3d.geometry.RGBDImage.create_from_color_and_depth(
            open3d.geometry.Image(np.zeros((*depth.shape, 3), np.uint8)),
            open3d.geometry.Image(np.where(np.isinf(depth), far, depth).astype(np.float32)),
            depth_scale=1.0,
            depth_trunc=2 * far,
            convert_rgb_to_intensity=False,
        )
        lens = open3d.camera.PinholeCameraIntrinsic(  # there pixel centres are whole numbers
            camera.width, camera.height, camera.fl_x, camera.fl_y, camera.cx - 0.5, camera.cy - 0.5
        )
        volume.integrate(picture, lens, np.linalg.inv(camera.world_from_camera @ _FLIP))
    told = np.asarray(volume.extract_volume_tsdf()).reshape(most, most, most, 2)[:x, :y, :z]
    known = told[..., 1] > 0
    nodes = np.stack([box[0], box[0] + (np.array([x, y, z]) - 1) * step])
    return np.where(known, told[..., 0], 1.0).astype(np.float32), known, nodes
