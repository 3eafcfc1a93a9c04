"""What pip says, understood: how much has come, and why it failed in one sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..protocol.errors import EnvironmentFault, Sa3dError, StorageError

__all__ = ["Counter", "fault_of"]

_UNITS = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_FETCHED = re.compile(r"^\s*(Downloading|Using cached) (\S+) \(([\d.]+) (bytes|kB|MB|GB)\)")
_TAKEN = re.compile(r"^\s*Processing (\S.*\.whl)")
_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)")


class Counter:
    """Counts bytes from pip's lines, with ``--progress-bar raw``. ``done`` bytes have come; ``name`` is on its way."""

    def __init__(self) -> None:
        self._whole = self._part = self._announced = 0
        self.name = ""
        self.installing = False

    @property
    def done(self) -> int:
        """Bytes so far."""
        return self._whole + self._part

    def hear(self, line: str) -> None:
        """Takes one line in."""
        if found := _PROGRESS.match(line):
            self._part, self._announced = int(found[1]), int(found[2])
            return
        if found := _FETCHED.match(line):
            name = found[2].rsplit("/", 1)[-1]
            if not name.endswith(".metadata"):
                size = int(float(found[3]) * _UNITS[found[4]])
                self._next(name, size, here=found[1] == "Using cached")
        elif found := _TAKEN.match(line):
            path = Path(found[1])
            self._next(path.name, path.stat().st_size if path.is_file() else 0, here=True)
        elif line.startswith("Installing collected packages"):
            self._next("", 0, here=True)
            self.installing = True

    def _next(self, name: str, size: int, here: bool) -> None:
        """The one before is complete. Small files come without progress lines: these count when the next begins."""
        self._whole += self._announced
        self._part, self._announced = (size if here else 0), size
        self.name = name.split("-", 1)[0]


def fault_of(lines: Sequence[str]) -> Sa3dError:
    """Why pip failed, from what it printed."""
    text = "\n".join(lines)
    if re.search(r"No space left|Errno 28\b|WinError 112|not enough space on the disk", text):
        return StorageError("The disk is full.", "Make room, or choose a folder on another disk; then install again.")
    if re.search(r"Errno 13\b|Errno 30\b|Permission denied|Read-only file system", text):
        return StorageError("The engine's folder can't be written.", "Choose another folder in the preferences.")
    if re.search(r"DO NOT MATCH THE HASHES|Expected sha256", text):
        return EnvironmentFault(
            "A package that came isn't the one that the add-on was made with; nothing was installed.",
            "Try again; if it stays so, what stands between you and the package index changes files.",
        )
    if re.search(r"ensurepip", text) and re.search(r"No module named|not available|returned non-zero", text):
        return EnvironmentFault(
            "That Python can't make environments: it lacks ensurepip.",
            "Install its venv package (python3-venv on Debian and Ubuntu), or choose another under Made With.",
        )
    if re.search(r"CERTIFICATE_VERIFY_FAILED|SSLError", text):
        return EnvironmentFault(
            "The package index can't be trusted: its certificate isn't known here.",
            "Tell pip about your network's certificate (PIP_CERT), then install again.",
        )
    if re.search(r"\b40[137]\b.{0,40}(Unauthorized|Forbidden|Proxy)|Tunnel connection failed", text):
        return EnvironmentFault("The package index refused to answer.", "Check pip's configuration and your proxy.")
    if re.search(
        r"ConnectionError|connection broken|Failed to establish|name resolution|getaddrinfo|timed out|ConnectTimeout"
        r"|ReadTimeout|Network is unreachable|IncompleteRead|ProtocolError|Connection refused|Connection reset",
        text,
    ):
        return EnvironmentFault(
            "The package index can't be reached.", "Check the network; then install again, it goes on where it stopped."
        )
    if found := re.search(r"No matching distribution found for ([^\s;]+)", text):
        local = "+cpu" in found[1]
        return EnvironmentFault(
            f"The package index has no {found[1]} for this system.",
            "Give the address of an index that has it under Package Index in the preferences, or choose Torch for CUDA."
            if local
            else "Check pip's configuration; the usual index has it.",
        )
    errors = [line.split("ERROR:", 1)[1].strip() for line in lines if "ERROR:" in line]
    said = (errors or [line.strip() for line in lines if line.strip()] or ["it said nothing"])[-1]
    return EnvironmentFault(f"The packages couldn't be installed: {said[:200]}", "Copy the log to see more.")
