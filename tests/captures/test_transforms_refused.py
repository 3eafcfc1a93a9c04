"""What is refused in a transforms.json: one bad view is left out, a capture of bad views is an error."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_captures import (
    FOCAL,
    HEIGHT,
    WIDTH,
    bomb,
    change,
    change_frames,
    read_all,
    refuses,
    truncate,
    write_photo,
    write_transforms,
)

from engine.captures.load import load_capture


def bend(frame: dict, factors: tuple[float, ...]) -> None:
    """Multiplies the columns of a frame's pose."""
    frame["transform_matrix"] = (np.array(frame["transform_matrix"]) * factors).tolist()


def move(frame: dict, position: tuple[float, float, float]) -> None:
    for row, value in zip(frame["transform_matrix"], position, strict=False):
        row[3] = value


BAD_FRAMES: dict[str, tuple[str, Callable[[dict], object]]] = {
    "NaN pose": ("not finite", lambda frame: move(frame, (math.nan, 0.0, 0.0))),
    "infinite pose": ("not finite", lambda frame: move(frame, (math.inf, 0.0, 0.0))),
    "mirrored pose": ("mirrored", lambda frame: bend(frame, (-1, 1, 1, 1))),
    "scaled pose": ("orthonormal", lambda frame: bend(frame, (0.5, 0.5, 0.5, 1))),
    "pose of zeros": ("orthonormal", lambda frame: bend(frame, (0, 0, 0, 1))),
    "no pose": ("4 x 4", lambda frame: frame.pop("transform_matrix")),
    "pose of words": ("not a matrix", lambda frame: frame.update(transform_matrix="somewhere")),
    "ragged pose": ("not a matrix", lambda frame: frame["transform_matrix"][1].pop()),
    "3 x 3 pose": ("4 x 4", lambda frame: frame.update(transform_matrix=np.eye(3).tolist())),
    "projective pose": ("last row", lambda frame: frame["transform_matrix"].__setitem__(3, [0, 0, 1, 1])),
    "camera far away": ("from the origin", lambda frame: move(frame, (1e9, 0.0, 0.0))),
    "focal length 0": ("focal length", lambda frame: frame.update(fl_x=0)),
    "negative focal length": ("focal length", lambda frame: frame.update(fl_y=-20.0)),
    "focal length of words": ("not a number", lambda frame: frame.update(fl_x="20")),
    "focal length true": ("not a number", lambda frame: frame.update(fl_x=True)),
    "focal length NaN": ("not a finite number", lambda frame: frame.update(fl_x=math.nan)),
    "integer beyond floats": ("not a finite number", lambda frame: frame.update(fl_x=10**400)),
    "width 0": ("0 pixels", lambda frame: frame.update(w=0)),
    "no file path": ("names no photo", lambda frame: frame.pop("file_path")),
    "empty file path": ("names no photo", lambda frame: frame.update(file_path=" ")),
    "the folder as file path": ("names no photo", lambda frame: frame.update(file_path="images/..")),
    "number as file path": ("names no photo", lambda frame: frame.update(file_path=7)),
    "null byte in file path": ("path", lambda frame: frame.update(file_path="images/\0.png")),
    "NaN in the lens": ("not a finite number", lambda frame: frame.update(k1=math.nan)),
}


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_a_capture_of_bad_views_is_refused(tmp_path, kind):
    word, edit = BAD_FRAMES[kind]
    change_frames(write_transforms(tmp_path), edit)
    refuses(word, tmp_path)


@pytest.mark.parametrize("kind", BAD_FRAMES)
def test_a_single_bad_view_is_left_out_with_one_warning(tmp_path, kind):
    word, edit = BAD_FRAMES[kind]
    change_frames(write_transforms(tmp_path, 5), edit, slice(2, 3))
    capture = read_all(tmp_path)
    assert [view.name for view in capture.views] == [f"images/{i}.png" for i in (0, 1, 3, 4)]
    assert len(capture.warnings) == 1
    assert "1 of 5" in capture.warnings[0] and word in capture.warnings[0]


