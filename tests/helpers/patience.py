"""How long a test waits for what should take a given time: a shared machine may be slow, never wrong.

The times themselves are the benchmarks' matter (tests/benchmarks/); a test only tells "at once" from "at the end".
"""

from __future__ import annotations

import os

__all__ = ["patience"]

SLACK = float(os.environ.get("SA3D_TEST_SLACK", "6"))


def patience(seconds: float) -> float:
    """The limit to test against for what takes ``seconds`` on a quiet machine; SA3D_TEST_SLACK=1 is strict."""
    return seconds * SLACK
