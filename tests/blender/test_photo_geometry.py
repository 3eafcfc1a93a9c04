"""Between viewport, photo and lens: the arithmetic that a click goes through, without Blender."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.captures.capture import Camera
from engine.captures.rays import project
from sa3d_blender.overlay.shapes import box_line, disc, dot
from sa3d_blender.scene.description import SceneView
from sa3d_blender.scene.frame import Frame, fit_frame, frame_from_corners, free_of, to_region
from sa3d_blender.scene.lens import is_straight, photo_from_frame
from sa3d_blender.scene.nearest import nearest_view
from sa3d_blender.scene.straighten import straightened
from sa3d_blender.scene.strokes import MOST_POINTS, paint, simplified
from sa3d_blender.tools.draw_icons import FOLDER, ICONS, packed

FRAME = Frame(100.0, 50.0, 400.0, 300.0)


def a_view(model: str = "pinhole", distortion: tuple[float, ...] = ()) -> SceneView:
    rows = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
    return SceneView("a.png", "a", Path("a.png"), 120, 80, 110.0, 100.0, 63.0, 38.0, rows, model, distortion)  # type: ignore[arg-type]


def test_fractions_count_from_the_photos_top_left_corner():
    assert FRAME.fraction(100, 350) == (0.0, 0.0)
    assert FRAME.fraction(500, 50) == (1.0, 1.0)
    assert FRAME.fraction(200, 275) == (0.25, 0.25)


@pytest.mark.parametrize("place", [(0.0, 0.0), (0.3, 0.9), (1.0, 1.0), (-0.2, 1.4)])
def test_a_fraction_comes_back_from_its_pixel(place):
    assert FRAME.fraction(*FRAME.pixel(*place)) == pytest.approx(place)
    assert FRAME.pixels(np.array([place]))[0] == pytest.approx(FRAME.pixel(*place))


def test_only_pixels_on_the_photo_are_held():
    assert FRAME.holds(100, 50) and FRAME.holds(300, 200)
    assert not FRAME.holds(99.9, 200) and not FRAME.holds(300, 350.1)


def test_a_frame_without_area_is_none():
    assert frame_from_corners(np.array([[3, 4], [3, 4], [3, 9], [3, 9]])) is None
    assert frame_from_corners(np.array([[0, 0], [np.nan, 4], [3, 9], [3, 9]])) is None


def test_the_middle_of_the_clip_space_is_the_middle_of_the_region():
    found = to_region(np.eye(4), np.array([[0, 0, 0.5], [-1, 1, 0.5]]), (800, 600))
    assert found.tolist() == [[400, 300], [0, 600]]


@pytest.mark.parametrize(
    ("model", "distortion"),
    [
        ("pinhole", ()),
        ("opencv", (-0.2, 0.05, 0.001, -0.002, 0.01, 0.02)),
        ("fisheye", (0.03, -0.01, 0.004, -0.001)),
    ],
)
def test_the_lens_bends_as_the_engines_does(model, distortion):
    view = a_view(model, distortion)
    camera = Camera(120, 80, 110.0, 100.0, 63.0, 38.0, np.eye(4), model, distortion)
    points = np.random.default_rng(0).uniform((0, 0), (120, 80), (50, 2))
    plane = (points - (63.0, 38.0)) / (110.0, 100.0)
    world = np.stack([plane[:, 0], -plane[:, 1], -np.ones(50)], axis=1) * 2.5
    expected, _ = project(camera, world)
    assert photo_from_frame(view, points) == pytest.approx(expected, abs=1e-9)


def test_a_lens_of_zeros_is_straight():
    assert is_straight(a_view()) and is_straight(a_view("opencv", (0.0, 0.0)))
    assert not is_straight(a_view("opencv", (0.1,))) and not is_straight(a_view("fisheye", (0.0,)))


def test_a_straightened_photo_shows_at_each_pixel_what_the_lens_put_elsewhere():
    view = a_view("opencv", (-0.15, 0.02))
    x, y = np.meshgrid(np.arange(120), np.arange(80))
    ramps = np.stack([x, y, np.full_like(x, 7)], axis=2).astype(np.float32)  # linear, so interpolation is exact
    made = straightened(view, ramps)
    expected = photo_from_frame(view, np.stack([x.ravel() + 0.5, y.ravel() + 0.5], axis=1)).reshape(80, 120, 2) - 0.5
    inner = (slice(5, -5), slice(5, -5))
    assert made[inner][..., :2] == pytest.approx(expected[inner], abs=1e-3)
    assert made[inner][..., 2] == pytest.approx(7)


def test_what_lies_beyond_the_photo_is_black():
    made = straightened(a_view("opencv", (0.5,)), np.full((80, 120, 4), 9, np.uint8))  # outward: the rim is missing
    assert made[0, 0].tolist() == [0, 0, 0, 0] and made[40, 60].tolist() == [9, 9, 9, 9]


def test_a_photo_stored_smaller_is_straightened_alike():
    view = a_view("opencv", (-0.15, 0.02))
    x = np.tile(np.arange(120, dtype=np.float32)[None, :, None], (80, 1, 1))
    small = x.reshape(40, 2, 60, 2, 1).mean(axis=(1, 3))
    whole, half = straightened(view, x), straightened(view, small)
    averaged = whole.reshape(40, 2, 60, 2, 1).mean(axis=(1, 3))
    assert half[5:-5, 5:-5] == pytest.approx(averaged[5:-5, 5:-5], abs=0.01)  # the lens isn't quite linear in a pixel


def cameras(*poses: tuple[tuple[float, float, float], float]) -> np.ndarray:
    """Cameras at places, turned about +Z by degrees from looking along +Y."""
    made = []
    for place, degrees in poses:
        angle = np.radians(degrees)
        matrix = np.eye(4)
        matrix[:3, 0] = np.cos(angle), np.sin(angle), 0
        matrix[:3, 1] = 0, 0, 1
        matrix[:3, 2] = np.sin(angle), -np.cos(angle), 0
        matrix[:3, 3] = place
        made.append(matrix)
    return np.array(made)


def test_the_nearest_view_is_the_one_at_that_place():
    views = cameras(((-1, 0, 0), 0), ((0, 0, 0), 0), ((1, 0, 0), 0))
    assert nearest_view(np.array([0.9, 0, 0.1]), np.array([0, 1, 0]), views) == 2


def test_a_camera_that_looks_elsewhere_is_not_near():
    views = cameras(((0, 0, 0), 120), ((0.5, 0, 0), 0), ((-3, 0, 0), 0))
    assert nearest_view(np.zeros(3), np.array([0, 2.0, 0]), views) == 1


def test_a_straight_line_keeps_only_its_ends():
    line = np.stack([np.linspace(0, 50, 80), np.linspace(0, 20, 80)], axis=1)
    assert simplified(line, 0.5).tolist() == [[0, 0], [50, 20]]


def test_a_corner_is_kept_and_nothing_is_farther_off_than_the_tolerance():
    line = np.array([[x, 0.3 * np.sin(x)] for x in range(20)] + [[19, y] for y in range(1, 20)], dtype=float)
    kept = simplified(line, 0.5)
    assert [19, 19] in kept.tolist() and len(kept) <= 5
    assert min(np.abs(kept - [19, 0]).sum(axis=1)) < 1


def test_the_wildest_scribble_has_an_end():
    wild = np.random.default_rng(1).uniform(0, 1000, (3000, 2))
    assert 2 <= len(simplified(wild, 0.5)) <= MOST_POINTS
    assert len(simplified(np.zeros((0, 2)), 0.5)) == 0
    assert len(simplified(np.zeros((5, 2)), 0.5)) == 2


def test_painted_strokes_lie_where_they_were_drawn():
    painted = paint([np.array([[10.0, 5.5], [30.0, 5.5]])], (40, 20), radius=1.5)
    rows, columns = np.nonzero(painted)
    assert set(rows) == {4, 5, 6} and columns.min() == 8 and columns.max() == 31
    assert paint([np.array([[-50.0, 3.0], [90.0, 3.0]])], (40, 20)).any()  # beyond the picture is no error
    assert not paint([np.zeros((0, 2))], (40, 20)).any()


def area(corners: np.ndarray) -> float:
    a, b, c = (corners[i::3] for i in range(3))
    return float(np.abs(np.cross(b - a, c - a)).sum() / 2)


def test_a_disc_has_the_area_of_a_circle_and_fades_at_its_rim():
    corners, colours = disc(20.0, 30.0, 8.0, (0.1, 0.2, 0.3, 1.0))
    distance = np.linalg.norm(corners - (20, 30), axis=1)
    assert area(corners) == pytest.approx(np.pi * 8.75**2, rel=0.02)  # 24 corners lack 1 % of the circle
    assert np.all(colours[distance > 8.1, 3] == 0) and np.all(colours[distance < 7.5, 3] == 1)
    assert corners.dtype == colours.dtype == np.float32 and len(corners) % 3 == 0


def test_a_selected_dot_is_larger():
    plain, _ = dot(0, 0, 5, (0, 1, 0, 1), (0, 0, 0, 1), selected=False)
    chosen, _ = dot(0, 0, 5, (0, 1, 0, 1), (0, 0, 0, 1), selected=True)
    assert np.abs(chosen).max() > np.abs(plain).max()


def test_a_boxs_outline_is_closed_whatever_way_it_was_dragged():
    line = box_line(np.array([[9.0, 1.0], [2.0, 7.0]]))
    assert line.tolist() == [[2, 1], [9, 1], [9, 7], [2, 7], [2, 1]]


def drawn_by_blender(size: tuple[int, int], zoom: float, offset: tuple[float, float], aspect: float) -> list[float]:
    """(left, bottom, right, top) of a camera's frame, as measured in a window of 4.3 (tests/gui checks it again)."""
    factor = (2**0.5 + zoom / 50) ** 2 / 4
    width = factor * size[0]
    x = size[0] / 2 - 2 * offset[0] * factor * size[0]
    y = size[1] / 2 - 2 * offset[1] * factor * size[1]
    return [x - width / 2, y - width / aspect / 2, x + width / 2, y + width / aspect / 2]


