"""Writes captures of a few small photos in every format that is read, and the ways in which a test may damage them."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.captures.capture import Capture
from engine.captures.images import read_rgb
from engine.captures.load import load_capture
from sa3d_blender.protocol.errors import CaptureError

WIDTH, HEIGHT, FOCAL = 16, 12, 20.0


def look_at(
    position: Sequence[float] | np.ndarray, target: Sequence[float] | np.ndarray = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """The pose [4, 4] of a camera at ``position`` that sees ``target`` in its centre and has world z upwards."""
    eye = np.asarray(position, dtype=np.float64)
    back = eye - np.asarray(target, dtype=np.float64)
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, eye], axis=1)
    return pose


def ring(count: int, radius: float = 2.0, height: float = 0.7, centre: Sequence[float] = (0, 0, 0)) -> list[np.ndarray]:
    """Poses of cameras all around ``centre``, which they look at."""
    middle = np.asarray(centre, dtype=np.float64)
    angles = 2.0 * np.pi * np.arange(count) / count
    return [look_at(middle + np.array([radius * np.cos(a), radius * np.sin(a), height]), middle) for a in angles]


def write_photo(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), mode: str = "RGB", alpha: int = 255) -> None:
    """Noise that is the same for the same name, so that no two photos are alike."""
    pixels = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 256, (size[1], size[0], 4), np.uint8)
    pixels[..., 3] = alpha
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)


def write_transforms(folder: Path, count: int = 4, frames: object = None, **top: object) -> Path:
    """A transforms.json over photos images/0.png, images/1.png, ... of 16 x 12 pixels with cameras on a ring.

    ``top`` goes to its top level instead of the usual intrinsics; ``frames`` are merged over the frames one by one.
    """
    listed = []
    for i, pose in enumerate(ring(count)):
        write_photo(folder / f"images/{i}.png")
        listed.append({"file_path": f"images/{i}.png", "transform_matrix": pose.tolist()})
    if isinstance(frames, list):
        listed = [{**old, **new} for old, new in zip(listed, frames, strict=True)]
    usual = {"w": WIDTH, "h": HEIGHT, "fl_x": FOCAL, "fl_y": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    (folder / "transforms.json").write_text(json.dumps({**(top or usual), "frames": listed}), encoding="utf-8")
    return folder


def change(folder: Path, edit: Callable[[dict], object]) -> None:
    """Edits the folder's transforms.json."""
    path = folder / "transforms.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def change_frames(folder: Path, edit: Callable[[dict], object], only: slice = slice(None)) -> None:
    """Edits each frame of the folder's transforms.json, or ``only`` some."""
    change(folder, lambda data: [edit(frame) for frame in data["frames"][only]])


def llff_rows(poses: Sequence[np.ndarray], height: float, width: float, focal: float) -> np.ndarray:
    """Rows of poses_bounds.npy [N, 17]: axes (down, right, back), near 1.5 and far 6."""
    rows = []
    for pose in poses:
        right, up, back, position = (pose[:3, i] for i in range(4))
        matrix = np.stack([-up, right, back, position, np.array([height, width, focal])], axis=1)
        rows.append([*matrix.ravel(), 1.5, 6.0])
    return np.array(rows)


def write_llff(folder: Path, count: int = 9, images: str = "images_8", scale: int = 8) -> Path:
    """A poses_bounds.npy with cameras for photos ``scale`` times as large as the 16 x 12 pixels of those in images."""
    poses = ring(count)
    for i in range(count):
        write_photo(folder / images / f"IMG_{i:02d}.png")
    np.save(folder / "poses_bounds.npy", llff_rows(poses, scale * HEIGHT, scale * WIDTH, scale * FOCAL))
    return folder


def bomb(path: Path) -> None:
    """A PNG of a few bytes whose header promises 100000 x 100000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def truncate(path: Path) -> None:
    """Keeps the first half of a file, which holds a photo's header."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def read_all(path: Path) -> Capture:
    """The capture with every photo decoded, as a job does before it trains."""
    capture = load_capture(path)
    for view in capture.views:
        read_rgb(view)
    return capture


def refuses(word: str, path: Path) -> CaptureError:
    """Asserts that reading fails with a CaptureError that says ``word`` and what to do; returns it."""
    with pytest.raises(CaptureError) as caught:
        read_all(path)
    says_what_and_cure(caught.value, word)
    return caught.value


def says_what_and_cure(error: CaptureError, word: str) -> None:
    """Asserts that both are sentences and that ``what`` holds ``word``."""
    assert word in error.what, error.what
    for sentence in (error.what, error.cure):
        assert len(sentence) > 10 and sentence.endswith("."), sentence
