"""The folder of straightened copies: bounded, the longest unused go first, those that a camera shows stay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bpy

__all__ = ["MOST_BYTES", "bytes_of_copies", "clear_copies", "folder_of_copies", "make_room", "mark_used"]

MOST_BYTES = 2_000_000_000
"""A thousand photos of 12 megapixels, about. A copy that is missed is made again when its photo is looked at."""

_SUFFIXES = (".jpg", ".png")
_known: tuple[tuple[str, int], int] | None = None
"""(the folder and when it last changed, the size of what is in it): it is asked for at each drawing of a page."""


def folder_of_copies() -> Path:
    """The extension's own folder, or one in Blender's temporary folder outside of an extension; it need not exist."""
    package = (__package__ or "").split(".sa3d_blender")[0]
    if package.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(package, path="straightened"))
    return Path(bpy.app.tempdir) / "sa3d-straightened"


def mark_used(path: Path) -> None:
    """Notes that a copy is used now. Read-only disks don't matter here: nothing can be removed from them either."""
    if path.parent == folder_of_copies() and os.access(path, os.W_OK):
        os.utime(path)


def make_room(folder: Path, most_bytes: int = MOST_BYTES) -> int:
    """Removes the longest unused copies until ``most_bytes`` are left, never one of the open file's; says how many."""
    found = sorted(_copies(folder), key=lambda one: one[1].st_mtime)
    total = sum(state.st_size for _, state in found)
    shown = _shown()
    removed = 0
    for path, state in found:
        if total <= most_bytes:
            break
        if path in shown:
            continue
        try:
            path.unlink(missing_ok=True)
        except PermissionError:
            continue  # Windows: another Blender is reading it, so it is in use
        total -= state.st_size
        removed += 1
    return removed


def clear_copies() -> tuple[int, int]:
    """Removes all copies but those of the open file; returns how many went and how many stayed. Raises OSError."""
    folder = folder_of_copies()
    return make_room(folder, 0), len(list(_copies(folder)))


def bytes_of_copies() -> int:
    """How much the copies take up on the disk."""
    global _known
    folder = folder_of_copies()
    try:
        key = str(folder), folder.stat().st_mtime_ns
    except OSError:
        return 0  # none was ever made
    if _known is None or _known[0] != key:
        _known = key, sum(state.st_size for _, state in _copies(folder))
    return _known[1]


def _copies(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The copies in a folder. What another Blender is just removing isn't there any more."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        try:
            state = path.stat()
        except FileNotFoundError:
            continue
        if path.suffix in _SUFFIXES:
            yield path, state


def _shown() -> set[Path]:
    """The files of the open file's images."""
    images: list[Any] = [one for one in bpy.data.images if one.filepath]
    return {Path(bpy.path.abspath(one.filepath)) for one in images}
