"""Checkpoints as the authors of TensoRF and DirectVoxGO write them, and what their published formulas make of them.

Everything here is worked out from the papers in double precision, corner by corner and step by step; nothing of it is
shared with the engine.
"""

from __future__ import annotations

import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

MATRICES, VECTORS = ((0, 1), (0, 2), (1, 2)), (2, 1, 0)


def interpolated(grid: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Multilinear interpolation of [C, n1, ..., nd] at places [N, d] counted in nodes; 0 beyond them. [C, N]"""
    total = np.zeros((grid.shape[0], len(places)))
    low = np.floor(places).astype(int)
    for corner in itertools.product((0, 1), repeat=places.shape[1]):
        at = low + corner
        weight = np.prod(1 - np.abs(places - at), axis=1)
        there = ((at >= 0) & (at < grid.shape[1:])).all(1)
        clipped = np.clip(at, 0, np.array(grid.shape[1:]) - 1)
        total += grid[(slice(None), *clipped.T)] * weight * there
    return total


def in_nodes(xyz: np.ndarray, aabb: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """World points counted in nodes of a grid whose outer nodes lie on a box."""
    return (xyz - aabb[0]) / (aabb[1] - aabb[0]) * (np.array(shape) - 1)


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def waves(x: np.ndarray, frequencies: int) -> np.ndarray:
    """All sines, then all cosines; of a channel all frequencies side by side."""
    scaled = (x[:, :, None] * 2.0 ** np.arange(frequencies)).reshape(len(x), -1)
    return np.concatenate([np.sin(scaled), np.cos(scaled)], 1)


class Published:
    """What both have in common: a box, a density and a colour at points of it, and marching along rays."""

    aabb: np.ndarray

    def density(self, xyz: np.ndarray) -> np.ndarray:
        """Per world unit. [N]"""
        raise NotImplementedError

    def colour(self, xyz: np.ndarray, viewdirs: np.ndarray) -> np.ndarray:
        """[N, 3]"""
        raise NotImplementedError

    def pixels(self, rays_o: np.ndarray, rays_d: np.ndarray, behind: float = 1.0, steps: int = 3000) -> np.ndarray:
        """Colours of rays by small equal steps through the box. [R, 3]"""
        found = []
        for origin, direction in zip(rays_o, rays_d / np.linalg.norm(rays_d, axis=1, keepdims=True), strict=True):
            ends = (self.aabb - origin) / direction
            enter, leave = np.minimum(*ends).max(), np.maximum(*ends).min()
            if leave <= max(enter, 0):
                found.append(np.full(3, behind))
                continue
            edges = np.linspace(max(enter, 0), leave, steps + 1)
            points = origin + direction * (edges[:-1] + np.diff(edges) / 2)[:, None]
            alpha = 1 - np.exp(-self.density(points) * np.diff(edges))
            light = np.cumprod(np.concatenate([[1.0], 1 - alpha]))
            weights = alpha * light[:-1]
            colours = self.colour(points, np.broadcast_to(direction, points.shape))
            found.append(np.clip(weights @ colours + light[-1] * behind, 0, 1))
        return np.array(found)


@dataclass
class PublishedTensoRF(Published):
    """A random TensorVMSplit. ``mask`` bool [X, Y, Z] on ``mask_aabb``: what its alphaMask holds, if it has one."""

    shading: str = "MLP_Fea"
    grid: tuple[int, int, int] = (7, 9, 6)
    density_ranks: tuple[int, int, int] = (3, 2, 4)
    colour_ranks: tuple[int, int, int] = (2, 5, 3)
    features: int = 5
    view_pe: int = 2
    fea_pe: int = 2
    hidden: int = 11
    shift: float = -4.0
    scale: float = 25.0
    aabb: np.ndarray = field(default_factory=lambda: np.array([[-1.0, -0.75, -0.5], [1.25, 0.5, 1.0]]))
    mask: np.ndarray | None = None
    mask_aabb: np.ndarray | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        random, n = np.random.default_rng(self.seed), self.grid
        self.features = {"SH": 27, "RGB": 3}.get(self.shading, self.features)
        self.state: dict[str, np.ndarray] = {}
        for name, ranks, size in (("density", self.density_ranks, 1.5), ("app", self.colour_ranks, 0.8)):
            for m, ((a, b), v) in enumerate(zip(MATRICES, VECTORS, strict=True)):
                self.state[f"{name}_plane.{m}"] = size * random.normal(size=(1, ranks[m], n[b], n[a]))
                self.state[f"{name}_line.{m}"] = size * random.normal(size=(1, ranks[m], n[v], 1))
        self.state["basis_mat.weight"] = random.normal(size=(self.features, sum(self.colour_ranks))) * 0.5
        if self.shading in ("MLP", "MLP_Fea"):
            told = self.features + 3 + 6 * self.view_pe
            told += 2 * self.features * self.fea_pe if self.shading == "MLP_Fea" else 0
            for layer, (before, after) in enumerate(
                ((told, self.hidden), (self.hidden, self.hidden), (self.hidden, 3))
            ):
                self.state[f"renderModule.mlp.{2 * layer}.weight"] = random.normal(size=(after, before)) * 0.4
                self.state[f"renderModule.mlp.{2 * layer}.bias"] = random.normal(size=after) * 0.4
        # what is on disk is in single precision
        self.state = {name: values.astype(np.float32).astype(np.float64) for name, values in self.state.items()}

    def _products(self, name: str, xyz: np.ndarray) -> np.ndarray:
        at = in_nodes(xyz, self.aabb, self.grid)
        found = []
        for m, ((a, b), v) in enumerate(zip(MATRICES, VECTORS, strict=True)):
            plane = interpolated(self.state[f"{name}_plane.{m}"][0], at[:, (b, a)])
            found.append(plane * interpolated(self.state[f"{name}_line.{m}"][0, :, :, 0], at[:, (v,)]))
        return np.concatenate(found)

    def masked_in(self, xyz: np.ndarray) -> np.ndarray:
        """Whether the interpolated mask is above zero. [N]"""
        if self.mask is None:
            return np.ones(len(xyz), bool)
        box = self.aabb if self.mask_aabb is None else self.mask_aabb
        return interpolated(self.mask[None].astype(float), in_nodes(xyz, box, self.mask.shape))[0] > 0

    def density(self, xyz: np.ndarray) -> np.ndarray:
        sigma = softplus(self._products("density", xyz).sum(0) + self.shift)
        return self.scale * sigma * self.masked_in(xyz)

    def colour(self, xyz: np.ndarray, viewdirs: np.ndarray) -> np.ndarray:
        features = self._products("app", xyz).T @ self.state["basis_mat.weight"].T
        if self.shading == "RGB":
            return features
        if self.shading == "SH":
            return np.maximum((features.reshape(-1, 3, 9) * published_harmonics(viewdirs)[:, None]).sum(-1) + 0.5, 0)
        told = [features, viewdirs]
        if self.shading == "MLP_Fea":
            told.append(waves(features, self.fea_pe))
        told.append(waves(viewdirs, self.view_pe))
        known = np.concatenate(told, 1)
        for layer in (0, 2, 4):
            weight, bias = (self.state[f"renderModule.mlp.{layer}.{part}"] for part in ("weight", "bias"))
            known = known @ weight.T + bias
            known = np.maximum(known, 0) if layer < 4 else known
        return sigmoid(known)

    def checkpoint(self) -> dict[str, Any]:
        """What is handed to torch.save. Planes are views into larger ones, as after the authors' shrinking."""
        state: OrderedDict[str, torch.Tensor] = OrderedDict()
        for name, values in self.state.items():
            tensor = torch.from_numpy(values).float()
            if "plane" in name:
                tensor = torch.nn.functional.pad(tensor, (1, 2, 2, 1), value=9.0)[..., 2:-1, 1:-2]
                assert not tensor.is_contiguous()
            state[name] = torch.nn.Parameter(tensor)
        found: dict[str, Any] = {
            "kwargs": {
                "aabb": torch.from_numpy(self.aabb).float(),
                "gridSize": list(self.grid),
                "density_n_comp": list(self.density_ranks),
                "appearance_n_comp": list(self.colour_ranks),
                "app_dim": self.features,
                "density_shift": self.shift,
                "alphaMask_thres": 1e-4,
                "distance_scale": int(self.scale),
                "rayMarch_weight_thres": 1e-4,
                "fea2denseAct": "softplus",
                "near_far": [2.0, 6.0],
                "step_ratio": 0.5,
                "shadingMode": self.shading,
                "pos_pe": 6,
                "view_pe": self.view_pe,
                "fea_pe": self.fea_pe,
                "featureC": self.hidden,
            },
            "state_dict": state,
        }
        if self.mask is not None:
            flags = self.mask.transpose(2, 1, 0)[None, None]  # (1, 1, Z, Y, X)
            box = self.aabb if self.mask_aabb is None else self.mask_aabb
            found["alphaMask.shape"] = flags.shape
            found["alphaMask.mask"] = np.packbits(flags.reshape(-1))
            found["alphaMask.aabb"] = torch.from_numpy(box).float()
        return found

    def save(self, path: Path) -> Path:
        torch.save(self.checkpoint(), path)
        return path


def published_harmonics(d: np.ndarray) -> np.ndarray:
    """Degrees 0 to 2, by the constants that are printed everywhere. [N, 9]"""
    x, y, z = d.T
    columns = (
        np.full(len(d), 0.28209479177387814),
        -0.4886025119029199 * y,
        0.4886025119029199 * z,
        -0.4886025119029199 * x,
        1.0925484305920792 * x * y,
        -1.0925484305920792 * y * z,
        0.31539156525252005 * (2 * z * z - x * x - y * y),
        -1.0925484305920792 * x * z,
        0.5462742152960396 * (x * x - y * y),
    )
    return np.stack(columns, 1)


@dataclass
class PublishedDVGO(Published):
    """A DirectVoxGO with random grids, or with those given: ``values`` [X, Y, Z], ``colours`` [C, X, Y, Z]."""

    fine: bool = True
    direct: bool = True
    aabb: np.ndarray = field(default_factory=lambda: np.array([[-1.0, -0.75, -0.5], [1.25, 0.5, 1.0]]))
    voxels: int = 500
    voxels_base: int = 800
    features: int = 7
    depth: int = 3
    width: int = 10
    view_pe: int = 3
    alpha_init: float = 1e-2
    mask_shape: tuple[int, int, int] | None = None
    values: np.ndarray | None = None
    colours: np.ndarray | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        sides = self.aabb[1] - self.aabb[0]
        self.base = (sides.prod() / self.voxels_base) ** (1 / 3)
        voxel = (sides.prod() / self.voxels) ** (1 / 3)
        self.ratio = voxel / self.base
        self.shape: tuple[int, ...] = tuple(int(n) for n in sides / voxel)
        self.shift = float(np.float32(math.log(1 / (1 - self.alpha_init) - 1)))
        if self.values is None:
            self.values = random.normal(size=self.shape) * 5 + 1
        if self.colours is None:
            self.colours = random.normal(size=(self.features if self.fine else 3, *self.shape))
        self.values, self.colours = (g.astype(np.float32).astype(np.float64) for g in (self.values, self.colours))
        self.mask = random.random(self.mask_shape or self.shape) < 0.6
        told = len(self.colours) - (0 if self.direct else 3) + 3 + 6 * self.view_pe
        widths = [told, *[self.width] * (self.depth - 1), 3]
        self.layers = [
            (random.normal(size=(after, before)).astype(np.float32) * 0.4, random.normal(size=after).astype(np.float32))
            for before, after in itertools.pairwise(widths)
        ]

    def masked_in(self, xyz: np.ndarray) -> np.ndarray:
        """Whether the nearest node of the mask is set. [N]"""
        at = np.floor(in_nodes(xyz, self.aabb, self.mask.shape) + 0.5).astype(int)
        there = ((at >= 0) & (at < self.mask.shape)).all(1)
        return self.mask[tuple(np.clip(at, 0, np.array(self.mask.shape) - 1).T)] & there

    def density(self, xyz: np.ndarray) -> np.ndarray:
        assert self.values is not None
        value = interpolated(self.values[None], in_nodes(xyz, self.aabb, self.shape))[0]
        step = 0.5  # of a voxel: alpha = 1 - exp(-softplus * step * ratio) for each
        return softplus(value + self.shift) * step * self.ratio / (step * self.ratio * self.base) * self.masked_in(xyz)

    def colour(self, xyz: np.ndarray, viewdirs: np.ndarray) -> np.ndarray:
        assert self.colours is not None
        found = interpolated(self.colours, in_nodes(xyz, self.aabb, self.shape)).T
        if not self.fine:
            return sigmoid(found)
        seen, added = (found, 0.0) if self.direct else (found[:, 3:], found[:, :3])
        known = np.concatenate([seen, viewdirs, waves(viewdirs, self.view_pe)], 1)
        for number, (weight, bias) in enumerate(self.layers):
            known = known @ weight.T + bias
            known = np.maximum(known, 0) if number < len(self.layers) - 1 else known
        return sigmoid(known + added)

    def checkpoint(self) -> dict[str, Any]:
        """What is handed to torch.save."""
        assert self.values is not None and self.colours is not None
        low, high = (torch.from_numpy(corner).float() for corner in self.aabb)
        scale = (torch.tensor(self.mask.shape).float() - 1) / (high - low)
        state = OrderedDict(
            [
                ("xyz_min", low),
                ("xyz_max", high),
                ("act_shift", torch.tensor([self.shift])),
                ("density.grid", torch.nn.Parameter(torch.from_numpy(self.values).float()[None, None])),
                ("density.xyz_min", low),
                ("density.xyz_max", high),
                ("k0.grid", torch.nn.Parameter(torch.from_numpy(self.colours).float()[None])),
                ("k0.xyz_min", low),
                ("k0.xyz_max", high),
                ("mask_cache.mask", torch.from_numpy(self.mask)),
                ("mask_cache.xyz2ijk_scale", scale),
                ("mask_cache.xyz2ijk_shift", -low * scale),
            ]
        )
        if self.fine:
            state["viewfreq"] = torch.tensor([2.0**k for k in range(self.view_pe)])
            for number, (weight, bias) in enumerate(self.layers):
                middle = 0 < number < len(self.layers) - 1
                name = f"rgbnet.{number + 1}" + (".0" if middle else "") if number else "rgbnet.0"
                state[f"{name}.weight"], state[f"{name}.bias"] = torch.from_numpy(weight), torch.from_numpy(bias)
        network = {
            "rgbnet_dim": len(self.colours) if self.fine else 0,
            "rgbnet_direct": self.direct,
            "rgbnet_full_implicit": False,
            "rgbnet_depth": self.depth,
            "rgbnet_width": self.width,
            "viewbase_pe": self.view_pe,
        }
        return {
            "global_step": 20000,
            "model_kwargs": {
                "xyz_min": self.aabb[0].astype(np.float32),
                "xyz_max": self.aabb[1].astype(np.float32),
                "num_voxels": self.voxels,
                "num_voxels_base": self.voxels_base,
                "alpha_init": self.alpha_init,
                "voxel_size_ratio": torch.tensor(self.ratio).float(),
                "mask_cache_path": "logs/scene/coarse_last.tar",
                "mask_cache_thres": 1e-3,
                "mask_cache_world_size": list(self.mask.shape),
                "fast_color_thres": 1e-4,
                "density_type": "DenseGrid",
                "k0_type": "DenseGrid",
                "density_config": {},
                "k0_config": {},
                **network,
            },
            "model_state_dict": state,
            "optimizer_state_dict": {
                "state": {0: {"step": 3, "exp_avg": torch.zeros(4)}},
                "param_groups": [{"lr": 0.1}],
            },
        }

    def save(self, path: Path) -> Path:
        torch.save(self.checkpoint(), path)
        return path
