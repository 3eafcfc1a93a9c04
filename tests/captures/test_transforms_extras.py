"""What nerfstudio writes beside cameras: masks for frames, sparse points in a PLY, a fisheye, lenses per frame."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small_captures import HEIGHT, WIDTH, change, change_frames, refuses, ring, write_photo, write_transforms

from engine.captures.load import load_capture

POINTS = np.random.default_rng(3).uniform(-1, 1, (7, 3))


def write_ply(path, kind="binary_little_endian", colours=True, claimed=7):
    names = ["x", "y", "z", *(["red", "green", "blue"] if colours else [])]
    types = ["double"] * 3 + ["uchar"] * 3
    head = ["ply", f"format {kind} 1.0", "comment of a test", f"element vertex {claimed}"]
    head += [f"property {t} {n}" for n, t in zip(names, types, strict=False)] + ["element face 0", "end_header\n"]
    if kind == "ascii":
        rows = [" ".join(map(str, [*p, *([10, 20, 30] if colours else [])])) for p in POINTS.tolist()]
        body = "\n".join(rows).encode()
    else:
        order = "<" if "little" in kind else ">"
        record = np.dtype([(n, order + ("f8" if t == "double" else "u1")) for n, t in zip(names, types, strict=False)])
        table = np.zeros(7, record)
        for i, name in enumerate(names):
            table[name] = POINTS[:, i] if i < 3 else 10 * (i - 2)
        body = table.tobytes()
    path.write_bytes("\n".join(head).encode() + body)


@pytest.mark.parametrize("kind", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("colours", [True, False])
def test_points_of_a_ply_are_the_capture_s_as_they_stand(tmp_path, kind, colours):
    write_transforms(tmp_path)
    change(tmp_path, lambda data: data.update(ply_file_path="sparse_pc.ply", applied_transform=np.eye(4)[:3].tolist()))
    write_ply(tmp_path / "sparse_pc.ply", kind, colours)
    points = load_capture(tmp_path).points
    np.testing.assert_allclose(points.xyz, POINTS, atol=1e-15)
    assert points.rgb.tolist() == [[10, 20, 30] if colours else [128] * 3] * 7
    assert points.count.tolist() == [0] * 7


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(b"ply\nformat ascii 1.0\nelement vertex 9\n"), "not a PLY"),
        (lambda path: write_ply(path, claimed=10**12), "not a PLY"),
        (lambda path: write_ply(path, "ascii", claimed=10**12), "not a PLY"),
        (lambda path: write_ply(path, claimed=-5), "not a PLY"),
        (lambda path: path.write_bytes(b"\x00" * 5000), "not a PLY"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"double z", b"double w")), "not a PLY"),
    ],
)
def test_points_that_cannot_be_read_cost_the_points_only(tmp_path, spoil, word):
    write_transforms(tmp_path)
    change(tmp_path, lambda data: data.update(ply_file_path="points.ply"))
    write_ply(tmp_path / "points.ply")
    spoil(tmp_path / "points.ply")
    capture = load_capture(tmp_path)
    assert capture.points is None and len(capture) == 4
    assert len(capture.warnings) == 1 and word in capture.warnings[0]


def test_points_outside_of_the_folder_are_refused(tmp_path):
    folder = write_transforms(tmp_path / "scene")
    write_ply(tmp_path / "points.ply")
    change(folder, lambda data: data.update(ply_file_path="../points.ply"))
    refuses("outside", folder)


def mask(path, size=(WIDTH, HEIGHT)):
    path.parent.mkdir(exist_ok=True)
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[2:7, 3:9] = 255
    Image.fromarray(pixels).save(path)


def test_a_frame_s_mask_goes_with_its_view(tmp_path):
    write_transforms(tmp_path)
    for i in range(4):
        mask(tmp_path / f"masks/{i}.png")
    change_frames(tmp_path, lambda f: f.update(mask_path=f["file_path"].replace("images", "masks")), slice(1, None))
    capture = load_capture(tmp_path)
    assert [view.mask_path and view.mask_path.name for view in capture.views] == [None, "1.png", "2.png", "3.png"]
    assert capture.warnings == ("3 of 4 photos have a mask: what is black in it isn't trained on.",)


@pytest.mark.parametrize(("case", "word"), [("missing", "missing"), ("size", "4 x 4"), ("damaged", "of no use")])
def test_a_mask_that_cannot_be_used_is_named(tmp_path, case, word):
    write_transforms(tmp_path)
    change_frames(tmp_path, lambda frame: frame.update(mask_path="mask.png"), slice(1))
    if case == "size":
        mask(tmp_path / "mask.png", (4, 4))
    elif case == "damaged":
        (tmp_path / "mask.png").write_bytes(b"no picture")
    capture = load_capture(tmp_path)
    assert capture.views[0].mask_path is None and len(capture) == 4
    assert "1 of 4 masks that the file names" in capture.warnings[0] and word in capture.warnings[0]


def test_a_mask_outside_of_the_folder_is_refused(tmp_path):
    folder = write_transforms(tmp_path / "scene")
    mask(tmp_path / "mask.png")
    change_frames(folder, lambda frame: frame.update(mask_path="../mask.png"), slice(1))
    refuses("outside", folder)


def test_instance_masks_with_their_names_are_no_masks_of_the_scene(tiny_capture):
    assert all(view.mask_path is None for view in load_capture(tiny_capture.folder).views)


def test_the_shared_turntable_has_masks_and_the_table_has_none(captures_dir):
    assert all(view.mask_path for view in load_capture(captures_dir / "maryRose").views)
    assert not any(view.mask_path for view in load_capture(captures_dir / "tabletop").views)


def test_instant_ngp_s_scale_and_offset_move_nothing(tmp_path):
    write_transforms(tmp_path)
    change(tmp_path, lambda data: data.update(scale=0.33, offset=[0.5, 0.5, 0.5], aabb_scale=16))
    capture = load_capture(tmp_path)
    np.testing.assert_allclose(capture.views[1].camera.world_from_camera, ring(4)[1], atol=1e-12)
    assert capture.extra["scale"] == 0.33 and capture.extra["aabb_scale"] == 16


def test_each_frame_may_have_a_lens_and_a_size_of_its_own(tmp_path):
    own = {"camera_model": "OPENCV_FISHEYE", "w": 8, "h": 6, "fl_x": 9, "fl_y": 9, "cx": 4, "cy": 3, "k1": 0.1}
    write_transforms(tmp_path, frames=[{}, own, {}, {}])
    write_photo(tmp_path / "images/1.png", (8, 6))
    cameras = [view.camera for view in load_capture(tmp_path).views]
    assert (cameras[1].model, cameras[1].width, cameras[1].fl_x) == ("fisheye", 8, 9)
    assert (cameras[0].model, cameras[0].width, cameras[0].fl_x) == ("pinhole", 16, 20)


def test_coefficients_may_be_numbers_in_strings(tmp_path):
    # So wrote nerfstudio what it read from RealityCapture's table.
    write_transforms(tmp_path, frames=[{"k1": "-0.1", "k2": "0.02", "p1": "0.001", "p2": "0"}, {}, {}, {}])
    camera = load_capture(tmp_path).views[0].camera
    assert camera.distortion[:4] == (-0.1, 0.02, 0.001, 0.0)
    change(tmp_path, lambda data: data.update(k1="much"))
    refuses("k1 is not a number", tmp_path)
