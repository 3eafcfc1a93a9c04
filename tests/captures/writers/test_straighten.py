"""Photos that a lens bent are written straight: whole, where they should be, and masked where they show nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.captures.capture import Camera, Capture
from engine.captures.convert import convert_capture
from engine.captures.images import read_rgb
from engine.captures.load import load_capture
from engine.captures.rays import project, rays_through
from engine.captures.straight import WIDEST_DEGREES, hidden_share, straight_camera
from engine.progress import Job
from sa3d_blender.protocol.errors import CaptureError
from sa3d_blender.scene import straight_camera as blenders_side
from sa3d_blender.scene.description import SceneView
from tests.helpers.tiny_capture import TinyCapture

LENSES = {
    "barrel": ("opencv", (-0.3, 0.1, 0.001, -0.002), 260.0),
    "eight": ("opencv", (0.2, -0.05, 0.001, -0.002, 0.01, 0.3, 0.02, 0.001), 220.0),
    "pincushion": ("opencv", (0.3,), 260.0),
    "folding": ("opencv", (-0.3,), 150.0),
    "fisheye": ("fisheye", (0.03, -0.01, 0.004, -0.001), 200.0),
    "circular": ("fisheye", (), 78.0),
}
SIZE = (320, 240)


def camera_of(lens: str, pose: np.ndarray | None = None) -> Camera:
    model, distortion, focal = LENSES[lens]
    pose = np.eye(4) if pose is None else pose
    return Camera(*SIZE, focal, 1.02 * focal, 163.0, 117.0, pose, model, distortion)  # type: ignore[arg-type]


@pytest.mark.parametrize("lens", LENSES)
def test_both_sides_choose_the_same_camera(lens):
    camera = camera_of(lens)
    rows = tuple(tuple(row) for row in np.eye(4))
    model, distortion, _ = LENSES[lens]
    view = SceneView("a", "a", Path("a"), *SIZE, camera.fl_x, camera.fl_y, 163.0, 117.0, rows, model, distortion)  # type: ignore[arg-type]
    theirs, ours = blenders_side.with_straight_camera(view), straight_camera(camera)
    pinhole = theirs.pinhole
    expected = [pinhole.fl_x, pinhole.fl_y, pinhole.cx, pinhole.cy]
    np.testing.assert_allclose([ours.fl_x, ours.fl_y, ours.cx, ours.cy], expected, rtol=1e-3)
    assert hidden_share(camera, ours) == pytest.approx(blenders_side.hidden_share(theirs), abs=0.003)
    assert WIDEST_DEGREES == blenders_side.WIDEST_DEGREES


def dotted(tiny_capture: TinyCapture, folder: Path, lens: str) -> tuple[Capture, np.ndarray]:
    """A capture of three photos, each with twelve white dots where ``lens`` puts points of the world [3, 12, 3]."""
    (folder / "images").mkdir(parents=True)
    poses = [np.eye(4) for _ in range(3)]
    poses[1][:3, 3], poses[2][:3, 3] = (0.2, -0.1, 0.3), (-0.3, 0.1, 0.2)
    generator = np.random.default_rng(3)
    points, views = [], []
    source = load_capture(tiny_capture.folder)
    for number, pose in enumerate(poses):
        camera = camera_of(lens, pose)
        pixels = np.stack(np.meshgrid(np.linspace(60, 260, 4), np.linspace(50, 190, 3)), axis=-1).reshape(-1, 2)
        rays_o, rays_d = rays_through(camera, pixels)
        points.append(rays_o + generator.uniform(1.0, 3.0, (12, 1)) * rays_d)
        x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
        at, _ = project(camera, points[-1])
        bright = sum(np.exp(-((x - u) ** 2 + (y - v) ** 2) / (2 * 2.0**2)) for u, v in at[np.isfinite(at).all(axis=1)])
        photo = (60 + 190 * np.clip(bright, 0, 1)).astype(np.uint8)
        path = folder / "images" / f"{number:03d}.png"
        Image.fromarray(np.repeat(photo[..., None], 3, axis=2)).save(path)
        views.append(replace(source.views[number], camera=camera, image_path=path))
    return replace(source, views=tuple(views)), np.array(points)


@pytest.mark.parametrize("format", ["nerfstudio", "colmap", "llff"])
@pytest.mark.parametrize("lens", ["barrel", "fisheye"])
def test_a_point_is_where_the_straight_camera_says(tiny_capture, tmp_path, lens, format):
    source, points = dotted(tiny_capture, tmp_path / "in", lens)
    done = convert_capture(source, format, tmp_path / "out", Job(), straighten=True)
    back = load_capture(tmp_path / "out")
    assert done.retaken == 3 and {view.camera.model for view in back.views} == {"pinhole"}
    # LLFF's cameras look through the middle of their pictures, so that it cuts what is off it
    assert any("cut off" in line for line in done.lost) == (format == "llff" and lens == "barrel")
    for view, world in zip(back.views, points, strict=True):
        photo = read_rgb(view)[..., 0]
        at, _ = project(view.camera, world)
        x, y = np.meshgrid(np.arange(photo.shape[1]) + 0.5, np.arange(photo.shape[0]) + 0.5)
        for u, v in at:
            near = np.hypot(x - u, y - v) < 8
            weight = np.where(near, np.clip(photo - 62 / 255, 0, None), 0.0)
            found = np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()
            assert np.abs(found - (u, v)).max() < 0.25 and photo[near].max() > 0.7


def test_all_of_the_photo_is_there_and_what_is_black_around_it_is_masked(tiny_capture, tmp_path):
    source, _ = dotted(tiny_capture, tmp_path / "in", "barrel")
    convert_capture(source, "nerfstudio", tmp_path / "out", Job(), straighten=True)
    view = load_capture(tmp_path / "out").views[0]
    photo, mask = read_rgb(view)[..., 0], np.asarray(Image.open(view.mask_path))
    assert ((photo > 0.1) == (mask == 255)).mean() > 0.999 and 0.8 < (mask == 255).mean() < 1.0
    assert (mask == 255).any(axis=0).mean() > 0.99 or (mask == 255).any(axis=1).mean() > 0.99  # it touches the border


def test_masks_are_straightened_with_their_photos(tiny_capture, tmp_path):
    source, _ = dotted(tiny_capture, tmp_path / "in", "barrel")
    camera = source.views[0].camera
    pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    pixels[:, :160] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    views = (replace(source.views[0], mask_path=tmp_path / "mask.png"), *source.views[1:])
    convert_capture(replace(source, views=views), "nerfstudio", tmp_path / "out", Job(), straighten=True)
    view = load_capture(tmp_path / "out").views[0]
    mask = np.asarray(Image.open(view.mask_path)) == 255
    x, y = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
    rays_o, rays_d = rays_through(view.camera, np.stack([x.ravel(), y.ravel()], axis=1))
    at, _ = project(camera, rays_o + rays_d)
    with np.errstate(invalid="ignore"):
        expected = ((at >= 0) & (at <= SIZE) & (at[:, :1] < 160)).all(axis=1).reshape(SIZE[::-1])
    assert (mask == expected).mean() > 0.995


def test_what_a_fisheye_loses_is_said(tiny_capture, tmp_path):
    source, _ = dotted(tiny_capture, tmp_path / "in", "circular")
    done = convert_capture(source, "nerfstudio", tmp_path / "out", Job(), straighten=True)
    (said,) = done.lost
    assert said.startswith("Up to") and "cut off" in said


def test_straight_photos_are_copied_and_both_ways_at_once_are_refused(tiny_capture, tmp_path):
    capture = load_capture(tiny_capture.folder)
    done = convert_capture(capture, "nerfstudio", tmp_path / "out", Job(), straighten=True)
    assert done.retaken == 0 and done.lost == ()
    with pytest.raises(CaptureError, match="at once"):
        convert_capture(capture, "nerfstudio", tmp_path / "both", Job(), (-0.1, 0, 0, 0), straighten=True)
    assert not (tmp_path / "both").exists()
