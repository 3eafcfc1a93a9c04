"""TensoRF checkpoints (`.th`) as the authors' program writes them: their TensorVMSplit as ours.

The layout is that of github.com/apchenstu/TensoRF. Its grids, axes and modes are ours as they are. Different are the
order of what the shading network is told, the unit of the density, and the mask of what is known to be empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from engine.fields.imports.imported import ImportedField
from engine.fields.imports.open_cells import OpenCells
from engine.fields.imports.plain_tensorf import HARMONICS, PlainTensoRF
from engine.fields.imports.reading import Claims, Numbers, check_box, check_nodes, entries, refusal
from engine.fields.tensorf import NOMINAL_SIDE, TensoRF, TensoRFSettings
from engine.fields.vm import MATRIX_AXES, VECTOR_AXIS

MOST_RANKS, MOST_FEATURES, MOST_HIDDEN, MOST_FREQUENCIES = 512, 1024, 2048, 16
RETRAIN = "Train it again as TensorVMSplit with shadingMode MLP_Fea, or train a field with `sa3d train`."


def is_tensorf(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has the parts of the authors' files."""
    return "kwargs" in checkpoint and "state_dict" in checkpoint


def tensorf_field(checkpoint: Mapping[str, Any], file: str, white: bool = True) -> ImportedField:
    """The field in a checkpoint.

    Density per world unit is ``distance_scale * softplus(feature + density_shift)``, or 0 where the interpolated alpha
    mask is 0.

    Args:
        checkpoint: as read. file: its name, for people. white: the background it was trained on, which it doesn't say.

    Raises:
        FieldError: it is of another kind, or its parts don't fit together.
    """
    says, numbers = Claims(checkpoint["kwargs"], file), Numbers(checkpoint["state_dict"], file)
    _check_kind(says, numbers, file)
    box = _box(checkpoint["kwargs"], "aabb", file)
    resolution = says.grid("gridSize")
    shading, s = _settings(says, numbers, box)
    parts = _components(numbers, s, resolution)
    make = TensoRF if shading in ("MLP", "MLP_Fea") else PlainTensoRF
    basis = numbers.take("basis_mat.weight", s.feature_dim, sum(s.appearance_ranks))
    layers = _layers(numbers, s) if make is TensoRF else []
    numbers.done()
    cells = _mask(checkpoint, file)
    model = make(box, resolution, s)
    with torch.no_grad():
        for name, tensors in parts.items():
            for ours, theirs in zip(getattr(model, name), tensors, strict=True):
                ours.copy_(theirs)
        model.basis.weight.copy_(basis)
        for ours, theirs in zip(model.shading.parameters(), layers, strict=True):
            ours.copy_(theirs)
    return ImportedField(model, cells, white)


def _check_kind(says: Claims, numbers: Numbers, file: str) -> None:
    names = numbers.names
    if "plane_coef" in names or "density_plane.0" not in names:
        other = "TensorVM" if "plane_coef" in names else "TensorCP" if "density_line.0" in names else "another model"
        raise refusal(f"{file} can't be imported: it holds {other}, not TensorVMSplit.", RETRAIN)
    shading, activation = says.text("shadingMode"), says.text("fea2denseAct", "softplus")
    if shading not in ("MLP_Fea", "MLP", "SH", "RGB"):
        raise refusal(
            f"{file} can't be imported: its shadingMode is {shading!r}, not MLP_Fea, MLP, SH or RGB.", RETRAIN
        )
    if activation != "softplus":
        raise refusal(f"{file} can't be imported: its fea2denseAct is {activation!r}, not softplus.", RETRAIN)


def _settings(says: Claims, numbers: Numbers, box: Float[Tensor, "2 3"]) -> tuple[str, TensoRFSettings]:
    shading = says.text("shadingMode")
    features = says.whole("app_dim", 1, MOST_FEATURES)
    if features != {"SH": 3 * HARMONICS, "RGB": 3}.get(shading, features):
        raise says.odd("app_dim")
    networked = shading in ("MLP_Fea", "MLP")
    # ours is for a box of NOMINAL_SIDE and adapts itself to the actual one; theirs is per world unit
    per_unit, side = says.number("distance_scale", 1e-6, 1e6), float((box[1] - box[0]).max())
    return shading, TensoRFSettings(
        density_ranks=says.three("density_n_comp", 1, MOST_RANKS),
        appearance_ranks=says.three("appearance_n_comp", 1, MOST_RANKS),
        feature_dim=features,
        hidden_dim=says.whole("featureC", 1, MOST_HIDDEN) if networked else 1,
        view_frequencies=says.whole("view_pe", 0, MOST_FREQUENCIES) if networked else 0,
        feature_frequencies=says.whole("fea_pe", 0, MOST_FREQUENCIES) if shading == "MLP_Fea" else 0,
        density_shift=says.number("density_shift", -1e3, 1e3),
        distance_scale=per_unit * side / NOMINAL_SIDE,
        unbounded=False,
    )


