"""A segmented object on its own: pictures of it on nothing, its field, its mesh in other formats and in metres."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image
from scipy import ndimage
from tiny_capture import BALL_CENTRE, BALL_RADIUS, TinyCapture
from tiny_result import TinyResult, ball_distance, box_distance, write_tiny_result
from typer.testing import CliRunner, Result

from engine import api
from engine.captures.capture import Camera
from engine.captures.load import load_capture
from engine.captures.rays import rays_through
from engine.cli import app
from engine.evaluation.metrics import iou
from engine.fields.checkpoint import load_field
from engine.fields.rendering import render_view
from engine.known_distance import known_distance
from engine.meshing.from_field import SurfaceSettings
from engine.meshing.soundness import soundness
from engine.metric_scale import metres_per_unit
from engine.object_views import PictureOptions, in_sight, render_alone, straight
from engine.progress import Job
from sa3d_blender.protocol.errors import Cancelled, EnvironmentFault, FieldError, PromptError, Sa3dError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def result(tiny_capture: TinyCapture, tmp_path_factory: pytest.TempPathFactory) -> TinyResult:
    return write_tiny_result(tiny_capture, tmp_path_factory.mktemp("tiny-result"))


def picture_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "RGBA"
        return np.asarray(image)


def silhouette(camera: Camera) -> np.ndarray:
    """Where the ball would be seen if it were alone, bool [H, W]."""
    x, y = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    rays_o, rays_d = rays_through(camera, np.stack([x.ravel(), y.ravel()], 1))
    along = rays_d / np.linalg.norm(rays_d, axis=1, keepdims=True)
    to_centre = BALL_CENTRE - rays_o
    off = to_centre - (to_centre * along).sum(1, keepdims=True) * along
    return (np.linalg.norm(off, axis=1) < BALL_RADIUS).reshape(camera.height, camera.width)


def test_eight_bits_are_straight_and_nothing_is_black():
    premultiplied = np.array([[[0.25, 0.1, 0.0, 0.5], [1, 0.5, 0, 1], [0.001, 0, 0, 0.001]]], np.float32)
    np.testing.assert_array_equal(straight(premultiplied), [[[128, 51, 0, 128], [255, 128, 0, 255], [0, 0, 0, 0]]])


def test_every_view_shows_the_ball_alone(result, tiny_capture, tmp_path):
    found = api.render_result(result.folder, tmp_path / "out", PictureOptions(), result.options, Job())
    views = load_capture(tiny_capture.folder).views
    assert found["views"] == [view.stem for view in views]
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == [view.stem for view in views]
    agreement, stray = [], []
    for view in views:
        picture = picture_of(tmp_path / "out" / f"{view.stem}.png")
        truth = silhouette(view.camera)
        agreement.append(iou(picture[..., 3] > 127, truth))
        near = ndimage.binary_dilation(truth, iterations=2)
        stray.append(picture[~near][:, 3].sum() / picture[..., 3].sum())
    assert np.mean(agreement) > 0.9, agreement
    assert np.max(stray) < 0.02, stray  # neither box nor ground comes along


def test_rays_that_are_left_out_would_have_met_nothing(result, tiny_capture, monkeypatch):
    workspace, _, kept = api.reopen(result.folder, result.options, Job())
    field = api.object_field(workspace, kept.stored, Job()).field
    for view in load_capture(tiny_capture.folder).views[:4]:
        found = render_alone(field.model, field.grid, view.camera, field.settings.rendering)
        looked = in_sight(field.grid, view.camera)
        assert 0.02 < looked.mean() < 0.5
        with monkeypatch.context() as patch:
            patch.setattr("engine.object_views.in_sight", lambda grid, camera: np.ones((60, 80), bool))
            whole = render_alone(field.model, field.grid, view.camera, field.settings.rendering)
        np.testing.assert_allclose(found, whole, atol=1e-5)


def test_it_ends_where_its_mesh_ends_and_takes_nothing_along_from_below(result):
    """The ball stands on stone that no photo shows; its mesh is closed at its foot."""
    workspace, _, kept = api.reopen(result.folder, result.options, Job())
    model = api.object_field(workspace, kept.stored, Job()).field.model
    points = np.random.default_rng(1).uniform([-0.9, -0.5, -0.2], [0.0, 0.5, 0.9], (6000, 3))
    with torch.no_grad():
        density = model.density(torch.from_numpy(points).float()).numpy()
    cell = 1 / 20
    assert (density[points[:, 2] < -0.5 * cell] < 1.0).all()  # of 80 in stone
    assert (density[(ball_distance(points) < -1.5 * cell) & (points[:, 2] > 2 * cell)] > 20).mean() > 0.97


def test_samples_that_share_a_colour_look_as_samples_that_have_their_own(result, tiny_capture, monkeypatch):
    workspace, _, kept = api.reopen(result.folder, result.options, Job())
    field = api.object_field(workspace, kept.stored, Job()).field
    camera = load_capture(tiny_capture.folder).views[1].camera
    found = render_alone(field.model, field.grid, camera, field.settings.rendering)
    monkeypatch.setattr("engine.object_views.SHARED", 1)
    alone = render_alone(field.model, field.grid, camera, field.settings.rendering)
    np.testing.assert_array_equal(found[..., 3], alone[..., 3])
    assert np.abs(found - alone).mean(where=alone[..., 3:] > 0.5) < 0.004  # a step of eight bits
    monkeypatch.setattr("engine.object_views.SHARED", 7)  # which 64 isn't a multiple of
    seventh = render_alone(field.model, field.grid, camera, field.settings.rendering)
    np.testing.assert_array_equal(seventh[..., 3], alone[..., 3])
    assert np.abs(seventh - alone).mean(where=alone[..., 3:] > 0.5) < 0.004


def test_its_colours_are_those_of_the_scene(result, tiny_capture, tmp_path):
    """Where the ball stands free and fills a pixel, both renderings ask the same places."""
    api.render_result(result.folder, tmp_path, PictureOptions(("000",), True), result.options, Job())
    scene = load_field(result.field, CPU)
    camera = load_capture(tiny_capture.folder).views[0].camera
    whole = render_view(scene.model, scene.grid, camera, scene.settings.rendering)
    inside = ndimage.binary_erosion(tiny_capture.masks["ball"][0], iterations=4)
    picture = picture_of(tmp_path / "000.png")
    assert inside.sum() > 50
    assert (picture[inside][:, 3] > 250).mean() > 0.98
    assert np.abs(picture[inside][:, :3] / 255 - whole.rgb[inside]).mean() < 0.03  # samples lie elsewhere


def test_views_can_be_named_and_pictures_be_smaller(result, tmp_path):
    wanted = PictureOptions(("images/003.png", "005"), True, None, 40)
    found = api.render_result(result.folder, tmp_path, wanted, result.options, Job())
    assert found["views"] == ["003", "005"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["003.png", "005.png"]
    assert picture_of(tmp_path / "003.png").shape == (30, 40, 4)


def test_a_turntable_goes_around_the_whole_ball(result, tmp_path):
    wanted = PictureOptions(turntable_s=0.25, side_px=48)
    found = api.render_result(result.folder, tmp_path, wanted, result.options, Job())
    assert (found["views"], found["frames"]) == ([], 6)
    paths = sorted((tmp_path / "turntable").iterdir())
    assert [path.name for path in paths] == [f"{i:04d}.png" for i in range(6)]
    for path in paths:
        alpha = picture_of(path)[..., 3]
        assert alpha.shape == (48, 48)
        rows, columns = np.nonzero(alpha > 127)
        assert abs(rows.mean() - 23.5) < 4
        assert abs(columns.mean() - 23.5) < 4
        assert np.ptp(rows) > 24  # it fills the frame
        border = np.concatenate([alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]])
        assert border.max() < 128


def test_a_film_is_one_file(result, tmp_path):
    path = tmp_path / "turn.webp"
    wanted = PictureOptions(turntable_s=0.25, side_px=33)
    found = api.render_result(result.folder, path, wanted, result.options, Job())
    assert found["frames"] == 6
    with Image.open(path) as film:
        assert (film.n_frames, film.size) == (6, (32, 32))
    with pytest.raises(Sa3dError, match="no views"):
        api.render_result(result.folder, path, PictureOptions(None, True), result.options, Job())


def test_a_rendering_that_is_stopped_leaves_whole_pictures(result, tmp_path):
    job = Job()
    job.listener = lambda report: job.cancel.set() if report.stage == "Rendering views" and report.done >= 2 else None
    with pytest.raises(Cancelled):
        api.render_result(result.folder, tmp_path, PictureOptions(), result.options, job)
    paths = list(tmp_path.iterdir())
    assert 1 <= len(paths) < 20
    assert all(picture_of(path).shape == (60, 80, 4) for path in paths)


def test_the_cut_field_is_a_field_of_its_own(result, tiny_capture, tmp_path):
    out = tmp_path / "ball"
    found = api.cut_result(result.folder, out, result.options, Job())
    assert found["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    loaded = load_field(out, CPU)
    camera = load_capture(tiny_capture.folder).views[2].camera
    again = straight(render_alone(loaded.model, loaded.grid, camera, loaded.settings.rendering))
    api.render_result(result.folder, tmp_path / "views", PictureOptions(("002",), True), result.options, Job())
    np.testing.assert_array_equal(again, picture_of(tmp_path / "views" / "002.png"))
    points = np.random.default_rng(0).uniform([-1.2, -1.0, -0.2], [1.2, 1.0, 1.0], (4000, 3))
    with torch.no_grad():
        density = loaded.model.density(torch.from_numpy(points).float()).numpy()
        before = load_field(result.field, CPU).model.density(torch.from_numpy(points).float()).numpy()
    cell = 1 / 20
    inside = ball_distance(points) < -2 * cell
    same = np.isclose(density[inside], before[inside], rtol=1e-3)
    assert same.mean() > 0.9  # deep inside, where no view has looked, a few voxels may be taken for others
    assert (density[box_distance(points) < 0] == 0).all()
    elsewhere = ball_distance(points) > 3 * cell
    assert (density[elsewhere] == 0).all()
    # the capture can be worked on with it
    request = api.SegmentOptions(field_folder=out)
    workspace, _ = api.open_workspace(load_capture(tiny_capture.folder), result.options, request, Job())
    centres = workspace.voxels.centres()[workspace.cell_opacity[workspace.voxels.index >= 0] > 0.5]
    assert len(centres) > 50
    assert ball_distance(centres).max() < 2 * cell


def test_a_field_is_not_cut_into_its_own_folder(result):
    before = {path.name: path.read_bytes() for path in result.field.iterdir()}
    with pytest.raises(FieldError, match="is to be cut"):
        api.cut_result(result.folder, result.field, result.options, Job())
    assert {path.name: path.read_bytes() for path in result.field.iterdir()} == before


@pytest.mark.parametrize("name", ["ball.ply", "ball.stl"])
def test_the_mesh_comes_in_the_format_of_its_suffix(result, tmp_path, name):
    path = api.mesh_again(result.folder, result.options, Job(), 0.5, None, tmp_path / name)
    mesh = trimesh.load(path)
    np.testing.assert_allclose(mesh.bounds, [BALL_CENTRE - BALL_RADIUS, BALL_CENTRE + BALL_RADIUS], atol=0.06)


@pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="needs Open3D, the extra 'fusion'")
def test_the_surface_can_be_fused_from_depth_maps_instead(result, tmp_path):
    surface = SurfaceSettings(way="fusion")
    path = api.mesh_again(result.folder, result.options, Job(), 0.5, None, tmp_path / "ball.ply", surface=surface)
    mesh = trimesh.load(path)
    np.testing.assert_allclose(mesh.bounds, [BALL_CENTRE - BALL_RADIUS, BALL_CENTRE + BALL_RADIUS], atol=0.06)
    assert soundness(mesh).closed
    usual = api.mesh_again(result.folder, result.options, Job(), 0.5, None, tmp_path / "usual.ply")
    assert len(trimesh.load(usual).vertices) != len(mesh.vertices)


def test_fusing_without_the_library_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.meshing.tsdf.importlib.util.find_spec", lambda name: None)
    options = api.Options(tmp_path)
    with pytest.raises(EnvironmentFault, match="Open3D"):
        api.mesh_again(tmp_path, options, Job(), 0.5, None, tmp_path / "a.ply", surface=SurfaceSettings(way="fusion"))


def test_a_surface_of_no_known_way_is_bad_usage(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    shown = CliRunner().invoke(app, ["mesh", str(tmp_path), "--surface", "magic"])
    assert shown.exit_code == 2
    assert "solidity, fusion" in shown.stderr


def test_a_known_distance_scales_the_mesh_about_the_origin(result, tmp_path):
    known = known_distance("0,0,0:0,3,4:0.05")  # five units are five centimetres
    path = api.mesh_again(result.folder, result.options, Job(), 0.5, None, tmp_path / "ball.ply", known)
    truth = 0.01 * np.stack([BALL_CENTRE - BALL_RADIUS, BALL_CENTRE + BALL_RADIUS])
    np.testing.assert_allclose(trimesh.load(path).bounds, truth, atol=0.0006)
    assert trimesh.load(result.folder / "object.glb").extents.max() > 0.5  # the result's own stays


def hit(distance, camera: Camera, pixel: tuple[float, float]) -> np.ndarray:
    """Where the ray through a pixel first meets a solid, by marching along its distance."""
    (origin,), (direction,) = rays_through(camera, np.array([pixel]))
    direction = direction / np.linalg.norm(direction)
    point = origin
    for _ in range(200):
        point = point + distance(point) * direction
    assert abs(distance(point)) < 1e-6
    return point


def test_pixels_of_photos_are_places_on_what_they_show(result, tiny_capture):
    workspace, _, _ = api.reopen(result.folder, result.options, Job())
    views = load_capture(tiny_capture.folder).views
    a, b = tiny_capture.centre_px("ball", 1), tiny_capture.centre_px("box", 6)
    first, second = hit(ball_distance, views[1].camera, a), hit(box_distance, views[6].camera, b)
    known = known_distance(f"001.png:{a[0]},{a[1]}:006:{b[0]},{b[1]}:2")
    expected = 2 / np.linalg.norm(first - second)
    assert metres_per_unit(known, workspace) == pytest.approx(expected, rel=0.05)  # half a cell at each end
    mixed = known_distance(f"001.png:{a[0]},{a[1]}:{second[0]},{second[1]},{second[2]}:2")
    assert metres_per_unit(mixed, workspace) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("999:1,2:0,0,0:1", "no view"),
        ("000:81,2:0,0,0:1", "outside of 000.png, which is 80 x 60"),
        ("000:0.5,0.5:0,0,0:1", "shows nothing"),
        ("0,0,5:0,0,5.0000000001:1", "same place"),
    ],
)
def test_points_that_are_no_places_are_told(result, text, match):
    workspace, _, _ = api.reopen(result.folder, result.options, Job())
    with pytest.raises(PromptError, match=match) as caught:
        metres_per_unit(known_distance(text), workspace)
    assert caught.value.cure


def sa3d(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize(
    "words",
    [
        ["render", "x"],
        ["render", "x", "--out", "y", "--turntable", "0"],
        ["render", "x", "--out", "y", "--size", "1"],
        ["render", "x", "--out", "y", "--views", " , "],
        ["cut", "x"],
        ["mesh", "x", "--out", "y.glb", "--scale-by", "1,2,3"],
        ["mesh", "x", "--out", "y.glb", "--scale-by", "0,0,0:1,0,0:0"],
        ["mesh", "x", "--out", "y.glb", "--scale-by", "0,0,0:1,0,0:nan"],
        ["mesh", "x", "--out", "y.glb", "--scale-by", "0,0,0:0,0,0:1"],
        ["mesh", "x", "--scale-by", "0,0,0:1,0,0:1"],
    ],
    ids=" ".join,
)
def test_bad_usage_exits_with_2(own_cache, words):
    done = sa3d(*words)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert not own_cache.exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["render", "nowhere", "--out", "x"], "sa3d segment --out"),
        (["render", "nowhere", "--out", "x.gif"], ".mp4 or .webp"),
        (["cut", "nowhere", "--out", "x"], "sa3d segment --out"),
        (["mesh", "nowhere", "--out", "x.fbx"], ".glb, .ply, .obj"),
    ],
)
def test_failures_exit_with_1_and_one_line(own_cache, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    done = sa3d(*words)
    assert done.exit_code == 1, done.output
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("sa3d: ")]
    assert expected in line
    assert not list(tmp_path.glob("x*"))


def test_a_view_that_is_not_there_is_one_line_and_nothing_is_written(result, tmp_path):
    words = ["render", result.folder, "--out", tmp_path / "x", "--views", "nonsense", "--cache", result.options.cache]
    done = sa3d(*words, "--device", "cpu")
    assert done.exit_code == 1, done.output
    assert "sa3d: The capture has no view 'nonsense'" in done.stderr
    assert not (tmp_path / "x").exists()


def test_the_commands_say_what_they_wrote(result, tmp_path):
    cache = ["--cache", result.options.cache, "--device", "cpu", "--json"]
    out = tmp_path / "pictures"
    words = ["render", result.folder, "--out", out, "--views", "000.png", "--turntable", "0.1", "--size", "32", *cache]
    done = sa3d(*words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["views"] == ["000"]
    assert said["frames"] == 2
    assert all(Path(path).is_file() for path in said["pictures"])
    assert len(said["pictures"]) == 3
    done = sa3d("cut", result.folder, "--out", tmp_path / "field", *cache)
    assert done.exit_code == 0, done.output
    assert Path(json.loads(done.stdout)["field"]) == tmp_path / "field"
    words = ["mesh", result.folder, "--out", tmp_path / "ball.obj", "--scale-by", "0,0,0:1,0,0:0.5", *cache]
    done = sa3d(*words)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "ball.obj").is_file()
    assert "0.5 m" in done.stderr
