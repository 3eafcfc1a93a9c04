"""How a training went: points on its curve, and what can be read off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class CurvePoint:
    """After ``step`` steps and ``seconds`` of training (measuring not counted): PSNR in dB.

    ``training_psnr_db`` is a running mean over the rays of the last steps, ``heldout_psnr_db`` that of pixels of views
    that are not trained on, None where they weren't measured.
    """

    seconds: float
    step: int
    training_psnr_db: float
    heldout_psnr_db: float | None = None


def seconds_to(curve: Sequence[CurvePoint], psnr_db: float) -> float | None:
    """Seconds of training until the held-out PSNR first reached a value; None where it never did.

    Between two measurements it is taken to rise evenly.
    """
    before: CurvePoint | None = None
    for point in curve:
        if point.heldout_psnr_db is None:
            continue
        if point.heldout_psnr_db >= psnr_db:
            if before is None or before.heldout_psnr_db is None:
                return point.seconds
            gained = point.heldout_psnr_db - before.heldout_psnr_db
            share = (psnr_db - before.heldout_psnr_db) / gained
            return before.seconds + share * (point.seconds - before.seconds)
        before = point
    return None


def is_flat(curve: Sequence[CurvePoint], window: int, least_db: float) -> bool:
    """Whether the held-out PSNR of the last ``window`` steps is hardly (``least_db``) better than the best before."""
    measured = [(p.step, p.heldout_psnr_db) for p in curve if p.heldout_psnr_db is not None]
    if not measured:
        return False
    since = measured[-1][0] - window
    earlier, later = [v for s, v in measured if s <= since], [v for s, v in measured if s > since]
    return bool(earlier) and bool(later) and max(later) < max(earlier) + least_db
