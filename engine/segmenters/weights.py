"""The weights of the 2D segmenters: one table of what they are, and how they are found, verified, fetched and read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
import torch

from sa3d_blender.protocol.errors import SegmenterError, StorageError

__all__ = [
    "WEIGHTS",
    "Weights",
    "download_weights",
    "file_sha256",
    "find_weights",
    "load_state_dict",
    "verify_weights",
    "weights_folder",
]

_SAM_BASE = "https://dl.fbaipublicfiles.com/segment_anything/"
# Small: a connection that breaks loses at most one block of what it had sent.
_CHUNK = 1 << 16
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Weights:
    """One weights file. ``size`` in bytes, None where only the hash is known; ``architecture`` is SAM's name for it."""

    name: str
    file: str
    base_url: str
    size: int | None
    sha256: str
    licence: str
    architecture: str

    @property
    def url(self) -> str:
        return self.base_url + self.file


# Largest first: the order in which "auto" prefers them.
WEIGHTS: dict[str, Weights] = {
    entry.name: entry
    for entry in (
        Weights(
            "sam-vit-h",
            "sam_vit_h_4b8939.pth",
            _SAM_BASE,
            2_564_550_879,
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            "Apache-2.0",
            "vit_h",
        ),
        Weights(
            "sam-vit-l",
            "sam_vit_l_0b3195.pth",
            _SAM_BASE,
            None,
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            "Apache-2.0",
            "vit_l",
        ),
        Weights(
            "sam-vit-b",
            "sam_vit_b_01ec64.pth",
            _SAM_BASE,
            375_042_383,
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            "Apache-2.0",
            "vit_b",
        ),
    )
}


def weights_folder(cache_dir: Path) -> Path:
    """Where weights lie inside the cache."""
    return Path(cache_dir) / "weights"


def find_weights(name: str, path: Path | None = None, cache_dir: Path | None = None) -> Path | None:
    """The file of the weights ``name``: ``path`` where one is given, else the cache's; None where there is none.

    Nothing is read or verified. Raises SegmenterError for an unknown name or a given path without a file.
    """
    entry = _entry(name)
    if path is not None:
        path = Path(path)
        if not path.is_file():
            raise SegmenterError(f"There is no weights file at {path}.", "Give the path of a downloaded weights file.")
        return path
    if cache_dir is None:
        return None
    candidate = weights_folder(cache_dir) / entry.file
    return candidate if candidate.is_file() else None


