"""What an object stands on, or leans against: the plane that the photos show around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import Delaunay

from engine.captures.rays import rays_through

if TYPE_CHECKING:
    from engine.meshing.from_field import DepthView

__all__ = ["Plane", "Standing", "SupportSettings", "places_shown", "standing", "support_plane"]


@dataclass(frozen=True)
class SupportSettings:
    """Lengths are shares of the object's size: the diagonal of what is seen of it, but for one per cent on each side.

    A plane supports the object where all of its seen places but the share ``astray`` lie above it, ``tolerance`` given,
    and the lowest hundredth reaches down to ``gap``: between a round underside and its table it is dark. At least
    ``share`` of all that is seen around the object has to lie in it, within ``tolerance``. ``places`` a view and
    ``trials`` bound the work.
    """

    tolerance: float = 0.01
    gap: float = 0.15
    astray: float = 0.03
    share: float = 0.25
    places: int = 1000
    trials: int = 300


@dataclass(frozen=True)
class Plane:
    """``normal`` [3] of length 1, towards the object, and the ``offset`` along it from the world's origin."""

    normal: Float[np.ndarray, " 3"]
    offset: float

    def height(self, points: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, " n"]:
        """How far world points lie above the plane, in world units."""
        heights: np.ndarray = points @ self.normal - self.offset
        return heights


@dataclass(frozen=True)
class Standing:
    """An object on its plane, at the nodes [X, Y, Z] of a grid, lengths in grid steps.

    ``height`` above the plane; ``under``: nodes near the plane below the object, where nothing but it or its shadow can
    be; ``size`` of the object.
    """

    height: Float[np.ndarray, "x y z"]
    under: Bool[np.ndarray, "x y z"]
    size: float


def places_shown(
    views: Sequence[DepthView],
    box: Float[np.ndarray, "2 3"],
    belongs: Callable[[Float[np.ndarray, "n 3"]], Float[np.ndarray, " n"]],
    most: int,
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "m 3"]]:
    """World points in a box that the views show, at most ``most`` of each: the object's, and all others'.

    ``belongs`` gives the probability of points to be the object's; from 0.5 on they are.
    """
    own, around = [np.zeros((0, 3))], [np.zeros((0, 3))]
    for view in views:
        depth = view.depth.ravel()
        pixels = rng.permutation(np.flatnonzero(depth > 0))
        column_row = np.stack([pixels % view.depth.shape[1], pixels // view.depth.shape[1]], axis=1) + 0.5
        origins, towards = rays_through(view.camera, column_row)
        points = origins + towards * depth[pixels, None]
        points = points[((points > box[0]) & (points < box[1])).all(axis=1)][:most]
        inside = belongs(points) >= 0.5
        own.append(points[inside])
        around.append(points[~inside])
    return np.concatenate(own), np.concatenate(around)


def support_plane(
    own: Float[np.ndarray, "n 3"],
    around: Float[np.ndarray, "m 3"],
    settings: SupportSettings,
    rng: np.random.Generator,
) -> Plane | None:
    """The plane of most of the places ``around`` an object that has its ``own`` places above it; None without one.

    Random sample consensus (Fischler and Bolles 1981) among the planes that could support the object, then least
    squares through what lies in the best one.
    """
    if min(len(own), len(around)) < 10 or _size(own) == 0:
        return None
    best, most = None, settings.share * len(around)
    near = settings.tolerance * _size(own)
    for _ in range(settings.trials):
        plane = _supporting(own, around[rng.choice(len(around), 3, replace=False)], settings)
        if plane is None:
            continue
        lying = np.abs(plane.height(around)) < near
        if lying.sum() > most:
            best, most = lying, lying.sum()
    if best is None:
        return None
    plane = _supporting(own, around[best], settings)
    return None if plane is None else _supporting(own, around[np.abs(plane.height(around)) < near], settings)


def standing(
    plane: Plane, own: Float[np.ndarray, "n 3"], nodes: Float[np.ndarray, "x y z 3"], step: float, gap: float
) -> Standing | None:
    """An object with seen places ``own`` on its plane, at world ``nodes``; None where its outline there has no area.

    ``gap`` as in SupportSettings.
    """
    size = _size(own)
    height = plane.height(nodes.reshape(-1, 3))
    across = np.linalg.svd(plane.normal[None])[2][1:]  # two directions within the plane
    above = own[plane.height(own) > 0] @ across.T
    if len(above) < 3 or np.linalg.svd(above - above.mean(axis=0), compute_uv=False)[1] < 1e-6 * size:
        return None
    outline = Delaunay(above, qhull_options="QJ")
    under = (height < gap * size) & (outline.find_simplex(nodes.reshape(-1, 3) @ across.T) >= 0)
    shape = nodes.shape[:3]
    return Standing((height / step).reshape(shape).astype(np.float32), under.reshape(shape), size / step)


def _size(own: Float[np.ndarray, "n 3"]) -> float:
    low, high = np.percentile(own, (1, 99), axis=0)
    return float(np.linalg.norm(high - low))


def _supporting(own: np.ndarray, points: np.ndarray, settings: SupportSettings) -> Plane | None:
    """The plane of least squares through three points or more, if the object can stand on it."""
    centre = points.mean(axis=0)
    spread, axes = np.linalg.eigh((points - centre).T @ (points - centre))
    if spread[1] <= 1e-6 * spread[2]:  # on a line
        return None
    normal = axes[:, 0] if (own.mean(axis=0) - centre) @ axes[:, 0] > 0 else -axes[:, 0]
    plane = Plane(normal, float(centre @ normal))
    lowest, low = np.quantile(plane.height(own), (0.01, settings.astray)) / _size(own)
    return plane if low >= -settings.tolerance and lowest <= settings.gap else None