def all_photos(folder: Path, spoil: Callable[[Path], object]) -> None:
    for path in (folder / "images").iterdir():
        spoil(path)


def link_out(folder: Path) -> None:
    (folder / "images/0.png").rename(folder.parent / "secret.png")
    (folder / "images/0.png").symlink_to(folder.parent / "secret.png")


def link_folder_out(folder: Path) -> None:
    (folder / "images").rename(folder.parent / "elsewhere")
    (folder / "images").symlink_to(folder.parent / "elsewhere", target_is_directory=True)


def link_out_by_suffix(folder: Path) -> None:
    link_out(folder)
    change_frames(folder, lambda frame: frame.update(file_path="images/0"), slice(1))


def path_out(folder: Path, written: str) -> None:
    write_photo(folder.parent / "secret.png")
    change_frames(folder, lambda frame: frame.update(file_path=written), slice(1))


def text(folder: Path, content: str) -> None:
    (folder / "transforms.json").write_text(content, encoding="utf-8")


def huge(folder: Path) -> None:
    with (folder / "transforms.json").open("r+b") as file:
        file.truncate(2**27)  # a sparse file: takes no room


BAD_CAPTURES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "not JSON": ("not valid JSON", lambda folder: text(folder, "{'frames': }")),
    "half a file": ("not valid JSON", lambda folder: truncate(folder / "transforms.json")),
    "empty file": ("not valid JSON", lambda folder: text(folder, "")),
    "not text": ("not valid JSON", lambda folder: (folder / "transforms.json").write_bytes(b"\xff\xfe\x00\x81")),
    "nested without end": ("not valid JSON", lambda folder: text(folder, "[" * 100_000)),
    "a list": ("no JSON object", lambda folder: text(folder, "[]")),
    "too large a file": ("128 MB", huge),
    "no frames": ("no frames", lambda folder: change(folder, lambda data: data.pop("frames"))),
    "zero cameras": ("no frames", lambda folder: change(folder, lambda data: data["frames"].clear())),
    "frames no list": ("no frames", lambda folder: change(folder, lambda data: data.update(frames={"a": 1}))),
    "frames no objects": ("not an object", lambda folder: change(folder, lambda data: data.update(frames=[1, 2, 3]))),
    "too many frames": ("limit", lambda folder: text(folder, json.dumps({"frames": [0] * 100_001}))),
    "two views": (
        "2 views, at least 3",
        lambda folder: change(folder, lambda data: data["frames"].__delitem__(slice(2))),
    ),
    "one view": (
        "1 view, at least 3",
        lambda folder: change(folder, lambda data: data["frames"].__delitem__(slice(3))),
    ),
    "all at one point": (
        "same point",
        lambda folder: change_frames(folder, lambda frame: move(frame, (1.0, 2.0, 3.0))),
    ),
    "no focal length": ("no focal length", lambda folder: change(folder, lambda d: (d.pop("fl_x"), d.pop("fl_y")))),
    "angle 0": ("camera_angle_x", lambda folder: change_frames(folder, lambda f: f.update(camera_angle_x=0))),
    "angle in degrees": ("camera_angle_x", lambda folder: change_frames(folder, lambda f: f.update(camera_angle_x=50))),
    "unknown lens": ("not supported", lambda folder: change(folder, lambda data: data.update(camera_model="EQUIRECT"))),
    "ambiguous lens": ("k4", lambda folder: change(folder, lambda data: data.update(camera_model="OPENCV", k4=0.1))),
    "splits no lists": (
        "train_filenames",
        lambda folder: change(folder, lambda data: data.update(train_filenames="a")),
    ),
    "photos all missing": ("None of the 4", lambda folder: all_photos(folder, Path.unlink)),
    "path leaving the folder": ("outside", lambda folder: path_out(folder, "../secret.png")),
    "path leaving by a detour": ("outside", lambda folder: path_out(folder, "images/../../secret.png")),
    "path leaving by backslashes": ("outside", lambda folder: path_out(folder, "..\\secret.png")),
    "absolute path": ("outside", lambda folder: path_out(folder, str(folder.parent / "secret.png"))),
    "absolute path into the folder": ("outside", lambda folder: path_out(folder, str(folder / "images/0.png"))),
    "drive letter": ("outside", lambda folder: path_out(folder, "C:\\secret.png")),
    "symbolic link out": ("outside", link_out),
    "symbolic link out by its suffix": ("outside", link_out_by_suffix),
    "folder linked out": ("outside", link_folder_out),
    "truncated photo": ("0.png is damaged", lambda folder: truncate(folder / "images/0.png")),
    "cropped photo": ("13 x 12 pixels", lambda folder: write_photo(folder / "images/0.png", (13, 12))),
    "turned photo": ("turned", lambda folder: write_photo(folder / "images/0.png", (HEIGHT, WIDTH))),
    "not images": ("not an image", lambda folder: all_photos(folder, lambda path: path.write_text("a photo"))),
    "empty photos": ("not an image", lambda folder: all_photos(folder, lambda path: path.write_bytes(b""))),
    "bombs": ("megapixels", lambda folder: all_photos(folder, bomb)),
}


