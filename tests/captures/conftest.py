"""Cameras that these tests share: a ring of them around the origin, which they look at."""

from __future__ import annotations

import numpy as np
import pytest

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
