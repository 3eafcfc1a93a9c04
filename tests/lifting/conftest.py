"""The tiny capture as a perfect field would show it: ball, box and ground as a baked density, with view operators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tiny_capture import BALL_CENTRE, BALL_RADIUS, BOX_CENTRE, BOX_HALF, TinyCapture

from engine.captures.capture import View
from engine.captures.load import load_capture
from engine.fields.contraction import Contraction
from engine.fields.sampling import OccupancyGrid
from engine.fields.settings import Sampling
from engine.fields.volume import DensityVolume
from engine.lifting.projection import ViewOperator, view_operator
from engine.lifting.scene import Scene
from engine.lifting.voxels import VoxelGrid

SAMPLING = Sampling(96, 24)
AABB = torch.tensor([[-1.2, -1.0, -0.2], [1.2, 1.0, 1.0]])
NODES = (49, 41, 25)  # cells of 1/20
SHARP = 6.0  # features per cell of distance to a surface: the density is that of stone within half a cell


def ball_distance(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points - BALL_CENTRE, axis=-1) - BALL_RADIUS


def box_distance(points: np.ndarray) -> np.ndarray:
    away = np.abs(points - BOX_CENTRE) - BOX_HALF
    return np.linalg.norm(np.maximum(away, 0), axis=-1) + np.minimum(away.max(-1), 0)


def baked(*distances: Callable[[np.ndarray], np.ndarray]) -> DensityVolume:
    """Solids of density about 80 per unit, by their signed distances."""
    axes = [np.linspace(float(lo), float(hi), n) for lo, hi, n in zip(*AABB, NODES, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    nearest = np.min([d(points) for d in distances], axis=0)
    # light stops within a cell of 1/20 where softplus(feature) * 60 / 20 is about 1
    features = np.clip(-1.0 - SHARP * nearest * 20, -14.0, 1.0)
    return DensityVolume(torch.from_numpy(features).float(), Contraction(AABB), 0.0, 60.0)


@dataclass(frozen=True)
class Stage:
    """The tiny capture with a perfect field. ``operators`` by view stem."""

    truth: TinyCapture
    views: tuple[View, ...]
    volume: DensityVolume
    grid: OccupancyGrid
    voxels: VoxelGrid
    operators: dict[str, ViewOperator]

    def scene(self) -> Scene:
        """For the loop; the key of a photo is its view's stem."""
        blank = np.full((60, 80, 3), 0.5, np.float32)
        return Scene(self.views, lambda v: self.operators[v.stem], lambda v: (blank, v.stem), self.voxels)

    def mask(self, thing: str, view: View) -> np.ndarray:
        """The true mask in a view, float32."""
        return self.truth.masks[thing][self.views.index(view)].astype(np.float32)


@pytest.fixture(scope="session")
def stage(tiny_capture: TinyCapture) -> Stage:
    views = load_capture(tiny_capture.folder).views
    volume = baked(ball_distance, box_distance, lambda points: points[..., 2])
    grid, voxels = OccupancyGrid.from_volume(volume), VoxelGrid.from_volume(volume)
    operators = {v.stem: view_operator(volume, grid, voxels, v.camera, SAMPLING) for v in views}
    return Stage(tiny_capture, tuple(views), volume, grid, voxels, operators)


@pytest.fixture(scope="session")
def sampling() -> Sampling:
    return SAMPLING
