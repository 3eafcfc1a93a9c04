"""transforms.json in all its dialects: what is read from it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from small_captures import (
    FOCAL,
    change,
    change_frames,
    read_all,
    ring,
    write_photo,
    write_transforms,
)

from engine.captures.images import read_rgb
from engine.captures.load import load_capture


def intrinsics(camera) -> tuple[float, ...]:
    return camera.width, camera.height, camera.fl_x, camera.fl_y, camera.cx, camera.cy


def test_nerfstudio_intrinsics_at_the_top_level_go_for_every_view(tmp_path):
    write_transforms(tmp_path, camera_model="OPENCV", w=16, h=12, fl_x=20, fl_y=21, cx=7.5, cy=6.25, k1=0.1, p2=0.01)
    capture = load_capture(tmp_path)
    assert capture.warnings == ()
    for view, pose in zip(capture.views, ring(4), strict=True):
        assert intrinsics(view.camera) == (16, 12, 20, 21, 7.5, 6.25)
        assert view.camera.model == "opencv"
        assert view.camera.distortion == (0.1, 0.0, 0.0, 0.01, 0.0)  # in the order k1, k2, p1, p2, k3
        np.testing.assert_allclose(view.camera.world_from_camera, pose, atol=1e-12)
    assert [view.name for view in capture.views] == [f"images/{i}.png" for i in range(4)]
    assert [view.stem for view in capture.views] == list("0123")
    assert {view.split for view in capture.views} == {"train"}


def test_nerfstudio_intrinsics_of_a_frame_come_before_the_top_level(tmp_path):
    frames = [{"fl_x": 30.0, "cx": 8.5, "k1": 0.2}, {}, {"camera_angle_x": 1.0}, {"camera_model": "PINHOLE"}]
    write_transforms(tmp_path, frames=frames, w=16, h=12, fl_x=20, fl_y=20, cx=8, cy=6, camera_model="OPENCV")
    first, plain, by_angle, _ = (view.camera for view in load_capture(tmp_path).views)
    assert intrinsics(first) == (16, 12, 30, 20, 8.5, 6)
    assert (first.model, first.distortion[0]) == ("opencv", 0.2)
    assert intrinsics(plain) == (16, 12, 20, 20, 8, 6)
    assert (plain.model, plain.distortion) == ("pinhole", ())
    assert by_angle.fl_x == pytest.approx(8 / math.tan(0.5))  # not the top level's fl_x


def test_intrinsics_may_be_in_the_frames_alone(tmp_path):
    frame = {"w": 16, "h": 12, "fl_x": 25.0, "fl_y": 26.0, "cx": 8.0, "cy": 5.0}
    write_transforms(tmp_path, frames=[frame] * 4, camera_model="OPENCV")
    assert {intrinsics(view.camera) for view in load_capture(tmp_path).views} == {(16, 12, 25, 26, 8, 5)}


def test_camera_angle_x_alone_gives_the_focal_length_and_the_photo_the_size(tmp_path):
    write_transforms(tmp_path, camera_angle_x=math.radians(90))
    for view in load_capture(tmp_path).views:
        assert intrinsics(view.camera) == pytest.approx((16, 12, 8, 8, 8, 6))


def test_instant_ngp_sizes_as_fractions_and_lens_without_a_camera_model(tmp_path):
    write_transforms(tmp_path, w=16.0, h=12.0, fl_x=20.5, fl_y=20.25, camera_angle_x=0.1, k1=0.06, k2=-0.08, p1=-0.001)
    for view in load_capture(tmp_path).views:
        assert intrinsics(view.camera) == (16, 12, 20.5, 20.25, 8, 6)  # fl_x, not the angle
        assert (view.camera.model, view.camera.distortion) == ("opencv", (0.06, -0.08, -0.001, 0.0, 0.0))


@pytest.mark.parametrize(
    ("written", "model", "distortion"),
    [
        (
            {"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.4},
            "fisheye",
            (0.1, 0.2, 0.3, 0.4),
        ),
        ({"is_fisheye": True, "k1": 0.1}, "fisheye", (0.1, 0, 0, 0)),
        ({"camera_model": "OPENCV_FISHEYE"}, "fisheye", ()),
        ({"camera_model": "SIMPLE_RADIAL", "k1": 0.1}, "opencv", (0.1,)),
        ({"camera_model": "RADIAL", "k1": 0.1, "k2": 0.2}, "opencv", (0.1, 0.2)),
        ({"camera_model": "OPENCV", "k1": 0, "p1": 0.0}, "pinhole", ()),
        ({"camera_model": "SIMPLE_PINHOLE"}, "pinhole", ()),
        ({"camera_model": "pinhole"}, "pinhole", ()),
    ],
    ids=str,
)
def test_camera_models(tmp_path, written, model, distortion):
    write_transforms(tmp_path, fl_x=FOCAL, **written)
    camera = load_capture(tmp_path).views[0].camera
    assert (camera.model, camera.distortion) == (model, distortion)


def test_coefficients_that_the_camera_model_does_not_have_are_noted_and_not_used(tmp_path):
    write_transforms(tmp_path, fl_x=FOCAL, camera_model="PINHOLE", k1=0.3)
    capture = load_capture(tmp_path)
    assert capture.views[0].camera.distortion == ()
    assert len(capture.warnings) == 1 and "lens coefficients" in capture.warnings[0]


def test_the_splits_of_nerfstudio_s_lists(tmp_path):
    write_transforms(
        tmp_path,
        fl_x=FOCAL,
        train_filenames=["images/0.png", "./images/1.png"],
        val_filenames=["images/2.png"],
        test_filenames=["images/3.png"],
    )
    assert [view.split for view in load_capture(tmp_path).views] == ["train", "train", "val", "test"]
    change(tmp_path, lambda data: data.pop("val_filenames"))
    capture = load_capture(tmp_path)
    assert capture.views[2].split == "train"
    assert len(capture.warnings) == 1 and "images/2.png" in capture.warnings[0]


def test_what_nerfstudio_did_to_the_coordinates_is_kept_and_not_undone(tmp_path):
    write_transforms(tmp_path, fl_x=FOCAL, applied_scale=0.5, applied_transform=[[1, 0, 0, 0]], ply_file_path="a.ply")
    capture = load_capture(tmp_path)
    assert capture.extra["applied_scale"] == 0.5 and capture.extra["ply_file_path"] == "a.ply"
    np.testing.assert_allclose(capture.views[0].camera.position, (2.0, 0.0, 0.7), atol=1e-12)


def test_photos_smaller_than_stated_scale_their_cameras(tmp_path):
    write_transforms(tmp_path, w=1600, h=1200, fl_x=2000, fl_y=2100, cx=790, cy=610)
    capture = load_capture(tmp_path)
    assert intrinsics(capture.views[0].camera) == pytest.approx((16, 12, 20, 21, 7.9, 6.1))
    assert len(capture.warnings) == 1 and "scaled" in capture.warnings[0]


def test_poses_of_three_rows_and_of_rounded_numbers_are_read(tmp_path):
    write_transforms(tmp_path)
    change_frames(tmp_path, lambda f: f.update(transform_matrix=np.round(f["transform_matrix"], 3)[:3].tolist()))
    for view, pose in zip(load_capture(tmp_path).views, ring(4), strict=True):
        rotation = view.camera.world_from_camera[:3, :3]
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(view.camera.world_from_camera, pose, atol=1.5e-3)  # what rounding took


def test_a_file_with_a_byte_order_mark_and_unicode_names_is_read(tmp_path):
    write_transforms(tmp_path)
    (tmp_path / "images/0.png").rename(tmp_path / "images/früh 1.png")
    change_frames(tmp_path, lambda frame: frame.update(file_path="images/früh 1.png"), slice(1))
    path = tmp_path / "transforms.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(json.loads(path.read_text()), ensure_ascii=False).encode())
    view = load_capture(tmp_path).views[0]
    assert (view.name, view.stem, view.image_path.is_file()) == ("images/früh 1.png", "früh 1", True)


def write_synthetic(folder: Path, splits: tuple[str, ...] = ("train", "val", "test"), alpha: int = 0) -> Path:
    """nerf_synthetic: the same file names in a folder for each split, written without their suffix."""
    poses = ring(2 * len(splits))
    for split in splits:
        frames = []
        for i in range(2):
            write_photo(folder / split / f"r_{i}.png", mode="RGBA", alpha=alpha)
            frames.append({"file_path": f"./{split}/r_{i}", "rotation": 0.01, "transform_matrix": poses.pop().tolist()})
        written = {"camera_angle_x": 0.5, "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(written), encoding="utf-8")
    return folder


def test_nerf_synthetic_has_its_splits_its_opacity_and_a_stem_for_every_view(tmp_path):
    capture = read_all(write_synthetic(tmp_path))
    assert (capture.format, capture.has_alpha, capture.warnings) == ("nerf_synthetic", True, ())
    assert [view.split for view in capture.views] == ["train", "train", "val", "val", "test", "test"]
    assert capture.views[0].name == "train/r_0.png"
    assert {view.stem for view in capture.views} == {f"{s}_r_{i}" for s in ("train", "val", "test") for i in range(2)}
    assert capture.views[5].camera.fl_x == pytest.approx(8 / math.tan(0.25))


@pytest.mark.parametrize("which", ["", "transforms_test.json"])
def test_nerf_synthetic_without_a_validation_set_is_read_from_the_splits_there_are(tmp_path, which):
    capture = load_capture(write_synthetic(tmp_path, ("train", "test")) / which)
    assert [view.split for view in capture.views] == ["train", "train", "test", "test"]


def test_an_alpha_channel_that_hides_nothing_is_no_opacity(tmp_path):
    assert not load_capture(write_synthetic(tmp_path, alpha=255)).has_alpha


def test_opacity_of_some_photos_only_is_ignored_with_a_warning(tmp_path):
    write_synthetic(tmp_path)
    write_photo(tmp_path / "val/r_1.png")
    capture = load_capture(tmp_path)
    assert not capture.has_alpha
    assert len(capture.warnings) == 1 and "5 of 6 photos carry opacity" in capture.warnings[0]
    assert {read_rgb(view).shape[-1] for view in capture.views} == {3}


def test_missing_photos_are_left_out_with_one_warning(tmp_path):
    write_transforms(tmp_path, 8)
    for i in (1, 2, 4, 5, 6):  # most may be missing, unlike bad ones: exports of a whole video are common
        (tmp_path / f"images/{i}.png").unlink()
    capture = load_capture(tmp_path)
    assert [view.name for view in capture.views] == ["images/0.png", "images/3.png", "images/7.png"]
    assert len(capture.warnings) == 1
    assert "5 of 8" in capture.warnings[0] and "images/1.png" in capture.warnings[0]


def test_fox_lists_photos_that_do_not_exist_and_has_a_distorted_lens(captures_dir):
    capture = load_capture(captures_dir / "fox")
    assert len(capture.warnings) == 1 and "17 of 67" in capture.warnings[0]
    camera = capture.views[0].camera
    assert intrinsics(camera) == (1080, 1920, 1375.52, 1374.49, 554.558, 965.268)
    assert (camera.model, camera.distortion) == ("opencv", (0.0578421, -0.0805099, -0.000980296, 0.00015575, 0.0))


def test_lego_has_two_splits_with_the_same_file_names(captures_dir):
    capture = load_capture(captures_dir / "lego400")
    splits = [view.split for view in capture.views]
    assert (splits.count("train"), splits.count("test")) == (100, 25)
    assert capture.views[0].camera.fl_x == pytest.approx(555.5555, abs=1e-3)  # the published focal length, halved


def test_a_photo_listed_twice_counts_once(tmp_path):
    write_transforms(tmp_path)
    change(tmp_path, lambda data: data["frames"].append(data["frames"][0]))
    capture = load_capture(tmp_path)
    assert len(capture) == 4
    assert len(capture.warnings) == 1 and "more than once" in capture.warnings[0]
