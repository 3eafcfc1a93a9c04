"""What this engine can do on this machine: devices, segmenters, presets, fields, versions. Looks only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from engine.devices import describe, pick_device
from engine.fields.kinds import KINDS
from engine.fields.settings import PRESETS
from engine.lifting.settings import RULES, LiftingSettings
from engine.results import versions
from engine.segmenters.choose import SEGMENTERS
from engine.segmenters.clicknet.segmenter import ClickNetSegmenter
from engine.segmenters.graph_cut import GraphCutSegmenter
from engine.segmenters.weights import DETECTORS, WEIGHTS, list_weights
from sa3d_blender.protocol.errors import Sa3dError

__all__ = ["capabilities"]


def capabilities(cache: Path, device: str) -> dict[str, Any]:
    """The body of Capabilities and of the request `info`, as docs/protocol.md describes it."""
    states = {state.name: state for state in list_weights(cache)}
    usual = LiftingSettings()
    return {
        "versions": versions(),
        "device": _device(device),
        "devices": [name for name in ("auto", "cuda", "mps", "cpu") if _device(name)["error"] == ""],
        "segmenters": [_segmenter(name, states) for name in SEGMENTERS if name != "auto"],
        "detectors": [_weights(states[name]) for name in DETECTORS if name in states],
        "presets": {
            name: {"steps": found.steps, "rays": found.rays, "max_side_px": found.max_side_px}
            for name, found in PRESETS.items()
        },
        "fields": list(KINDS),
        "rules": {name: {"lambda": rule.lam, "tau": rule.tau} for name, rule in RULES.items()},
        "defaults": {"lambda": usual.lam, "tau": usual.tau, "prompts": usual.prompts, "views": usual.views},
        "cache": cache,
        "threads": torch.get_num_threads(),
    }


def _device(name: str) -> dict[str, str]:
    try:
        found = pick_device(name)
    except Sa3dError as fault:
        return {"name": name, "type": "", "words": "", "error": fault.what}
    return {"name": name, "type": found.type, "words": describe(found), "error": ""}


def _segmenter(name: str, states: dict[str, Any]) -> dict[str, Any]:
    """``scales`` is None where only the loaded model knows them; `prompt` and `prepare_view` say them then."""
    if name in WEIGHTS:
        return {"name": name, "scales": None, **_weights(states[name])}
    built_in = {each.name: each.scales for each in (GraphCutSegmenter, ClickNetSegmenter)}
    return {"name": name, "ready": True, "state": "built in", "scales": built_in.get(name)} | {
        "about": "",
        "licence": "",
        "size": 0,
        "bytes_there": 0,
    }


def _weights(state: Any) -> dict[str, Any]:
    ready = state.state in ("verified", "unverified")
    return {"name": state.name, "ready": ready, "state": state.state, "about": state.about} | {
        "licence": state.licence,
        "size": state.size,
        "bytes_there": state.bytes_there,
    }
