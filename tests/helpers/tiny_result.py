"""The tiny capture's ball, segmented in a perfect field: a result folder without any training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tiny_capture import BALL_CENTRE, BALL_RADIUS, BOX_CENTRE, BOX_HALF, TinyCapture

from engine import api
from engine.cache import Cache
from engine.captures.bounds import SceneBox
from engine.captures.load import load_capture
from engine.fields.checkpoint import save_field
from engine.fields.dvgo import DVGO, DVGOSettings
from engine.fields.scene_grid import build_grid
from engine.fields.settings import TrainingSettings
from engine.fields.training import TrainedField
from engine.progress import Job
from engine.prompts import UserPrompt

__all__ = ["PROMPTED", "TinyResult", "ball_distance", "box_distance", "write_tiny_result"]

AABB = np.array([[-1.2, -1.0, -0.2], [1.2, 1.0, 1.0]])
NODES = (49, 41, 25)  # cells of 1/20
SHARP = 6.0  # features per cell of distance to a surface: the density is that of stone within half a cell
PROMPTED = 4


@dataclass(frozen=True)
class TinyResult:
    """A result ``folder`` with its ``field`` and the ``options`` with which both can be opened."""

    folder: Path
    field: Path
    options: api.Options


def ball_distance(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points - BALL_CENTRE, axis=-1) - BALL_RADIUS


def box_distance(points: np.ndarray) -> np.ndarray:
    away = np.abs(points - BOX_CENTRE) - BOX_HALF
    return np.linalg.norm(np.maximum(away, 0), axis=-1) + np.minimum(away.max(-1), 0)


def perfect_field() -> DVGO:
    """Ball, box and ground of density about 80 per unit; colours that vary from place to place."""
    torch.manual_seed(3)
    settings = DVGOSettings(cells=144, unbounded=False)  # 60 per unit of softplus
    model = DVGO(torch.from_numpy(AABB).float(), NODES, settings)
    axes = [np.linspace(low, high, n) for low, high, n in zip(*AABB, NODES, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    nearest = np.minimum(np.minimum(ball_distance(points), box_distance(points)), points[..., 2])
    features = np.clip(-1.0 - SHARP * nearest * 20, -14.0, 1.0)
    with torch.no_grad():
        model.density_grid.copy_(torch.from_numpy(features).float() - settings.density_shift)
        model.feature_grid.normal_()
    return model.eval()


def write_tiny_result(capture: TinyCapture, folder: Path) -> TinyResult:
    """Segments the ball from its true mask in one view, in a perfect field."""
    options = api.Options(folder / "cache", "cpu")
    settings = TrainingSettings(occupancy_side=64)
    model = perfect_field()
    field = folder / "field"
    field.mkdir(parents=True)
    trained = TrainedField(model, build_grid(model, 64), SceneBox(AABB, "object"), settings)
    save_field(trained, field, Cache(options.cache).capture_key(load_capture(capture.folder)))
    mask = folder / "mask.png"
    Image.fromarray(capture.masks["ball"][PROMPTED].astype(np.uint8) * 255).save(mask)
    request = api.SegmentOptions(segmenter="graph-cut", field_folder=field)
    prompt = UserPrompt(capture.names[PROMPTED], mask=mask)
    api.segment_capture(capture.folder, prompt, request, options, folder / "result", Job())
    return TinyResult(folder / "result", field, options)
