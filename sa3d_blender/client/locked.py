"""What is locked for the engine's environment: which packages, for which systems, and how large the download is."""

from __future__ import annotations

import hashlib
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..protocol.errors import EnvironmentFault

__all__ = ["BUILDS", "LOCK", "Locked", "this_platform", "usual_build"]

LOCK = Path(__file__).parent / "lock"
BUILDS = ("cpu", "cuda")
_SIZE = re.compile(r"#: download (\S+) (\S+) (\S+) (\d+)")
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def this_platform() -> str:
    """The system and processor as the lock names them: "linux-x86_64", "win32-amd64", "darwin-arm64", ..."""
    return f"{sys.platform}-{platform.machine().lower()}"


def usual_build() -> str:
    """The build of Torch that the usual index has for this system."""
    return "cuda" if sys.platform.startswith("linux") else "cpu"


@dataclass(frozen=True)
class Locked:
    """One of the lock's sets: Torch's ``build`` and everything else. ``folder`` holds the files."""

    build: str
    folder: Path = LOCK

    @property
    def files(self) -> tuple[Path, ...]:
        """The requirements files that pip takes."""
        return self.folder / "engine.txt", self.folder / f"torch-{self.build}.txt"

    @property
    def digest(self) -> str:
        """Says which lock an environment was made from. Raises EnvironmentFault where files are missing."""
        return hashlib.sha256("".join(self._text()).encode()).hexdigest()[:16]

    def download_bytes(self, python: str, system: str | None = None) -> int:
        """The bytes of all wheels for ``python`` ("3.11").

        Raises:
            EnvironmentFault: nothing is locked for this system, Python and build.
        """
        system, sizes = system or this_platform(), self._sizes()
        if (self.build, system, python) in sizes:
            return sizes[self.build, system, python]
        cure = "Set up an environment of your own and choose Existing Python as the engine."
        if not any(known == system for _, known, _ in sizes):
            raise EnvironmentFault(f"There is no engine to install for {system}.", cure)
        pythons = sorted({known for build, its, known in sizes if (build, its) == (self.build, system)})
        if not pythons:
            raise EnvironmentFault(f"Torch isn't built for {self.build.upper()} on this system.", "Choose the other.")
        told = ", ".join(pythons)
        raise EnvironmentFault(
            f"With Torch for {self.build.upper()} the engine needs Python {told}, not {python}.",
            "Choose such a Python in the preferences, under Made With.",
        )

    def pythons(self, system: str | None = None) -> tuple[str, ...]:
        """The Pythons that something is locked for on this system, the newest first."""
        system = system or this_platform()
        found = {python for build, its, python in self._sizes() if (build, its) == (self.build, system)}
        return tuple(sorted(found, key=lambda each: [int(part) for part in each.split(".")], reverse=True))

    def count(self, python: str) -> int:
        """About how many packages there are: those of other systems and Pythons are left out as far as is seen."""
        lines = [line for text in self._text() for line in text.splitlines() if _PIN.match(line)]
        mine = [line for line in lines if _for_me(line, python)]
        return len({line.split("==")[0] for line in mine})

    def only(self, name: str) -> str:
        """The lines of one package, as a requirements file; empty if it isn't locked."""
        found = re.search(rf"^{re.escape(name)}==(?:.*\\\n)*.*\n?", "\n".join(self._text()), re.MULTILINE)
        return found.group() if found else ""

    def _text(self) -> list[str]:
        try:
            return [path.read_text(encoding="utf-8") for path in self.files]
        except OSError as fault:
            raise EnvironmentFault("The add-on's list of packages is missing.", "Install the add-on again.") from fault

    def _sizes(self) -> dict[tuple[str, str, str], int]:
        found = _SIZE.findall("\n".join(self._text()))
        return {(build, system, python): int(size) for build, system, python, size in found}


def _for_me(line: str, python: str) -> bool:
    """Whether a pin's marker may hold here. Markers are of two kinds only, see tests/helpers/lock_engine.py."""
    pythons = re.findall(r'python_version == "([^"]+)"', line)
    systems = re.findall(r'sys_platform == "([^"]+)"', line)
    return (not pythons or python in pythons) and (not systems or sys.platform in systems)
