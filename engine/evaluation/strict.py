"""Results as strict JSON."""

from __future__ import annotations

import math
from typing import Any


def strict(value: Any) -> Any:
    """The same with None for what is no number: JSON knows no NaN."""
    if isinstance(value, dict):
        return {key: strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
