"""The real engine where it is cramped: odd folders, a full disk, a read-only one."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from sa3d_blender.client.process import ProcessTransport
from sa3d_blender.client.session import Session
from sa3d_blender.protocol.messages import Failure, Result
from tests.helpers.cramped import ODD, fill, mounted, read_only
from tests.helpers.quick_engine import quick_command
from tests.helpers.tiny_capture import TinyCapture
from tests.helpers.wholeness import assert_whole

LONG = 600.0
Start = Callable[..., Session]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts engines with a cache; they are ended after the test."""
    sessions: list[Session] = []

    def begin(cache: Path, steps: int = 300) -> Session:
        sessions.append(Session(lambda: ProcessTransport(quick_command(cache, steps=steps))))
        sessions[-1].start()
        return sessions[-1]

    yield begin
    for session in sessions:
        session.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB."""
    with mounted(tmp_path / "small disk", "-t", "tmpfs", "-o", "size=24m", "tmpfs") as folder:
        yield folder


@dataclass(frozen=True)
class Home:
    """A folder with an odd name, and in it a capture, a cache with its field, and a result."""

    capture: TinyCapture
    cache: Path
    result: Path
    described: dict[str, Any]
    shaped: Any


@pytest.fixture(scope="module")
def home(tiny_capture: TinyCapture, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """What an engine made of a capture in such a folder."""
    folder = tmp_path_factory.mktemp("odd") / ODD
    shutil.copytree(tiny_capture.folder, folder / "Aufnahme ü")
    capture = replace(tiny_capture, folder=folder / "Aufnahme ü")
    cache, out = folder / "Zwischenspeicher ß", folder / "Ergebnis ä"
    session = Session(lambda: ProcessTransport(quick_command(cache)))
    session.start()
    try:
        described = session.wait(session.request("open_capture", {"path": str(capture.folder)}), LONG)
        made = session.wait(session.request("segment", asks(capture, out)), LONG)
        shaped = session.wait(session.request("shape", {"result": str(out)}), LONG)
    finally:
        session.close()
    assert isinstance(described, Result) and isinstance(made, Result), (described, made)
    return Home(capture, cache, Path(made.body["result"]), dict(described.body), shaped)


def asks(tiny: TinyCapture, out: Path, **more: Any) -> dict[str, Any]:
    """A request to segment the ball."""
    x, y = tiny.centre_px("ball", 4)
    body = {"capture": str(tiny.folder), "view": "004", "points": [[x, y, 1], [x + 4, y + 3, 1]], "out": str(out)}
    return body | {"segmenter": "graph-cut", "device": "cpu"} | more


@pytest.mark.timeout(LONG)
def test_folders_with_spaces_umlauts_and_two_hundred_letters_hold_captures_caches_and_results(home):
    assert len(home.described["views"]) == 20
    assert home.described["capture_root"] == str(home.capture.folder)
    assert home.result.name == "Ergebnis ä" and (home.result / "object.glb").is_file()
    assert isinstance(home.shaped, Result), home.shaped
    assert len(list(home.cache.rglob("*.safetensors"))) > 20
    assert_whole(home.cache, home.result)


@pytest.mark.timeout(LONG)
def test_a_disk_that_is_full_when_the_field_is_written_is_said_and_nothing_is_half_written(
    tiny_capture, start, small_disk
):
    session = start(small_disk / "cache", steps=20)
    said = []
    for free in (0, 100_000):  # the field takes 5 MB
        filler = fill(small_disk, free)
        said.append(session.wait(session.request("segment", asks(tiny_capture, small_disk / "result")), LONG))
        assert_whole(small_disk / "cache")
        assert not list(small_disk.rglob("*.safetensors")) and not (small_disk / "result").exists()
        filler.unlink()
    for answer in said:
        assert isinstance(answer, Failure) and answer.code == "storage", answer
        assert re.fullmatch(r"The disk that holds \S.* is full\.", answer.what)
        assert answer.cure == "Free some space, then run again."
    assert "field.safetensors" in said[1].what
    assert session.state == "ready"


@pytest.mark.timeout(LONG)
def test_a_disk_that_is_full_when_the_result_is_written_leaves_the_earlier_result_as_it_was(home, start, small_disk):
    out = small_disk / "result"
    shutil.copytree(home.result, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    session = start(home.cache)
    for free in (0, 30_000):
        filler = fill(small_disk, free)
        answer = session.wait(session.request("segment", asks(home.capture, out)), LONG)
        assert isinstance(answer, Failure) and answer.what == f"The disk that holds {out} is full.", answer
        assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
        filler.unlink()
    again = session.wait(session.request("segment", asks(home.capture, out)), LONG)
    assert isinstance(again, Result), again
    assert_whole(out)


@pytest.mark.timeout(LONG)
def test_folders_that_cannot_be_written_are_said_in_one_sentence(home, start, tmp_path):
    session = start(home.cache)
    with read_only(home.result, tmp_path / "no writing") as out:
        answer = session.wait(session.request("segment", asks(home.capture, out)), LONG)
    assert isinstance(answer, Failure) and answer.code == "storage", answer
    assert answer.what == f"Can't write {out}: Read-only file system." and "--out" in answer.cure
    with read_only(home.cache, tmp_path / "no cache") as cache:
        session = start(cache)
        answer = session.wait(session.request("segment", asks(home.capture, tmp_path / "out", quality="good")), LONG)
    assert isinstance(answer, Failure) and answer.code == "storage", answer
    assert "Can't write" in answer.what and "Read-only" in answer.what and "--cache" in answer.cure
