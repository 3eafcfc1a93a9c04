"""One file from a web server: resumable, stoppable within a second, never more than was agreed, checked by its hash."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from filelock import FileLock, Timeout

from sa3d_blender.protocol.errors import StorageError

__all__ = ["Expected", "fetch", "file_sha256"]

# Small: a connection that breaks loses at most one block, and a slow one is seen to be alive.
_BLOCK = 1 << 14
_HASHED_AT_ONCE = 1 << 20
_QUEUED_BLOCKS = 64
_CONNECT_S = 15.0
_STALL_S = 30.0
_TICK_S = 0.1  # between two calls of ``progress`` while nothing arrives: how fast a stop is noticed
_PAUSE_S = 1.0  # before the next connection, where one has broken
_REDIRECTS = 5
_SPARE_DISK = 32 << 20  # bytes that a download leaves free
_AGAIN = "Check the connection and start the download again: it goes on where it stopped."
_BY_HAND = "Download the file by hand and put it into the weights folder, or use another server with --mirror."

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Expected:
    """What a file must be: its ``size`` in bytes and the hex ``sha256`` of its content."""

    size: int
    sha256: str


def fetch(url: str, target: Path, expected: Expected, progress: Progress = lambda done, total: None) -> None:
    """Brings ``url`` to ``target``, which appears only when it is whole and has the expected hash.

    Bytes are gathered in ``<target>.part``, which outlives failures, stops and kills, and is taken up again. What was
    taken up and turns out not to belong to the file is thrown away and fetched once from the start.
    ``progress(done, total)`` is called at least ten times a second, also while the server is silent; it may raise to
    stop the download.

    Raises:
        StorageError: the server can't be reached, cuts, stalls, sends another file or leads elsewhere; the disk is
            full; another process is fetching the same file.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=0):
            resumed = _gather(url, part, expected, progress)
            found = file_sha256(part, lambda: progress(expected.size, expected.size))
            if found != expected.sha256 and resumed:
                part.unlink()
                _gather(url, part, expected, progress)
                found = file_sha256(part, lambda: progress(expected.size, expected.size))
            if found != expected.sha256:
                part.unlink()
                raise StorageError(
                    f"What was downloaded as {target.name} is another file (sha256 {found[:12]}..., not "
                    f"{expected.sha256[:12]}...).",
                    "Try again later, or use another server with --mirror.",
                )
            with open(part, "rb+") as stream:
                os.fsync(stream.fileno())  # the name must not reach the disk before the bytes do
            os.replace(part, target)
            _note_path(part).unlink(missing_ok=True)
    except Timeout as error:
        raise StorageError(
            f"Another process is downloading {target.name}.", "Wait until it has finished, or stop it."
        ) from error
    except OSError as error:
        raise StorageError(
            f"The download {part} can't be written: {error.strerror or error}.",
            "Free disk space, or choose another cache with --cache; the download goes on where it stopped.",
        ) from error


