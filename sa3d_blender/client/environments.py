"""Where an engine can come from: an environment that the add-on made, someone's own Python, or any command."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from ..protocol.errors import EnvironmentFault
from .process import EngineCommand, command_engine, python_engine

__all__ = ["command_from", "default_folder", "existing_engine", "find_python", "python_in"]

WINDOWS = sys.platform == "win32"
PREFERENCES = "Choose another in the add-on's preferences."


def default_folder() -> Path:
    """Where the add-on makes its environment: among the user's data, so that neither an update of the add-on nor one of
    Blender deletes it."""
    home = Path(os.path.expanduser("~"))
    if WINDOWS:
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        named = os.environ.get("XDG_DATA_HOME", "")
        base = Path(named) if os.path.isabs(named) else home / ".local" / "share"
    return base / "sa3d" / "engine"


def python_in(environment: Path) -> Path:
    """The Python of a virtual environment, whether it is there or not."""
    return environment / "Scripts" / "python.exe" if WINDOWS else environment / "bin" / "python"


def find_python(place: str) -> Path:
    """The Python that a path means: the program itself, or a folder that holds an environment.

    Raises:
        EnvironmentFault: there is none.
    """
    if not place.strip():
        raise EnvironmentFault("No Python has been chosen for the engine.", "Choose one in the add-on's preferences.")
    path = Path(os.path.expanduser(place.strip()))
    if path.is_dir():
        names = ("python.exe",) if WINDOWS else ("python3", "python")
        folders = [path / "Scripts", path] if WINDOWS else [path / "bin", path]
        for candidate in (folder / name for folder in folders for name in names):
            if candidate.is_file():
                return candidate.absolute()
        raise EnvironmentFault(f"There is no Python in {path}.", PREFERENCES)
    if not path.is_file():
        raise EnvironmentFault(f"There is no Python at {path}.", PREFERENCES)
    if not WINDOWS and not os.access(path, os.X_OK):
        raise EnvironmentFault(f"{path} is not a program.", PREFERENCES)
    return path.absolute()  # not resolved: what a link leads to would be outside of the environment


def existing_engine(place: str, source: Path, cache: str = "") -> EngineCommand:
    """The engine in ``source`` run by someone's own Python; see `find_python` for ``place``."""
    return python_engine(find_python(place), source, cache or None)


def command_from(text: str) -> EngineCommand:
    """The engine behind a command line such as ``ssh gpubox sa3d serve``. Quotes hold words; there is no shell.

    Raises:
        EnvironmentFault: there is no command, or a quote is left open.
    """
    try:
        words = shlex.split(text, posix=not WINDOWS)
    except ValueError as fault:
        raise EnvironmentFault(f"The engine's command can't be read: {fault}.", "Close its quotes.") from fault
    if WINDOWS:  # there a backslash is a backslash, and quotes stay on
        words = [word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "\"'" else word for word in words]
    if not words:
        raise EnvironmentFault("No command has been given for the engine.", "Write one in the add-on's preferences.")
    return command_engine(words)
