"""The straightforward reference of the lifting: a dense mask grid and autograd (paper, Eq. 3 and 5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.captures.capture import Camera
from engine.fields.rendering import RAYS_AT_ONCE, camera_rays
from engine.fields.sampling import OccupancyGrid
from engine.fields.settings import Sampling
from engine.fields.volume import DensityVolume
from engine.lifting.projection import LEAST_WEIGHT, ray_weights


def rendered_and_gradient(
    volume: DensityVolume,
    grid: OccupancyGrid,
    camera: Camera,
    sampling: Sampling,
    v: Tensor,
    mask: Tensor,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """(M [P] of the dense grid ``v`` [X, Y, Z], dL/dV [X, Y, Z]) for one view; ``mask`` [P] is its 2D mask.

    As the published code does it: rays are marched, V is sampled at every point, autograd scatters the gradient back.
    """
    v = v.detach().clone().requires_grad_(True)
    rays_o, rays_d = camera_rays(camera, v.device)
    rendered = []
    for first in range(0, len(rays_o), RAYS_AT_ONCE):
        some = slice(first, first + RAYS_AT_ONCE)
        found = ray_weights(volume, grid, rays_o[some], rays_d[some], sampling)
        weights = (found.weights * (found.weights > LEAST_WEIGHT)).to(v.dtype)
        unit = volume.space.to_unit(found.points).to(v.dtype)
        at_samples = F.grid_sample(v[None, None], unit.flip(-1)[None, None], align_corners=True)[0, 0, 0]
        rendered.append((weights * at_samples).sum(-1))
    m_rendered = torch.cat(rendered)
    loss = -(mask * m_rendered).sum() + lam * ((1 - mask) * m_rendered).sum()
    loss.backward()
    assert v.grad is not None
    return m_rendered.detach(), v.grad
