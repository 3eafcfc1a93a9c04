"""What an artist said about an object, as the requests that tell it to the engine, one after the other.

`segment` takes one photo's prompts: those of the photo that says most. What was said in other photos follows as
`correct` requests, which take points: a stroke gives some along its line, a box the one in its middle.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from .scene.prompt_store import places, prompt_request, prompted_cameras, prompts_in

__all__ = ["Ask", "mesh_ask", "new_prompts", "prompted_view", "refine_asks", "segment_asks", "train_ask"]

SPACING = 0.08  # of the photo's width, between the points of a stroke
MOST_OF_A_STROKE = 6

Said = tuple[Any, ...]
Region = tuple[np.ndarray, np.ndarray]  # lowest and highest corner [3] in the capture's world


@dataclass(frozen=True)
class Ask:
    """One request: ``body`` and ``arrays`` as in docs/protocol.md, ``told`` the prompts that it tells, ``says`` lines
    for the job's log. Those that work ``on_result`` get the folder of the job's result into their body."""

    kind: str
    body: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    told: tuple[Said, ...] = ()
    says: tuple[str, ...] = ()
    on_result: bool = False


def train_ask(source: str, quality: str, region: Region | None = None) -> Ask:
    """Learn a capture; ``region`` is the box of interest where the user has moved it."""
    return Ask("train", {"capture": source, "quality": quality, **_region(region)})


def mesh_ask(lam: float) -> Ask:
    """The good mesh at another lambda."""
    return Ask("mesh", {"lambda": lam}, on_result=True)


def _region(region: Region | None) -> dict[str, Any]:
    return {} if region is None else {"region": [corner.tolist() for corner in region]}


def segment_asks(
    source: str, quality: str, prompted: Any, camera: Any, region: Region | None = None
) -> tuple[Ask, ...]:
    """Everything that was said about an object; ``camera`` is where words are looked for when nothing was clicked,
    ``region`` as for `train_ask`, where the capture has to be learned first."""
    view = prompted_view(prompted) or camera
    body, arrays = prompt_request(prompted, view)
    body |= {"capture": source, "quality": quality, **_region(region)}
    says, told = [f"Prompted view: {body['view']}."], [_said(one) for _, one in prompts_in(prompted, view)]
    words = prompted.words.strip()
    if words:
        body["text"] = {"words": words}
        told.append(("TEXT", words))
    if prompted.scale != "auto":
        body["scale"] = prompted.scale
    lost = sum(one.camera is None for one in prompted.prompts)
    if lost:
        says.append(f"{lost} prompts are left out: their cameras are no longer in the file.")
    others = [one for one in prompted.prompts if one.camera is not None and one.camera != view]
    if others:
        names = ", ".join(one.name for one in _cameras(others))
        says.append(f"What was said in {names} follows as corrections.")
    return (Ask("segment", body, arrays, tuple(told), tuple(says)), *_corrections(others))


def refine_asks(prompted: Any, take_back: int, lam: float | None) -> tuple[Ask, ...]:
    """What was said since the result: ``take_back`` corrections that the artist has undone go first, and a ``lam``
    that is not the result's own makes the mesh at the end."""
    undone = [Ask("undo", on_result=True, says=("Taking back what was undone in Blender.",))] * take_back
    prompts, gone = new_prompts(prompted)
    asks = [*undone, *_corrections(prompts)]
    if gone and asks:
        line = f"{gone} prompts that were removed since stay in effect; Segment begins anew without them."
        asks[-1] = _with_line(asks[-1], line)
    return (*asks, *([] if lam is None else [mesh_ask(lam)]))


def new_prompts(prompted: Any) -> tuple[list[Any], int]:
    """(prompts in photos that the result doesn't know yet, how many that it knows were removed)."""
    known = Counter(_hashable(one) for one in json.loads(prompted.told or "[]"))
    fresh = []
    for one in prompted.prompts:
        if one.camera is None:
            continue
        said = _hashable(_said(one))
        if known[said] > 0:
            known[said] -= 1
        else:
            fresh.append(one)
    return fresh, sum(count for said, count in known.items() if said[0] != "TEXT")


def prompted_view(prompted: Any) -> Any:
    """The camera in whose photo most was said of what the object is; None where nothing was said in any.

    Among equals the one with more boxes and strokes, which a correction would take for points.
    """

    def rank(camera: Any) -> tuple[int, int]:
        here = [one for _, one in prompts_in(prompted, camera)]
        return sum(one.positive or one.kind == "BOX" for one in here), sum(one.kind != "CLICK" for one in here)

    return max(prompted_cameras(prompted), key=rank, default=None)


def _corrections(prompts: Sequence[Any]) -> list[Ask]:
    """One `correct` for each photo, the one with most first."""
    asks = []
    for camera in _cameras(prompts):
        here = [one for one in prompts if one.camera == camera]
        clicks = [click for one in here for click in _clicks(one)]
        body, _ = prompt_request(SimpleNamespace(prompts=clicks), camera)
        says = [f"Correcting in {body['view']} with {len(clicks)} points."]
        if any(one.kind == "BOX" for one in here):
            says.append(f"Of the box in {body['view']}, a correction takes the middle.")
        told = tuple(_said(one) for one in here)
        asks.append(Ask("correct", body, told=told, says=tuple(says), on_result=True))
    return asks


def _cameras(prompts: Iterable[Any]) -> list[Any]:
    found = list(prompts)
    return sorted(dict.fromkeys(one.camera for one in found), key=lambda c: -sum(one.camera == c for one in found))


def _clicks(prompt: Any) -> list[Any]:
    """A prompt as clicks."""
    line = places(prompt)
    if prompt.kind == "BOX":
        line = line.mean(axis=0, keepdims=True)
    elif prompt.kind == "SCRIBBLE":
        line = _along(line)
    positive = prompt.positive or prompt.kind == "BOX"
    return [
        SimpleNamespace(kind="CLICK", camera=prompt.camera, positive=positive, points=[SimpleNamespace(place=tuple(p))])
        for p in line
    ]


def _along(line: np.ndarray) -> np.ndarray:
    """Points evenly along a line [N, 2], none at its very ends where a hand slips off."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    count = int(np.clip(round(lengths[-1] / SPACING), 1, MOST_OF_A_STROKE))
    at = (np.arange(count) + 0.5) / count * lengths[-1]
    return np.stack([np.interp(at, lengths, line[:, 0]), np.interp(at, lengths, line[:, 1])], axis=1)


def _said(prompt: Any) -> Said:
    """A prompt as it is remembered: what it says, where."""
    spots = tuple(tuple(round(float(value), 4) for value in spot) for spot in places(prompt))
    return (prompt.kind, str(prompt.camera["sa3d_view"]), bool(prompt.positive), spots)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(one) for one in value) if isinstance(value, list | tuple) else value


def _with_line(ask: Ask, line: str) -> Ask:
    return Ask(ask.kind, ask.body, ask.arrays, ask.told, (*ask.says, line), ask.on_result)
