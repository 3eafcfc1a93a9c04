"""Makes the engine's own environment: a virtual environment with the locked packages, tried out before it is used.

`plan` says what would be done and how much has to come, without touching anything; `install` does it. Both are plain
functions for a thread of their own (`sa3d_blender.installing`); nothing here knows Blender. The engine's code isn't
installed: it is run from the extension's own folder, so that the two sides are never of two versions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..protocol.errors import Cancelled, EnvironmentFault, StorageError
from .environments import find_python, python_in
from .install_process import clean_environment, guarded, run
from .installed import OURS, Installed, alone, clean_alone, delete, folder_bytes, look, set_marker
from .locked import LOCK, Locked
from .pip_words import Counter, fault_of
from .process import ProcessTransport, python_engine
from .session import Session

__all__ = ["Plan", "Step", "install", "plan"]

# What is needed on the disk as a multiple of the download: measured (4.2 for the CPU), and the download itself besides.
UNPACKED = {"cpu": 5.3, "cuda": 3.5}
TRY_SECONDS = 300.0  # the first start of torch on a slow disk
RATE_SECONDS = 8.0
LOG_LINES = 2000


@dataclass(frozen=True)
class Plan:
    """What an installation would do. ``python`` makes the environment and is of ``version`` ("3.11"); ``source`` holds
    the engine's code; sizes in bytes."""

    folder: Path
    python: Path
    version: str
    locked: Locked
    source: Path
    download_bytes: int
    disk_bytes: int
    index: str = ""


@dataclass(frozen=True)
class Step:
    """How far it is. ``fraction`` of everything, in [0, 1]; bytes are those of the download, 0 at other stages."""

    stage: str
    fraction: float
    done_bytes: int = 0
    total_bytes: int = 0
    seconds_left: float | None = None
    detail: str = ""


def plan(
    folder: Path, source: Path, build: str, python: str = "", index: str = "", lock: Path = LOCK, own: str = ""
) -> Plan:
    """What `install` would do.

    Args:
        folder: where the environment goes. source: with the engine's code. build: Torch's, "cpu" or "cuda".
        python: what the environment is made with; empty: ``own`` (this process's by default) or the first in the
        path that will do. index: address of a further package index, or empty.

    Raises:
        EnvironmentFault: there is no fitting Python, or nothing is locked for this system.
        StorageError: the disk has too little room.
    """
    locked = Locked(build, lock)
    chosen, version = _choose(locked, python, own or sys.executable)
    download = locked.download_bytes(version)
    disk = int(download * UNPACKED[build])
    place = next(each for each in (folder, *folder.parents) if each.is_dir())
    free = shutil.disk_usage(place).free
    if free < disk:
        raise StorageError(
            f"The engine takes {disk / 1e9:.1f} GB, and {place} has {max(free, 0) / 1e9:.1f} GB free.",
            "Make room, or choose a folder on another disk.",
        )
    return Plan(folder, chosen, version, locked, source, download, disk, index.strip())


def install(
    planned: Plan, tell: Callable[[Step], None], cancel: threading.Event, log: Callable[[str], None] = lambda line: None
) -> Installed:
    """Makes the environment beside whatever is there, tries it out, and only then uses it. Blocks for minutes.

    An earlier environment is left on the disk until `clean`, because an engine may be running from it.

    Raises:
        Cancelled: within a moment after ``cancel`` is set. EnvironmentFault, StorageError: with a cure. In all cases
        what was used before is still used, and nothing half-made is left where it can be deleted.
    """
    started = time.monotonic()
    with alone(planned.folder):
        before = look(planned.folder, planned.locked.folder)
        clean_alone(planned.folder)
        place = planned.folder / uuid.uuid4().hex[:8]
        try:
            place.mkdir()
            (place / OURS).touch()
            _fill(planned, place, tell, cancel, log)
            tell(Step("Starting the engine", 0.95))
            about = _try_out(planned, python_in(place), cancel, log)
            note = {
                "environment": place.name,
                "lock": planned.locked.digest,
                "build": planned.locked.build,
                "python": planned.version,
                "made_with": str(planned.python),
                "versions": about,
                "bytes": folder_bytes(place),
                "seconds": round(time.monotonic() - started, 1),
            }
            set_marker(planned.folder, note)
        except BaseException as fault:
            tell(Step("Cleaning up", 1.0))
            delete(place)
            if isinstance(fault, OSError):
                reason = fault.strerror or str(fault)
                raise StorageError(f"The engine can't be installed: {reason}.", "Choose another folder.") from fault
            raise
    log(f"Installed {place.name} in place of {before.note.get('environment', 'nothing')}.")
    return look(planned.folder, planned.locked.folder)


def _fill(
    planned: Plan, place: Path, tell: Callable[[Step], None], cancel: threading.Event, log: Callable[[str], None]
) -> None:
    """The environment, its pip, its packages."""
    lines: deque[str] = deque(maxlen=LOG_LINES)

    def heard(line: str) -> None:
        lines.append(line)
        if not line.startswith("Progress "):
            log(line)

    tell(Step("Making the environment", 0.01))
    scratch = place / "scratch"  # on the same disk, and gone with the rest if this is cut short
    scratch.mkdir()
    _must(run(guarded(planned.python, "venv", "--without-pip", str(place)), cancel, heard, scratch), lines)
    python = python_in(place)
    tell(Step("Preparing pip", 0.03))
    # By itself, for venv keeps quiet about what fails.
    _must(run(guarded(python, "ensurepip"), cancel, heard, scratch), lines)
    wishes = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-color", "--no-user", "--retries", "2"]
    wishes += ["--extra-index-url", planned.index] if planned.index else []
    pip = planned.locked.only("pip")
    if pip:  # first, for it says how far it is, which the one that comes with Python may not
        (place / "pip.txt").write_text(pip, encoding="utf-8")
        _must(
            run(guarded(python, "pip", "install", *wishes, "-r", str(place / "pip.txt")), cancel, heard, scratch), lines
        )
    files = [word for path in planned.locked.files for word in ("-r", str(path))]
    watch = _Watch(planned, place, tell)

    def hear(line: str) -> None:
        heard(line)
        watch.hear(line)

    words = ["pip", "install", *wishes, "--progress-bar", "raw" if pip else "off", *files]
    _must(run(guarded(python, *words), cancel, hear, scratch, watch.say), lines)
    shutil.rmtree(scratch, ignore_errors=True)