@pytest.mark.parametrize("aspect", [4 / 3, 9 / 16, 3.0])
def test_a_fitted_photo_fills_the_room_that_is_free(aspect):
    size, room = (1300, 900), (60.0, 0.0, 980.0, 840.0)
    fit = fit_frame(size, room, aspect)
    left, bottom, right, top = drawn_by_blender(size, fit.zoom, fit.offset, aspect)
    assert left > 60 and right < 980 and bottom > 0 and top < 840
    assert [(left + right) / 2, (bottom + top) / 2] == pytest.approx([520, 420])
    assert max((right - left) / 920, (top - bottom) / 840) == pytest.approx(0.96, abs=1e-6)


def test_bars_at_the_edges_are_left_out_of_the_room():
    size = (1300, 900)
    toolbar, sidebar, header = (0, 300, 50, 840), (1000, 0, 1300, 840), (0, 840, 1300, 900)
    assert free_of(size, [toolbar, sidebar, header]) == (50, 0, 1000, 840)
    assert free_of(size, []) == (0, 0, 1300, 900)
    assert free_of(size, [(0, 900, 1300, 960)]) == (0, 0, 1300, 900)  # beside the region: no overlap
    assert free_of(size, [(0, 0, 1200, 900)]) == (0, 0, 1300, 900)  # nothing sensible would be left


def test_the_icons_in_the_tree_are_those_that_the_code_draws():
    for name, draw in ICONS.items():
        stored = (FOLDER / f"{name}.dat").read_bytes()
        assert stored == packed(draw()) and stored.startswith(b"VCO\x00")
        assert (len(stored) - 8) % 18 == 0
