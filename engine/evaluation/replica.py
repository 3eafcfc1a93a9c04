"""Replica as rendered by Zhi et al. 2021: every object of the paper's list, shown in the view that has most of it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from engine.captures.load import load_capture
from engine.evaluation.pictures import need_folder, read_index
from engine.evaluation.tasks import Task
from sa3d_blender.protocol.errors import CaptureError

LAYOUT = "ROOT/<scene>/Sequence_1/{rgb/rgb_<i>.png, semantic_instance/semantic_instance_<i>.png, traj_w_c.txt}"


def _ids(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


# The objects that the paper evaluates, by scene.
OBJECTS: dict[str, tuple[int, ...]] = {
    "office0": _ids("3,4,7,8,9,10,12,14,17,19,21,23,26,28,29,30,36,37,40,42,44,46,54,55,57,58,61"),
    "office1": _ids("3,7,9,11,13,14,15,17,23,24,29,32,33,36,37,39,42,44,45,46"),
    "office2": _ids("0,2,8,9,13,14,17,19,23,27,40,41,47,49,51,54,58,60,65,67,70,71,72,73,78,85,90,92,93"),
    "office3": _ids("3,8,11,14,15,18,19,25,29,30,32,33,38,39,43,51,54,55,61,65,72,76,78,82,87,91,95,96,101,111"),
    "office4": _ids("1,2,6,7,9,11,17,22,23,26,33,34,39,47,49,51,52,53,55,56"),
    "room0": _ids("5,6,7,10,13,14,16,25,32,33,35,46,51,53,55,60,64,67,68,83,86,87,92"),
    "room1": _ids("1,2,4,6,7,9,10,11,16,18,24,28,32,36,37,44,48,52,54,56"),
    "room2": _ids("3,5,6,7,8,9,11,12,16,18,22,26,27,37,38,39,40,43,49,55,56"),
}


def replica_tasks(root: Path, names: list[str] | None = None, every: int = 5) -> list[Task]:
    """A task for each object of each scene that is there (or of ``names``), over every ``every``-th view.

    Raises:
        CaptureError: the layout is another, a scene is not one of the paper's, or an object shows in no view.
    """
    need_folder(root, LAYOUT)
    wanted = names if names is not None else [name for name in OBJECTS if _folder(root, name).is_dir()]
    if not wanted:
        raise CaptureError(f"{root} holds none of the scenes {', '.join(OBJECTS)}.", f"The layout is {LAYOUT}.")
    return [task for name in wanted for task in _scene(root, name, every)]


def _folder(root: Path, name: str) -> Path:
    """A scene's folder, which the data set calls office_0 where the paper says office0."""
    spaced = f"{name[:-1]}_{name[-1]}"
    return root / (spaced if (root / spaced).is_dir() else name)


def _scene(root: Path, name: str, every: int) -> list[Task]:
    if name not in OBJECTS:
        raise CaptureError(f"The paper evaluates no scene called {name}.", f"Choose among: {', '.join(OBJECTS)}.")
    sequence = need_folder(_folder(root, name) / "Sequence_1", LAYOUT)
    instances = need_folder(sequence / "semantic_instance", LAYOUT)
    capture = load_capture(sequence)
    capture = replace(capture, views=capture.views[::every])
    paths = {v.stem: instances / f"semantic_instance_{v.stem.removeprefix('rgb_')}.png" for v in capture.views}
    pixels: dict[int, dict[str, int]] = {number: {} for number in OBJECTS[name]}
    for stem, path in paths.items():
        numbers, counts = np.unique(read_index(path), return_counts=True)
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            if number in pixels:
                pixels[number][stem] = count
    tasks = []
    for number, areas in pixels.items():
        if len(areas) < 2:
            continue  # with every few views left out, a small object may show in one or none
        reference = max(areas, key=lambda stem: (areas[stem], stem))
        masks = {stem: partial(_mask, paths[stem], number) for stem in areas}
        others = {stem: mask for stem, mask in masks.items() if stem != reference}
        apart = {reference: masks[reference]}
        tasks.append(Task(capture, f"{name}/{number}", reference, masks[reference], others, others=apart))
    if not tasks:
        raise CaptureError(f"None of the paper's objects shows in the views of {sequence}.", "Take more of the views.")
    return tasks


def _mask(path: Path, number: int) -> Bool[np.ndarray, "h w"]:
    found: Bool[np.ndarray, "h w"] = read_index(path) == number
    return found
