"""What a user says about one view, from the command line or from Blender, as prompts for a segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image
from skimage.morphology import skeletonize

from engine.captures.capture import View
from engine.segmenters.base import Prompts
from sa3d_blender.protocol.errors import PromptError

SCRIBBLE_SHARE = 0.02  # of a scribble's skeleton becomes points (paper, appendix C)


@dataclass(frozen=True)
class UserPrompt:
    """Prompts in one view, in pixels of the photo as stored (x right, y down, from the top-left corner).

    ``points`` are (x, y, label) with label 1 for the object and 0 for what is not; ``box`` is (x0, y0, x1, y1);
    ``scribble`` and ``mask`` are images of the photo's size, painted where the object is.
    """

    view: str
    points: tuple[tuple[float, float, int], ...] = ()
    box: tuple[float, float, float, float] | None = None
    scribble: Path | None = None
    mask: Path | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said at all."""
        return not self.points and self.box is None and self.scribble is None and self.mask is None


def read_drawing(path: Path, view: View) -> Float[np.ndarray, "h w"]:
    """A painted image of the photo's size as [H, W] in [0, 1].

    Raises:
        PromptError: it can't be read, has another size than the photo, or is empty.
    """
    try:
        with Image.open(path) as image:
            size = image.size
            values = np.asarray(image.convert("L"), np.float32)
    except (OSError, ValueError, SyntaxError) as error:
        raise PromptError(f"The image {path} can't be read.", "Give a PNG of the photo's size.") from error
    if size != (view.camera.width, view.camera.height):
        raise PromptError(
            f"{path.name} is {size[0]} x {size[1]} pixels, the photo {view.name} {view.camera.width} x "
            f"{view.camera.height}.",
            "Give an image of the photo's size.",
        )
    if values.max() <= 0:
        raise PromptError(f"Nothing is painted in {path.name}.", "Paint the object in any colour but black.")
    return values / values.max()


def prompts_for(prompt: UserPrompt, view: View, size: tuple[int, int], seed: int) -> Prompts:
    """The user's points, box and scribble in pixels of the photo at ``size`` (width, height).

    Raises:
        PromptError: there are none, or they lie outside the photo.
    """
    width, height = view.camera.width, view.camera.height
    points = list(prompt.points)
    for x, y, _ in points:
        if not (0 <= x <= width and 0 <= y <= height):
            raise PromptError(
                f"The point ({x:g}, {y:g}) lies outside {view.name}, which is {width} x {height} pixels.",
                "Give x,y in pixels from the photo's top-left corner.",
            )
    if prompt.scribble is not None:
        line = np.argwhere(skeletonize(read_drawing(prompt.scribble, view) > 0))
        count = max(3, round(SCRIBBLE_SHARE * len(line)))
        chosen = np.random.default_rng(seed).permutation(len(line))[:count]
        points += [(float(line[i, 1]) + 0.5, float(line[i, 0]) + 0.5, 1) for i in chosen]
    box = None
    scale = np.array([size[0] / width, size[1] / height], np.float32)
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        if not (x0 < x1 and y0 < y1 and x1 > 0 and y1 > 0 and x0 < width and y0 < height):
            raise PromptError(
                f"The box {x0:g},{y0:g},{x1:g},{y1:g} has no area inside {view.name}.",
                "Give x0,y0,x1,y1 with x0 < x1 and y0 < y1, in pixels of the photo.",
            )
        box = np.array([max(0, x0), max(0, y0), min(width, x1), min(height, y1)], np.float32) * np.tile(scale, 2)
    if not points and box is None:
        raise PromptError("There is no prompt.", "Give at least one --point, a --box, a --scribble or a --mask.")
    array = np.array([p[:2] for p in points], np.float32).reshape(-1, 2) * scale
    array = np.minimum(array, np.array(size, np.float32) - 0.01)
    return Prompts(array, np.array([p[2] for p in points], np.int64), box)
