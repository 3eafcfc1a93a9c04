"""Pictures of the views that came out worst."""

from __future__ import annotations

import numpy as np

from engine.evaluation.masks import Outcome
from engine.evaluation.page import Picture, outlined
from engine.lifting.masks import resample
from engine.workspace import Workspace

SHOWN = 3  # of each object
MOST_PIXELS = 4_000_000  # of a picture; where the truth has more, it is shown at the photo's working size


def worst_views(workspace: Workspace, outcome: Outcome) -> list[Picture]:
    """The views in which an object came out worst, with our outline and the true one."""
    pictures = []
    for stem in sorted(outcome.views, key=lambda stem: outcome.views[stem].iou)[:SHOWN]:
        truth = outcome.task.targets[stem]()
        photo = workspace.photo(stem)
        size = truth.shape if truth.size <= MOST_PIXELS else photo.shape[:2]
        truth = resample(truth.astype(np.float32), size) > 0.5
        photo = resample(photo, size)
        ours = resample(outcome.carried.masks[stem], size) > 0.5
        caption = f"{outcome.task.name}, view {stem}: IoU {outcome.views[stem].iou:.3f}"
        pictures.append(Picture(caption, outlined(photo, ours, truth)))
    return pictures
