"""Two-pass refinement (paper, appendix B): what came along by mistake becomes a second object that pushes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

from engine.lifting.lifted import Lifted, Seed
from engine.lifting.loop import LEAST_PIXELS, lift, render_objects
from engine.lifting.masks import resample
from engine.lifting.scene import Scene
from engine.progress import Job
from engine.segmenters.base import Segmenter

LEAST_SHARE = 0.01  # of the user's mask: a smaller misclassified part is no object but a rim


@dataclass(frozen=True)
class TwoPass:
    """The object after the second pass, and how many pixels of the prompted view the first had got wrong.

    ``misclassified`` counts them on the operator's raster; with 0 there was no second pass.
    """

    lifted: Lifted
    misclassified: int


def misclassified_part(scene: Scene, lifted: Lifted) -> Bool[np.ndarray, "h w"]:
    """Where the object shows in the prompted view although the user's mask says that it isn't there.

    Thin rims are left out: there the two only disagree about the outline.
    """
    operator = scene.operator_of(lifted.seed.view)
    theirs = resample(lifted.seed.mask, operator.opacity.shape) > 0.5
    ours = render_objects(operator, [lifted], lifted.settings).mask(0)
    wrong: Bool[np.ndarray, "h w"] = ndimage.binary_opening(ours & ~theirs, np.ones((3, 3)))
    return wrong


def second_pass(scene: Scene, lifted: Lifted, segmenter: Segmenter, job: Job) -> TwoPass:
    """Lifts the object anew beside the part that the first pass got wrong; each gets the other's points as negatives.

    Args:
        lifted: what the first pass made of the prompt.
    """
    wrong = misclassified_part(scene, lifted)
    operator = scene.operator_of(lifted.seed.view)
    area = float((resample(lifted.seed.mask, operator.opacity.shape) > 0.5).sum())
    pixels = int(np.count_nonzero(wrong))
    if pixels < max(LEAST_PIXELS, LEAST_SHARE * area):
        job.log("Second pass: the prompted view shows nothing that was taken along by mistake.")
        return TwoPass(lifted, 0)
    job.log(f"Second pass: {pixels} of the prompted view's pixels were taken along by mistake; they push back now.")
    intruder = Seed(lifted.seed.view, wrong.astype(np.float32))
    again, _ = lift(scene, [lifted.seed, intruder], segmenter, lifted.settings, job, outside=lifted.outside)
    return TwoPass(again, pixels)
