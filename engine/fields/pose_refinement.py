"""Small corrections of the cameras' poses, learned along with the field (as BARF does, Lin et al., ICCV 2021).

The first photo stays where it is, so that the scene can't wander off. Grids that begin coarse give gradients that
reach far, which is what BARF's masked frequencies are for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from engine.captures.capture import Camera
from engine.fields.base import ParameterGroup

BEGIN = 0.2  # share of the steps after which poses are learned: before, there is nothing to go by
RATE = 1e-3  # Adam's at the start: radians, and `MOVE_UNIT` of the scene's size
LEAST_SQUARE = 1e-20  # of an angle: keeps its gradient finite at 0
MOVE_UNIT = 0.05  # a turn of the camera and a move of it look much alike: moves are the slower ones


def rotations(turns: Float[Tensor, "v 3"]) -> Float[Tensor, "v 3 3"]:
    """The rotation matrices of rotation vectors in radians (Rodrigues), smooth at 0.

    Not `torch.linalg.matrix_exp`, which MPS lacks.
    """
    angle = (turns.square().sum(-1) + LEAST_SQUARE).sqrt()[:, None, None]
    x, y, z = turns.unbind(-1)
    nought = torch.zeros_like(x)
    skew = torch.stack([nought, -z, y, z, nought, -x, -y, x, nought], -1).view(-1, 3, 3)
    # sin(a) / a and (1 - cos(a)) / a^2, by the normalised sinc
    first, second = torch.sinc(angle / math.pi), torch.sinc(angle / (2 * math.pi)).square() / 2
    return torch.eye(3, device=turns.device) + first * skew + second * (skew @ skew)


class PoseRefinement(nn.Module):
    """``turns`` [V, 3] (rotation vectors, radians, world axes) and ``moves`` [V, 3] (`MOVE_UNIT` of ``size``).

    Args:
        views: how many photos there are.
        size: of the scene, in world units.
    """

    def __init__(self, views: int, size: float) -> None:
        super().__init__()
        self.size = size
        self.turns = nn.Parameter(torch.zeros(views, 3))
        self.moves = nn.Parameter(torch.zeros(views, 3))

    def _corrections(self) -> tuple[Float[Tensor, "v 3 3"], Float[Tensor, "v 3"]]:
        """(rotations in the world, moves in world units); nothing for the first photo."""
        free = torch.ones_like(self.turns)
        free[0] = 0.0
        return rotations(self.turns * free), self.moves * free * self.size * MOVE_UNIT

    def forward(
        self, view: Int[Tensor, " r"], rays_o: Float[Tensor, "r 3"], rays_d: Float[Tensor, "r 3"]
    ) -> tuple[Float[Tensor, "r 3"], Float[Tensor, "r 3"]]:
        """The rays as the corrected cameras have them."""
        turned, moves = self._corrections()
        return rays_o + moves[view], (turned[view] @ rays_d[..., None])[..., 0]

    def parameter_group(self) -> ParameterGroup:
        """What is learned."""
        return ParameterGroup([self.turns, self.moves], RATE)

    @torch.no_grad()
    def poses(self, cameras: Sequence[Camera]) -> list[np.ndarray]:
        """The corrected ``world_from_camera`` of the photos' cameras, float64 [4, 4] each."""
        turned, moves = (each.cpu().double().numpy() for each in self._corrections())
        found = []
        for camera, rotation, move in zip(cameras, turned, moves, strict=True):
            pose = camera.world_from_camera.copy()
            pose[:3, :3] = rotation @ pose[:3, :3]
            pose[:3, 3] += move
            found.append(pose)
        return found