@pytest.mark.parametrize("kind", BAD_CAPTURES)
def test_a_capture_that_can_not_be_used_is_refused(tmp_path, kind):
    word, damage = BAD_CAPTURES[kind]
    folder = write_transforms(tmp_path / "scene")
    read_all(folder)  # it is the damage that is refused
    damage(folder)
    refuses(word, folder)


def test_the_folder_as_a_photo_s_path_does_not_reach_a_photo_beside_the_folder(tmp_path):
    folder = write_transforms(tmp_path / "scene")
    write_photo(tmp_path / "scene.png")
    change_frames(folder, lambda frame: frame.update(file_path="."), slice(1))
    capture = load_capture(folder)
    assert len(capture) == 3 and all(view.image_path.is_relative_to(folder) for view in capture.views)


@pytest.mark.parametrize("spoil", [bomb, lambda path: path.write_text("a photo")], ids=["bomb", "no image"])
def test_a_single_photo_of_no_use_is_left_out_with_one_warning(tmp_path, spoil):
    spoil(write_transforms(tmp_path) / "images/1.png")
    capture = read_all(tmp_path)
    assert [view.stem for view in capture.views] == ["0", "2", "3"]
    assert len(capture.warnings) == 1 and "images/1.png" in capture.warnings[0]


def test_links_that_stay_in_the_capture_are_followed(tmp_path):
    folder = write_transforms(tmp_path / "scene")
    (folder / "images/0.png").rename(folder / "kept.png")
    (folder / "images/0.png").symlink_to(folder / "kept.png")
    assert len(read_all(folder)) == 4


def test_a_capture_reached_through_a_link_is_read(tmp_path):
    write_transforms(tmp_path / "scene")
    (tmp_path / "link").symlink_to(tmp_path / "scene", target_is_directory=True)
    assert len(read_all(tmp_path / "link")) == 4


def test_a_lens_that_folds_before_the_border_is_noted(tmp_path):
    write_transforms(tmp_path, fl_x=FOCAL, k1=-1.5)
    capture = load_capture(tmp_path)
    assert len(capture.warnings) == 1 and "border" in capture.warnings[0]


def test_wrong_size_is_said_in_both_numbers(tmp_path):
    write_photo(write_transforms(tmp_path) / "images/0.png", (WIDTH, HEIGHT + 4))
    error = refuses("16 x 16", tmp_path)
    assert "16 x 12" in error.what and "uncropped" in error.cure
