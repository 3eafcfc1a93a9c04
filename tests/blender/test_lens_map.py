"""Prompts and masks are exchanged in the photo's own pixels: between the straightened picture and the photo, both ways.

The engine's lenses are the other witness: they are solved independently of the add-on's.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.captures.capture import Camera
from engine.captures.convert import convert_capture
from engine.captures.load import load_capture
from engine.captures.rays import camera_directions, project, rays_through
from engine.progress import Job
from engine.server_capture import describe_capture
from sa3d_blender.scene.description import Pinhole, SceneView, capture_description
from sa3d_blender.scene.lens import frame_from_photo, has_photo_at, photo_from_frame, shown_in_photo
from sa3d_blender.scene.straight_camera import WIDEST_DEGREES, hidden_share, said_of_hidden, with_straight_camera
from sa3d_blender.scene.straighten import (
    LONGEST,
    MOST_BYTES,
    UNIT,
    forget_look_ups,
    look_up,
    straight_size,
    straightened,
)

WIDTH, HEIGHT = 1200, 900
LENSES = {
    "five coefficients": ("opencv", (-0.1, 0.02, 0.001, -0.001, 0.003), 960.0),
    "eight coefficients": ("opencv", (0.2, -0.05, 0.001, -0.002, 0.01, 0.3, 0.02, 0.001), 840.0),
    "strong barrel": ("opencv", (-0.35, 0.14, 0.001, 0.0005, -0.025), 850.0),
    "pincushion": ("opencv", (0.3, 0.05), 900.0),
    "fisheye": ("fisheye", (0.03, -0.01, 0.004, -0.001), 720.0),
    "wide fisheye": ("fisheye", (0.05,), 510.0),
    "circular fisheye": ("fisheye", (), 290.0),
}
WHOLE = [name for name in LENSES if name not in ("wide fisheye", "circular fisheye")]
ROWS = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))


def seen_through(lens: str, width: int = WIDTH, height: int = HEIGHT) -> tuple[SceneView, Camera]:
    """A view with its straight camera, and the same as the engine has it; the axis is off the middle."""
    model, distortion, focal = LENSES[lens]
    fl_x, fl_y, cx, cy = focal * width / WIDTH, 1.01 * focal * width / WIDTH, 0.51 * width, 0.49 * height
    view = SceneView("a.png", "a", Path("a.png"), width, height, fl_x, fl_y, cx, cy, ROWS, model, distortion)  # type: ignore[arg-type]
    return with_straight_camera(view), Camera(width, height, fl_x, fl_y, cx, cy, np.eye(4), model, distortion)


def places(count: int = 41) -> np.ndarray:
    """Fractions [N, 2] all over a picture, its border too."""
    steps = np.linspace(0.0, 1.0, count)
    return np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)


def on_pinhole(pinhole: Pinhole, rays_d: np.ndarray) -> np.ndarray:
    """Where rays with z = -1 meet the picture of a pinhole camera, pixels [N, 2]."""
    return rays_d[:, :2] * (pinhole.fl_x, -pinhole.fl_y) + (pinhole.cx, pinhole.cy)


@pytest.mark.parametrize("lens", LENSES)
def test_a_click_goes_to_the_photos_pixel_and_back(lens):
    view, camera = seen_through(lens)
    clicks = places().astype(np.float32).astype(np.float64) * (WIDTH, HEIGHT)  # Blender keeps them as float32
    pixels, shown = shown_in_photo(view, clicks)
    assert shown.mean() > 0.55
    back, good = frame_from_photo(view, pixels[shown])
    assert good.all() and np.abs(back - clicks[shown]).max() < 1e-3
    # The engine shoots its ray through that pixel; Blender's camera sees the ray where the click was.
    _, rays_d = rays_through(camera, pixels[shown])
    assert np.abs(on_pinhole(view.pinhole, rays_d) - clicks[shown]).max() < 0.1


@pytest.mark.parametrize("lens", LENSES)
def test_a_pixel_of_the_photo_goes_to_the_straight_picture_and_back(lens):
    view, camera = seen_through(lens)
    pixels = places() * (WIDTH, HEIGHT)
    frame, good = frame_from_photo(view, pixels)
    _, rays_d = rays_through(camera, pixels[good])
    _, at = project(camera, rays_d)
    assert good.mean() > 0.5 and (at > 0).all()
    # far off the axis a pixel of the photo is many of the straight picture: the ray's angle counts
    angle = np.arctan(np.linalg.norm(rays_d[:, :2], axis=1))
    near = angle < np.radians(WIDEST_DEGREES + 8)
    assert np.abs(on_pinhole(view.pinhole, rays_d)[near] - frame[good][near]).max() < 0.1
    assert np.abs(photo_from_frame(view, frame[good]) - pixels[good]).max() < 1e-3


@pytest.mark.parametrize("lens", LENSES)
def test_lens_and_engine_agree_where_a_photo_has_rays(lens):
    view, camera = seen_through(lens)
    pixels = places() * (WIDTH, HEIGHT)
    _, good = frame_from_photo(view, pixels)
    rays_o, rays_d = rays_through(camera, pixels)
    found, _ = project(camera, rays_o + rays_d)
    with np.errstate(invalid="ignore"):
        theirs = np.abs(found - pixels).max(axis=1) < 1e-2
    assert (good == theirs).mean() > 0.999  # on the rim of what a lens sees the last digit decides


@pytest.mark.parametrize("lens", WHOLE)
def test_all_of_the_photo_is_in_the_frame_and_the_frame_is_no_larger_than_that(lens):
    view, _ = seen_through(lens)
    frame, good = frame_from_photo(view, places() * (WIDTH, HEIGHT))
    assert good.all() and hidden_share(view) == 0.0
    assert (frame > -0.5).all() and (frame < np.array([WIDTH, HEIGHT]) + 0.5).all()
    touched = np.isclose(frame.min(axis=0), 0, atol=1) & np.isclose(frame.max(axis=0), (WIDTH, HEIGHT), atol=1)
    assert touched.any()
    assert said_of_hidden([hidden_share(view)]) == ""


def test_a_fisheye_wider_than_a_straight_picture_can_be_is_cut_and_that_is_said():
    view, camera = seen_through("circular fisheye")
    edges = (np.array([0.0, HEIGHT]) - view.pinhole.cy) / view.pinhole.fl_y
    assert np.degrees(np.arctan(edges)) == pytest.approx([-WIDEST_DEGREES, WIDEST_DEGREES], abs=0.5)
    # What the photo shows and the frame doesn't, counted over the engine's rays.
    directions = camera_directions(camera).reshape(-1, 3).astype(np.float64)
    angle = np.arctan(np.linalg.norm(directions[:, :2], axis=1))
    seen = angle < np.radians(87.99)
    frame = on_pinhole(view.pinhole, directions)
    inside = seen & np.all((frame >= 0) & (frame <= (WIDTH, HEIGHT)), axis=1)
    share = hidden_share(view)
    assert share == pytest.approx(1 - inside.sum() / seen.sum(), abs=0.01) and share > 0.25
    said = said_of_hidden([share, 0.0, share])
    assert said.startswith("2 photos are too wide") and f"{100 * share:.0f} %" in said
    assert said_of_hidden([0.0, share]).startswith("One photo is")


def test_beyond_the_fold_of_a_lens_nothing_is_shown_twice():
    folded = SceneView("a", "a", Path("a"), 400, 300, 240.0, 240.0, 200.0, 150.0, ROWS, "opencv", (-0.3,))  # type: ignore[arg-type]
    view = with_straight_camera(folded)
    radii = np.linalg.norm((places() * (400, 300) - (view.pinhole.cx, view.pinhole.cy)) / view.pinhole.fl_x, axis=1)
    _, shown = shown_in_photo(view, places() * (400, 300))
    assert not shown[radii > 1.054].any() and shown[radii < 0.5].all()  # r - 0.3 r^3 turns at 1 / sqrt(0.9)
    assert not has_photo_at(view, (0.0, 0.0)) and has_photo_at(view, (0.5, 0.5))
    corner = photo_from_frame(view, np.array([[0.0, 0.0]]))[0]
    assert np.isfinite(corner).all() and (corner < (200, 150)).all()


def test_a_view_of_before_straight_cameras_were_chosen_keeps_its_prompts():
    view = replace(seen_through("five coefficients")[0], straight=None)
    assert view.pinhole == Pinhole(view.fl_x, view.fl_y, view.cx, view.cy)
    centre = np.array([[view.cx, view.cy]])
    assert photo_from_frame(view, centre) == pytest.approx(centre)


def test_a_straight_photos_camera_is_its_own():
    view = SceneView("a", "a", Path("a"), 40, 30, 50.0, 50.0, 20.0, 15.0, ROWS, "opencv", (0.0, 0.0))  # type: ignore[arg-type]
    assert with_straight_camera(view) is view and hidden_share(view) == 0.0


def test_whatever_numbers_a_lens_has_there_is_a_camera_and_a_picture():
    generator = np.random.default_rng(0)
    with np.errstate(all="raise", under="ignore"):
        for number in range(120):
            model, most = (("opencv", 9), ("fisheye", 5))[number % 2]
            count = int(generator.integers(1, most))
            lens = generator.choice([-1.0, 1.0], count) * 10.0 ** generator.uniform(-6, 6, count)
            width, height = (int(side) for side in generator.integers(1, 60, 2))
            fl_x, fl_y = (float(focal) for focal in 10.0 ** generator.uniform(-6, 6, 2) * (width, height))
            cx, cy = (float(centre) for centre in generator.uniform(-1, 2, 2) * (width, height))
            distortion = tuple(float(value) for value in lens)
            wild = SceneView("a", "a", Path("a"), width, height, fl_x, fl_y, cx, cy, ROWS, model, distortion)  # type: ignore[arg-type]
            view = with_straight_camera(wild)
            assert view.pinhole.fl_x > 0 and np.isfinite([view.pinhole.fl_x, view.pinhole.cx, view.pinhole.cy]).all()
            assert 0 <= hidden_share(view) <= 1
            assert np.isfinite(straightened(view, np.ones((height, width, 1), np.float32))).all()


def disc(x: np.ndarray, y: np.ndarray, centre: tuple[float, float], radius: float) -> np.ndarray:
    return np.asarray(np.hypot(x - centre[0], y - centre[1]) <= radius)


@pytest.mark.parametrize("shrunk", [1, 2])
@pytest.mark.parametrize("lens", LENSES)
def test_a_mask_in_the_photos_pixels_lies_at_the_right_place_of_the_straight_picture(lens, shrunk):
    """A disc of the straight picture, seen through the lens by the engine's rays, comes back as that disc."""
    size = (600, 450)
    view, camera = seen_through(lens, *size)
    fine = replace(camera, width=2 * size[0], height=2 * size[1])
    fine = replace(fine, fl_x=2 * camera.fl_x, fl_y=2 * camera.fl_y, cx=2 * camera.cx, cy=2 * camera.cy)
    rays_d = camera_directions(fine).reshape(-1, 3).astype(np.float64)
    frame = on_pinhole(view.pinhole, rays_d)
    pinhole = view.pinhole
    for at in ((0.0, 0.0), (0.25, 0.2), (-0.3, 0.22)):  # the middle, and well off it
        centre = (pinhole.cx + at[0] * size[0], pinhole.cy + at[1] * size[1])
        radius = 0.12 * size[1]
        finest = disc(frame[:, 0], frame[:, 1], centre, radius).reshape(2 * size[1], 2 * size[0])
        cells = 2 * shrunk
        mask = finest.reshape(size[1] // shrunk, cells, size[0] // shrunk, cells).mean(axis=(1, 3))
        found = straightened(view, (255 * mask).round().astype(np.uint8)[..., None])[..., 0]
        height, width = found.shape
        assert (width, height) == straight_size(view, size[0] // shrunk, size[1] // shrunk)
        x, y = np.meshgrid((np.arange(width) + 0.5) * size[0] / width, (np.arange(height) + 0.5) * size[1] / height)
        truth, inside = disc(x, y, centre, radius), found > 127
        overlap = (truth & inside).sum() / (truth | inside).sum()
        off = [float((each * found).sum() / found.sum() - where) for each, where in zip((x, y), centre, strict=True)]
        # a quarter of a pixel of the photo, which covers more of the straight picture away from its axis
        assert overlap > 0.97 and np.abs(off).max() < 0.25 * shrunk, (at, overlap, off)


@pytest.mark.parametrize("lens", ["five coefficients", "strong barrel"])
def test_what_a_capture_is_written_and_described_with_puts_a_point_at_one_place_on_both_sides(
    tiny_capture, tmp_path, lens
):
    distortion = LENSES[lens][1][:4]
    convert_capture(load_capture(tiny_capture.folder), "nerfstudio", tmp_path / "bent", Job(), distortion)
    answer = describe_capture(tmp_path / "bent", tmp_path / "cache", Job())
    description = capture_description(answer.body)
    point = np.array([[-0.45, 0.0, 0.4], [0.55, 0.15, 0.3], [0.1, -0.3, 0.0]])  # the ball, the box, the ground
    for described, loaded in zip(description.views, load_capture(tmp_path / "bent").views, strict=True):
        view = with_straight_camera(described)
        assert view.model == "opencv" and view.straight is not None
        pixels, depth = project(loaded.camera, point)
        local = (point - loaded.camera.position) @ loaded.camera.world_from_camera[:3, :3]
        frame = on_pinhole(view.pinhole, local / depth[:, None])
        assert np.abs(photo_from_frame(view, frame) - pixels).max() < 1e-3
        back, good = frame_from_photo(view, pixels)
        assert good.all() and np.abs(back - frame).max() < 1e-2


def test_a_look_up_is_kept_for_the_next_photo_of_a_lens_and_memory_is_bounded():
    forget_look_ups()
    view, _ = seen_through("five coefficients")
    other = replace(view, name="b.png", stem="b", image=Path("b.png"))
    assert look_up(view, 600, 450) is look_up(other, 600, 450)
    assert look_up(view, 600, 450) is not look_up(view, 300, 225)
    first = look_up(view, 600, 450)
    for number in range(MOST_BYTES // look_up(view, 4000, 3000).bytes + 1):
        look_up(replace(view, fl_x=view.fl_x + number), 4000, 3000)
    assert look_up(view, 600, 450) is not first  # the longest unused went
    forget_look_ups()


@pytest.mark.parametrize("lens", ["eight coefficients", "circular fisheye"])
def test_rows_from_below_are_the_same_picture_turned_over(lens):
    view, _ = seen_through(lens, 160, 120)
    photo = np.random.default_rng(0).random((120, 160, 4)).astype(np.float32)
    expected = straightened(view, photo)[::-1]
    assert np.abs(straightened(view, photo[::-1], from_below=True) - expected).max() < 1e-3
    assert expected.any()


def test_a_look_up_says_where_a_pixel_lies_to_a_thousandth():
    view, _ = seen_through("fisheye")
    found = look_up(view, WIDTH, HEIGHT)
    width, height = found.size
    y, x = np.divmod(np.arange(found.first.size), width)
    points, shown = shown_in_photo(view, np.stack([(x + 0.5) * WIDTH / width, (y + 0.5) * HEIGHT / height], axis=1))
    inner = shown & ((points > 1) & (points < np.array([WIDTH, HEIGHT]) - 1)).all(axis=1)
    assert ((found.first >= 0) == shown).all() and inner.mean() > 0.5
    row, column = np.divmod(found.first[inner], WIDTH)
    at = np.stack([column + found.right[inner] / UNIT, row + found.down[inner] / UNIT], axis=1) + 0.5
    assert np.abs(at - points[inner]).max() < 1e-3


def test_a_straightened_photo_is_as_sharp_in_its_middle_but_no_larger_than_screens_are():
    view, _ = seen_through("fisheye")
    width, height = straight_size(view, WIDTH, HEIGHT)
    assert width / WIDTH == pytest.approx(view.fl_x / view.pinhole.fl_x, rel=0.01) and width > WIDTH
    large, _ = seen_through("fisheye", 8000, 6000)
    assert straight_size(large, 8000, 6000) == (LONGEST, LONGEST * 6000 // 8000)
    assert width / height == pytest.approx(WIDTH / HEIGHT, rel=0.01)


def test_lines_that_are_straight_in_the_world_are_straight_in_the_picture():
    """A grid of lines on a wall, as the lens draws it, is a grid of straight lines again."""
    view, camera = seen_through("strong barrel")
    rays_d = camera_directions(camera).reshape(HEIGHT, WIDTH, 3).astype(np.float64)
    lines = np.abs((rays_d[..., 0] + 0.5) % 0.5 - 0.25) < 0.012  # vertical ones, every half of the distance
    made = straightened(view, (255.0 * lines)[..., None].astype(np.float32))[..., 0]
    height, width = made.shape
    for x_plane in (-0.75, -0.25, 0.25, 0.75):
        column = (x_plane * view.pinhole.fl_x + view.pinhole.cx) * width / WIDTH
        around = slice(int(column) - 15, int(column) + 16)
        strip = made[height // 5 : -height // 5, around]
        centres = (strip * (np.arange(around.start, around.stop) + 0.5)).sum(axis=1) / strip.sum(axis=1)
        assert np.abs(centres - column).max() < 1.0
