"""Places where it is cramped, for tests: small disks, folders that can't be written, names that are long and odd."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["ODD", "fill", "mounted", "read_only"]

ODD = "Größe & 'Länge' $HOME " + "x" * 170
"""A name of 200 bytes and some more; most file systems take 255."""


@contextlib.contextmanager
def mounted(folder: Path, *words: str | Path) -> Iterator[Path]:
    """``mount WORDS`` at a folder; the test is skipped where that can't be."""
    folder.mkdir(exist_ok=True)
    if shutil.which("mount") is None or os.getuid() != 0:
        pytest.skip("only root may mount a disk")
    done = subprocess.run(["mount", *words, folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def read_only(folder: Path, at: Path | None = None) -> Iterator[Path]:
    """A folder as it is (or shown at another place), but that nobody can write, root included."""
    with mounted(at or folder, "--bind", folder) as place:
        subprocess.run(["mount", "-o", "remount,ro,bind", place], check=True)
        yield place


def fill(disk: Path, free: int) -> Path:
    """Takes a disk's room but for so many bytes; returns the file that does."""
    filler = disk / "filler"
    filler.write_bytes(bytes(max(shutil.disk_usage(disk).free - free, 0)))
    return filler
