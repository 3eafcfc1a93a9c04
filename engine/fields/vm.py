"""Vector-matrix products of the VM decomposition (TensoRF, Eq. 3), looked up at points: a reference, and a fast one.

On a CPU most of a training step goes into these look-ups and their gradients. `grid_sample` runs them on one thread,
reads the channels of a node from far apart, and hands gradients to nodes point by point. `VMProducts` keeps the
channels of a node side by side, takes the nodes of a point as a weighted bag of rows, and leaves out points whose
gradient is nothing beside the others' (about half of them: what lies behind surfaces).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from torch import Tensor

MATRIX_AXES = ((0, 1), (0, 2), (1, 2))  # of mode m: the plane's axes ...
VECTOR_AXIS = (2, 1, 0)  # ... and the line's
NEGLIGIBLE = 1e-5  # a point's gradient beside the largest one


def vm_products(
    planes: Sequence[Tensor], lines: Sequence[Tensor], unit: Float[Tensor, "n 3"]
) -> Float[Tensor, "n ranks"]:
    """The products ``M_m(a, b) * v_m(c)`` of all modes and ranks at points of the unit cube [-1, 1]^3.

    Args:
        planes: of mode m [1, R_m, n_b, n_a], bilinear, nodes on the corners; (a, b) are ``MATRIX_AXES[m]``.
        lines: of mode m [1, R_m, n_c, 1], linear; c is ``VECTOR_AXIS[m]``.
        unit: points. Gradients reach them only by way of the reference.

    Returns:
        The ranks of mode 0, then 1, then 2.
    """
    if unit.device.type != "cpu" or unit.requires_grad:
        return vm_products_reference(planes, lines, unit)
    products: Tensor = VMProducts.apply(unit, *planes, *lines)
    return products


def vm_products_reference(
    planes: Sequence[Tensor], lines: Sequence[Tensor], unit: Float[Tensor, "n 3"]
) -> Float[Tensor, "n ranks"]:
    """The same by `grid_sample`."""
    found = []
    for (a, b), c, plane, line in zip(MATRIX_AXES, VECTOR_AXIS, planes, lines, strict=True):
        on_plane = unit[:, (a, b)].view(1, -1, 1, 2)
        on_line = torch.stack([torch.zeros_like(unit[:, c]), unit[:, c]], dim=-1).view(1, -1, 1, 2)
        matrix = F.grid_sample(plane, on_plane, align_corners=True, padding_mode="border")[0, :, :, 0]  # [R, n]
        vector = F.grid_sample(line, on_line, align_corners=True, padding_mode="border")[0, :, :, 0]  # [R, n]
        found.append(matrix * vector)
    return torch.cat(found).t()


class VMProducts(torch.autograd.Function):
    """`vm_products` on a CPU."""

    @staticmethod
    def forward(ctx: Any, unit: Tensor, *parts: Tensor) -> Tensor:
        modes = len(parts) // 2
        axes = [_nodes(unit[:, axis], _length(parts, axis)) for axis in range(3)]
        found, kept = [], []
        for m in range(modes):
            plane, line = _rows(parts[m]), _rows(parts[modes + m])
            on_plane, on_line = _bags(axes, m, parts[m].shape[3])
            matrix = F.embedding_bag(on_plane[0], plane, mode="sum", per_sample_weights=on_plane[1])  # [n, R]
            vector = F.embedding_bag(on_line[0], line, mode="sum", per_sample_weights=on_line[1])  # [n, R]
            found.append(matrix * vector)
            kept += [matrix, vector]
        ctx.save_for_backward(unit, *parts, *kept)
        return torch.cat(found, dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        unit, *saved = ctx.saved_tensors
        modes = len(saved) // 4
        parts, kept = saved[: 2 * modes], saved[2 * modes :]
        gradient = gradients[0]
        size = gradient.abs().amax(1)
        felt = (size > NEGLIGIBLE * size.max()).nonzero()[:, 0] if size.numel() else size.nonzero()[:, 0]
        unit, gradient = unit[felt], gradient[felt]
        axes = [_nodes(unit[:, axis], _length(parts, axis)) for axis in range(3)]
        shares = gradient.split([part.shape[1] for part in parts[:modes]], dim=1)

        tasks = []
        for m in range(modes):
            on_plane, on_line = _bags(axes, m, parts[m].shape[3])
            tasks.append((parts[m], *on_plane, shares[m] * kept[2 * m + 1][felt]))
            tasks.append((parts[modes + m], *on_line, shares[m] * kept[2 * m][felt]))
        # SciPy lets go of Python's lock, so they can go side by side
        found = list(_threads().map(lambda task: _handed_back(*task), tasks))
        return None, *found[0::2], *found[1::2]


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=torch.get_num_threads(), thread_name_prefix="vm")


def _length(parts: Sequence[Tensor], axis: int) -> int:
    """Nodes along an axis, by the line that runs along it."""
    return parts[len(parts) // 2 + VECTOR_AXIS.index(axis)].shape[2]


def _rows(part: Float[Tensor, "1 ranks h w"]) -> Float[Tensor, "nodes ranks"]:
    return part.permute(0, 2, 3, 1).reshape(-1, part.shape[1])  # no copy where the memory is channels_last


def _nodes(unit: Float[Tensor, " n"], length: int) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The node before each coordinate, and how far on to the next one it lies."""
    at = ((unit + 1) * ((length - 1) / 2)).clamp_(0, length - 1)
    before = at.int().clamp_(max=length - 2)
    return before, at.sub_(before)


def _bags(
    axes: Sequence[tuple[Tensor, Tensor]], mode: int, width: int
) -> tuple[tuple[Int[Tensor, "n 4"], Float[Tensor, "n 4"]], tuple[Int[Tensor, "n 2"], Float[Tensor, "n 2"]]]:
    """(rows, weights) of the nodes around each point on the plane and on the line of a mode."""
    (a, b), c = MATRIX_AXES[mode], VECTOR_AXIS[mode]
    (ia, fa), (ib, fb), (ic, fc) = axes[a], axes[b], axes[c]
    corner = ib * width + ia
    rows = torch.stack([corner, corner + 1, corner + width, corner + (width + 1)], 1)
    fafb = fa * fb
    weights = torch.stack([1 - fa - fb + fafb, fa - fafb, fb - fafb, fafb], 1)
    return (rows, weights), (torch.stack([ic, ic + 1], 1), torch.stack([1 - fc, fc], 1))


def _handed_back(
    part: Tensor, rows: Int[Tensor, "n k"], weights: Float[Tensor, "n k"], gradient: Float[Tensor, "n ranks"]
) -> Float[Tensor, "1 ranks h w"]:
    """The transpose of the weighted bags: each point's gradient to its nodes.

    SciPy's loop over a sparse matrix takes a tenth of the time of torch's scatter_add, index_add or sparse matrices.
    """
    _, ranks, height, width = part.shape
    count, nodes = rows.shape
    starts = np.arange(0, count * nodes + 1, nodes, dtype=np.int32)
    bags = csr_array(
        (weights.numpy().reshape(-1), rows.numpy().reshape(-1), starts), shape=(count, height * width), copy=False
    )
    total = torch.from_numpy(bags.T @ gradient.numpy())
    return total.view(1, height, width, ranks).permute(0, 3, 1, 2)
