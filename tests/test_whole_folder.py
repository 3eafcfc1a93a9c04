"""Several files that are written together: all of them or none, whatever happens in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine import whole_folder
from engine.cache import atomic_file
from engine.whole_folder import settle, written_together
from sa3d_blender.protocol.errors import StorageError


def put(folder: Path, text: str) -> None:
    for name in ("masks/a.png", "masks/b.png", "object.glb", "report.json"):
        with atomic_file(folder / name) as part:
            part.write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with written_together(tmp_path / "result") as part:
        put(part, "old")
    return tmp_path / "result"


def test_the_files_come_into_their_places_beside_what_else_is_there(old):
    (old / "notes.txt").write_text("mine")
    with written_together(old) as part:
        put(part, "new")
        assert set(contents(old).values()) == {"old", "new", "mine"}
    assert contents(old).pop("notes.txt") == "mine"
    assert sorted(contents(old).values()) == ["mine", *["new"] * 4]
    assert sorted(path.name for path in old.iterdir()) == ["masks", "notes.txt", "object.glb", "report.json"]


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("a bug")])
def test_after_an_error_everything_is_as_it_was(old, fault):
    before = contents(old)
    with pytest.raises(BaseException) as caught, written_together(old) as part:
        put(part, "new")
        with atomic_file(part / "scene.json"):
            raise fault
    assert contents(old) == before and len(list(old.iterdir())) == 3
    if isinstance(fault, OSError):
        assert isinstance(caught.value, StorageError)
        assert str(caught.value) == f"The disk that holds {old} is full. Free some space, then run again."


@pytest.mark.parametrize("moved", range(5))
def test_interrupted_while_files_are_moved_the_next_reader_moves_the_others(old, monkeypatch, moved):
    """As a kill: what comes after the ``moved``-th file doesn't happen."""
    done: list[Path] = []

    class Killed(BaseException):
        pass

    def replace(source: Path, target: Path) -> None:
        if len(done) == moved:
            raise Killed
        os.rename(source, target)
        done.append(target)

    with pytest.raises(Killed) if moved < 4 else pytest.MonkeyPatch.context(), written_together(old) as part:
        put(part, "new")
        monkeypatch.setattr(whole_folder.os, "replace", replace)
    monkeypatch.undo()
    settle(old)
    assert set(contents(old).values()) == {"new"} and len(contents(old)) == 4
    settle(old)
    assert len(list(old.iterdir())) == 3


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="Can't write") as caught, written_together(tmp_path / "file"):
        pass
    assert "--out" in caught.value.cure
