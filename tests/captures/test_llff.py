"""poses_bounds.npy with 17 or 14 columns, the photos it goes with, and what is refused in it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_captures import (
    FOCAL,
    HEIGHT,
    WIDTH,
    bomb,
    llff_rows,
    read_all,
    refuses,
    ring,
    says_what_and_cure,
    truncate,
    write_llff,
    write_photo,
)

from engine.captures.llff import TEST_EVERY, read_llff
from engine.captures.load import load_capture
from sa3d_blender.protocol.errors import CaptureError


def intrinsics(camera) -> tuple[float, ...]:
    return camera.width, camera.height, camera.fl_x, camera.fl_y, camera.cx, camera.cy


def table(folder: Path) -> np.ndarray:
    return np.load(folder / "poses_bounds.npy")


def rewrite(folder: Path, edit: Callable[[np.ndarray], np.ndarray | None]) -> None:
    """Edits the rows of the folder's poses_bounds.npy, in place or into new ones."""
    rows = table(folder)
    new = edit(rows)
    np.save(folder / "poses_bounds.npy", rows if new is None else new)


def without_hwf(rows: np.ndarray) -> np.ndarray:
    """N x 17 to N x 14."""
    matrices = rows[:, :15].reshape(-1, 3, 5)[:, :, :4].reshape(-1, 12)
    return np.concatenate([matrices, rows[:, 15:]], axis=1)


# What is read.


def test_seventeen_columns_with_photos_an_eighth_as_large(tmp_path):
    capture = load_capture(write_llff(tmp_path))
    assert (capture.format, capture.warnings, capture.extra["images"]) == ("llff", (), "images_8")
    for i, (view, pose) in enumerate(zip(capture.views, ring(9), strict=True)):
        assert (view.name, view.stem) == (f"images_8/IMG_{i:02d}.png", f"IMG_{i:02d}")
        assert intrinsics(view.camera) == pytest.approx((WIDTH, HEIGHT, FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2))
        np.testing.assert_allclose(view.camera.world_from_camera, pose, atol=1e-12)
        assert view.near_far == (1.5, 6.0)


def test_every_eighth_view_is_held_out(tmp_path):
    splits = [view.split for view in load_capture(write_llff(tmp_path, 17)).views]
    assert TEST_EVERY == 8
    assert [i for i, split in enumerate(splits) if split == "test"] == [0, 8, 16]
    assert splits.count("train") == 14


@pytest.mark.parametrize(
    ("hwf", "expected"),
    [
        ((96, 128, 160), (16, 12, 20, 20, 8, 6)),
        ((96, 128, 160, 60, 50), (16, 12, 20, 20, 7.5, 6.25)),
        ((96, 128, 160, 168, 60, 50), (16, 12, 20, 21, 7.5, 6.25)),
        ([[96.0], [128.0], [160.0]], (16, 12, 20, 20, 8, 6)),
    ],
    ids=["h w f", "h w f cx cy", "h w fx fy cx cy", "a column"],
)
def test_fourteen_columns_with_hwf_cxcy_beside_them(tmp_path, hwf, expected):
    rewrite(write_llff(tmp_path), without_hwf)
    np.save(tmp_path / "hwf_cxcy.npy", np.array(hwf))
    for view, pose in zip(load_capture(tmp_path).views, ring(9), strict=True):
        assert intrinsics(view.camera) == pytest.approx(expected)
        np.testing.assert_allclose(view.camera.world_from_camera, pose, atol=1e-12)
        assert view.near_far == (1.5, 6.0)


def test_of_several_folders_of_photos_the_largest_are_read_unless_another_is_chosen(tmp_path):
    write_llff(tmp_path)
    for i in range(9):
        write_photo(tmp_path / f"images_4/IMG_{i:02d}.png", (2 * WIDTH, 2 * HEIGHT))
        write_photo(tmp_path / f"masks/IMG_{i:02d}.png", (4 * WIDTH, 4 * HEIGHT))  # no folder of photos by its name
    assert intrinsics(load_capture(tmp_path).views[0].camera) == pytest.approx((32, 24, 40, 40, 16, 12))
    assert intrinsics(load_capture(tmp_path / "images_8").views[0].camera) == pytest.approx((16, 12, 20, 20, 8, 6))
    assert read_llff(tmp_path, "images_8").extra["images"] == "images_8"