def file_sha256(path: Path, tick: Callable[[], None] = lambda: None) -> str:
    """Hex sha256 of a file's bytes. ``tick`` is called every megabyte and may raise. Raises StorageError."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            while block := stream.read(_HASHED_AT_ONCE):
                digest.update(block)
                tick()
    except OSError as error:
        raise StorageError(f"The file {path} can't be read: {error.strerror}.", "Check the file.") from error
    return digest.hexdigest()


class _BrokenError(StorageError):
    """A connection that ended too early: another may bring the rest."""


def _gather(url: str, part: Path, expected: Expected, progress: Progress) -> bool:
    """Appends to ``part`` what it lacks; whether there was something to take up. Raises StorageError.

    A connection that breaks after it has brought something is followed by another, so that a bad line gets there too.
    """
    resumed = False
    while True:
        done = part.stat().st_size if part.is_file() else 0
        try:
            return _gather_once(url, part, done, expected, progress) or resumed
        except _BrokenError:
            now = part.stat().st_size if part.is_file() else 0
            if now <= done:
                raise
            resumed = True
            deadline = time.monotonic() + _PAUSE_S
            while time.monotonic() < deadline:
                progress(now, expected.size)
                time.sleep(_TICK_S)


def _gather_once(url: str, part: Path, done: int, expected: Expected, progress: Progress) -> bool:
    if done > expected.size:
        part.unlink()
        done = 0
    if done == expected.size:
        return True
    name = part.name.removesuffix(".part")
    _check_room(part.parent, expected.size - done, name)
    source = _Source(url, name, done, expected, _read_note(part) if done else None)
    threading.Thread(target=source.run, daemon=True, name="sa3d-download").start()
    try:
        return _write(source, part, done, expected, progress)
    finally:
        source.stop()


def _write(source: _Source, part: Path, done: int, expected: Expected, progress: Progress) -> bool:
    """Writes the blocks that ``source`` brings to ``part``, until it is as long as expected."""

    def tick() -> None:
        progress(done, expected.size)

    done = source.started(tick)
    tick()
    resumed = done > 0
    with open(part, "ab" if resumed else "wb", buffering=0) as stream:
        _write_note(part, source.answer_tag)
        while done < expected.size:
            block = source.block(tick)
            if block is None:
                raise _BrokenError(
                    f"The download of {source.name} stopped after {done} of {expected.size} bytes.", _AGAIN
                )
            # A server may send without end: what is beyond the listed size isn't the file's.
            block = block[: expected.size - done]
            if stream.write(block) != len(block):
                raise OSError(0, "the disk takes no more")
            done += len(block)
            tick()
    return resumed


class _Source:
    """The server's side, on a thread of its own, so that a silent server never keeps the caller from stopping."""

    def __init__(self, url: str, name: str, done: int, expected: Expected, tag: str | None) -> None:
        self.url, self.name, self.done, self.expected, self.tag = url, name, done, expected, tag
        self.answer_tag: str | None = None  # the server's name for this very content; known once it has started
        self._queue: queue.Queue[int | bytes | StorageError | None] = queue.Queue(_QUEUED_BLOCKS)
        self._stopped = threading.Event()

    def started(self, tick: Callable[[], None]) -> int:
        """The offset at which the server's bytes begin: that of the part, or 0. Raises StorageError."""
        first = self._next(tick, _CONNECT_S + _STALL_S)
        assert isinstance(first, int)
        return first

    def block(self, tick: Callable[[], None]) -> bytes | None:
        """The next bytes; None at the end. Raises StorageError."""
        found = self._next(tick, _STALL_S)
        assert found is None or isinstance(found, bytes)
        return found

    def stop(self) -> None:
        """Ends the thread as soon as it notices. Nobody waits for it."""
        self._stopped.set()

    def _next(self, tick: Callable[[], None], patience_s: float) -> int | bytes | None:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                found = self._queue.get(timeout=_TICK_S)
            except queue.Empty:
                tick()
                if time.monotonic() > deadline:
                    raise _BrokenError(
                        f"The server sent nothing of {self.name} for {patience_s:.0f} seconds.", _AGAIN
                    ) from None
                continue
            if isinstance(found, StorageError):
                raise found
            return found

    def _put(self, thing: int | bytes | StorageError | None) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(thing, timeout=_TICK_S)
                return
            except queue.Full:
                continue

    def run(self) -> None:
        try:
            with requests.Session() as session:
                self._run(session)
        except StorageError as error:
            self._put(error)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self._put(_BrokenError(f"The download of {self.name} failed ({_reason(error)}).", _AGAIN))

    def _run(self, session: requests.Session) -> None:
        with _open(session, self.url, self.name, self._headers()) as answer:
            start = self._start(answer)
            self.answer_tag = answer.headers.get("ETag")
            self._put(start)
            for block in answer.raw.stream(_BLOCK, decode_content=False):
                if self._stopped.is_set():
                    return
                self._put(block)
            self._put(None)

    def _headers(self) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "User-Agent": "sa3d"}
        if self.done:
            headers["Range"] = f"bytes={self.done}-"
            if self.tag is not None:
                headers["If-Range"] = self.tag  # a file that has changed comes from its start
        return headers

    def _start(self, answer: requests.Response) -> int:
        """Where the answer's bytes begin. Raises StorageError where they can't be the expected file's."""
        status = answer.status_code
        if status == 416:
            raise StorageError(
                f"The server's {self.name} is shorter than the {self.expected.size} bytes that are listed.", _BY_HAND
            )
        if status not in (200, 206) or (status == 206 and not self.done):
            raise StorageError(f"The server answered {status} for {self.name}.", _BY_HAND)
        if answer.headers.get("Content-Encoding", "identity") != "identity":
            raise StorageError(f"The server packs {self.name}, which was not asked for.", _BY_HAND)
        start = self.done if status == 206 else 0
        if status == 206:
            span = answer.headers.get("Content-Range", "")
            if not span.startswith(f"bytes {start}-"):
                raise StorageError(f"The server sent another part of {self.name} than was asked for.", _BY_HAND)
            total = span.rpartition("/")[2]
        else:
            total = answer.headers.get("Content-Length", "")
        if total.isdecimal() and int(total) != self.expected.size:
            raise StorageError(
                f"The server's {self.name} has {total} bytes; {self.expected.size} are listed.", _BY_HAND
            )
        return start