def _must(code: int, lines: deque[str]) -> None:
    if code:
        raise fault_of(lines)


class _Watch:
    """Turns pip's lines into steps: bytes while it downloads, packages while it unpacks."""

    def __init__(self, planned: Plan, place: Path, tell: Callable[[Step], None]) -> None:
        self._planned, self._place, self._tell = planned, place, tell
        self._counter = Counter()
        self._packages = max(planned.locked.count(planned.version), 1)
        self._seen: deque[tuple[float, int]] = deque()
        self._last = 0.0

    def hear(self, line: str) -> None:
        """A line of pip's."""
        self._counter.hear(line)

    def _packages_folder(self) -> Path:
        lib = self._place / "Lib" if sys.platform == "win32" else self._place / "lib" / f"python{self._planned.version}"
        return lib / "site-packages"

    def say(self) -> None:
        """Tells where it is, five times a second at most."""
        now = time.monotonic()
        if now - self._last < 0.2:
            return
        self._last = now
        if self._counter.installing:
            there = sum(1 for name in _names(self._packages_folder()) if name.endswith(".dist-info"))
            share = min(there / self._packages, 1.0)
            self._tell(Step("Unpacking", 0.75 + 0.2 * share, detail=f"{there} of {self._packages} packages"))
            return
        total = self._planned.download_bytes
        done = min(self._counter.done, total)
        self._seen.append((now, done))
        while now - self._seen[0][0] > RATE_SECONDS:
            self._seen.popleft()
        (then, before) = self._seen[0]
        rate = (done - before) / (now - then) if now - then > 1.0 else 0.0
        left = (total - done) / rate if rate > 0 else None
        self._tell(Step("Downloading", 0.05 + 0.7 * done / max(total, 1), done, total, left, self._counter.name))


def _names(folder: Path) -> list[str]:
    """What is in a folder that comes and goes."""
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _try_out(planned: Plan, python: Path, cancel: threading.Event, log: Callable[[str], None]) -> Mapping[str, Any]:
    """Starts the engine as it will be started, and lets it say what it has. Raises EnvironmentFault."""
    session = Session(lambda: ProcessTransport(python_engine(python, planned.source)))
    session.start()
    until = time.monotonic() + TRY_SECONDS
    try:
        while session.capabilities is None:
            if cancel.is_set():
                raise Cancelled("The installation was cancelled.")
            if session.state == "dead" or session.fault is not None:
                fault = session.fault
                what = "it ended" if fault is None else fault.what
                raise EnvironmentFault(
                    f"The packages are there, but the engine doesn't start: {what}", "Copy the log to see more."
                )
            if time.monotonic() > until:
                raise EnvironmentFault("The engine doesn't answer after it was installed.", "Install it again.")
            session.pump()
            time.sleep(0.02)
        found = session.capabilities.get("versions", {})
        return dict(found) if isinstance(found, Mapping) else {}
    finally:
        for line in session.log_lines():
            log(line)
        session.close(2.0)


def _choose(locked: Locked, given: str, own: str) -> tuple[Path, str]:
    """The Python that the environment is made with, and its version."""
    if given.strip():
        path = find_python(given)
        version = _version(str(path))
        if version is None:
            raise EnvironmentFault(f"{path} is no Python that can be run.", "Choose another under Made With.")
        locked.download_bytes(version)
        return path, version
    known = locked.pythons()
    if not known:
        locked.download_bytes("3")  # says why
    mine = ".".join(map(str, sys.version_info[:2])) if own == sys.executable else _version(own)
    if mine in known and os.path.isfile(own) and _has_venv(own):
        return Path(own), mine
    for name in (*(f"python{version}" for version in known), "python3", "python"):
        path_found = shutil.which(name)
        version = _version(path_found) if path_found else None
        if path_found and version in known and _has_venv(path_found):
            return Path(path_found).absolute(), version
    wanted = " or ".join(known)
    raise EnvironmentFault(
        f"The engine needs Python {wanted}, and this Blender has {mine or 'none of its own'}.",
        f"Install Python {wanted} and choose it in the preferences, under Made With.",
    )


@lru_cache(maxsize=32)
def _version(python: str) -> str | None:
    """ "3.11", or None where it can't be run."""
    said = _ask(python, "import sys; print('%d.%d' % sys.version_info[:2])")
    return said if said.count(".") == 1 else None


@lru_cache(maxsize=32)
def _has_venv(python: str) -> bool:
    """Whether it can make environments; Debian's can't without a package of its own."""
    return _ask(python, "import venv, ensurepip; print('yes')") == "yes"


def _ask(python: str, code: str) -> str:
    try:
        done = subprocess.run(
            [python, "-I", "-c", code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            env=clean_environment(),
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
