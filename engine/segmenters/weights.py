"""The weights of learned models, as the table lists them: found, verified, fetched, read, removed."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import torch

from engine.progress import Job
from engine.segmenters.downloads import Expected, fetch, file_sha256
from engine.segmenters.weights_table import ALL_WEIGHTS, DETECTORS, WEIGHTS, Weights, WeightsFile, folder_sha256
from sa3d_blender.protocol.errors import SegmenterError, StorageError

__all__ = [
    "ALL_WEIGHTS",
    "DETECTORS",
    "WEIGHTS",
    "Weights",
    "WeightsFile",
    "WeightsState",
    "check_weights",
    "download_weights",
    "file_sha256",
    "find_weights",
    "get_weights",
    "list_weights",
    "load_state_dict",
    "remove_weights",
    "verify_weights",
    "weights_folder",
    "weights_path",
]


def weights_folder(cache_dir: Path) -> Path:
    """Where weights lie inside the cache."""
    return Path(cache_dir) / "weights"


def find_weights(
    name: str, path: Path | None = None, cache_dir: Path | None = None, table: dict[str, Weights] | None = None
) -> Path | None:
    """The file, or the folder, of the weights ``name``: ``path`` where one is given, else the cache's; None without.

    Nothing is read or verified. Raises SegmenterError for an unknown name or a given path that holds no weights.
    """
    entry = _entry(name, table or ALL_WEIGHTS)
    if path is not None:
        for _, each in entry.paths(Path(path)):
            if not each.is_file():
                what = "folder of a downloaded model" if entry.parts else "path of a downloaded weights file"
                raise SegmenterError(f"There is no weights file at {each}.", f"Give the {what}.")
        return Path(path)
    if cache_dir is None:
        return None
    candidate = weights_folder(cache_dir) / entry.file
    return candidate if all(each.is_file() for _, each in entry.paths(candidate)) else None


def verify_weights(
    name: str,
    path: Path,
    cache_dir: Path | None = None,
    allow_unlisted: bool = False,
    table: dict[str, Weights] | None = None,
    tick: Callable[[], None] = lambda: None,
) -> str:
    """The sha256 of ``path`` after making sure that it is what is listed under ``name``; of a folder, over its parts.

    With ``cache_dir`` the result is remembered by path, size and times of change, so that gigabytes are hashed once.
    ``allow_unlisted`` accepts files of another hash (weights that the user trained). ``tick`` is called every megabyte
    that is hashed, and may raise. Raises StorageError for a cut or damaged file, SegmenterError for one that isn't
    listed.
    """
    listed = table or ALL_WEIGHTS
    entry = _entry(name, listed)
    digests = [
        (part.name, _verify_file(name, part, each.resolve(), cache_dir, allow_unlisted, listed, tick))
        for part, each in entry.paths(Path(path))
    ]
    return folder_sha256(digests) if entry.parts else digests[0][1]


def _verify_file(
    name: str,
    part: WeightsFile,
    path: Path,
    cache_dir: Path | None,
    allow_unlisted: bool,
    listed: dict[str, Weights],
    tick: Callable[[], None],
) -> str:
    try:
        seen = _seen(path)
    except OSError as error:
        raise StorageError(f"The weights {path} can't be read: {error.strerror}.", "Check the path.") from error
    cure = f"Run `sa3d weights get {name}` again." if not allow_unlisted else "Give a whole weights file."
    size = seen["size"]
    assert isinstance(size, int)
    if size < part.size and not allow_unlisted:
        raise StorageError(f"The weights {path.name} are cut: {size} of {part.size} bytes.", cure)
    marker = None if cache_dir is None else _marker_path(cache_dir, path)
    digest = _remembered(marker, seen)
    if digest is None:
        digest = file_sha256(path, tick)
        _remember(marker, seen, digest)
    if digest != part.sha256 and not allow_unlisted:
        other = next((known.name for known in listed.values() if known.sha256 == digest), None)
        if other is not None:
            raise SegmenterError(f"The file {path.name} holds the weights {other}.", f"Choose the segmenter {other}.")
        if path.name == part.name:
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
    progress: Callable[[int, int], None] = lambda done, total: None,
    base_url: str | None = None,
    table: dict[str, Weights] | None = None,
) -> Path:
    """Fetches the weights ``name`` into the cache and returns their verified path. Only on explicit request.

    What is there and verified is not fetched again; what was begun is taken up where it stopped; each file appears
    only after verification (see `fetch`). ``progress(done, total)`` counts bytes, is called ten times a second, and
    may raise to stop; what was fetched stays. ``base_url`` replaces the listed server (a mirror). Raises StorageError,
    SegmenterError for an unknown name.
    """
    listed = table or ALL_WEIGHTS
    entry = _entry(name, listed)
    place = weights_folder(cache_dir) / entry.file
    base = entry.base_url if base_url is None else base_url.rstrip("/") + "/"
    if urlsplit(base).scheme not in ("http", "https"):
        raise StorageError(f"{base} is no address of a web server.", "Give one that begins with https://.")
    before = 0
    for part, path in entry.paths(place):

        def step(done: int, _: int, before: int = before) -> None:
            progress(before + done, entry.size)

        if not _is_verified(part, path, cache_dir, lambda: step(0, 0)):
            fetch(base + part.name, path, Expected(part.size, part.sha256), step)
            _remember(_marker_path(cache_dir, path.resolve()), _seen(path.resolve()), part.sha256)
        before += part.size
        progress(before, entry.size)
    return place


def get_weights(
    name: str,
    cache_dir: Path,
    job: Job,
    mirror: str | None = None,
    table: dict[str, Weights] | None = None,
) -> Path:
    """`download_weights` as a job: says first how much is fetched from where under which licence; shows time left.

    Raises StorageError, SegmenterError for an unknown name, Cancelled.
    """
    entry = _entry(name, table or ALL_WEIGHTS)
    host = urlsplit(mirror or entry.base_url).netloc
    job.log(f"{name}: {entry.about or entry.architecture}; {entry.size / 1e6:.1f} MB from {host}; {entry.licence}.")
    started: tuple[int, float] | None = None
    with job.stage(f"Downloading {name}", entry.size) as stage:

        def progress(done: int, total: int) -> None:
            nonlocal started
            now = time.monotonic()
            started = started or (done, now)  # the speed is that of this run, not of what lay there
            fresh = done - started[0]
            if fresh > 0:
                left = (now - started[1]) / fresh * (total - done)
                stage.at(done, f"{done / 1e6:.1f} of {total / 1e6:.1f} MB", left)
            job.check()

        return download_weights(name, cache_dir, progress, mirror, table)


@dataclass(frozen=True)
class WeightsState:
    """What is there of one entry of the table.

    ``state`` is "missing", "partial" (a download has begun), "damaged" (a file of another size), "unverified" (there,
    not hashed yet) or "verified"; ``bytes_there`` counts whole files and parts.
    """

    name: str
    about: str
    size: int
    licence: str
    url: str
    path: Path
    state: str
    bytes_there: int


def list_weights(cache_dir: Path, table: dict[str, Weights] | None = None) -> list[WeightsState]:
    """All weights of the table and what the cache holds of them. Nothing is hashed. Raises StorageError."""
    found = []
    for entry in (table or ALL_WEIGHTS).values():
        place = weights_folder(cache_dir) / entry.file
        there, whole, hashed, damaged = 0, True, True, False
        try:
            for part, path in entry.paths(place):
                begun = _part_path(path)
                size = path.stat().st_size if path.is_file() else None
                there += size if size is not None else begun.stat().st_size if begun.is_file() else 0
                whole &= size == part.size
                damaged |= size not in (None, part.size)
                hashed &= whole and _known(path, cache_dir) == part.sha256
        except OSError as error:
            raise StorageError(f"The cache {place} can't be read: {error.strerror}.", "Check the folder.") from error
        state = (
            "verified"
            if hashed
            else "unverified"
            if whole
            else "damaged"
            if damaged
            else "partial"
            if there
            else "missing"
        )
        found.append(WeightsState(entry.name, entry.about, entry.size, entry.licence, entry.url, place, state, there))
    return found


def weights_path(name: str | None, cache_dir: Path, table: dict[str, Weights] | None = None) -> Path:
    """Where the weights ``name`` lie in the cache, or belong; of None the folder of all. Raises SegmenterError."""
    folder = weights_folder(cache_dir)
    return folder if name is None else folder / _entry(name, table or ALL_WEIGHTS).file


def check_weights(name: str | None, cache_dir: Path, job: Job, table: dict[str, Weights] | None = None) -> list[str]:
    """Hashes the cache's weights ``name``, or all that are there, whatever is remembered of them; their names.

    Raises StorageError for the first cut or damaged file, SegmenterError for weights that aren't there, Cancelled.
    """
    listed = table or ALL_WEIGHTS
    wanted = [name] if name is not None else [each for each in listed if find_weights(each, None, cache_dir, listed)]
    for each in wanted:
        place = find_weights(each, None, cache_dir, listed)
        if place is None:
            raise SegmenterError(f"There are no weights {each} in the cache.", f"Run `sa3d weights get {each}`.")
        for _, path in listed[each].paths(place):
            _marker_path(cache_dir, path.resolve()).unlink(missing_ok=True)
        with job.stage(f"Verifying {each}"):
            verify_weights(each, place, cache_dir, table=listed, tick=job.check)
    return wanted


def remove_weights(name: str, cache_dir: Path, table: dict[str, Weights] | None = None) -> int:
    """Deletes the cache's weights ``name``, begun downloads too; the bytes that are free now. Raises StorageError."""
    entry = _entry(name, table or ALL_WEIGHTS)
    place = weights_folder(cache_dir) / entry.file
    freed = 0
    try:
        for _, path in entry.paths(place):
            _marker_path(cache_dir, path.resolve()).unlink(missing_ok=True)
            begun = _part_path(path)
            for each in (path, begun, begun.with_name(begun.name + ".json"), path.with_name(f".{path.name}.lock")):
                freed += each.stat().st_size if each.is_file() else 0
                each.unlink(missing_ok=True)
        if entry.parts and place.is_dir() and not any(place.iterdir()):
            place.rmdir()
    except OSError as error:
        raise StorageError(f"The weights {place} can't be deleted: {error.strerror}.", "Check the folder.") from error
    return freed


