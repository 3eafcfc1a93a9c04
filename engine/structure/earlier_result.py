"""A folder that an earlier run wrote its result into: what that wrote makes room for the new result, and only that."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from engine.cache import storage_errors
from engine.captures.validate import read_json
from engine.out_folder import refuse_others
from engine.whole_folder import settle
from sa3d_blender.protocol.errors import CaptureError, StorageError

__all__ = ["FILES", "REPORT", "earlier_files", "remove_files"]

REPORT = "poses.json"
FILES = "files"  # the report's list of all that its run wrote, relative to its folder


def earlier_files(out: Path, own: Collection[str]) -> set[str]:
    """The files that earlier runs wrote into ``out``, relative to it; none where it is empty or isn't there.

    Files that someone else put into its folders are not among them. ``own``: what a result's folder holds.
    Raises StorageError where it holds anything else, or a capture that none of our runs wrote.
    """
    if not out.is_dir():
        return set()
    settle(out)
    refuse_others(out, own)
    if all(each.name.startswith(".") for each in out.iterdir()):
        return set()
    written = _listed(_json_in(out / REPORT), _json_in(out / "transforms.json"))
    if written is None:
        raise StorageError(
            f"The folder {out} holds a capture already, which `sa3d captures poses` didn't write.",
            "Name a folder of its own with --out.",
        )
    return {name for name in written if _is_ours(out, name, own)}


def remove_files(out: Path, names: Collection[str]) -> None:
    """Removes files of ``out``, and the folders that are empty then.

    Raises StorageError where that isn't allowed.
    """
    with storage_errors(out):
        for name in sorted(names):
            (out / name).unlink(missing_ok=True)
        folders = {out / parent for name in names for parent in PurePosixPath(name).parents} - {out}
        for folder in sorted(folders, key=lambda each: -len(each.parts)):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def _json_in(path: Path) -> dict[str, Any]:
    """What a JSON file holds; nothing where it is none."""
    with contextlib.suppress(CaptureError):
        return read_json(path)
    return {}


def _listed(report: dict[str, Any], transforms: dict[str, Any]) -> set[str] | None:
    """The names that a report lists, or the transforms of one that has no list yet; None where it is no report."""
    if not {"placed", "not_placed", "error_px"} <= report.keys():
        return None
    names = report.get(FILES)
    if names is None:
        frames = transforms.get("frames")
        frames = [each for each in frames if isinstance(each, dict)] if isinstance(frames, list) else []
        names = [each.get(key) for each in frames for key in ("file_path", "mask_path")]
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def _is_ours(out: Path, name: str, own: Collection[str]) -> bool:
    """Whether a name that a report lists, which anyone may have edited, is a file of a result's own, inside ``out``."""
    path = PurePosixPath(name)
    if "\0" in name or path.is_absolute() or ".." in path.parts or not path.parts or path.parts[0] not in own:
        return False
    try:
        return (out / name).is_file() and (out / name).resolve().is_relative_to(out.resolve())
    except (OSError, RuntimeError):  # the latter from links that run in circles
        return False
