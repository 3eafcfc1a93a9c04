"""DirectVoxGO checkpoints (`.tar`) as the authors' program writes them, of its coarse and of its fine stage.

The layout is that of github.com/sunset1995/DirectVoxGO (its version 2, whose grids are ``density.grid``, ``k0.grid``).
Opacities are ``1 - exp(-softplus(d + shift) * interval)`` there, the interval counted in voxels of the base resolution;
and so density per world unit is the softplus by the side of such a voxel.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from engine.fields.imports.imported import ImportedField
from engine.fields.imports.open_cells import OpenCells
from engine.fields.imports.reading import Claims, Numbers, check_box, check_nodes, refusal
from engine.fields.imports.tensorf_checkpoint import waves_in_our_order
from engine.fields.imports.voxels import VoxelField, VoxelSettings

MOST_FEATURES, MOST_HIDDEN, MOST_LAYERS, MOST_FREQUENCIES = 256, 2048, 16, 16
RETRAIN = "Train it again as a bounded scene with the default model, or train a field with `sa3d train`."
# What the file holds besides: of the box, which the settings hold too, and of the mask, whose nodes lie on that box.
KNOWN_ALREADY = (
    "xyz_min",
    "xyz_max",
    "viewfreq",
    *(f"{g}.xyz_{end}" for g in ("density", "k0") for end in ("min", "max")),
)


def is_dvgo(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has the parts of the authors' files."""
    return "model_kwargs" in checkpoint and "model_state_dict" in checkpoint


def dvgo_field(checkpoint: Mapping[str, Any], file: str, white: bool = True) -> ImportedField:
    """The field in a checkpoint.

    Its threshold below which rendering leaves samples out (``fast_color_thres``, 1e-4 of a sample's light) is left out.

    Args:
        checkpoint: as read. file: its name, for people. white: the background it was trained on, which it doesn't say.

    Raises:
        FieldError: it is of another kind, or its parts don't fit together.
    """
    says, numbers = Claims(checkpoint["model_kwargs"], file), Numbers(checkpoint["model_state_dict"], file)
    _check_kind(says, numbers, file)
    box = check_box(torch.stack([says.corner("xyz_min"), says.corner("xyz_max")]), file)
    resolution = _resolution(says, numbers, box, file)
    s = _settings(says, numbers, box)
    values = numbers.take("density.grid", 1, 1, *resolution)
    features = numbers.take("k0.grid", 1, s.feature_dim, *resolution)
    layers = _layers(numbers, s)
    cells = _mask(numbers, file)
    numbers.done(*KNOWN_ALREADY)
    model = VoxelField(box, resolution, s)
    with torch.no_grad():
        model.values.copy_(values)
        model.features.copy_(features)
        for ours, theirs in zip(model.network.parameters(), layers, strict=True):
            ours.copy_(theirs)
    return ImportedField(model, cells, white)


def _check_kind(says: Claims, numbers: Numbers, file: str) -> None:
    if "mpi_depth" in says:
        raise refusal(
            f"{file} can't be imported: it is a multiplane image in NDC (dmpigo), not a bounded scene.", RETRAIN
        )
    if "contracted_norm" in says:
        raise refusal(f"{file} can't be imported: it is an unbounded scene (dcvgo), not a bounded one.", RETRAIN)
    for name in ("density_type", "k0_type"):
        if says.text(name, "DenseGrid") != "DenseGrid":
            raise refusal(f"{file} can't be imported: its {name} is {says.text(name)!r}, not DenseGrid.", RETRAIN)
    if says.flag("rgbnet_full_implicit"):
        raise refusal(f"{file} can't be imported: its colours ignore the grid (rgbnet_full_implicit).", RETRAIN)
    if "density.grid" not in numbers.names or "k0.grid" not in numbers.names:
        raise refusal(f"{file} can't be imported: it is of an older DirectVoxGO, or of another program.", RETRAIN)


