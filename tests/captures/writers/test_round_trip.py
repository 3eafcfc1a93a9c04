"""A capture written in any format and read back has the cameras, photos, points and masks that it had."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pycolmap
import pytest
from PIL import Image

from engine.captures.capture import Capture, SparsePoints
from engine.captures.convert import convert_capture
from engine.captures.images import read_rgb
from engine.captures.load import load_capture
from engine.captures.rays import project, rays_through
from engine.captures.writers.formats import FORMATS
from engine.progress import Job
from sa3d_blender.protocol.errors import CaptureError, StorageError

READ_AS = {
    "colmap": "colmap",
    "colmap-txt": "colmap",
    "llff": "llff",
    "nerf-synthetic": "nerf_synthetic",
    "nerfstudio": "transforms",
    "replica": "replica",
}
BENT = (-0.12, 0.03, 0.002, -0.003)


@pytest.fixture(scope="module", params=["tiny", "tabletop"])
def source(request) -> Capture:
    """The tiny capture; every sixth view of the shared tabletop, to be quick."""
    if request.param == "tiny":
        return load_capture(request.getfixturevalue("tiny_capture").folder)
    capture = load_capture(request.getfixturevalue("captures_dir") / "tabletop")
    return replace(capture, views=capture.views[::6])


def matched(old: Capture, new: Capture):
    """(old view, new view) by the order of their names, which every writer keeps."""
    assert len(old) == len(new)
    if new.format == "replica":  # numbered
        return list(zip(old.views, new.views, strict=True))
    by_stem = {view.stem: view for view in new.views}
    return [(view, by_stem[view.stem]) for view in old.views]


def test_every_format_is_tested():
    assert set(READ_AS) == set(FORMATS)


@pytest.mark.parametrize("format", READ_AS)
def test_cameras_come_back_to_a_millionth(source, tmp_path, format):
    done = convert_capture(source, format, tmp_path / "out", Job())
    back = load_capture(tmp_path / "out")
    assert (back.format, done.views) == (READ_AS[format], len(source))
    size = np.ptp([view.camera.position for view in source.views], axis=0).max()
    for old, new in matched(source, back):
        a, b = old.camera, new.camera
        assert np.abs(a.world_from_camera[:3, :3] - b.world_from_camera[:3, :3]).max() < 1e-6
        assert np.abs(a.position - b.position).max() < 1e-6 * size
        if format == "replica":  # another lens, which sees a point of the world where it should
            assert b.fl_x == b.fl_y == b.width / 2 and abs(b.fl_x / a.fl_x - 1) < 0.01
            continue
        np.testing.assert_allclose([b.fl_x, b.fl_y, b.cx, b.cy], [a.fl_x, a.fl_y, a.cx, a.cy], rtol=1e-6)
        np.testing.assert_array_equal(read_rgb(old), read_rgb(new))


@pytest.mark.parametrize("format", ["colmap", "colmap-txt", "nerfstudio"])
def test_a_distorting_lens_comes_back_to_a_thousandth_of_a_pixel(source, tmp_path, format):
    convert_capture(source, format, tmp_path / "out", Job(), BENT)
    back = load_capture(tmp_path / "out")
    for old, new in matched(source, back):
        assert new.camera.model == "opencv" and new.camera.distortion[:4] == BENT
        theirs = pycolmap.Camera(
            model="OPENCV",
            width=new.camera.width,
            height=new.camera.height,
            params=np.array([new.camera.fl_x, new.camera.fl_y, new.camera.cx, new.camera.cy, *BENT]),
        )
        pixels = np.random.default_rng(1).uniform(0, 1, (200, 2)) * (new.camera.width, new.camera.height)
        rays_o, rays_d = rays_through(new.camera, pixels)
        points = rays_o + 2.0 * rays_d
        local = (points - old.camera.position) @ old.camera.world_from_camera[:3, :3] * (1, -1, -1)
        assert np.abs(np.asarray(theirs.img_from_cam(local)) - pixels).max() < 1e-3
        at, _ = project(old.camera, points)  # the photo that was taken again has no black border
        assert (at > -0.01).all() and (at < np.array([old.camera.width, old.camera.height]) + 0.01).all()


@pytest.mark.parametrize("format", ["nerfstudio", "replica"])
def test_photos_that_are_taken_again_show_the_same_colours_along_the_same_rays(source, tmp_path, format):
    convert_capture(source, format, tmp_path / "out", Job(), BENT if format == "nerfstudio" else None)
    old, new = matched(source, load_capture(tmp_path / "out"))[3]
    before, after = read_rgb(old), read_rgb(new)
    x, y = np.meshgrid(np.arange(old.camera.width) + 0.5, np.arange(old.camera.height) + 0.5)
    inner = np.stack([x[8:-8, 8:-8].ravel(), y[8:-8, 8:-8].ravel()], axis=1)
    rays_o, rays_d = rays_through(old.camera, inner)
    at, _ = project(new.camera, rays_o + rays_d)
    seen = ((at > 1) & (at < np.array([new.camera.width, new.camera.height]) - 1)).all(axis=1)
    assert seen.mean() > 0.8
    column, row = at[seen].astype(int).T
    there = before[inner[seen, 1].astype(int), inner[seen, 0].astype(int)]
    # the nearest pixel is up to half a pixel away: most are alike, edges aren't; half a photo turned would be far off
    assert np.median(np.abs(after[row, column] - there)) < 0.02
    assert np.abs(after[row, column] - there).mean() < 0.05


def test_what_the_narrow_photo_does_not_show_of_replica_s_wide_one_is_masked(source, tmp_path):
    convert_capture(source, "replica", tmp_path / "out", Job())
    back = load_capture(tmp_path / "out")
    view = back.views[0]
    mask = np.asarray(Image.open(view.mask_path))
    assert mask.shape == (view.camera.height, view.camera.width)
    assert (read_rgb(view)[mask == 0] == 0).all()
    share = source.views[0].camera.width / view.camera.width
    assert abs((mask == 255).mean() - share) < 0.02


def rich(capture: Capture, folder: Path) -> Capture:
    """The capture with points, splits and a mask for one of its views."""
    points = SparsePoints(
        np.random.default_rng(0).normal(size=(30, 3)),
        np.random.default_rng(1).integers(0, 256, (30, 3)).astype(np.uint8),
        np.full(30, 4, np.int32),
    )
    pixels = np.zeros((capture.views[0].camera.height, capture.views[0].camera.width), np.uint8)
    pixels[5:40, 8:30] = 255
    Image.fromarray(pixels).save(folder / "mask.png")
    views = [replace(view, split="test" if i % 3 == 0 else "train") for i, view in enumerate(capture.views)]
    views[2] = replace(views[2], mask_path=folder / "mask.png")
    return replace(capture, views=tuple(views), points=points)


@pytest.mark.parametrize("format", READ_AS)
def test_points_splits_and_masks_come_back_or_are_said_to_be_lost(tiny_capture, tmp_path, format):
    source = rich(load_capture(tiny_capture.folder), tmp_path)
    done = convert_capture(source, format, tmp_path / "out", Job())
    back = load_capture(tmp_path / "out")
    told = " ".join(done.lost)
    pairs = matched(source, back)
    assert (back.points is None) == ("no sparse points" in told)
    if back.points is not None:
        np.testing.assert_allclose(back.points.xyz, source.points.xyz, atol=1e-12)
        np.testing.assert_array_equal(back.points.rgb, source.points.rgb)
    assert ("no splits" in told) == any(old.split != new.split for old, new in pairs)
    masks = [new.mask_path for _, new in pairs]
    assert ("no masks" in told) == (masks[2] is None)
    if masks[2] is not None and format != "replica":
        np.testing.assert_array_equal(np.asarray(Image.open(masks[2])), np.asarray(Image.open(tmp_path / "mask.png")))
        assert (np.asarray(Image.open(masks[0])) == 255).all()


def test_pycolmap_reads_what_is_written(tiny_capture, tmp_path):
    source = rich(load_capture(tiny_capture.folder), tmp_path)
    for format in ("colmap", "colmap-txt"):
        convert_capture(source, format, tmp_path / format, Job(), BENT)
        model = pycolmap.Reconstruction(str(tmp_path / format / "sparse/0"))
        assert (model.num_reg_images(), model.num_points3D(), model.num_cameras()) == (20, 30, 1)
        for image in model.images.values():
            view = next(view for view in source.views if Path(view.name).name == image.name)
            np.testing.assert_allclose(image.projection_center(), view.camera.position, atol=1e-9)


def test_a_fisheye_becomes_straight_where_a_format_has_no_lens(tiny_capture, tmp_path):
    capture = load_capture(tiny_capture.folder)
    bent = [replace(view, camera=replace(view.camera, model="fisheye", distortion=(0.1,))) for view in capture.views]
    done = convert_capture(replace(capture, views=tuple(bent)), "llff", tmp_path / "out", Job())
    back = load_capture(tmp_path / "out")
    assert done.retaken == 20 and {view.camera.model for view in back.views} == {"pinhole"}
    assert not any(view.mask_path for view in back.views)  # all of the picture is shown


@pytest.mark.parametrize("case", ["format", "distortion", "in the capture", "among others"])
def test_what_cannot_be_written_is_refused_and_nothing_appears(tiny_capture, tmp_path, case):
    capture, out = load_capture(tiny_capture.folder), tmp_path / "out"
    format, lens, kind = "nerfstudio", None, StorageError
    if case == "format":
        format, kind = "usd", CaptureError
    elif case == "distortion":
        format, lens, kind = "llff", BENT, CaptureError
    elif case == "in the capture":
        out = tiny_capture.folder / "out"
    else:
        out.mkdir()
        (out / "letter.txt").write_text("dear")
    with pytest.raises(kind) as caught:
        convert_capture(capture, format, out, Job(), lens)
    assert caught.value.cure
    assert not out.exists() or [path.name for path in out.iterdir()] == ["letter.txt"]


def test_a_stopped_writing_leaves_nothing(tiny_capture, tmp_path):
    capture = load_capture(tiny_capture.folder)
    broken = replace(capture.views[5], image_path=tmp_path / "gone.jpg")
    views = (*capture.views[:5], broken, *capture.views[6:])
    with pytest.raises(CaptureError):
        convert_capture(replace(capture, views=views), "replica", tmp_path / "out", Job())
    assert list((tmp_path / "out").iterdir()) == []
