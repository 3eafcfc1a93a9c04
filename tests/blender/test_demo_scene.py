"""The demo scene: what its command writes, and that its truth fits its pictures."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sa3d_blender.demo.clicks import CLICKS, clicks_for
from sa3d_blender.demo.orbit import TARGET, stands, world_from_camera
from sa3d_blender.demo.png import strip_notes
from sa3d_blender.demo.shapes import Shape, ball, lathe, ring
from sa3d_blender.demo.stage import OBJECTS
from sa3d_blender.demo.truth import is_watertight

ROOT = Path(__file__).resolve().parents[2]


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sa3d_blender.demo", "render", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two views at full size with one sample: the masks are exact at any number of samples."""
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("needs Blender's Python module")
    out = tmp_path_factory.mktemp("demo") / "scene"
    done = run_demo("--out", str(out), "--views", "2", "--samples", "1")
    assert done.returncode == 0, done.stderr
    return out, done.stderr


def read_grey(path: Path) -> np.ndarray:
    image = pytest.importorskip("PIL.Image").open(path)
    assert image.mode == "L"
    return np.asarray(image)


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray]:
    mesh = pytest.importorskip("trimesh").load(path, process=False)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def test_the_folder_appears_whole_with_progress_on_stderr(demo: tuple[Path, str]) -> None:
    out, stderr = demo
    assert {entry.name for entry in out.iterdir()} == {"capture", "truth"}
    assert not out.with_name("scene.partial").exists()
    last = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")][-1]
    assert last == {"done": 4, "total": 4}


def test_every_frame_has_a_photo_and_a_mask_of_the_stated_size(demo: tuple[Path, str]) -> None:
    out, _ = demo
    layout = json.loads((out / "capture/transforms.json").read_text())
    assert len(layout["frames"]) == 2
    for frame in layout["frames"]:
        photo = pytest.importorskip("PIL.Image").open(out / "capture" / frame["file_path"])
        mask = read_grey(out / "truth/masks" / Path(frame["file_path"]).name)
        assert photo.size == (layout["w"], layout["h"]) == mask.shape[::-1]
        assert np.asarray(photo.convert("RGB")).std() > 20, "a photo of a lit, textured scene is not flat"


def test_pictures_carry_no_dates_or_paths(demo: tuple[Path, str]) -> None:
    out, _ = demo
    for path in (*sorted((out / "capture/images").iterdir()), *sorted((out / "truth/masks").iterdir())):
        assert set(pytest.importorskip("PIL.Image").open(path).info) <= {"dpi", "gamma", "srgb"}


def test_taking_notes_out_of_a_png_keeps_its_pixels(tmp_path: Path) -> None:
    image, plugin = pytest.importorskip("PIL.Image"), pytest.importorskip("PIL.PngImagePlugin")
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    notes = plugin.PngInfo()
    notes.add_text("Date", "2020/01/01")
    image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=notes)
    strip_notes(tmp_path / "a.png")
    read = image.open(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read), pixels)
    assert "Date" not in read.info
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(ValueError, match="too early"):
        strip_notes(tmp_path / "cut.png")


def test_masks_hold_the_indices_of_the_objects_and_nothing_else(demo: tuple[Path, str]) -> None:
    out, _ = demo
    known = json.loads((out / "truth/objects.json").read_text())
    assert known == OBJECTS
    for path in sorted((out / "truth/masks").iterdir()):
        assert set(np.unique(read_grey(path)).tolist()) == {0, *known.values()}


def test_clicks_lie_well_inside_their_objects(demo: tuple[Path, str]) -> None:
    out, _ = demo
    for click in json.loads((out / "truth/clicks.json").read_text()).values():
        mask = read_grey(out / "truth/masks" / click["view"])
        for x, y in click["points"]:
            around = mask[y - 4 : y + 5, x - 4 : x + 5]
            assert np.all(around == OBJECTS[click["object"]]), f"{click['object']} at {x}, {y}"