def verify_weights(
    name: str,
    path: Path,
    cache_dir: Path | None = None,
    allow_unlisted: bool = False,
    table: dict[str, Weights] | None = None,
) -> str:
    """The sha256 of ``path`` after making sure that it is the file listed under ``name``.

    With ``cache_dir`` the result is remembered by path, size and time of change, so that gigabytes are hashed once.
    ``allow_unlisted`` accepts a file of another hash (weights that the user trained). Raises StorageError for a cut
    or damaged file, SegmenterError for one that isn't listed.
    """
    listed = table or WEIGHTS
    entry = _entry(name, listed)
    path = Path(path).resolve()
    try:
        stat = path.stat()
    except OSError as error:
        raise StorageError(f"The weights {path} can't be read: {error.strerror}.", "Check the path.") from error
    cure = "Download the weights again." if allow_unlisted is False else "Give a whole weights file."
    if entry.size is not None and stat.st_size < entry.size and not allow_unlisted:
        raise StorageError(f"The weights {path.name} are cut: {stat.st_size} of {entry.size} bytes.", cure)
    seen = {"path": str(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    marker = None if cache_dir is None else _marker_path(cache_dir, path)
    digest = _remembered(marker, seen)
    if digest is None:
        digest = file_sha256(path)
        if marker is not None:
            _write_text(marker, json.dumps({**seen, "sha256": digest}))
    if digest != entry.sha256 and not allow_unlisted:
        other = next((known.name for known in listed.values() if known.sha256 == digest), None)
        if other is not None:
            raise SegmenterError(f"The file {path.name} holds the weights {other}.", f"Choose the segmenter {other}.")
        if path.name == entry.file:
            raise StorageError(f"The weights {path.name} are damaged: their sha256 is {digest[:12]}...", cure)
        raise SegmenterError(
            f"The weights {path.name} are not listed as {name}.",
            "Use a listed file, or allow unlisted weights if you trust where this one comes from.",
        )
    return digest


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file on the CPU. Only tensors are unpickled (``weights_only``). Raises StorageError."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken or hostile file
        raise StorageError(
            f"The weights {Path(path).name} can't be read as tensors.", "Download them again."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise StorageError(f"The file {Path(path).name} is no table of tensors.", "Give a SAM weights file.")
    return state


def download_weights(
    name: str,
    cache_dir: Path,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    base_url: str | None = None,
    table: dict[str, Weights] | None = None,
) -> Path:
    """Fetches the weights ``name`` into the cache and returns their verified path. Only on explicit request.

    A broken download is taken up where it stopped (``.part`` beside the target); the target appears only after
    verification. ``progress(done, total)`` counts bytes and may raise to stop; what was fetched stays. ``base_url``
    replaces the listed server (a mirror). Raises StorageError.
    """
    entry = _entry(name, table or WEIGHTS)
    folder = weights_folder(cache_dir)
    target, part = folder / entry.file, folder / (entry.file + ".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The folder {folder} can't be made: {error.strerror}.", "Choose another cache.") from error
    if target.is_file() and file_sha256(target) == entry.sha256:
        return target
    base = entry.base_url if base_url is None else base_url.rstrip("/") + "/"
    if entry.size is None or not part.is_file() or part.stat().st_size < entry.size:
        _fetch(base + entry.file, part, entry, progress)
    size = part.stat().st_size
    if entry.size is not None and size < entry.size:
        raise StorageError(
            f"The download of {entry.file} stopped after {size} of {entry.size} bytes.",
            "Start the download again: it goes on where it stopped.",
        )
    digest = file_sha256(part)
    if digest != entry.sha256:
        part.unlink()
        raise StorageError(
            f"What was downloaded as {entry.file} is another file (sha256 {digest[:12]}...).",
            "Download the weights again, or from another server.",
        )
    os.replace(part, target)
    verify_weights(name, target, cache_dir, table=table)
    return target


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"The file {path} can't be read: {error.strerror}.", "Check the file.") from error


def _entry(name: str, table: dict[str, Weights] = WEIGHTS) -> Weights:
    if name not in table:
        raise SegmenterError(f'There are no weights called "{name}".', f"Choose one of: {', '.join(table)}.")
    return table[name]


def _fetch(url: str, part: Path, entry: Weights, progress: Callable[[int, int | None], None]) -> None:
    """Appends to ``part`` what it lacks of ``url``."""
    done = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    cure = "Check the connection and start the download again: it goes on where it stopped."
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as answer:
            if answer.status_code == 416:
                return  # the server has no more bytes than we do; verification decides
            if answer.status_code not in (200, 206):
                raise StorageError(
                    f"The server answered {answer.status_code} for {entry.file}.",
                    "Download the file by hand and give its path, or try again later.",
                )
            if answer.status_code == 200:
                done = 0  # the server doesn't resume: start over
            length = answer.headers.get("Content-Length", "")
            total = entry.size if entry.size is not None else done + int(length) if length.isdigit() else None
            with open(part, "ab" if done else "wb") as stream:
                for block in answer.iter_content(_CHUNK):
                    done += len(block)
                    if total is not None and done > total:
                        break  # longer than the listed file: not that file, and no reason to fill the disk
                    stream.write(block)
                    progress(done, total)
    except requests.RequestException as error:
        raise StorageError(f"The download of {entry.file} failed ({type(error).__name__}).", cure) from error
    except OSError as error:
        raise StorageError(f"The download {part} can't be written: {error.strerror}.", "Free disk space.") from error


def _marker_path(cache_dir: Path, path: Path) -> Path:
    key = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return weights_folder(cache_dir) / "verified" / f"{key}.json"


def _remembered(marker: Path | None, seen: dict[str, object]) -> str | None:
    """The hash written in ``marker`` for this very file, or None."""
    if marker is None or not marker.is_file():
        return None
    try:
        noted = json.loads(marker.read_text())
    except (OSError, ValueError):
        return None  # a damaged note only costs hashing once more
    if not isinstance(noted, dict) or any(noted.get(key) != value for key, value in seen.items()):
        return None
    digest = noted.get("sha256")
    return digest if isinstance(digest, str) else None


def _write_text(path: Path, text: str) -> None:
    """Writes a small file as a whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "w") as stream:
            stream.write(text)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"The cache {path.parent} can't be written.", "Choose another cache folder.") from error
