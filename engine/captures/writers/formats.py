"""The formats that captures are written in, by name."""

from __future__ import annotations

from engine.captures.writers.base import CaptureFormat
from engine.captures.writers.colmap import BINARY, TEXT
from engine.captures.writers.llff import LLFF
from engine.captures.writers.nerf_synthetic import NERF_SYNTHETIC
from engine.captures.writers.nerfstudio import NERFSTUDIO
from engine.captures.writers.replica import REPLICA

__all__ = ["FORMATS"]

FORMATS: dict[str, CaptureFormat] = {
    each.name: each for each in (BINARY, TEXT, LLFF, NERF_SYNTHETIC, NERFSTUDIO, REPLICA)
}
