"""The folder that holds the engine's environment: what is in it, what is left over in it, how it is emptied.

engine.json            names the environment in use; written last and replaced as one, so there is none by halves
3f9a12cd/              an environment; what engine.json doesn't name is left over and goes at the next chance
3f9a12cd/.sa3d         says that it is ours; nothing without it is ever deleted
.lock                  held by the one who installs or removes
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..protocol.errors import EnvironmentFault, StorageError
from .environments import python_in
from .locked import Locked

__all__ = [
    "OURS",
    "Installed",
    "alone",
    "clean",
    "clean_alone",
    "delete",
    "folder_bytes",
    "look",
    "remove",
    "set_marker",
]

MARKER, OURS, ALONE = "engine.json", ".sa3d", ".lock"


@dataclass(frozen=True)
class Installed:
    """What is installed in a folder.

    ``state``: "absent"; "ready"; "outdated" (it works, but the add-on has changed what it wants); "broken" (its Python
    is gone, as after Blender was removed). ``note`` is the marker: build, python, versions, bytes.
    """

    state: str
    python: Path | None = None
    note: Mapping[str, Any] = field(default_factory=dict)


def look(folder: Path, lock: Path | None = None) -> Installed:
    """What is installed in ``folder``. Takes no time: two files are looked at, nothing is started."""
    try:
        note = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        environment, build, digest = folder / str(note["environment"]), str(note["build"]), str(note["lock"])
    except FileNotFoundError:
        return Installed("absent")
    except (OSError, ValueError, KeyError, TypeError):
        return Installed("broken")
    python = python_in(environment)
    if not python.is_file():  # a link that leads nowhere isn't one either
        return Installed("broken", None, note)
    wanted = Locked(build) if lock is None else Locked(build, lock)
    try:
        same = wanted.digest == digest
    except EnvironmentFault:
        same = False
    return Installed("ready" if same else "outdated", python, note)


def set_marker(folder: Path, note: Mapping[str, Any]) -> None:
    """Makes ``note["environment"]`` the one in use. Raises StorageError; the old one is then still in use."""
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=folder, prefix=MARKER)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(note, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, folder / MARKER)
    except OSError as fault:
        Path(temporary).unlink(missing_ok=True)
        raise _storage(folder, fault) from fault


def clean(folder: Path) -> int:
    """Deletes environments that aren't in use, where nobody is installing now; how many there were.

    What can't be deleted yet (Windows keeps files of programs that run) waits for the next time.
    """
    if not any(_ours(folder)):
        return 0
    try:
        with alone(folder):
            return clean_alone(folder)
    except (EnvironmentFault, StorageError):
        return 0


def clean_alone(folder: Path) -> int:
    """As `clean`, for those who hold `alone`."""
    used = look(folder).note.get("environment")
    gone = 0
    for path in [*_ours(folder), *folder.glob(MARKER + "?*")]:
        if path.name != used:
            delete(path)
            gone += 1
    return gone


def delete(path: Path) -> None:
    """Deletes a file, or a folder with its sign last, so that one that is cut short is taken up again."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for each in path.iterdir():
        if each.name == OURS:
            continue
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each, ignore_errors=True)
        else:
            each.unlink(missing_ok=True)
    if not [each for each in path.iterdir() if each.name != OURS]:
        (path / OURS).unlink(missing_ok=True)
        path.rmdir()


def remove(folder: Path) -> None:
    """Deletes everything that was installed in ``folder``, and the folder too if nothing else is in it.

    Raises:
        EnvironmentFault: someone installs into it now. StorageError: files can't be deleted.
    """
    if not folder.is_dir():
        return
    try:
        with alone(folder):
            (folder / MARKER).unlink(missing_ok=True)
            for path in list(_ours(folder)):
                delete(path)
        left = [path.name for path in _ours(folder)]
        if left:
            raise StorageError("Some files of the engine are in use.", "Close other Blenders, then remove it again.")
        if [path.name for path in folder.iterdir()] == [ALONE]:
            (folder / ALONE).unlink()
            folder.rmdir()
    except OSError as fault:
        raise _storage(folder, fault) from fault


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """For as long as this holds, nobody else installs into or removes from ``folder``, in another Blender either. The
    system lets go when the process ends, in whatever way.

    Raises:
        EnvironmentFault: someone else does. StorageError: the folder can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = open(folder / ALONE, "a+b")  # noqa: SIM115  closed below, whatever happens
    except OSError as fault:
        raise _storage(folder, fault) from fault
    with stream:
        try:
            _lock(stream)
        except OSError as fault:
            raise EnvironmentFault(
                "The engine is being installed or removed already.", "Wait until that is done, then try again."
            ) from fault
        yield


def _lock(stream: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        stream.seek(0)
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def folder_bytes(folder: Path) -> int:
    """The size of all files in a folder; files that go away meanwhile count nothing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue
    return total


def _ours(folder: Path) -> Iterator[Path]:
    try:
        inside = list(folder.iterdir())
    except OSError:
        return
    yield from (path for path in inside if (path / OURS).is_file())


def _storage(folder: Path, fault: OSError) -> StorageError:
    reason = fault.strerror or str(fault)
    return StorageError(
        f"The engine's folder {folder} can't be written: {reason}.", "Choose another folder in the preferences."
    )