def _components(numbers: Numbers, s: TensoRFSettings, resolution: tuple[int, int, int]) -> dict[str, list[Tensor]]:
    """Planes [1, R, n_b, n_a] and lines [1, R, n_c, 1] of the modes, by the names that they have with us."""
    n, found = resolution, {}
    for ours, theirs, ranks in (
        ("density", "density", s.density_ranks),
        ("appearance", "app", s.appearance_ranks),
    ):
        found[f"{ours}_planes"] = [
            numbers.take(f"{theirs}_plane.{m}", 1, ranks[m], n[b], n[a]) for m, (a, b) in enumerate(MATRIX_AXES)
        ]
        found[f"{ours}_lines"] = [
            numbers.take(f"{theirs}_line.{m}", 1, ranks[m], n[v], 1) for m, v in enumerate(VECTOR_AXIS)
        ]
    return found


def _layers(numbers: Numbers, s: TensoRFSettings) -> list[Tensor]:
    """Weights and biases of the shading network, for what it is told in our order."""
    order = told_in_our_order(s.feature_dim, s.feature_frequencies, s.view_frequencies)
    widths, found = (len(order), s.hidden_dim, s.hidden_dim, 3), []
    for layer in range(3):
        weight = numbers.take(f"renderModule.mlp.{2 * layer}.weight", widths[layer + 1], widths[layer])
        found += [
            weight if layer else weight[:, order],
            numbers.take(f"renderModule.mlp.{2 * layer}.bias", widths[layer + 1]),
        ]
    return found


def told_in_our_order(features: int, feature_frequencies: int, view_frequencies: int) -> list[int]:
    """Where, among the inputs of their network, what ours is told stands.

    They tell features, direction, then sines and cosines of the features, then of the direction, each channel with all
    its frequencies; we tell features with their sines and cosines, then the direction with its, and each frequency with
    all channels (`fourier`).
    """
    waves_of_features = features + 3
    waves_of_view = waves_of_features + 2 * features * feature_frequencies
    return [
        *range(features),
        *waves_in_our_order(features, feature_frequencies, waves_of_features),
        *range(features, features + 3),
        *waves_in_our_order(3, view_frequencies, waves_of_view),
    ]


def waves_in_our_order(channels: int, frequencies: int, first: int) -> list[int]:
    """Where sines and cosines stand that are kept channel by channel from ``first`` on; ours go by frequency."""
    by_frequency = [c * frequencies + k for k in range(frequencies) for c in range(channels)]
    return [first + half * channels * frequencies + at for half in range(2) for at in by_frequency]


def _mask(checkpoint: Mapping[str, Any], file: str) -> OpenCells | None:
    """Where the interpolated alpha mask is above zero; None where the checkpoint has none."""
    if "alphaMask.aabb" not in checkpoint:
        return None
    shape = checkpoint.get("alphaMask.shape")
    says = Claims({"alphaMask.shape": shape[2:] if isinstance(shape, tuple | list) else shape}, file)
    z, y, x = says.three("alphaMask.shape", 2, 1 << 20)
    check_nodes((x, y, z), file)
    nodes = _unpacked(checkpoint.get("alphaMask.mask"), (z, y, x), file)
    return OpenCells.where_interpolated(nodes.permute(2, 1, 0), _box(checkpoint, "alphaMask.aabb", file))


def _unpacked(packed: Any, shape: tuple[int, int, int], file: str) -> Bool[Tensor, "z y x"]:
    """The flags that were packed eight to a byte."""
    count = int(np.prod(shape))
    if not isinstance(packed, np.ndarray) or packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise refusal(f"{file} can't be imported: its alphaMask isn't {' x '.join(map(str, shape))} flags.")
    return torch.from_numpy(np.unpackbits(packed, count=count).astype(bool)).view(shape)


def _box(values: Any, name: str, file: str) -> Float[Tensor, "2 3"]:
    return check_box(Numbers({name: entries(values).get(name)}, file).take(name, 2, 3), file)
