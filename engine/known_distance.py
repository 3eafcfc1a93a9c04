"""Two points whose distance somebody has measured, as the command line and requests name them."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["KnownDistance", "PixelPoint", "Place", "WorldPoint", "known_distance"]


@dataclass(frozen=True)
class WorldPoint:
    """A point in the capture's world."""

    x: float
    y: float
    z: float


@dataclass(frozen=True)
class PixelPoint:
    """What a photo shows at a pixel, x right and y down from its top-left corner."""

    view: str
    x: float
    y: float


Place = WorldPoint | PixelPoint


@dataclass(frozen=True)
class KnownDistance:
    """Two points and how many ``metres`` lie between them."""

    first: Place
    second: Place
    metres: float


def known_distance(text: str) -> KnownDistance:
    """What ``--scale-by`` says: "0,0,0:1,0,0:0.25", "IMG_1.jpg:640,200:IMG_1.jpg:700,210:0.25", or one of each.

    Raises:
        ValueError: it says something else, with a sentence for the user.
    """
    *words, last = text.split(":")
    metres = _numbers(last)
    places: list[Place] = []
    view: list[str] = []
    for word in words:
        numbers = _numbers(word)
        if not view and len(numbers) == 3:
            places.append(WorldPoint(*numbers))
        elif view and len(numbers) == 2:
            places.append(PixelPoint(":".join(view), *numbers))
            view = []
        else:
            view.append(word)
    if len(places) != 2 or view or len(metres) != 1:
        raise ValueError(f"'{text}' is not A:B:METRES with A and B as x,y,z or as VIEW:x,y.")
    if not metres[0] > 0:
        raise ValueError(f"the distance must be above 0 metres, not {last}.")
    if places[0] == places[1]:
        raise ValueError("the two points must differ.")
    return KnownDistance(places[0], places[1], metres[0])


def _numbers(word: str) -> list[float]:
    """The finite numbers in "1,2,3"; none where it holds anything else."""
    try:
        found = [float(part) for part in word.split(",")]
    except ValueError:
        return []
    return found if all(map(math.isfinite, found)) else []
