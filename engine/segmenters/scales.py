"""The scale that a user asks for, checked against what the segmenter can tell apart."""

from __future__ import annotations

from engine.segmenters.base import Segmenter
from sa3d_blender.protocol.errors import PromptError


def check_scale(segmenter: Segmenter, scale: str | None) -> None:
    """Raises PromptError where the segmenter doesn't know the scale, saying which it knows. None is no wish."""
    if scale is None or scale in segmenter.scales:
        return
    if not segmenter.scales:
        raise PromptError(
            f"The segmenter {segmenter.name} can't tell scales apart.",
            "Leave the scale out, or choose a segmenter that can, such as clicknet or a SAM.",
        )
    raise PromptError(
        f'The segmenter {segmenter.name} knows no scale "{scale}".', f"Choose one of: {', '.join(segmenter.scales)}."
    )
