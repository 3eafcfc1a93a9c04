"""What is to be measured: an object of a capture, what is told of it in one view, and the truth in others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import trimesh
from jaxtyping import Bool, Float

from engine.captures.capture import Capture
from engine.evaluation.metrics import boundary_iou, iou, pixel_accuracy

TrueMask = Callable[[], Bool[np.ndarray, "h w"]]


@dataclass(frozen=True)
class ViewScore:
    """How well a mask agrees with the truth in one view, all in [0, 1]."""

    iou: float
    boundary_iou: float
    accuracy: float


@dataclass(frozen=True)
class Task:
    """One object of one capture.

    Args:
        capture: the photos with cameras.
        name: of the object (or of the benchmark's task).
        reference: stem of the view in which the object is shown.
        prompt_mask: the object's mask there, or None where it is shown by points.
        points: (x, y, label) in pixels of the reference photo as stored, label 1 = the object, 0 = not the object.
        targets: gives the true mask of each view that counts, by stem.
        mesh: gives the true mesh, in the capture's world; None where there is none.
        others: masks that are there but count apart (the reference view's own, which the papers count in).
    """

    capture: Capture
    name: str
    reference: str
    prompt_mask: TrueMask | None
    targets: Mapping[str, TrueMask]
    points: tuple[tuple[float, float, int], ...] = ()
    mesh: Callable[[], trimesh.Trimesh] | None = None
    others: Mapping[str, TrueMask] = field(default_factory=dict)


def score(mask: Float[np.ndarray, "h w"], truth: Bool[np.ndarray, "h w"]) -> ViewScore:
    """A rendered probability of the truth's size against it."""
    ours = mask > 0.5
    return ViewScore(iou(ours, truth), boundary_iou(ours, truth), pixel_accuracy(ours, truth))
