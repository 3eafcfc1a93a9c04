"""The checks that readers share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.captures.images import PhotoHeader
from engine.captures.validate import (
    MAX_JSON_BYTES,
    BadView,
    Draft,
    assemble,
    examples,
    fitted,
    inside,
    keep_good,
    number,
    read_json,
    rigid_pose,
    unique_stems,
)
from sa3d_blender.protocol.errors import CaptureError


def changed(pose: np.ndarray, **at: float) -> list:
    """``pose`` with some entries replaced: changed(pose, at12=3.0)."""
    result = pose.tolist()
    for place, value in at.items():
        result[int(place[2])][int(place[3])] = value
    return result


def test_a_rigid_pose_is_returned_as_it_is(ring):
    np.testing.assert_allclose(rigid_pose(ring[0].tolist()), ring[0], atol=1e-12)
    np.testing.assert_allclose(rigid_pose(ring[0][:3].tolist()), ring[0], atol=1e-12)


def test_small_drift_of_a_rotation_is_taken_out(ring):
    pose = ring[2].copy()
    pose[:3, :3] += np.random.default_rng(0).uniform(-1e-3, 1e-3, (3, 3))
    clean = rigid_pose(pose.tolist())
    np.testing.assert_allclose(clean[:3, :3].T @ clean[:3, :3], np.eye(3), atol=1e-12)
    assert np.linalg.det(clean) == pytest.approx(1)
    np.testing.assert_allclose(clean, pose, atol=3e-3)  # the nearest rotation moves entries no more than the drift did


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: changed(p, at03=float("nan")), "not finite"),
        (lambda p: changed(p, at00=float("inf")), "not finite"),
        (lambda p: (p @ np.diag([1, 1, -1, 1])).tolist(), "mirrored"),
        (lambda p: (p @ np.diag([1.02, 1, 1, 1])).tolist(), "not orthonormal"),
        (lambda p: (p @ np.diag([0, 0, 0, 1])).tolist(), "not orthonormal"),
        (lambda p: changed(p, at00=1e200), "not orthonormal"),
        (lambda p: changed(p, at03=1e7), "from the origin"),
        (lambda p: changed(p, at33=2.0), "last row"),
        (lambda p: p.T.tolist(), "last row"),
        (lambda p: p[:2].tolist(), "4 x 4"),
        (lambda p: p.ravel().tolist(), "4 x 4"),
        (lambda p: [[1, 2], [3]], "matrix of numbers"),
        (lambda p: [["a"] * 4] * 4, "matrix of numbers"),
        (lambda p: changed(p, at03=10**400), "matrix of numbers"),
        (lambda p: None, "pose"),
        (lambda p: {"x": 1}, "matrix of numbers"),
        (lambda p: [], "4 x 4"),
    ],
)
def test_a_pose_that_is_no_rigid_motion_is_bad(ring, spoil, words):
    with pytest.raises(BadView, match=words):
        rigid_pose(spoil(ring[3]))


@pytest.mark.parametrize("value", ["1", None, True, float("nan"), float("inf"), 10**400, [1.0]])
def test_what_is_not_a_finite_number_is_bad(value):
    with pytest.raises(BadView, match="its focal length"):
        number(value, "its focal length")


@pytest.mark.parametrize(
    "written",
    ["../other/0.png", "images/../../0.png", "..", "/etc/hostname", "C:\\photos\\0.png", "..\\0.png", "\\\\host\\x"],
)
def test_a_path_out_of_the_capture_is_an_error(tmp_path, written):
    with pytest.raises(CaptureError, match="outside of its folder"):
        inside(tmp_path, written)


def test_a_link_out_of_the_capture_is_an_error_and_one_within_is_not(tmp_path):
    folder = tmp_path / "capture"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(b"x")
    (folder / "real.png").write_bytes(b"x")
    (folder / "out.png").symlink_to(tmp_path / "secret.png")
    (folder / "away").symlink_to(tmp_path)
    (folder / "in.png").symlink_to(folder / "real.png")
    for written in ("out.png", "away/secret.png"):
        with pytest.raises(CaptureError, match="outside of its folder"):
            inside(folder, written)
    assert inside(folder, "in.png") == ("in.png", folder / "in.png")


def test_a_capture_reached_through_a_link_is_fine(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path / "link", "a.png")[0] == "a.png"


def test_names_are_normalised(tmp_path):
    assert inside(tmp_path, "./images//a.png")[0] == "images/a.png"
    assert inside(tmp_path, "images\\a.png")[0] == "images/a.png"
    assert inside(tmp_path, "x/../images/a.png")[0] == "images/a.png"


@pytest.mark.parametrize("written", [None, "", "  ", 7, "a\0b.png", "n" * 5000])
def test_what_is_no_path_is_bad(tmp_path, written):
    with pytest.raises(BadView):
        inside(tmp_path, written)


def test_a_loop_of_links_is_bad(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(BadView, match="path"):
        inside(tmp_path, "a/x.png")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{'frames': []}", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"\x80\x81", "not valid JSON"),
        (b"[" * 200_000, "not valid JSON"),
        (b"[1, 2]", "no JSON object"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_what_is_not_a_json_object_is_an_error(tmp_path, content, words):
    (tmp_path / "transforms.json").write_bytes(content)
    with pytest.raises(CaptureError, match=words):
        read_json(tmp_path / "transforms.json")


def test_json_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "t.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "t.json") == {"a": 1}


def test_json_above_64_mb_is_not_even_opened(tmp_path):
    path = tmp_path / "t.json"
    with path.open("wb") as file:
        file.truncate(MAX_JSON_BYTES + 1)
    with pytest.raises(CaptureError, match="64 MB"):
        read_json(path)


def test_a_folder_or_nothing_in_place_of_a_file_is_an_error(tmp_path):
    with pytest.raises(CaptureError, match="not a file"):
        read_json(tmp_path)
    with pytest.raises(CaptureError, match="can't be read"):
        read_json(tmp_path / "none.json")


def test_a_camera_is_scaled_to_a_photo_of_the_same_shape(camera):
    half = fitted("a.png", camera, PhotoHeader(8, 6, False, 1))
    assert (half.width, half.height, half.fl_x, half.cx) == (8, 6, 10.0, 4.0)
    assert fitted("a.png", camera, PhotoHeader(16, 12, False, 1)) is camera
    third = fitted("a.png", replace(camera, width=4031, height=3023), PhotoHeader(504, 378, False, 1))
    assert third.width == 504  # 503.9 x 377.9: programs round when they shrink


def test_a_photo_of_another_shape_is_an_error(camera):
    with pytest.raises(CaptureError, match=r"a\.png has 16 x 10 pixels where its camera is for 16 x 12\."):
        fitted("a.png", camera, PhotoHeader(16, 10, False, 1))
    with pytest.raises(CaptureError, match="turned"):
        fitted("a.png", camera, PhotoHeader(12, 16, False, 6))


@pytest.mark.parametrize("change", [{"fl_x": 1e12}, {"cy": -1e300}, {"model": "opencv", "distortion": (0.1, 1e308)}])
def test_a_lens_of_absurd_numbers_is_an_error(camera, change):
    with pytest.raises(CaptureError, match="absurd size"):
        fitted("a.png", replace(camera, **change), PhotoHeader(16, 12, False, 1))


def test_few_bad_views_are_a_warning_and_many_an_error():
    assert keep_good(10, []) == []
    told = keep_good(10, [("a", "its pose is mirrored"), ("b", "it is odd")])
    assert len(told) == 1 and "2 of 10" in told[0] and "a because its pose is mirrored" in told[0] and "b" in told[0]
    keep_good(4, [("a", "x"), ("b", "x")])
    with pytest.raises(CaptureError, match="3 of 4 views can't be used; a because x"):
        keep_good(4, [("a", "x"), ("b", "x"), ("c", "x")])


def test_stems_that_clash_are_made_of_the_whole_path():
    assert unique_stems(["train/r_0.png", "train/r_1.png", "test/r_0.png"]) == ["train_r_0", "r_1", "test_r_0"]
    assert unique_stems(["a/x.png", "a/x.jpg", "a/y.jpg"]) == ["a_x_png", "a_x_jpg", "y"]


def test_stems_that_differ_in_case_only_clash_too():
    assert unique_stems(["a/IMG.png", "b/img.png"]) == ["a_IMG", "b_img"]


@given(
    st.lists(
        st.sampled_from(["a/b.png", "a_b.png", "b.png", "a/b.jpg", "a_b_png.x", "B.png", "a/b/b.png"]), unique=True
    )
)
def test_stems_are_always_unique(names):
    stems = unique_stems(names)
    assert len({stem.casefold() for stem in stems}) == len(names)


def test_the_first_few_names_stand_for_the_rest():
    assert examples(["a", "b"]) == "a, b"
    assert examples(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def drafts_at(poses, camera, tmp_path, has_alpha=False):
    header = PhotoHeader(camera.width, camera.height, has_alpha, 1)
    return [
        Draft(f"{i}.png", tmp_path / f"{i}.png", header, replace(camera, world_from_camera=pose))
        for i, pose in enumerate(poses)
    ]


def test_no_views_and_fewer_than_three_are_errors(ring, camera, tmp_path):
    with pytest.raises(CaptureError, match="no views"):
        assemble(tmp_path, "x", [], [])
    with pytest.raises(CaptureError, match="2 views, at least 3"):
        assemble(tmp_path, "x", drafts_at(ring[:2], camera, tmp_path), [])
    assert len(assemble(tmp_path, "x", drafts_at(ring[:3], camera, tmp_path), [])) == 3


def test_cameras_at_the_same_point_are_an_error(ring, camera, tmp_path):
    poses = [pose.copy() for pose in ring]
    for pose in poses:
        pose[:3, 3] = [5.0, 6.0, 7.0]
    with pytest.raises(CaptureError, match="same point"):
        assemble(tmp_path, "x", drafts_at(poses, camera, tmp_path), [])


def test_a_lens_that_folds_inside_the_photo_is_told(ring, camera, tmp_path):
    folding = replace(camera, model="opencv", distortion=(-2.0, 0.0))
    capture = assemble(tmp_path, "x", drafts_at(ring, folding, tmp_path), ["before"])
    assert capture.warnings[0] == "before" and "lens distortion" in capture.warnings[1]


def test_opacity_of_some_photos_only_is_ignored_and_told(ring, camera, tmp_path):
    drafts = drafts_at(ring, camera, tmp_path)
    drafts[0] = replace(drafts[0], header=replace(drafts[0].header, has_alpha=True))
    capture = assemble(tmp_path, "x", drafts, [])
    assert not capture.has_alpha and "1 of 8 photos carry opacity" in capture.warnings[0]
