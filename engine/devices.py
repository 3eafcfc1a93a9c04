"""Which processor the engine computes on."""

from __future__ import annotations

import os

import torch

from sa3d_blender.protocol.errors import EnvironmentFault


def pick_device(name: str = "auto") -> torch.device:
    """The device of a ``--device`` option: ``auto`` takes CUDA, then MPS, then the CPU.

    Raises:
        EnvironmentFault: a device was asked for by name and isn't there.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name not in there:
        raise EnvironmentFault(f"There is no device called '{name}'.", "Choose auto, cpu, cuda or mps.")
    if not there[name]:
        raise EnvironmentFault(
            f"This machine, or the Torch installed on it, has no {name.upper()} device.",
            "Use --device auto, or install a Torch build for it.",
        )
    return torch.device(name)


def describe(device: torch.device) -> str:
    """A device in words, for logs and reports."""
    if device.type == "cuda":
        return f"CUDA, {torch.cuda.get_device_name(device)}"
    if device.type == "mps":
        return "MPS (Apple GPU)"
    return f"CPU, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
