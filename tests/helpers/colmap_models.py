"""COLMAP models over small photos, written by COLMAP's own code (pycolmap), not by ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycolmap
from small_captures import FOCAL, HEIGHT, WIDTH, ring, write_photo

POINTS = np.random.default_rng(5).uniform(-0.5, 0.5, (40, 3))
PINHOLE = ("PINHOLE", (FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2))


def reconstruction(
    poses: Sequence[np.ndarray],
    names: Sequence[str],
    lens: tuple[str, Sequence[float]] = PINHOLE,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> pycolmap.Reconstruction:
    """A model with one camera, photos at the given world-from-camera poses (OpenGL's axes), and POINTS that the first
    three photos see.
    """
    model = pycolmap.Reconstruction()
    camera = pycolmap.Camera(
        camera_id=1, model=lens[0], width=size[0], height=size[1], params=np.array(lens[1], np.float64)
    )
    model.add_camera_with_trivial_rig(camera)
    for number, (pose, name) in enumerate(zip(poses, names, strict=True), start=1):
        from_world = np.linalg.inv(pose @ np.diag([1.0, -1.0, -1.0, 1.0]))
        placed = pycolmap.Rigid3d(pycolmap.Rotation3d(from_world[:3, :3]), from_world[:3, 3])
        image = pycolmap.Image(name=name, camera_id=1, image_id=number)
        image.points2D = pycolmap.Point2DList([pycolmap.Point2D(np.array([1.0, 2.0])) for _ in POINTS])
        model.add_image_with_trivial_frame(image, placed)
    for index, point in enumerate(POINTS):
        track = pycolmap.Track()
        for number in (1, 2, 3):
            track.add_element(number, index)
        model.add_point3D(point, track, np.array([10, 20, 30 + index], np.uint8))
    return model


def write_colmap(
    folder: Path,
    count: int = 5,
    kind: str = "bin",
    where: str = "sparse/0",
    images: str = "images",
    lens: tuple[str, Sequence[float]] = PINHOLE,
) -> Path:
    """A model of cameras on a ring in ``folder/where``, photos images/0.png, ... of 16 x 12 pixels; ``folder``."""
    for i in range(count):
        write_photo(folder / images / f"{i}.png")
    (folder / where).mkdir(parents=True, exist_ok=True)
    model = reconstruction(ring(count), [f"{i}.png" for i in range(count)], lens)
    (model.write_binary if kind == "bin" else model.write_text)(str(folder / where))
    return folder
