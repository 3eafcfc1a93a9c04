"""Several files of a folder, written all together or not at all: full disks and killed programs leave none half-made.

They are written into a folder beside them. Renaming that one is the moment at which they count: from then on whoever
opens the folder moves them into their places, however often that is interrupted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.cache import remove_leftovers, storage_errors, temporary_prefix

__all__ = ["settle", "written_together"]

DONE = ".written"


@contextlib.contextmanager
def written_together(folder: Path) -> Iterator[Path]:
    """Gives a folder to write into; at the end its files replace those of ``folder``, after an error none does.

    Raises:
        StorageError: the disk is full or the folder can't be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        settle(folder)
        part = Path(tempfile.mkdtemp(prefix=temporary_prefix(), dir=folder))
    try:
        yield part
        with storage_errors(folder):
            os.rename(part, folder / DONE)
            settle(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def settle(folder: Path) -> None:
    """Moves into their places what was written whole. To be called before a folder's files are read.

    Raises:
        StorageError: the folder can't be written.
    """
    with contextlib.suppress(OSError):  # what killed runs left is in nobody's way
        remove_leftovers(folder)
    written = folder / DONE
    if not written.is_dir():
        return
    with storage_errors(folder):
        for path in sorted(written.rglob("*")):
            if path.is_file():
                target = folder / path.relative_to(written)
                target.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # another program settles it as well
                    os.replace(path, target)
        shutil.rmtree(written, ignore_errors=True)
