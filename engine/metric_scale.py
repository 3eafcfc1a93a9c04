"""The size of a capture in metres, from two points whose distance is known.

Cameras that come from photos alone have no unit: the capture's world may be of any size. Two points of which somebody
has measured the distance settle that.
"""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
import torch
from jaxtyping import Float

from engine.captures.load import find_view
from engine.captures.rays import rays_through
from engine.known_distance import KnownDistance, Place, WorldPoint
from engine.lifting.projection import ray_weights
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import PromptError

__all__ = ["metres_per_unit"]

HALF = 0.5  # of the light: where it has stopped is the surface


def metres_per_unit(known: KnownDistance, workspace: Workspace) -> float:
    """By how much the world has to be scaled so that the two points are as far apart as they are known to be.

    Raises:
        PromptError: a point names no view, no pixel of it, or one that shows nothing; or both are the same place.
    """
    first, second = (_place(point, workspace) for point in (known.first, known.second))
    distance = float(np.linalg.norm(second - first))
    if not distance > 1e-9 * float(np.abs(np.stack([first, second])).max()):
        raise PromptError("The two points of --scale-by lie at the same place.", "Give points that are far apart.")
    return known.metres / distance


def _place(point: Place, workspace: Workspace) -> Float[np.ndarray, " 3"]:
    """The point in the world."""
    if isinstance(point, WorldPoint):
        return np.array([point.x, point.y, point.z])
    view = find_view(workspace.capture, point.view)
    camera = view.camera
    if not (0 <= point.x <= camera.width and 0 <= point.y <= camera.height):
        raise PromptError(
            f"The point {point.x:g},{point.y:g} lies outside of {PurePath(view.name).name}, which is {camera.width} x "
            f"{camera.height} pixels.",
            "Give a pixel of the photo.",
        )
    rays_o, rays_d = rays_through(camera, np.array([[point.x, point.y]]))
    depth = _half_absorbed(workspace, rays_o, rays_d)
    if depth is None:
        raise PromptError(
            f"The field shows nothing at {point.x:g},{point.y:g} in {PurePath(view.name).name}.",
            "Give a pixel on something solid.",
        )
    found: np.ndarray = rays_o[0] + depth * rays_d[0]
    return found


def _half_absorbed(
    workspace: Workspace, rays_o: Float[np.ndarray, "1 3"], rays_d: Float[np.ndarray, "1 3"]
) -> float | None:
    """How far along a ray half of its light has stopped; None where less than half does in the region of interest.

    At an outline this is the depth of one of the two surfaces, where the mean would lie between them.
    """
    volume = workspace.volume
    start, along = (torch.from_numpy(each).float().to(volume.features.device) for each in (rays_o, rays_d))
    sampling = workspace.trained.settings.rendering
    found = ray_weights(volume, workspace.grid, start, along, sampling)
    stopped = found.weights[0].cumsum(0)
    if float(stopped[-1]) < HALF:
        return None
    return float(found.t[0, int((stopped >= HALF).nonzero()[0])])