def _entry(name: str, table: dict[str, Weights]) -> Weights:
    if name not in table:
        raise SegmenterError(f'There are no weights called "{name}".', f"Choose one of: {', '.join(table)}.")
    return table[name]


def _part_path(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _is_verified(part: WeightsFile, path: Path, cache_dir: Path, tick: Callable[[], None]) -> bool:
    if not path.is_file() or path.stat().st_size != part.size:
        return False
    return (_known(path, cache_dir) or file_sha256(path, tick)) == part.sha256


def _seen(path: Path) -> dict[str, object]:
    """What tells a file from a changed one without reading it. Raises OSError."""
    stat = path.stat()
    return {"path": str(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns}


def _known(path: Path, cache_dir: Path) -> str | None:
    """The hash that this very file is remembered to have."""
    return _remembered(_marker_path(cache_dir, path.resolve()), _seen(path.resolve())) if path.is_file() else None


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


def _remember(marker: Path | None, seen: dict[str, object], digest: str) -> None:
    """Notes a hash as a whole or not at all."""
    if marker is None:
        return
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=marker.parent, prefix=marker.name)
        with os.fdopen(handle, "w") as stream:
            stream.write(json.dumps({**seen, "sha256": digest}))
        os.replace(temporary, marker)
    except OSError as error:
        raise StorageError(f"The cache {marker.parent} can't be written.", "Choose another cache folder.") from error
