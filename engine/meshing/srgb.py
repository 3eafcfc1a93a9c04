"""Between sRGB, as photos store it, and linear light (IEC 61966-2-1). Values in [0, 1], any shape."""

from __future__ import annotations

import numpy as np

__all__ = ["from_linear", "to_linear"]


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """sRGB to linear light."""
    srgb = np.asarray(srgb)
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def from_linear(linear: np.ndarray) -> np.ndarray:
    """Linear light to sRGB; what is brighter than white becomes white."""
    linear = np.clip(linear, 0.0, 1.0)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1.0 / 2.4) - 0.055)
