"""What a user says about one view, from the command line or from Blender, as prompts for a segmenter."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from engine.captures.capture import View
from engine.scribbles import read_painting, read_scribble, scribble_points
from engine.segmenters.base import Prompts
from engine.segmenters.text import TextPrompt
from sa3d_blender.protocol.errors import PromptError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # brightness of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class UserPrompt:
    """Prompts in one view, in pixels of the photo as stored (x right, y down, from the top-left corner).

    ``points`` are (x, y, label) with label 1 for the object and 0 for what is not; ``box`` is (x0, y0, x1, y1);
    ``scribble`` and ``mask`` are images of the photo's size, painted where the object is. ``text`` becomes the ``box``
    (see `engine.text_prompts`).
    """

    view: str
    points: tuple[tuple[float, float, int], ...] = ()
    box: tuple[float, float, float, float] | None = None
    scribble: Path | None = None
    mask: Path | None = None
    text: TextPrompt | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is said at all."""
        given = (self.box, self.scribble, self.mask, self.text)
        return not self.points and all(each is None for each in given)


def read_drawing(path: Path, view: View) -> Float[np.ndarray, "h w"]:
    """A painted image of the photo's size as [H, W] in [0, 1].

    Raises:
        PromptError: it can't be read, has another size than the photo, or is empty.
    """
    pixels = read_painting(path, view)
    values: Float[np.ndarray, "h w"] = pixels[..., :3] @ LUMA * pixels[..., 3]
    if values.max() <= 0:
        raise PromptError(f"Nothing is painted in {path.name}.", "Paint the object in any colour but black.")
    return values / values.max()


def with_clicks(prompt: UserPrompt, view: View, seed: int) -> UserPrompt:
    """The prompt with its scribble's clicks behind its points, and without the scribble.

    Raises:
        PromptError: the scribble can't be read, or with it nothing says where the object is.
    """
    if prompt.scribble is None:
        return prompt
    points = (*prompt.points, *scribble_points(read_scribble(prompt.scribble, view), seed))
    if prompt.box is None and prompt.mask is None and all(label == 0 for _, _, label in points):
        raise PromptError(
            f"All strokes in {prompt.scribble.name} are red, so nothing says where the object is.",
            "Paint a stroke of another colour over the object, or click it.",
        )
    return replace(prompt, points=points, scribble=None)


def prompts_for(prompt: UserPrompt, view: View, size: tuple[int, int], seed: int) -> Prompts:
    """The user's points, box and scribble in pixels of the photo at ``size`` (width, height).

    Raises:
        PromptError: there are none, they lie outside the photo, or a scribble says only what the object is not.
    """
    width, height = view.camera.width, view.camera.height
    points = with_clicks(prompt, view, seed).points
    for x, y, _ in points:
        if not (0 <= x <= width and 0 <= y <= height):
            raise PromptError(
                f"The point ({x:g}, {y:g}) lies outside {view.name}, which is {width} x {height} pixels.",
                "Give x,y in pixels from the photo's top-left corner.",
            )
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
