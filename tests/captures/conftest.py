"""Small captures on disk: a ring of cameras around the origin, photos of one colour each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.captures.capture import Camera

COUNT, WIDTH, HEIGHT = 8, 16, 12


def looking_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The camera-to-world matrix [4, 4] of a camera with OpenGL axes, +Z of the world upward."""
    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(back, right), back], axis=1)
    pose[:3, 3] = position
    return pose


def ring_poses(count: int = COUNT, radius: float = 4.0, height: float = 1.0) -> list[np.ndarray]:
    angles = np.arange(count) * 2 * np.pi / count
    return [looking_at(np.array([radius * np.cos(a), radius * np.sin(a), height]), np.zeros(3)) for a in angles]


@pytest.fixture
def ring() -> list[np.ndarray]:
    """Poses of eight cameras around the origin."""
    return ring_poses()


@pytest.fixture
def camera(ring: list[np.ndarray]) -> Camera:
    return Camera(WIDTH, HEIGHT, 20.0, 20.0, 8.0, 6.0, ring[1])


def write_photo(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT), colour: tuple[int, ...] = (200, 100, 50)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA" if len(colour) == 4 else "RGB", size, colour).save(path)


@pytest.fixture
def nerfstudio(tmp_path: Path, ring: list[np.ndarray]) -> Callable[..., Path]:
    """Writes a transforms.json with photos and returns its folder.

    ``change(data)`` may alter the JSON before it is written.
    """

    def write(change: Callable[[dict], object] = lambda data: None) -> Path:
        folder = tmp_path / "capture"
        frames = []
        for i, pose in enumerate(ring):
            write_photo(folder / "images" / f"{i:03d}.png")
            frames.append({"file_path": f"images/{i:03d}.png", "transform_matrix": pose.tolist()})
        data = {"w": WIDTH, "h": HEIGHT, "fl_x": 20.0, "fl_y": 21.0, "cx": 8.5, "cy": 5.5, "frames": frames}
        change(data)
        (folder / "transforms.json").write_text(json.dumps(data))
        return folder

    return write


@pytest.fixture
def llff(tmp_path: Path, ring: list[np.ndarray]) -> Callable[..., Path]:
    """Writes an LLFF capture, photos at a quarter of the stated 64 x 48 pixels, and returns its folder.

    ``change(table)`` may return another table than the N x 17 one.
    """

    def write(change: Callable[[np.ndarray], object] = lambda table: table, folder_name: str = "images_4") -> Path:
        folder = tmp_path / "capture"
        rows = []
        for i, pose in enumerate(ring):
            write_photo(folder / folder_name / f"IMG_{i:03d}.png")
            right, up, back, position = pose[:3].T
            matrix = np.stack([-up, right, back, position, np.array([48.0, 64.0, 80.0])], axis=1)
            rows.append([*matrix.ravel(), 1.5, 9.0])
        np.save(folder / "poses_bounds.npy", change(np.array(rows)))
        return folder

    return write
