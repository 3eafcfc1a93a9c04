"""A lifted object as arrays and words, to be kept in a file and taken up again in a later session."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from engine.lifting.corrections import Correction
from engine.lifting.evidence import Evidence, Support
from engine.lifting.lifted import Lifted, Marks, ObjectVoxels, Seed, ViewResult
from engine.lifting.loop import vote
from engine.lifting.masks import MaskCrop
from engine.lifting.scene import Scene
from engine.lifting.settings import LiftingSettings
from engine.lifting.voxels import VoxelGrid


@dataclass(frozen=True)
class StoredObject:
    """An object as it is kept.

    ``voxels`` are enough to give it another lambda; ``seen_bits`` (a bit for each occupied voxel that some view has
    looked at) for a mesh; ``views`` and ``corrections``, to go on correcting it.
    """

    voxels: ObjectVoxels
    seen_bits: UInt8[np.ndarray, " bytes"]
    settings: LiftingSettings
    start: str
    views: dict[str, ViewResult]
    marks: Marks
    corrections: tuple[Correction, ...]

    def probability(self, lam: float | None = None) -> Float[np.ndarray, " n"]:
        """Of each occupied voxel to be the object's."""
        support = self.voxels.support
        return support.scatter(self.voxels.probability(self.settings.lam if lam is None else lam))

    def seen(self) -> Bool[np.ndarray, " n"]:
        """Occupied voxels that some accepted view has looked at."""
        return np.unpackbits(self.seen_bits, count=self.voxels.support.count).astype(bool)

    def resume(self, scene: Scene) -> Lifted:
        """The object as it was, ready to be corrected: its views vote again with the masks that they had."""
        first = self.views[self.start]
        assert first.mask is not None
        seed = Seed(scene.views[self.start], first.mask.dense(), first.score)
        lifted = Lifted(seed, self.settings, scene.grid, Evidence(scene.grid.count), marks=self.marks)
        lifted.outside = self.voxels.support.scatter(self.voxels.rival)
        for stem, result in self.views.items():
            vote(scene, lifted, scene.views[stem], result)
        return lifted


def store(lifted: Lifted, corrections: tuple[Correction, ...] = ()) -> StoredObject:
    """What is to be kept of an object. The neighbours stay as they are now, whatever becomes of them later."""
    bits = np.packbits(lifted.evidence.seen)
    views = dict(lifted.views)
    return StoredObject(lifted.voxels(), bits, lifted.settings, lifted.start, views, lifted.marks, corrections)


def to_arrays(stored: StoredObject) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(arrays, words) for a safetensors file."""
    voxels = stored.voxels
    arrays: dict[str, np.ndarray] = {
        "voxel": voxels.support.index,
        "foreground": voxels.support.foreground,
        "background": voxels.support.background,
        "anchored": voxels.anchored.astype(np.uint8),
        "seen": stored.seen_bits,
        "rival": voxels.rival.astype(np.float32),
        "mark_points": stored.marks.points,
        "mark_labels": stored.marks.labels,
    }
    results: list[ViewResult] = []
    views = {stem: _note(result, results) for stem, result in stored.views.items()}
    corrections = []
    for i, correction in enumerate(stored.corrections):
        arrays[f"correction_{i}_points"] = correction.points_px
        arrays[f"correction_{i}_labels"] = correction.labels
        arrays[f"correction_{i}_mark_points"] = correction.marks.points
        arrays[f"correction_{i}_mark_labels"] = correction.marks.labels
        replaced = {s: None if r is None else _note(r, results) for s, r in correction.replaced.items()}
        corrections.append({"view": correction.view, "replaced": replaced})
    masks = [np.zeros(0, np.uint8) if r.mask is None else r.mask.values.reshape(-1) for r in results]
    arrays["masks"] = np.concatenate([np.zeros(0, np.uint8), *masks])
    arrays["prompt_points"] = np.concatenate([np.zeros((0, 2), np.float32), *(r.points_px for r in results)])
    arrays["prompt_labels"] = np.concatenate([np.zeros(0, np.int64), *(r.labels for r in results)])
    words = {
        "format": "1",
        "settings": json.dumps(asdict(stored.settings)),
        "start": stored.start,
        "occupied": str(voxels.support.count),
        "keep_stray": str(int(voxels.keep_stray)),
        "views": json.dumps(views),
        "corrections": json.dumps(corrections),
    }
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}, words


def _note(result: ViewResult, results: list[ViewResult]) -> dict[str, object]:
    """A view's result in words; its arrays are the next in line."""
    results.append(result)
    mask = result.mask
    return {
        "number": len(results) - 1,
        "verdict": result.verdict,
        "iou": result.iou,
        "score": result.score,
        "mask": None if mask is None else [*mask.shape, *mask.corner, *mask.values.shape],
        "prompts": len(result.points_px),
    }


def from_arrays(arrays: Mapping[str, np.ndarray], words: Mapping[str, str], grid: VoxelGrid) -> StoredObject:
    """What `to_arrays` made. Raises KeyError, TypeError or ValueError where something is missing or doesn't fit."""
    count = int(words["occupied"])
    index = arrays["voxel"]
    if count != grid.count or index.max(initial=-1) >= count or index.min(initial=0) < 0:
        raise ValueError("the object belongs to another field")
    support = Support(count, index, arrays["foreground"], arrays["background"])
    keep_stray = words["keep_stray"] == "1"
    anchored = arrays["anchored"].astype(bool)
    voxels = ObjectVoxels(support, grid.cells(index), anchored, arrays["rival"], keep_stray)
    views, corrections = json.loads(words["views"]), json.loads(words["corrections"])
    notes = [*views.values(), *(n for c in corrections for n in c["replaced"].values() if n is not None)]
    notes.sort(key=lambda note: note["number"])
    results = _results(notes, arrays)
    found = []
    for i, correction in enumerate(corrections):
        replaced = {s: None if n is None else results[n["number"]] for s, n in correction["replaced"].items()}
        points, labels = arrays[f"correction_{i}_points"], arrays[f"correction_{i}_labels"]
        marks = Marks(arrays[f"correction_{i}_mark_points"], arrays[f"correction_{i}_mark_labels"])
        found.append(Correction(correction["view"], points, labels, replaced, marks))
    # What was kept before there were these switches was made without them.
    settings = LiftingSettings(**({"agreement": False, "scored": False} | json.loads(words["settings"])))
    by_view = {stem: results[note["number"]] for stem, note in views.items()}
    marks = Marks(arrays["mark_points"], arrays["mark_labels"])
    if len(arrays["seen"]) != -(-count // 8):
        raise ValueError("what was seen doesn't fit the voxels")
    return StoredObject(voxels, arrays["seen"], settings, words["start"], by_view, marks, tuple(found))


def _results(notes: list[dict], arrays: Mapping[str, np.ndarray]) -> list[ViewResult]:
    results = []
    at_mask = at_prompt = 0
    for note in notes:
        mask = None
        if note["mask"] is not None:
            height, width, row, column, rows, columns = note["mask"]
            values = arrays["masks"][at_mask : at_mask + rows * columns].reshape(rows, columns)
            mask = MaskCrop((height, width), (row, column), values)
            at_mask += rows * columns
        until = at_prompt + note["prompts"]
        points, labels = arrays["prompt_points"][at_prompt:until], arrays["prompt_labels"][at_prompt:until]
        at_prompt = until
        results.append(ViewResult(note["verdict"], note["iou"], note["score"], mask, points, labels))
    return results
