"""How long a window does nothing else: a timer in Blender that should come every hundredth of a second."""

from __future__ import annotations

import time
from typing import Any

__all__ = ["begin_gaps", "end_gaps", "longest_gap"]

_BEGIN = """
import time
space = bpy.app.driver_namespace
space["gap"], space["last"] = 0.0, time.perf_counter()
def sa3d_gap():
    now = time.perf_counter()
    space["gap"], space["last"] = max(space["gap"], now - space["last"]), now
    return 0.01
space["timer"] = sa3d_gap
bpy.app.timers.register(sa3d_gap)
"""
_END = """
space = bpy.app.driver_namespace
bpy.app.timers.unregister(space.pop("timer"))
answer = space["gap"]
"""


def begin_gaps(window: Any) -> None:
    """Begins to measure."""
    window.py(_BEGIN)


def end_gaps(window: Any) -> float:
    """Ends it; the longest time between two calls, in seconds."""
    return float(window.py(_END))


def longest_gap(window: Any, seconds: float) -> float:
    """The longest time for which the window did nothing else, while we leave it alone for so many seconds."""
    begin_gaps(window)
    time.sleep(seconds)
    return end_gaps(window)