def test_files_that_are_no_photos_do_not_count_as_rows(tmp_path):
    write_llff(tmp_path)
    (tmp_path / "images_8/notes.txt").write_text("nothing")
    (tmp_path / "images_8/.IMG_00.png").write_bytes(b"what some systems leave behind")
    assert len(load_capture(tmp_path)) == 9


def test_depths_of_no_use_are_left_out_and_said(tmp_path):
    def spoil(rows: np.ndarray) -> None:
        rows[1, -2:] = np.nan, 5
        rows[2, -2:] = 5, 2
        rows[3, -2:] = 0, 2

    rewrite(write_llff(tmp_path), spoil)
    capture = load_capture(tmp_path)
    assert [view.near_far is None for view in capture.views] == [False, True, True, True, *[False] * 5]
    assert len(capture.warnings) == 1 and "3 of 9" in capture.warnings[0] and "near and far" in capture.warnings[0]


def test_horns_is_scaled_to_its_eighth(captures_dir):
    capture = load_capture(captures_dir / "horns")
    rows = table(captures_dir / "horns")
    camera = capture.views[3].camera
    assert camera.fl_x == pytest.approx(rows[3, 14] * 504 / 4032)
    assert (camera.cx, camera.cy) == (252, 189)
    np.testing.assert_allclose(camera.position, rows[3, [3, 8, 13]])
    ups = np.array([view.camera.world_from_camera[:3, 1] for view in capture.views])
    forwards = np.array([view.camera.forward for view in capture.views])
    assert (ups @ ups[0] > 0.8).all() and (forwards @ forwards[0] > 0.5).all()  # axes put together wrongly scatter


# What is refused.


