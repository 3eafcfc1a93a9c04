"""COLMAP models as pycolmap writes them: cameras, lenses, points and photos are found wherever people keep them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from colmap_models import POINTS, reconstruction, write_colmap
from PIL import Image
from small_captures import HEIGHT, WIDTH, llff_rows, refuses, ring, write_llff, write_photo

from engine.captures.load import load_capture

KINDS = ["bin", "txt"]


@pytest.mark.parametrize("kind", KINDS)
def test_cameras_points_and_names_are_those_of_the_model(tmp_path, kind):
    capture = load_capture(write_colmap(tmp_path, kind=kind))
    assert (capture.format, capture.root, capture.warnings) == ("colmap", tmp_path, ())
    assert [view.name for view in capture.views] == [f"images/{i}.png" for i in range(5)]
    for view, pose in zip(capture.views, ring(5), strict=True):
        np.testing.assert_allclose(view.camera.world_from_camera, pose, atol=1e-12)
        assert (view.camera.model, view.camera.fl_x, view.camera.cx, view.camera.cy) == ("pinhole", 20, 8, 6)
    np.testing.assert_allclose(sorted(capture.points.xyz.tolist()), sorted(POINTS.tolist()), atol=1e-12)
    assert set(capture.points.count) == {3}
    assert {tuple(rgb[:2]) for rgb in capture.points.rgb.tolist()} == {(10, 20)}


@pytest.mark.parametrize("where", ["sparse/0", "sparse", "colmap/sparse/0", ""])
def test_a_model_is_found_where_programs_put_it(tmp_path, where):
    write_colmap(tmp_path / "scene", where=where)
    capture = load_capture(tmp_path / "scene")
    assert (capture.root, len(capture), len(capture.points)) == (tmp_path / "scene", 5, 40)
    assert load_capture(tmp_path / "scene" / where).root == tmp_path / "scene"
    assert load_capture(tmp_path / "scene" / where / "cameras.bin").root == tmp_path / "scene"


def test_photos_may_lie_beside_the_model_without_a_folder(tmp_path):
    capture = load_capture(write_colmap(tmp_path, images="."))
    assert capture.views[0].name == "0.png"


def test_another_folder_of_photos_may_be_chosen_and_scales_the_cameras(tmp_path):
    write_colmap(tmp_path)
    for i in range(5):
        write_photo(tmp_path / "images_2" / f"{i}.png", (WIDTH // 2, HEIGHT // 2))
    capture = load_capture(tmp_path / "images_2")
    assert capture.format == "colmap" and capture.views[0].name == "images_2/0.png"
    assert (capture.views[0].camera.width, capture.views[0].camera.fl_x) == (8, 10)
    assert load_capture(tmp_path).views[0].camera.width == 16


def test_the_largest_of_several_models_is_taken(tmp_path):
    write_colmap(tmp_path, count=3)
    write_colmap(tmp_path, count=6, where="sparse/1")
    assert len(load_capture(tmp_path)) == 6
    assert len(load_capture(tmp_path / "sparse/0")) == 3


def test_photos_that_are_missing_are_left_out_with_a_warning(tmp_path):
    write_colmap(tmp_path)
    (tmp_path / "images/4.png").unlink()
    capture = load_capture(tmp_path)
    assert len(capture) == 4 and "1 of 5 photos of the COLMAP model are missing" in capture.warnings[0]
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    refuses("None of the 5 photos", tmp_path)


def test_poses_bounds_come_before_a_model_and_take_its_points_if_it_is_of_the_same_world(tmp_path):
    write_llff(tmp_path / "same", count=9)
    write_colmap(tmp_path / "same", count=9, images="images_8")
    for i in range(9):
        (tmp_path / "same/images_8" / f"{i}.png").unlink()
    capture = load_capture(tmp_path / "same")  # the model names 0.png, the rows IMG_00.png: they go by order
    assert capture.format == "llff" and len(capture.points) == 40
    rows = llff_rows(ring(9, radius=3.0), 96, 128, 160)
    np.save(tmp_path / "same/poses_bounds.npy", rows)
    capture = load_capture(tmp_path / "same")
    assert capture.points is None and "cameras stand elsewhere" in capture.warnings[-1]


def test_a_damaged_model_beside_poses_bounds_costs_the_points_only(tmp_path):
    write_llff(tmp_path)
    write_colmap(tmp_path, count=9)
    (tmp_path / "sparse/0/images.bin").write_bytes(b"\xff" * 20)
    capture = load_capture(tmp_path / "images_8")
    assert capture.format == "llff" and "images.bin" in capture.warnings[-1]


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin"])
def test_a_count_that_the_file_cannot_hold_is_refused(tmp_path, file):
    path = write_colmap(tmp_path) / "sparse/0" / file
    data = path.read_bytes()
    for count in (10**6, 2**63 + 5, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", count) + data[8:])
        refuses("claims", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", ["cameras", "images"])
def test_half_a_file_is_refused(tmp_path, kind, file):
    path = write_colmap(tmp_path, kind=kind) / "sparse/0" / f"{file}.{kind}"
    data = path.read_bytes()
    keep = len(data) // 2 if kind == "bin" else data.index(b"0.png" if file == "images" else b"PINHOLE") - 3
    path.write_bytes(data[:keep])
    refuses(f"{file}.{kind}", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_points_that_cannot_be_read_cost_the_points_only(tmp_path, kind):
    path = write_colmap(tmp_path, kind=kind) / f"sparse/0/points3D.{kind}"
    path.write_bytes(b"\xff" * 20)
    capture = load_capture(tmp_path)
    assert capture.points is None and len(capture) == 5
    assert len(capture.warnings) == 1 and f"points3D.{kind}" in capture.warnings[0]


def test_a_count_of_2d_points_beyond_the_end_is_refused_without_reading_them(tmp_path):
    path = write_colmap(tmp_path) / "sparse/0/images.bin"
    data = bytearray(path.read_bytes())
    at = data.index(b"0.png\0") + 6
    data[at : at + 8] = struct.pack("<Q", 2**62)
    path.write_bytes(data)
    refuses("ends too early", tmp_path)


def test_a_name_without_an_end_is_refused(tmp_path):
    path = write_colmap(tmp_path) / "sparse/0/images.bin"
    path.write_bytes(path.read_bytes()[:72] + b"a" * 100_000)
    refuses("name has more than", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("PINHOLE", "PINHOOL", "PINHOOL"),
        ("16 12", "16 twelve", "not what it should be"),
        ("16 12", "0 12", "0 x 12"),
        ("16 12", "99999999 99999999", "99999999"),
        ("20 20", "nan 20", "not finite"),
        ("20 20", "-20 20", "focal length is -20"),
        ("20 20", "20", "3 parameters"),
        ("20 20 8 6", "20 20 8 " + "6" * 6000, "more than"),
    ],
)
def test_a_camera_that_makes_no_sense_is_refused(tmp_path, old, new, word):
    path = write_colmap(tmp_path, kind="txt") / "sparse/0/cameras.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    refuses(word, tmp_path)


def test_photos_outside_of_the_folder_are_refused(tmp_path):
    for name, word in (("../0.png", "outside"), ("/etc/hostname", "outside")):
        folder = tmp_path / name.replace("/", "_").strip(".")
        write_colmap(folder)
        names = [name, *(f"{i}.png" for i in range(1, 5))]
        reconstruction(ring(5), names).write_binary(str(folder / "sparse/0"))
        refuses(word, folder)


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin", "points3D.bin"])
def test_a_model_behind_a_link_out_of_the_folder_is_refused(tmp_path, file):
    path = write_colmap(tmp_path / "scene") / "sparse/0" / file
    path.rename(tmp_path / file)
    path.symlink_to(tmp_path / file)
    refuses("outside", tmp_path / "scene")


def test_points_that_are_no_numbers_are_left_out_with_a_warning(tmp_path):
    path = write_colmap(tmp_path, kind="txt") / "sparse/0/points3D.txt"
    path.write_text(path.read_text() + "99 nan 0 0 1 2 3 0.5 1 1\n100 1e9 0 0 1 2 3 0.5 1 1\n")
    capture = load_capture(tmp_path)
    assert len(capture.points) == 40 and "points3D.txt are left out; 40 are used" in capture.warnings[0]


def test_a_model_without_points_is_a_capture_without_points(tmp_path):
    (write_colmap(tmp_path) / "sparse/0/points3D.bin").unlink()
    assert load_capture(tmp_path).points is None


def test_a_quaternion_that_is_none_costs_the_view(tmp_path):
    path = write_colmap(tmp_path) / "sparse/0/images.bin"
    data = bytearray(path.read_bytes())
    data[12:44] = struct.pack("<4d", 0, 0, 0, 0)
    path.write_bytes(data)
    capture = load_capture(tmp_path)
    assert len(capture) == 4 and "quaternion" in capture.warnings[0]


def write_masks(folder: Path, value: int = 255) -> None:
    (folder / "masks").mkdir()
    for i in range(5):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[3 + i % 2 : 9, 3:9] = value
        Image.fromarray(mask).save(folder / "masks" / f"{i}.png")


def test_a_folder_of_black_and_white_masks_is_used(tmp_path):
    write_masks(write_colmap(tmp_path))
    capture = load_capture(tmp_path)
    assert capture.views[2].mask_path == tmp_path / "masks/2.png"
    assert "masks cut out one thing" in capture.warnings[-1]


@pytest.mark.parametrize("case", ["instances", "objects.json", "one missing", "of another size", "link out"])
def test_masks_that_mean_something_else_are_not_used(tmp_path, case):
    folder = write_colmap(tmp_path / "scene")
    write_masks(folder, 3 if case == "instances" else 255)
    if case == "objects.json":
        (folder / "objects.json").write_text("{}")
    elif case == "one missing":
        (folder / "masks/1.png").unlink()
    elif case == "of another size":
        write_photo(folder / "masks/1.png", (8, 8))
    elif case == "link out":
        os.rename(folder / "masks", tmp_path / "masks")
        (folder / "masks").symlink_to(tmp_path / "masks")
        refuses("outside", folder)
        return
    capture = load_capture(folder)
    assert all(view.mask_path is None for view in capture.views)
    assert (len(capture.warnings) == 0) == (case == "objects.json")
