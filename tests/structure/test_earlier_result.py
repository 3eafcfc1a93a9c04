"""What of a folder counts as an earlier result, whatever its report says."""

from __future__ import annotations

import json

import pytest

from engine.structure.earlier_result import earlier_files, remove_files
from sa3d_blender.protocol.errors import StorageError

OWN = ("images", "transforms.json", "poses.json")
REPORT = {"placed": 3, "not_placed": {}, "error_px": 0.4}


@pytest.fixture
def out(tmp_path):
    """A result with one photo, beside a file that is the user's."""
    folder = tmp_path / "out"
    (folder / "images").mkdir(parents=True)
    (folder / "images/a.jpg").write_bytes(b"a")
    (folder / "poses.json").write_text(json.dumps(REPORT | {"files": ["images/a.jpg", "poses.json"]}))
    (tmp_path / "precious.txt").write_text("the user's own")
    return folder


def test_a_new_or_empty_folder_holds_no_earlier_result(tmp_path):
    assert earlier_files(tmp_path / "new", OWN) == set() == earlier_files(tmp_path, OWN)


def test_what_was_written_is_listed_and_removed_with_its_folder(out):
    assert earlier_files(out, OWN) == {"images/a.jpg", "poses.json"}
    remove_files(out, ["images/a.jpg"])
    assert not (out / "images").exists() and (out / "poses.json").exists()


def test_a_report_cannot_have_files_removed_that_are_not_a_results(out, tmp_path):
    (out / "images/link.jpg").symlink_to(tmp_path / "precious.txt")
    names = [
        "../precious.txt",
        str(tmp_path / "precious.txt"),
        "images/../../precious.txt",
        "images/link.jpg",
        "",
        7,
        "\0",
    ]
    (out / "poses.json").write_text(json.dumps(REPORT | {"files": names}))
    assert earlier_files(out, OWN) == set()


def test_a_report_of_an_older_version_names_its_photos_in_the_transforms(out):
    (out / "poses.json").write_text(json.dumps(REPORT))
    (out / "transforms.json").write_text(json.dumps({"frames": [{"file_path": "images/a.jpg"}, 3, {"mask_path": 1}]}))
    assert earlier_files(out, OWN) == {"images/a.jpg"}


@pytest.mark.parametrize("report", ["", "[]", "{}", '{"placed": 3}', "[" * 100_000])
def test_a_folder_whose_report_is_none_of_ours_is_refused(out, report):
    (out / "poses.json").write_text(report)
    with pytest.raises(StorageError, match="holds a capture already"):
        earlier_files(out, OWN)


def test_a_folder_with_other_things_is_refused(out):
    (out / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"notes\.txt"):
        earlier_files(out, OWN)
