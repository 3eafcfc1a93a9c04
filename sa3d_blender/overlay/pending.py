"""The box or line that is being drawn with the mouse down: what the overlay shows of it, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Stroke", "begin", "end", "in_region", "is_drawing", "show"]


@dataclass
class Stroke:
    """Pixels of one region."""

    region: int
    kind: str
    positive: bool
    points: tuple[tuple[float, float], ...] = ()


_current: Stroke | None = None


def begin(region: Any, kind: str, positive: bool) -> None:
    """A new stroke in a region; there is one mouse, so there is one stroke."""
    global _current
    _current = Stroke(region.as_pointer(), kind, positive)


def show(points: Sequence[tuple[float, float]]) -> None:
    """What it looks like now."""
    if _current is not None:
        _current.points = tuple(points)


def end() -> None:
    """Nothing is being drawn any more."""
    global _current
    _current = None


def is_drawing() -> bool:
    """Whether a stroke is being drawn anywhere."""
    return _current is not None


def in_region(region: Any) -> Stroke | None:
    """The stroke that is being drawn in a region."""
    return _current if _current is not None and _current.region == region.as_pointer() else None