def _resolution(says: Claims, numbers: Numbers, box: Float[Tensor, "2 3"], file: str) -> tuple[int, int, int]:
    """Nodes along x, y, z: the grid's, and within rounding what the number of voxels makes of the box."""
    shape = numbers.shape("density.grid")
    if len(shape) != 5:
        raise refusal(f"{file} can't be imported: its density grid has the shape {list(shape)}.")
    sides = (box[1] - box[0]).double()
    voxel = float(sides.prod() / says.number("num_voxels", 1.0, 1e12)) ** (1 / 3)
    expected = [int(float(side) / voxel) for side in sides]
    if any(abs(n - m) > 1 for n, m in zip(shape[2:], expected, strict=True)):
        raise refusal(
            f"{file} can't be imported: its density grid has {list(shape[2:])} nodes, not {expected} as its settings "
            "say."
        )
    return check_nodes((shape[2], shape[3], shape[4]), file)


def _settings(says: Claims, numbers: Numbers, box: Float[Tensor, "2 3"]) -> VoxelSettings:
    base = float((box[1] - box[0]).double().prod() / says.number("num_voxels_base", 1.0, 1e12)) ** (1 / 3)
    shift = numbers.take("act_shift", *numbers.shape("act_shift"))
    if shift.numel() != 1:
        raise says.odd("act_shift")
    features = says.whole("rgbnet_dim", 0, MOST_FEATURES)
    common = {"shift": float(shift), "scale": 1 / base}
    if not features:  # the coarse stage: a colour a voxel
        return VoxelSettings(3, layers=0, hidden_dim=1, view_frequencies=0, diffuse=False, **common)
    diffuse = not says.flag("rgbnet_direct")
    if diffuse and features < 3:
        raise says.odd("rgbnet_dim")
    return VoxelSettings(
        features,
        layers=says.whole("rgbnet_depth", 2, MOST_LAYERS),
        hidden_dim=says.whole("rgbnet_width", 1, MOST_HIDDEN),
        view_frequencies=says.whole("viewbase_pe", 0, MOST_FREQUENCIES),
        diffuse=diffuse,
        **common,
    )


def _layers(numbers: Numbers, s: VoxelSettings) -> list[Tensor]:
    """Weights and biases of the network, for what it is told in our order (`waves_in_our_order`)."""
    seen = s.feature_dim - (3 if s.diffuse else 0)
    order = [*range(seen + 3), *waves_in_our_order(3, s.view_frequencies, seen + 3)]
    found: list[Tensor] = []
    for layer in range(s.layers):
        # the layers between the first and the last are each wrapped with their activation
        name = "rgbnet.0" if layer == 0 else f"rgbnet.{s.layers}" if layer == s.layers - 1 else f"rgbnet.{layer + 1}.0"
        before, after = s.hidden_dim if layer else len(order), s.hidden_dim if layer < s.layers - 1 else 3
        weight = numbers.take(f"{name}.weight", after, before)
        found += [weight if layer else weight[:, order], numbers.take(f"{name}.bias", after)]
    return found


def _mask(numbers: Numbers, file: str) -> OpenCells | None:
    """Where the nearest node of the mask of known free space is set; None where the checkpoint has no mask."""
    shape = numbers.shape("mask_cache.mask")
    if not shape:
        return None
    if len(shape) != 3:
        raise refusal(f"{file} can't be imported: its mask_cache has the shape {list(shape)}.")
    x, y, z = check_nodes((shape[0], shape[1], shape[2]), file)
    nodes = numbers.take_flags("mask_cache.mask", x, y, z)
    # a node's number is scale * position + shift
    scale, shift = numbers.take("mask_cache.xyz2ijk_scale", 3), numbers.take("mask_cache.xyz2ijk_shift", 3)
    if not bool((scale > 0).all()):
        raise refusal(f"{file} can't be imported: its mask_cache has no size.")
    low = -shift / scale
    return OpenCells.where_nearest(nodes, torch.stack([low, low + (torch.tensor((x, y, z)) - 1) / scale]))
