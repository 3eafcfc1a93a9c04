"""The door to the captures: which format a path is read as, and which view a name means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_captures import HEIGHT, WIDTH, refuses, ring, write_llff, write_photo, write_transforms

from engine.captures.capture import Camera, Capture, View
from engine.captures.load import find_view, load_capture
from sa3d_blender.protocol.errors import CaptureError, PromptError


def named(*names: str) -> Capture:
    """A capture whose views have these names, stems as unique_stems would give them where that matters."""
    cameras = [Camera(WIDTH, HEIGHT, 20.0, 20.0, 8.0, 6.0, pose) for pose in ring(len(names))]
    views = [
        View(name, name.replace("/", "_").removesuffix(".png"), Path(name), camera)
        for name, camera in zip(names, cameras, strict=True)
    ]
    return Capture(Path(), "transforms", tuple(views))


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("which", ["", "transforms.json"])
def test_a_folder_or_its_transforms_json_is_the_same_capture(tmp_path, which):
    capture = load_capture(write_transforms(tmp_path) / which)
    assert (capture.format, capture.root, len(capture)) == ("transforms", tmp_path, 4)


def test_a_json_file_of_another_name_is_read_like_a_transforms_json(tmp_path):
    (write_transforms(tmp_path) / "transforms.json").rename(tmp_path / "half.json")
    assert load_capture(tmp_path / "half.json").format == "transforms"
    refuses("known kind", tmp_path)


@pytest.mark.parametrize("which", ["", "poses_bounds.npy", "images_8"])
def test_llff_is_read_by_its_folder_its_file_or_its_photos(tmp_path, which):
    capture = load_capture(write_llff(tmp_path) / which)
    assert (capture.format, capture.root, len(capture)) == ("llff", tmp_path, 9)


def test_transforms_json_comes_before_poses_bounds(tmp_path):
    write_transforms(write_llff(tmp_path))
    assert load_capture(tmp_path).format == "transforms"
    assert load_capture(tmp_path / "images_8").format == "llff"


def test_a_relative_path_is_read_from_where_the_program_runs(tmp_path, monkeypatch):
    write_transforms(tmp_path / "scene")
    monkeypatch.chdir(tmp_path)
    capture = load_capture(Path("scene"))
    assert capture.root.is_absolute() and capture.views[0].image_path.is_file()


def test_reading_writes_nothing_into_the_capture(tmp_path):
    for write in (write_transforms, write_llff):
        folder = write(tmp_path / write.__name__)
        before = listing(folder)
        load_capture(folder)
        assert listing(folder) == before


@pytest.mark.parametrize("kind", ["missing", "empty", "photos only", "photo", "null byte"])
def test_a_path_that_is_no_capture_is_refused(tmp_path, kind):
    write_photo(tmp_path / "photos/0.png")
    (tmp_path / "empty").mkdir()
    path, word = {
        "missing": (tmp_path / "nowhere", "no capture at"),
        "empty": (tmp_path / "empty", "not a known kind"),
        "photos only": (tmp_path / "photos", "not a known kind"),
        "photo": (tmp_path / "photos/0.png", "not a capture's file"),
        "null byte": (Path("a\0b"), ""),
    }[kind]
    refuses(word, path)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    # Not by chmod: tests may run as root, who may read everything.
    def locked(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    write_transforms(tmp_path)
    monkeypatch.setattr(Path, "read_bytes", locked)
    with pytest.raises(CaptureError, match="Permission denied") as caught:
        load_capture(tmp_path)
    assert caught.value.cure


@pytest.mark.parametrize(
    "name",
    ["train/r_1.png", "./train/r_1.png", "train\\r_1.png", " train/r_1.png ", "train_r_1", "train/r_1"],
)
def test_a_view_is_found_by_its_name_or_stem_however_it_is_written(name):
    assert find_view(named("train/r_0.png", "train/r_1.png", "test/r_1.png"), name).name == "train/r_1.png"


@pytest.mark.parametrize("name", ["r_7.png", "r_7"])
def test_a_view_is_found_by_its_file_name_with_or_without_suffix(name):
    assert find_view(named("train/r_1.png", "test/r_7.png"), name).name == "test/r_7.png"


def test_an_exact_name_is_preferred_to_a_file_of_that_name_in_a_folder():
    assert find_view(named("old/a.png", "a.png"), "a.png").name == "a.png"


@pytest.mark.parametrize("name", ["r_1.png", "r_1"])
def test_a_name_that_several_views_have_is_refused_with_the_candidates(name):
    with pytest.raises(PromptError, match=r"2 views.*train/r_1\.png, test/r_1\.png") as caught:
        find_view(named("train/r_1.png", "test/r_1.png", "test/r_2.png"), name)
    assert "whole name" in caught.value.cure


@pytest.mark.parametrize("name", ["r_9.png", "", "R_1.png", "r_"])
def test_a_name_that_no_view_has_is_refused_with_examples(name):
    with pytest.raises(PromptError, match=r"no view .*a/r_0\.png, a/r_1\.png, a/r_2\.png and 1 more") as caught:
        find_view(named("a/r_0.png", "a/r_1.png", "a/r_2.png", "a/r_3.png"), name)
    assert caught.value.cure


def test_every_view_of_a_capture_is_found_by_its_name_and_by_its_stem(tiny_capture):
    capture = load_capture(tiny_capture.folder)
    for view in capture.views:
        assert find_view(capture, view.name) is view
        assert find_view(capture, view.stem) is view


@pytest.mark.parametrize(
    ("name", "format", "count", "size"),
    [
        ("tabletop", "transforms", 60, (400, 300)),
        ("fox", "transforms", 50, (1080, 1920)),
        ("lego400", "nerf_synthetic", 125, (400, 400)),
        ("horns", "llff", 62, (504, 378)),
        ("fern", "llff", 20, (504, 378)),
    ],
)
def test_the_shared_captures_are_read_whole(captures_dir, name, format, count, size):
    capture = load_capture(captures_dir / name)
    assert (capture.format, len(capture)) == (format, count)
    assert {(view.camera.width, view.camera.height) for view in capture.views} == {size}
    assert len({view.stem for view in capture.views}) == count
    assert capture.has_alpha == (name == "lego400")
    for view in capture.views:
        rotation = view.camera.world_from_camera[:3, :3]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)  # drift has been taken out
        assert view.image_path.is_file()
