"""A table scene as a trained field would show it: blurred surfaces, nonsense inside solids, seen from a hemisphere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import ndimage


@dataclass(frozen=True)
class Volumes:
    aabb: np.ndarray
    opacity: np.ndarray
    probability: np.ndarray
    observed: np.ndarray


def hemisphere(count: int, lowest: float = 0.2) -> np.ndarray:
    """Unit directions towards the cameras, elevations from asin(lowest) on, on a golden spiral."""
    z = np.linspace(lowest, 0.95, count)
    turn = np.arange(count) * np.pi * (3.0 - np.sqrt(5.0))
    flat = np.sqrt(1.0 - z * z)
    return np.stack([flat * np.cos(turn), flat * np.sin(turn), z], axis=1)


def light(opacity: np.ndarray, floor: int, directions: np.ndarray) -> np.ndarray:
    """Largest transmittance towards any far camera.

    Layer by layer; outside of the box there is slab below ``floor``.
    """
    best = np.zeros_like(opacity)
    for direction in directions:
        main = int(np.argmax(np.abs(direction)))
        others = [a for a in range(3) if a != main]
        clear = np.moveaxis((1.0 - opacity) ** (1.0 / abs(direction[main])), main, 0)
        shift = [direction[a] / abs(direction[main]) for a in others]
        height = np.arange(opacity.shape[2])
        outside = np.ones(clear.shape[1:])
        if main != 2:
            outside = outside * (height >= floor)  # z is the last of the other two axes
        passed = outside
        out = np.zeros_like(clear)
        order = range(len(clear))
        for layer in reversed(order) if direction[main] > 0 else order:
            if main == 2 and layer < floor:
                outside = np.zeros_like(outside)
            grid = np.meshgrid(*[np.arange(n) for n in outside.shape], indexing="ij")
            places = [g + s for g, s in zip(grid, shift, strict=True)]
            arriving = ndimage.map_coordinates(passed, places, order=1, mode="constant", cval=-1.0)
            inside = np.all([(p >= 0) & (p <= n - 1) for p, n in zip(places, outside.shape, strict=True)], axis=0)
            arriving = np.where(inside, arriving, outside)
            out[layer] = arriving
            passed = arriving * clear[layer]
        best = np.maximum(best, np.moveaxis(out, 0, main))
    return best


def field_of(
    distance: Callable[[np.ndarray], np.ndarray], aabb: np.ndarray, resolution: int, views: int = 30, blur: float = 0.8
) -> Volumes:
    """Volumes of a solid (signed distance, negative inside) on a slab below z = 0.

    ``resolution`` along the longest side.
    """
    random = np.random.default_rng(7)
    step = (aabb[1] - aabb[0]).max() / (resolution - 1)
    counts = np.maximum(np.round((aabb[1] - aabb[0]) / step).astype(int) + 1, 4)
    axes = [np.linspace(aabb[0, a], aabb[1, a], counts[a]) for a in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    solid = distance(points.reshape(-1, 3)).reshape(tuple(counts)) / step
    slab = points[..., 2] / step
    both = np.minimum(solid, slab)
    sharp = np.clip(0.5 - both, 0.0, 1.0)
    density = 3.0 * ndimage.gaussian_filter(sharp, blur)
    opacity = 1.0 - np.exp(-density)
    opacity *= np.clip((3.0 - both) / 1.0, 0.0, 1.0)
    observed = light(opacity, int(np.searchsorted(axes[2], 0.0)), hemisphere(views))
    probability = np.clip((solid < slab) + random.normal(0.0, 0.1, both.shape), 0.0, 1.0)
    never = both < -2.0  # deeper than any ray comes: nothing was ever trained
    noise = np.clip(ndimage.gaussian_filter(random.normal(0.5, 1.5, both.shape), 1.0), 0.0, 1.0)
    opacity = np.where(never, noise, opacity)
    probability = np.where(
        never, np.clip(ndimage.gaussian_filter(random.normal(0.5, 1.5, both.shape), 1.0), 0, 1), probability
    )
    return Volumes(aabb, *(v.astype(np.float32) for v in (opacity, probability, observed)))


def ball(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points - (0.0, 0.0, 1.0), axis=1) - 1.0


def cube(points: np.ndarray) -> np.ndarray:
    away = np.abs(points - (0.0, 0.0, 1.0)) - 1.0
    return np.linalg.norm(np.maximum(away, 0.0), axis=1) + np.minimum(away.max(axis=1), 0.0)


def torus(points: np.ndarray) -> np.ndarray:
    ring = np.hypot(points[:, 0], points[:, 1]) - 0.75
    return np.hypot(ring, points[:, 2] - 0.3) - 0.3


SOLIDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"ball": ball, "cube": cube, "torus": torus}


@pytest.fixture(scope="session")
def make_field() -> Callable[..., Volumes]:
    return field_of


@pytest.fixture(scope="session")
def solids() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    return SOLIDS
