"""Scribbles: strokes that a user paints over a photo, thinned to lines and sampled to clicks (paper, appendix C)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image
from skimage.measure import label as connected_strokes
from skimage.morphology import skeletonize

from engine.captures.capture import View
from sa3d_blender.protocol.errors import PromptError

__all__ = [
    "NEGATIVE_SHARE",
    "POSITIVE_SHARE",
    "SCRIBBLE_HELP",
    "Scribble",
    "read_painting",
    "read_scribble",
    "scribble_points",
    "skeleton_points",
]

SCRIBBLE_HELP = (
    "PNG of the photo's size, black or transparent; red strokes: not the object, any other colour: the object."
)

POSITIVE_SHARE, NEGATIVE_SHARE = 0.02, 0.005  # of a skeleton's pixels become points (paper, appendix C)
LEAST = 3  # points of a short scribble, where it has as many pixels
FAINT = 0.25  # of the brightest pixel: what is darker is the soft rim of a stroke
MOST = 0.5  # of a picture may be painted; more is a photo or a white sheet, not strokes
CURE = (
    "Paint thin strokes on a black or transparent picture of the photo's size: red = not the object, else the object."
)


@dataclass(frozen=True)
class Scribble:
    """Where strokes lie in a photo: ``positive`` bool [H, W] over the object, ``negative`` bool [H, W] beside it."""

    positive: Bool[np.ndarray, "h w"]
    negative: Bool[np.ndarray, "h w"]


def read_painting(path: Path, view: View) -> Float[np.ndarray, "h w 4"]:
    """A painted picture of the photo's size: red, green, blue and opacity in [0, 1].

    Raises:
        PromptError: it can't be read or has another size than the photo.
    """
    try:
        with Image.open(path) as image:
            size = image.size
            if image.mode.startswith(("I", "F")):  # 16 bits and more: Pillow would cut them off at 255
                grey = np.asarray(image, np.float32)
                pixels = np.repeat(grey[..., None] / max(1.0, float(grey.max())), 4, axis=2)
                pixels[..., 3] = 1
            else:
                pixels = np.asarray(image.convert("RGBA"), np.float32) / 255
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise PromptError(f"The image {path} can't be read.", "Give a PNG of the photo's size.") from error
    if size != (view.camera.width, view.camera.height):
        raise PromptError(
            f"{path.name} is {size[0]} x {size[1]} pixels, the photo {view.name} {view.camera.width} x "
            f"{view.camera.height}.",
            "Give an image of the photo's size.",
        )
    return pixels


def read_scribble(path: Path, view: View) -> Scribble:
    """The strokes of a painted picture: red ones are not the object, those of any other colour are.

    Red means at least twice as much red as green and as blue, so that the dark rim of a red stroke is red too.

    Raises:
        PromptError: it can't be read, has another size than the photo, nothing or nearly all of it is painted.
    """
    pixels = read_painting(path, view)
    colours = pixels[..., :3] * pixels[..., 3:]
    brightness = colours.max(axis=2)
    if brightness.max() <= 0:
        raise PromptError(f"Nothing is painted in {path.name}.", CURE)
    painted = brightness > FAINT * brightness.max()
    if painted.mean() > MOST:
        raise PromptError(f"{painted.mean():.0%} of {path.name} is painted, so it holds no strokes.", CURE)
    red = colours[..., 0] >= 2 * colours[..., 1:].max(axis=2)
    return Scribble(painted & ~red, painted & red)


def scribble_points(scribble: Scribble, seed: int) -> list[tuple[float, float, int]]:
    """Clicks (x, y, label) at pixel centres on the middle lines of the strokes; the same for the same ``seed``.

    2 % of the skeleton over the object (label 1) and 0.5 % of the one beside it (label 0), as the paper's appendix C
    has it; at least three of each where there are as many, and at least one on every stroke, lest a short one go
    unheard.
    """
    rng = np.random.default_rng(seed)
    found: list[tuple[float, float, int]] = []
    for painted, share, label in ((scribble.positive, POSITIVE_SHARE, 1), (scribble.negative, NEGATIVE_SHARE, 0)):
        chosen = skeleton_points(painted, share, rng, LEAST, every_stroke=True)
        found += [(float(column) + 0.5, float(row) + 0.5, label) for row, column in chosen]
    return found


def skeleton_points(
    painted: Bool[np.ndarray, "h w"],
    share: float,
    rng: np.random.Generator,
    least: int = 1,
    every_stroke: bool = False,
) -> Int[np.ndarray, "n 2"]:
    """Pixels (row, column) of the skeleton of what is painted, drawn without repetition; none where nothing is.

    Args:
        share: of the skeleton's pixels, but at least ``least`` where there are as many.
        every_stroke: adds a pixel of each connected stroke that the draw has left out.
    """
    skeleton = skeletonize(painted)
    line = np.argwhere(skeleton)
    chosen = line[rng.permutation(len(line))[: max(least, round(share * len(line)))]]
    if not every_stroke:
        return chosen
    strokes = connected_strokes(skeleton, connectivity=2)
    missed = np.setdiff1d(strokes[skeleton], strokes[tuple(chosen.T)])
    more = [rng.choice(np.argwhere(strokes == stroke)) for stroke in missed]
    return np.concatenate([chosen, np.array(more, chosen.dtype).reshape(-1, 2)])