def test_true_meshes_cover_their_masks_when_projected_with_the_written_cameras(demo: tuple[Path, str]) -> None:
    out, _ = demo
    layout = json.loads((out / "capture/transforms.json").read_text())
    for frame in layout["frames"]:
        mask = read_grey(out / "truth/masks" / Path(frame["file_path"]).name)
        camera_from_world = np.linalg.inv(np.array(frame["transform_matrix"]))
        for name, index in OBJECTS.items():
            vertices, _ = read_ply(out / f"truth/meshes/{name}.ply")
            local = vertices @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
            x = layout["cx"] - layout["fl_x"] * local[:, 0] / local[:, 2]
            y = layout["cy"] + layout["fl_y"] * local[:, 1] / local[:, 2]
            rows, columns = np.nonzero(mask == index)
            # A mask's pixel centre lies inside the projected mesh; what others hide only makes the mask smaller.
            assert columns.min() + 0.5 >= x.min() - 0.01 and columns.max() + 0.5 <= x.max() + 0.01
            assert rows.min() + 0.5 >= y.min() - 0.01 and rows.max() + 0.5 <= y.max() + 0.01
            if name == "vase":
                # Its top and left side are free in both views: there the mask ends within a pixel of the mesh.
                assert rows.min() + 0.5 <= y.min() + 1.0


def test_true_meshes_are_closed_and_stand_on_the_table(demo: tuple[Path, str]) -> None:
    out, _ = demo
    for name in OBJECTS:
        vertices, triangles = read_ply(out / f"truth/meshes/{name}.ply")
        assert is_watertight(triangles)
        assert abs(vertices[:, 2].min()) < 1e-6  # float32 of a height of zero
        corners = vertices[triangles]
        volume = np.einsum("ij,ij->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
        assert volume > 1e-4, f"the faces of {name} point outwards and hold a volume"


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = run_demo("--out", str(tmp_path))
    assert done.returncode == 1
    assert "exists already" in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.txt"]


def test_a_size_the_scene_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    done = run_demo("--out", str(tmp_path / "a"), "--width", "320", "--height", "40")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1 and "320 x 40" in done.stderr


def test_unknown_options_are_bad_usage(tmp_path: Path) -> None:
    assert run_demo("--out", str(tmp_path / "a"), "--nonsense").returncode == 2


@pytest.mark.parametrize("shape", [ball(0.1), ring(0.08, 0.03), lathe([(0, 0), (1, 0), (1, 1), (0, 1)])])
def test_shapes_are_closed(shape: Shape) -> None:
    triangles = np.array([(f[0], f[k], f[k + 1]) for f in shape.faces for k in range(1, len(f) - 1)])
    assert is_watertight(triangles)
    assert not is_watertight(triangles[1:])


def test_a_profile_off_the_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="axis"):
        lathe([(0.1, 0), (0.2, 1), (0, 2)])


def test_cameras_look_at_the_middle_from_15_to_60_degrees_all_around() -> None:
    for seed in range(5):
        found = stands(40, seed)
        assert all(15 <= stand.elevation <= 60 for stand in found)
        # 22 views on the lower ring are 16 degrees apart, moved by at most 2.5 each way.
        around = np.sort([stand.azimuth % 360 for stand in found])
        assert np.diff([*around, around[0] + 360]).max() < 22
        for stand in found:
            matrix = world_from_camera(stand)
            np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)
            assert np.linalg.det(matrix[:3, :3]) == pytest.approx(1)
            np.testing.assert_allclose(matrix[:3, 3] - stand.distance * matrix[:3, 2], TARGET, atol=1e-12)


def test_the_view_of_the_clicks_is_the_same_for_every_count_and_seed() -> None:
    assert stands(40, 0)[0] == stands(3, 7)[0]
    assert stands(40, 0) == stands(40, 0) != stands(40, 1)


def test_clicks_follow_the_picture_size() -> None:
    small = clicks_for(320, 240)
    assert [tuple(point) for point in small["main"]["points"]] == list(CLICKS["main"][1])
    for name, click in clicks_for(640, 400).items():
        for (x, y), (u, v) in zip(small[name]["points"], click["points"], strict=True):
            # Same direction from the camera: twice as far from the middle, to within the rounding to pixels.
            assert abs((u + 0.5 - 320) - 2 * (x + 0.5 - 160)) <= 0.5
            assert abs((v + 0.5 - 200) - 2 * (y + 0.5 - 120)) <= 0.5
