"""Names that fit into Blender's data."""

from __future__ import annotations

__all__ = ["fitting"]

LONGEST = 63 - 4
"""Bytes of a name up to Blender 4.5, less the ".001" that it puts behind a name already taken."""


def fitting(text: str, fallback: str = "unnamed") -> str:
    """``text`` cut at a whole character to what a data-block's name may hold; ``fallback`` for an empty one."""
    text = text.strip() or fallback
    return text.encode("utf-8")[:LONGEST].decode("utf-8", errors="ignore")
