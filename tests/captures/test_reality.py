"""RealityCapture's CSV: orientations as its makers define them, and a pair of numbers that a user published."""

from __future__ import annotations

import numpy as np
import pytest
from small_captures import refuses, write_photo

from engine.captures.load import load_capture
from engine.captures.rays import project
from sa3d_blender.protocol.errors import CaptureError

HEAD = "#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2"
SIZE = (120, 90)


def write_reality(folder, rows=None, head=HEAD):
    if rows is None:
        rows = [
            [i, 2.0 * i, 1.5, 10.0 * i, 80.0, 1.0, 30.0, 0.016, -0.008, -0.1, 0.02, 0, 0, 0.001, -0.002]
            for i in range(4)
        ]
    for i in range(len(rows)):
        write_photo(folder / f"images/p{i}.png", SIZE)
    lines = [head, *(",".join(map(str, [f"p{i}.png", *row])) for i, row in enumerate(rows))]
    (folder / "cameras.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_published_pair_of_angles_and_rotation_matrix_agrees(tmp_path):
    # forums.unrealengine.com/t/710449: the same camera's XMP rotation (world to camera, OpenCV's axes) and CSV angles
    xmp = np.array(
        [
            [0.982594073038806, 0.185426733553445, -0.0112166890261935],
            [-0.032113633044729, 0.11008102707942, -0.993403685341366],
            [-0.18296885582437, 0.976472781986697, 0.114],
        ]
    )
    rows = [[i, 0, 0, 163.736597399311, 83.4154313461628, 174.386496244756, 30, *[0] * 8] for i in range(3)]
    pose = load_capture(write_reality(tmp_path, rows)).views[0].camera.world_from_camera
    np.testing.assert_allclose(np.diag([1, -1, -1]) @ pose[:3, :3].T, xmp, atol=2e-4)  # its last digits are cut off


@pytest.mark.parametrize(
    ("angles", "forward", "up"),
    [
        ((0, 0, 0), (0, 0, -1), (0, 1, 0)),  # looking down, its upper side to the north
        ((0, 90, 0), (0, 1, 0), (0, 0, 1)),
        ((90, 90, 0), (1, 0, 0), (0, 0, 1)),  # a heading of 90 degrees is east
        ((180, 90, 0), (0, -1, 0), (0, 0, 1)),
    ],
)
def test_headings_are_those_of_a_compass(tmp_path, angles, forward, up):
    rows = [[i, 0, 0, *angles, 30, *[0] * 8] for i in range(3)]
    camera = load_capture(write_reality(tmp_path, rows)).views[0].camera
    np.testing.assert_allclose(camera.forward, forward, atol=1e-12)
    np.testing.assert_allclose(camera.world_from_camera[:3, 1], up, atol=1e-12)


@pytest.mark.parametrize("k4", [0.0, 0.003])
def test_points_fall_where_brown_s_lens_bends_them(tmp_path, k4):
    rows = [[i, 0, 0, 0, 90, 0, 30, 0.016, -0.008, -0.1, 0.02, 0, k4, 0.001, -0.002] for i in range(4)]
    capture = load_capture(write_reality(tmp_path, rows))
    random = np.random.default_rng(4)
    x, y = random.uniform(-0.5, 0.5, 100), random.uniform(-0.35, 0.35, 100)
    world = np.stack([x + 1.0, np.ones(100), -y], axis=1)  # before the camera that stands at x = 1 and looks north
    r2 = x**2 + y**2
    radial = 1 - 0.1 * r2 + 0.02 * r2**2 + k4 * r2**4
    t1, t2 = 0.001, -0.002  # OpenCV's p2 and p1, says the programs' own export for OpenCV
    bent_x = x * radial + 2 * t2 * x * y + t1 * (r2 + 2 * x**2)
    bent_y = y * radial + t2 * (r2 + 2 * y**2) + 2 * t1 * x * y
    scale = 120 / 36  # f is for a longer side of 36 mm, px and py are parts of the longer side
    expected = np.stack([60 + 0.016 * 120 + 30 * scale * bent_x, 45 - 0.008 * 120 + 30 * scale * bent_y], axis=1)
    at, _ = project(capture.views[1].camera, world)
    assert np.abs(at - expected).max() < 1e-3
    assert capture.format == "reality" and capture.warnings == ()


def test_photos_that_are_missing_are_left_out(tmp_path):
    (write_reality(tmp_path) / "images/p3.png").unlink()
    assert "1 of 4 listed photos are missing" in load_capture(tmp_path).warnings[0]
    (tmp_path / "images/p2.png").unlink()
    with pytest.raises(CaptureError, match=r"has 2 views, at least 3 are needed\. 2 of 4 listed photos are missing"):
        load_capture(tmp_path)


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (lambda text: text.replace(",roll,f,", ",roll,focal,"), "no column f"),
        (lambda text: text.replace(",30.0,", ",thirty,"), "a word for a number"),
        (lambda text: text.replace(",30.0,", ",nan,"), "not finite"),
        (lambda text: text.replace(",30.0,", ",-30,"), "focal length"),
        (lambda text: text.replace(",80.0,", ",inf,"), "angles"),
        (lambda text: text[:-40], "fewer columns"),
        (lambda text: HEAD + "\n", "no cameras"),
    ],
)
def test_tables_that_make_no_sense_are_one_sentence(tmp_path, edit, word):
    path = write_reality(tmp_path) / "cameras.csv"
    path.write_text(edit(path.read_text()))
    refuses(word, path)