def _open(session: requests.Session, url: str, name: str, headers: dict[str, str]) -> requests.Response:
    """The answer behind all redirects, its body not yet read. Raises StorageError for redirects that aren't followed.

    Redirects are followed by hand: the scheme may go from http to https but never back, and never to a file.
    """
    for _ in range(_REDIRECTS + 1):
        answer = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=(_CONNECT_S, _STALL_S))
        if not answer.is_redirect:
            return answer
        onward = urljoin(url, answer.headers["location"])
        answer.close()
        before, after = urlsplit(url).scheme, urlsplit(onward).scheme
        if after != "https" and not (before == "http" and after == "http"):
            raise StorageError(
                f"The server sends {name} elsewhere, from {before}: to {after or 'nothing'}:, which is not followed.",
                _BY_HAND,
            )
        url = onward
    raise StorageError(f"The server redirects {name} more than {_REDIRECTS} times.", _BY_HAND)


def _check_room(folder: Path, needed: int, name: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_DISK:
        raise StorageError(
            f"{name} needs {needed / 1e6:.0f} MB more and {folder} has {free / 1e6:.0f} MB free.",
            "Free disk space, or choose a cache on another disk with --cache.",
        )


def _reason(error: Exception) -> str:
    """A library's exception in few words, without addresses of memory and nested class names."""
    text = str(error)
    for sign, words in (
        ("Connection refused", "connection refused"),
        ("Name or service not known", "the server's name is not known"),
        ("Failed to resolve", "the server's name is not known"),
        ("CERTIFICATE_VERIFY_FAILED", "the server's certificate is not trusted"),
        ("timed out", "the server does not answer"),
        ("IncompleteRead", "the connection was cut"),
        ("Connection reset", "the connection was cut"),
    ):
        if sign in text:
            return words
    return type(error).__name__


def _note_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> str | None:
    """The server's tag of the file that ``part`` is a part of, where one was noted."""
    try:
        tag = json.loads(_note_path(part).read_text(encoding="utf-8")).get("etag")
    except (OSError, ValueError, AttributeError):
        return None  # without the tag, the hash alone decides
    return tag if isinstance(tag, str) else None


def _write_note(part: Path, tag: str | None) -> None:
    note = _note_path(part)
    # A weak tag promises no identical bytes, so that it can't stand in If-Range.
    if tag is None or tag.startswith("W/"):
        note.unlink(missing_ok=True)
    else:
        note.write_text(json.dumps({"etag": tag}), encoding="utf-8")