def npy(header: str) -> bytes:
    """A file of NumPy's with any header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def saved(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def set_column(column: int, value: float) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, lambda rows: rows[:, column].fill(value))


def written(content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "poses_bounds.npy").write_bytes(content)


def fourteen(hwf: object = None) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        rewrite(folder, without_hwf)
        if hwf is not None:
            np.save(folder / "hwf_cxcy.npy", np.array(hwf))

    return damage


def link_out(folder: Path) -> None:
    (folder / "images_8").rename(folder.parent / "elsewhere")
    (folder / "images_8").symlink_to(folder.parent / "elsewhere", target_is_directory=True)


def link_photo_out(folder: Path) -> None:
    (folder / "images_8/IMG_04.png").rename(folder.parent / "secret.png")
    (folder / "images_8/IMG_04.png").symlink_to(folder.parent / "secret.png")


def test_a_first_photo_that_leads_out_is_not_even_looked_at(tmp_path):
    folder = write_llff(tmp_path / "scene")
    (tmp_path / "secret.txt").write_text("no picture, as would be said of it")
    first = tmp_path / "scene/images_8/IMG_00.png"
    first.unlink()
    first.symlink_to(tmp_path / "secret.txt")
    with pytest.raises(CaptureError, match="outside"):
        load_capture(folder)


def photo(name: str) -> Callable[[Path], Path]:
    return lambda folder: folder / "images_8" / name


def empty(folder: Path) -> None:
    for path in (folder / "images_8").iterdir():
        path.unlink()


def mirror(rows: np.ndarray) -> None:
    rows[:, [0, 5, 10]] *= -1


def two_views(folder: Path) -> None:
    rewrite(folder, lambda rows: rows[:2])
    for i in range(2, 9):
        photo(f"IMG_{i:02d}.png")(folder).unlink()


BAD_CAPTURES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "wrong columns": ("9 x 16", lambda folder: rewrite(folder, lambda rows: rows[:, :16])),
    "one row as a vector": ("shape 17", lambda folder: rewrite(folder, lambda rows: rows[0])),
    "three dimensions": ("9 x 17 x 1", lambda folder: rewrite(folder, lambda rows: rows[..., None])),
    "too few rows": ("8 rows", lambda folder: rewrite(folder, lambda rows: rows[1:])),
    "zero cameras": ("0 rows", lambda folder: rewrite(folder, lambda rows: rows[:0])),
    "too many rows": ("limit", lambda folder: rewrite(folder, lambda rows: np.zeros((100_001, 17)))),
    "a photo too many": ("10 photos", lambda folder: write_photo(folder / "images_8/IMG_99.png")),
    "two views": ("2 views, at least 3", two_views),
    "NaN": ("not finite", set_column(3, np.nan)),
    "all NaN": ("not finite", lambda folder: rewrite(folder, lambda rows: rows * np.nan)),
    "infinite focal length": ("not finite", set_column(14, np.inf)),
    "focal length 0": ("focal length is 0", set_column(14, 0)),
    "height 0": ("x 0 pixels", set_column(4, 0)),
    "mirrored poses": ("mirrored", lambda folder: rewrite(folder, mirror)),
    "scaled poses": ("orthonormal", lambda folder: rewrite(folder, lambda rows: rows * 2)),
    "all at one point": (
        "same point",
        lambda folder: np.save(folder / "poses_bounds.npy", llff_rows([ring(9)[0]] * 9, 96, 128, 160)),
    ),
    "no hwf_cxcy.npy": ("no hwf_cxcy.npy", fourteen()),
    "four numbers in hwf_cxcy.npy": ("4 numbers", fourteen((96, 128, 160, 60))),
    "NaN in hwf_cxcy.npy": ("not finite", fourteen((96, 128, np.nan))),
    "words in hwf_cxcy.npy": ("hwf_cxcy.npy is not an array", fourteen(("a", "b", "c"))),
    "no photos": ("no photos beside", empty),
    "photos linked out": ("outside", link_out),
    "a photo linked out": ("outside", link_photo_out),
    "cropped photo": ("13 x 12", lambda folder: write_photo(photo("IMG_04.png")(folder), (13, 12))),
    "turned photo": ("12 x 16", lambda folder: write_photo(photo("IMG_04.png")(folder), (HEIGHT, WIDTH))),
    "truncated photo": ("IMG_04.png is damaged", lambda folder: truncate(photo("IMG_04.png")(folder))),
    "no image": ("not an image", lambda folder: photo("IMG_04.png")(folder).write_text("a photo")),
    "bomb": ("megapixels", lambda folder: bomb(photo("IMG_04.png")(folder))),
    "empty file": ("not an array", written(b"")),
    "text": ("not an array", written(b"poses")),
    "half a file": ("not an array", lambda folder: truncate(folder / "poses_bounds.npy")),
    "a zip file": ("not an array", written(b"PK\x03\x04 and so on")),
    "an empty zip file": ("not an array", written(b"PK\x05\x06" + bytes(18))),
    "pickled objects": ("not an array", written(saved(np.array([1, None], dtype=object)))),
    "complex numbers": ("not an array", written(saved(np.ones((9, 17), dtype=np.complex64)))),
    "dates": ("not an array", written(saved(np.array(["2020-01-01"], dtype="M8[D]")))),
    "an unclosed header": ("not an array", written(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9"))),
    "more rows than there is memory": (
        "not an array",
        written(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 17)}\n")),
    ),
    "more rows than integers": (
        "not an array",
        written(npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1" + "0" * 30 + ", 17)}\n")),
    ),
}


@pytest.mark.parametrize("kind", BAD_CAPTURES)
def test_a_capture_that_can_not_be_used_is_refused(tmp_path, kind):
    word, damage = BAD_CAPTURES[kind]
    folder = write_llff(tmp_path / "scene")
    read_all(folder)  # it is the damage that is refused
    damage(folder)
    refuses(word, folder)


def test_a_single_bad_pose_is_left_out_and_the_others_keep_their_photos_and_splits(tmp_path):
    rewrite(write_llff(tmp_path), lambda rows: rows[2, :12].fill(np.nan))
    capture = load_capture(tmp_path)
    assert [view.stem for view in capture.views] == [f"IMG_{i:02d}" for i in range(9) if i != 2]
    assert [view.stem for view in capture.views if view.split == "test"] == ["IMG_00", "IMG_08"]
    assert len(capture.warnings) == 1 and "images_8/IMG_02.png" in capture.warnings[0]
    np.testing.assert_allclose(capture.views[2].camera.world_from_camera, ring(9)[3], atol=1e-12)


@pytest.mark.parametrize(("images", "word"), [("images_3", "no photos"), ("../other", "outside"), ("", "not the name")])
def test_a_folder_of_photos_that_is_not_there_is_refused(tmp_path, images, word):
    with pytest.raises(CaptureError) as caught:
        read_llff(write_llff(tmp_path), images)
    says_what_and_cure(caught.value, word)
