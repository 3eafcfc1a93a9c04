"""The part of a field's grids that lies in a box: the same density and colours there, in a fraction of the memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from engine.fields.base import TrainableField
from engine.fields.tensorf import TensoRF
from engine.fields.vm import MATRIX_AXES, VECTOR_AXIS

__all__ = ["cropped"]


def cropped(model: TrainableField, aabb: Float[np.ndarray, "2 3"]) -> TrainableField:
    """A field that is the same within a world box, [2, 3], and hasn't to be anything outside of it.

    TensoRF's planes and lines are cut between nodes, which leaves their interpolation as it was. Of other kinds, and
    where the box reaches out of the region of interest, the whole field is returned.
    """
    if type(model) is not TensoRF:
        return model
    parts, core = model.space.core(model.resolution)
    low, high = core.double().cpu().numpy()
    count = np.array([part.stop - part.start for part in parts])
    cell = (high - low) / (count - 1)
    first = np.floor((aabb[0] - low) / cell + 1e-6).astype(int)
    last = np.ceil((aabb[1] - low) / cell - 1e-6).astype(int)
    if (first < 0).any() or (last > count - 1).any() or (last <= first).any():
        return model
    ends = np.stack([low + first * cell, low + last * cell])
    start = np.array([part.start for part in parts])
    nodes = [slice(int(a), int(b) + 1) for a, b in zip(start + first, start + last, strict=True)]
    x, y, z = (part.stop - part.start for part in nodes)
    # The density's scale hangs on the box's longest side.
    longest = float((model.aabb[1] - model.aabb[0]).max())
    settings = replace(
        model.settings,
        unbounded=False,
        distance_scale=model.settings.distance_scale * float((ends[1] - ends[0]).max()) / longest,
    )
    small = TensoRF(torch.from_numpy(ends).float(), (x, y, z), settings).to(model.aabb.device)
    with torch.no_grad():
        planes = ((small.density_planes, model.density_planes), (small.appearance_planes, model.appearance_planes))
        lines = ((small.density_lines, model.density_lines), (small.appearance_lines, model.appearance_lines))
        for m, ((a, b), v) in enumerate(zip(MATRIX_AXES, VECTOR_AXIS, strict=True)):
            for mine, whole in planes:
                mine[m] = _by_node(whole[m][:, :, nodes[b], nodes[a]])
            for mine, whole in lines:
                mine[m] = _by_node(whole[m][:, :, nodes[v]])
        small.basis.load_state_dict(model.basis.state_dict())
        small.shading.load_state_dict(model.shading.state_dict())
    return small.eval()


def _by_node(part: Tensor) -> nn.Parameter:
    """A parameter of its own whose memory holds the channels of a node side by side, as `vm_products` reads them."""
    return nn.Parameter(part.clone(memory_format=torch.channels_last))
