"""Photos that a transforms.json names by paths from another place: where it was written, or where it once lay.

instant-ngp's colmap2nerf.py names photos as seen from the folder that it was started in ("./data/fox/images/0001.jpg",
"../../scans/fox/images/0001.jpg"). The end of such a path still says which photo is meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from engine.captures.validate import BadView, inside
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["AS_WRITTEN", "found_here"]

AS_WRITTEN = "file_path as written"  # where a moved frame keeps it, for lists of photos that name it
_LONGEST = 6  # parts of a path that are tried
_NAMED = ("file_path", "mask_path", "depth_file_path")


def found_here(
    root: Path, frames: Sequence[object], found: Callable[[Path, str, Path], object | None]
) -> tuple[list[object], bool]:
    """The frames, and whether their paths were cut to those that lead to photos in ``root``.

    They stay what they are where any of them leads to a photo as written, or where no photo is here under any end of
    them. ``found`` says whether a photo is there, its suffix left out or not. Nothing outside of ``root`` is looked at.
    """

    def leads(written: object) -> bool:
        try:
            name, path = inside(root, written)
            return found(root, name, path) is not None
        except (BadView, CaptureError):  # no path, or one that leads out of the capture
            return False

    kept = list(frames)
    if any(isinstance(frame, dict) and leads(frame.get("file_path")) for frame in kept):
        return kept, False
    moved, any_photo = [], False
    for frame in kept:
        if isinstance(frame, dict):
            ends = {key: _end(frame[key], leads) for key in _NAMED if isinstance(frame.get(key), str)}
            any_photo = any_photo or leads(ends.get("file_path"))
            frame = {**frame, **ends, AS_WRITTEN: frame.get("file_path")}
        moved.append(frame)
    return (moved, True) if any_photo else (kept, False)


def _end(written: str, leads: Callable[[object], bool]) -> str:
    """The longest end of a path that leads to a file here; its last part where none does."""
    parts = [part for part in PurePosixPath(written.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    parts = parts[-_LONGEST:]
    ends = ["/".join(parts[first:]) for first in range(len(parts))]
    ends += [f"images/{parts[-1]}"] if parts else []
    return next((end for end in ends if leads(end)), parts[-1] if parts else written)
