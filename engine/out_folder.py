"""Where results may go: never into a capture, which is the user's, nor in among what is something else."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sa3d_blender.protocol.errors import StorageError

__all__ = ["refuse_capture", "refuse_others"]


def refuse_capture(out: Path, root: Path) -> None:
    """Raises StorageError where ``out``, a file or folder to be written, is the capture's folder or lies in it."""
    if out.resolve().is_relative_to(root.resolve()):
        raise StorageError(
            f"{out} lies in the capture, into which nothing is written.", "Name another place with --out."
        )


def refuse_others(out: Path, own: Collection[str]) -> None:
    """Raises StorageError where the folder ``out`` holds files that aren't called as one of its ``own``.

    Hidden ones don't count.
    """
    others = [each.name for each in out.iterdir() if not each.name.startswith(".")] if out.is_dir() else []
    others = sorted(set(others) - set(own))
    if others:
        raise StorageError(
            f"The folder {out} holds other things already, such as {others[0]}.", "Name a folder of its own with --out."
        )
