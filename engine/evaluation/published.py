"""What others have published on the public benchmarks, in per cent, to be printed beside ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """Means over a benchmark, in per cent; ``note`` says what they count."""

    miou: float
    accuracy: float | None = None
    note: str = ""


PUBLISHED: dict[str, dict[str, Published]] = {
    "nvos": {
        "paper (SA3D)": Published(90.3, 98.2, "target view only"),
        "later best": Published(94.2),
    },
    "spin-nerf": {
        "paper (SA3D)": Published(92.4, 98.9, "counts the reference view in"),
        "single view": Published(74.6),
        "MVSeg": Published(90.9),
        "later best": Published(95.2),
    },
    "replica": {
        "paper (SA3D)": Published(83.0),
        "single view": Published(59.8),
        "MVSeg": Published(32.4),
        "later best": Published(85.5),
    },
}