def test_two_files_of_cameras_in_a_folder_have_to_be_chosen_from(tmp_path):
    write_reality(tmp_path)
    (tmp_path / "again.csv").write_bytes((tmp_path / "cameras.csv").read_bytes())
    refuses("several files", tmp_path)
    assert len(load_capture(tmp_path / "again.csv")) == 4


def test_a_line_of_postshot_s_sample_is_read(tmp_path):
    # brush and Postshot read schliemann.csv, of which this line is published; its photos have 3840 x 2880 pixels
    line = [44.5876747664166, 138.823621534044, 6.821916401534405, 170.3483067926429, 85.18637269312288]
    line += [-22.74995074830745, 14.2390682243052, -9.482184385774318e-004, -2.446553068050568e-004]
    line += [3.114799768048152e-003, 4.026391718074555e-003, -1.795976992379612e-003, 0, 0, 0]
    rows = [line, [line[0] + 1, *line[1:]], [line[0] + 2, *line[1:]]]
    camera = load_capture(write_reality(tmp_path, rows)).views[0].camera
    assert camera.fl_x == pytest.approx(14.2390682243052 * 120 / 36)
    assert camera.cx == pytest.approx(60 - 9.482184385774318e-004 * 120)
    assert camera.forward[1] < -0.95  # it looks south, and hardly down


@pytest.mark.parametrize(
    "head",
    [
        "#name,x,y,alt,yaw,pitch,roll,f_35mm,px_norm,py_norm,k1,k2,k3,k4,t1,t2",  # RealityScan 2
        "#cameras 4\n" + HEAD,
    ],
)
def test_other_headers_say_the_same(tmp_path, head):
    first = load_capture(write_reality(tmp_path / "one")).views
    second = load_capture(write_reality(tmp_path / "two", head=head)).views
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.camera.world_from_camera, two.camera.world_from_camera)
        assert (one.camera.fl_x, one.camera.cx, one.camera.distortion) == (
            two.camera.fl_x,
            two.camera.cx,
            two.camera.distortion,
        )


def test_what_follows_the_focal_length_may_be_left_out(tmp_path):
    rows = [[i, 0, 0, 0, 90, 0, 30] for i in range(3)]
    camera = load_capture(write_reality(tmp_path, rows, "#name,x,y,alt,heading,pitch,roll,f")).views[0].camera
    assert (camera.model, camera.cx, camera.cy) == ("pinhole", 60.0, 45.0)


def test_cameras_on_a_map_are_brought_to_the_origin(tmp_path):
    rows = [[388_201.25 + i, 5_820_004.5, 38.0, 0, 90, 0, 30, *[0] * 8] for i in range(4)]
    capture = load_capture(write_reality(tmp_path, rows))
    np.testing.assert_allclose([v.camera.position[0] for v in capture.views], [-1.75, -0.75, 0.25, 1.25])
    assert [row[3] for row in capture.extra["brought_near"]] == [-388_203.0, -5_820_004.0, -38.0, 1.0]
    assert "what was at (388203, 5820004, 38) lies at the origin here" in capture.warnings[0]


def test_longitude_and_latitude_are_noticed(tmp_path):
    rows = [[14.4201 + 1e-5 * i, 50.0761, 230.0 + i, 0, 90, 0, 30, *[0] * 8] for i in range(4)]
    assert "degrees of longitude and latitude" in load_capture(write_reality(tmp_path, rows)).warnings[0]


@pytest.mark.parametrize("head", ["#name,x,y,alt", "#name,x,y,z,omega,phi,kappa", "#cameras 2"])
def test_other_tables_of_cameras_say_which_export_to_choose(tmp_path, head):
    write_reality(tmp_path, [[1, 2, 3, 0, 0, 0]] * 3, head)
    assert "Internal/External camera parameters" in refuses("has no column", tmp_path).cure
