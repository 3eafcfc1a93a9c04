"""Small click models with the interfaces of the published ones, exported to ONNX and TorchScript; a recording one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from engine.segmenters.click_description import ClickModel
from engine.segmenters.click_model import ClickModelSegmenter, make_click_model

# Sides that the published exports have fixed; the others take any size.
FIXED = {"simpleclick": 448, "focalclick": 256}


class TwoInputs(torch.nn.Module):
    """RITM, SimpleClick, FocalClick: a picture and the maps (previous, positive, negative); logits at a quarter."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.body = body(seed)

    def forward(self, image: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return self.body(torch.cat([image, maps], dim=1))


class FourInputs(torch.nn.Module):
    """SEEM: each map by itself."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.body = body(seed)

    def forward(
        self, image: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, previous: torch.Tensor
    ) -> torch.Tensor:
        return self.body(torch.cat([image, previous, positive, negative], dim=1))


def body(seed: int) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(6, 8, 3, stride=2, padding=1),
        torch.nn.Tanh(),  # bounded: SEEM's colours, and nothing else, could drive the logits far apart
        torch.nn.Conv2d(8, 8, 3, stride=2, padding=1),
        torch.nn.Tanh(),
        torch.nn.Conv2d(8, 1, 3, padding=1),
    ).eval()


def export(
    module: torch.nn.Module, path: Path, names: Sequence[str], inputs: Sequence[torch.Tensor], fixed: bool
) -> Path:
    """Writes ``module`` as TorchScript or, where ``path`` ends so, as ONNX with the named inputs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # both exporters have a successor, and still work
        if path.suffix != ".onnx":
            torch.jit.save(torch.jit.script(module), str(path))
            return path
        free = None if fixed else {name: {2: "height", 3: "width"} for name in names}
        torch.onnx.export(
            module,
            tuple(inputs),
            str(path),
            dynamo=False,
            input_names=list(names),
            output_names=["mask"],
            dynamic_axes=free,
        )
    return path


def export_like(name: str, path: Path, seed: int = 0) -> Path:
    """A tiny random model with the interface of the built-in ``name``."""
    side = FIXED.get(name, 64)
    image, single = torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side)
    if name == "seem":
        names = ("image", "positive", "negative", "previous")
        return export(FourInputs(seed), path, names, (image, single, single, single), False)
    return export(TwoInputs(seed), path, ("image", "maps"), (image, image), name in FIXED)


def described(folder: Path, file: Path, **values: object) -> Path:
    """A description beside the model file."""
    path = folder / "model.json"
    path.write_text(json.dumps({"file": file.name, **values}))
    return path


def segmenter_like(name: str, folder: Path, suffix: str, seed: int = 0) -> ClickModelSegmenter:
    """A tiny random model with the interface of the built-in ``name``, loaded from a file with ``suffix``."""
    file = export_like(name, folder / f"{name}{suffix}", seed)
    return make_click_model(str(described(folder, file, like=name)), None, "cpu")


@dataclass
class Recorder:
    """A model that keeps what it was shown and answers with ``answer`` of its inputs."""

    answer: Callable[[list[np.ndarray]], np.ndarray]
    seen: list[list[np.ndarray]] = field(default_factory=list)

    def run(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        self.seen.append([np.array(each) for each in inputs])
        return self.answer(list(inputs))


def recorded(
    model: ClickModel, answer: Callable[[list[np.ndarray]], np.ndarray]
) -> tuple[ClickModelSegmenter, Recorder]:
    """A segmenter of the described interface over a recorder."""
    recorder = Recorder(answer)
    return ClickModelSegmenter(model, recorder), recorder
