"""Photos without cameras become a capture: really, by pycolmap, from a small rendered scene."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from engine.captures.load import load_capture
from engine.options import Options
from engine.progress import Job
from engine.structure.poses import find_poses
from sa3d_blender.protocol.errors import Cancelled, CaptureError, StorageError

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
COUNT = 10
NAMES = [f"p{i:02d}.png" for i in range(COUNT)]


def texture(seed):
    """Blobs of all sizes, uint8 [400, 400, 3]: what features are found on."""
    rng = np.random.default_rng(seed)
    noise = sum(ndimage.gaussian_filter(rng.normal(size=(400, 400, 3)), (s, s, 0)) * s for s in (1.5, 3, 6, 12))
    return np.clip(128 + 70 * noise / noise.std(), 0, 255).astype(np.uint8)


def camera_at(angle):
    """Camera-to-world, OpenGL axes: on an arc of radius 3 around the origin, looking at it, +Z up."""
    position = np.array([3 * np.sin(angle), -3 * np.cos(angle), 1.6])
    back = position / np.linalg.norm(position)
    right = np.cross((0, 0, 1), back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return pose


# Two textured sides of a room and its floor: corner, and two edges, each 2.4 long.
PLANES = (
    ((-1.2, -1.2, 0), (2.4, 0, 0), (0, 2.4, 0)),
    ((-1.2, 1.2, 0), (2.4, 0, 0), (0, 0, 1.4)),
    ((-0.4, 0.0, 0), (0.8, 0.3, 0), (0, 0.1, 0.7)),
)


def photo(pose, textures):
    """The planes seen from a pose, uint8 [H, W, 3], by casting a ray through each pixel."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = np.stack([(x - WIDTH / 2) / FOCAL, (HEIGHT / 2 - y) / FOCAL, -np.ones_like(x)], -1) @ pose[:3, :3].T
    nearest, colours = np.full((HEIGHT, WIDTH), np.inf), np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    for (corner, u, v), skin in zip(PLANES, textures, strict=True):
        u, v = np.array(u, float), np.array(v, float)
        normal = np.cross(u, v)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (np.array(corner) - pose[:3, 3]) @ normal / (rays @ normal)
        hit = pose[:3, 3] + t[..., None] * rays - corner
        basis = np.linalg.pinv(np.stack([u, v], 1))
        a, b = np.moveaxis(hit @ basis.T, -1, 0)
        seen = (t > 0) & (t < nearest) & (a >= 0) & (a < 1) & (b >= 0) & (b < 1)
        nearest[seen] = t[seen]
        where = [b[seen] * 399, a[seen] * 399]
        for c in range(3):
            colours[..., c][seen] = ndimage.map_coordinates(skin[..., c].astype(float), where, order=1)
    return colours


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """Ten photos on an arc, and where they were taken from."""
    folder = tmp_path_factory.mktemp("scene") / "photos"
    folder.mkdir()
    textures = [texture(seed) for seed in range(3)]
    poses = [camera_at(angle) for angle in np.radians(np.linspace(-40, 40, COUNT))]
    for name, pose in zip(NAMES, poses, strict=True):
        Image.fromarray(photo(pose, textures)).save(folder / name)
    return folder, np.stack(poses)


@pytest.fixture(scope="module")
def found(scene, tmp_path_factory):
    """The capture of these photos, with one black photo and one of another scene among them, and what was said."""
    place = tmp_path_factory.mktemp("found")
    folder = place / "photos"
    folder.mkdir()
    for name in NAMES:
        os.link(scene[0] / name, folder / name)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / "black.png")
    Image.fromarray(texture(77)[:HEIGHT, :WIDTH]).save(folder / "stranger.png")
    lines: list[str] = []
    report = find_poses(folder, place / "capture", Options(place / "cache", "cpu"), Job(log=lines.append))
    return place, report, lines


def test_all_photos_of_the_scene_are_placed_where_they_were_taken(scene, found):
    place, report, _ = found
    capture = load_capture(place / "capture")
    assert report["placed"] == COUNT == len(capture.views)
    ours = np.stack([view.camera.position for view in capture.views])
    theirs = scene[1][:, :3, 3]
    ours_c, theirs_c = ours - ours.mean(0), theirs - theirs.mean(0)
    left, sizes, right = np.linalg.svd(theirs_c.T @ ours_c)
    flip = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
    scale = np.trace(np.diag(sizes) @ flip) / (ours_c**2).sum()
    away = np.linalg.norm(scale * ours_c @ (left @ flip @ right).T - theirs_c, axis=1)
    assert away.max() < 0.02 * np.linalg.norm(np.ptp(theirs, axis=0))  # the bound; 2 % of the arc's size
    for view, true in zip(capture.views, scene[1], strict=True):
        # Up is told from the cameras alone, and these are level.
        assert view.camera.world_from_camera[2, :3] == pytest.approx(true[2, :3], abs=0.02)


def test_the_capture_has_points_and_colmaps_model_in_the_same_world(found):
    place, report, _ = found
    capture = load_capture(place / "capture")
    model = load_capture(place / "capture" / "sparse" / "0")
    assert capture.points is not None and len(capture.points) > 100 and report["points"] >= len(capture.points)
    for ours, theirs in zip(capture.views, model.views, strict=True):
        assert ours.camera.world_from_camera == pytest.approx(theirs.camera.world_from_camera, abs=1e-6)
    assert not capture.warnings


def test_what_found_no_place_is_named_with_why_and_what_to_do(found):
    _, report, lines = found
    by_name = {name: why for why, names in report["not_placed"].items() for name in names}
    assert set(by_name) == {"black.png", "stranger.png"}
    assert "hardly any detail" in by_name["black.png"] and "share too little" in by_name["stranger.png"]
    said = " ".join(report["warnings"])
    assert "black.png" in said and "70 %" in said and all(f"Warning: {line}" in lines for line in report["warnings"])


def test_the_same_photos_again_cost_nothing_and_give_the_same(found):
    place, _, _ = found
    job = Job()
    find_poses(place / "photos", place / "again", Options(place / "cache", "cpu"), job)
    assert "Matching photos" not in job.timings
    assert (place / "again/transforms.json").read_bytes() == (place / "capture/transforms.json").read_bytes()


def test_photos_of_several_cameras_are_placed_each_with_its_own_lens(scene, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    focal = {}
    for i, name in enumerate(NAMES):
        with Image.open(scene[0] / name) as whole:
            if i % 3 == 0:
                mine, focal[name] = whole.copy(), FOCAL
            elif i % 3 == 1:  # held upright
                mine, focal[name] = whole.crop((70, 0, 250, 240)), FOCAL
            else:  # another phone
                mine, focal[name] = whole.resize((WIDTH * 3 // 4, HEIGHT * 3 // 4), Image.Resampling.BOX), FOCAL * 0.75
        mine.save(folder / name)
    report = find_poses(folder, tmp_path / "capture", Options(tmp_path / "cache", "cpu"), Job())
    assert report["placed"] == COUNT and not report["warnings"]
    views = load_capture(tmp_path / "capture").views
    assert len({(view.camera.width, view.camera.height) for view in views}) == 3
    for view in views:
        # Small photos on a short arc don't tell a focal length well; a lens of the others' would be off by a third.
        assert view.camera.fl_x == pytest.approx(focal[f"{view.stem}.png"], rel=0.1)


def files_in(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_second_result_replaces_what_the_first_wrote_and_only_that(scene, found, tmp_path):
    options = Options(found[0] / "cache", "cpu")
    out = tmp_path / "capture"
    find_poses(found[0] / "photos", out, options, Job())
    (out / "images/mine.png").write_bytes(b"the user's own")
    fewer = tmp_path / "photos"
    fewer.mkdir()
    for name in NAMES[:7]:
        os.link(scene[0] / name, fewer / f"other_{name}")
    lines: list[str] = []
    find_poses(fewer, out, Options(tmp_path / "cache", "cpu"), Job(log=lines.append))
    images = {f"images/other_{name}" for name in NAMES[:7]} | {"images/mine.png"}
    assert {name for name in files_in(out) if name.startswith("images/")} == images
    listed = set(json.loads((out / "poses.json").read_text())["files"])
    assert listed == files_in(out) - {"images/mine.png"} and any("earlier result" in line for line in lines)
    assert len(load_capture(out).views) == 7


def test_a_result_that_was_cut_short_is_cleared_by_the_next(found, tmp_path, monkeypatch):
    options = Options(found[0] / "cache", "cpu")
    out = tmp_path / "capture"
    find_poses(found[0] / "photos", out, options, Job())
    report = json.loads((out / "poses.json").read_text())
    (out / "images/old.png").write_bytes(b"of an earlier result")
    (out / "poses.json").write_text(json.dumps(report | {"files": [*report["files"], "images/old.png"]}))

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("engine.structure.poses.remove_files", die)
        find_poses(found[0] / "photos", out, options, Job())
    assert (out / "images/old.png").exists()
    find_poses(found[0] / "photos", out, options, Job())
    assert not (out / "images/old.png").exists() and len(load_capture(out).views) == COUNT


def test_a_capture_of_someone_else_is_no_place_for_a_result(found, tmp_path):
    options = Options(found[0] / "cache", "cpu")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(b"a photo")
    (tmp_path / "transforms.json").write_text("{}")
    with pytest.raises(StorageError, match="holds a capture already") as fault:
        find_poses(found[0] / "photos", tmp_path, options, Job())
    assert "--out" in fault.value.cure and files_in(tmp_path) == {"images/a.png", "transforms.json"}


SCRIPT = """
import sys
from pathlib import Path
from engine.options import Options
from engine.progress import Job
from engine.structure.poses import find_poses
find_poses(Path(sys.argv[1]), Path(sys.argv[2]), Options(Path(sys.argv[3]), "cpu"),
           Job(listener=lambda report: print(report.stage, report.done, flush=True)))
"""


def command_lines():
    """The command line of each process of this machine that runs the mapper."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        if "engine.structure.mapper" in line:
            yield line


def test_a_killed_run_goes_on_with_what_it_has_and_leaves_no_process(scene, tmp_path):
    command = [sys.executable, "-c", SCRIPT, *map(str, (scene[0], tmp_path / "out", tmp_path / "cache"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Matching photos"):
                break
        os.kill(process.pid, signal.SIGKILL)
    if sys.platform == "linux":
        until = time.monotonic() + 20
        while any(str(tmp_path) in line for line in command_lines()):
            assert time.monotonic() < until, "the mapper outlives its engine"
            time.sleep(0.1)
    (work,) = [each for each in (tmp_path / "cache/poses").iterdir() if each.is_dir()]
    started = (work / "listed").stat().st_mtime_ns
    stages: list[str] = []
    job = Job(listener=lambda report: stages.append(report.stage))
    report = find_poses(scene[0], tmp_path / "out", Options(tmp_path / "cache", "cpu"), job)
    assert report["placed"] == COUNT
    assert (work / "listed").stat().st_mtime_ns == started and "Preparing photos" not in stages


def test_a_stopped_job_ends_within_seconds_and_its_process_with_it(scene, tmp_path):
    job = Job()
    seen = threading.Event()
    job.listener = lambda report: seen.set() if report.stage == "Finding features" else None
    faults: list[Exception] = []

    def work():
        try:
            find_poses(scene[0], tmp_path / "out", Options(tmp_path / "cache", "cpu"), job)
        except Cancelled as fault:
            faults.append(fault)

    thread = threading.Thread(target=work)
    thread.start()
    assert seen.wait(60)
    job.cancel.set()
    thread.join(20)
    assert not thread.is_alive() and len(faults) == 1 and not (tmp_path / "out").exists()


def test_stopped_in_one_phase_after_the_other_it_ends_with_the_same_cameras(scene, tmp_path):
    whole, broken = Options(tmp_path / "whole", "cpu"), Options(tmp_path / "broken", "cpu")
    job = Job()
    find_poses(scene[0], tmp_path / "a", whole, job)
    for phase in job.timings:
        stopped = Job()

        def listen(report, phase=phase, stopped=stopped):
            if report.stage == phase:
                stopped.cancel.set()

        stopped.listener = listen
        with pytest.raises(Cancelled):
            find_poses(scene[0], tmp_path / "b", broken, stopped)
        assert not (tmp_path / "b/transforms.json").exists()
    find_poses(scene[0], tmp_path / "b", broken, Job())
    assert (tmp_path / "b/transforms.json").read_bytes() == (tmp_path / "a/transforms.json").read_bytes()


def test_what_cannot_work_is_said_with_what_to_do(scene, tmp_path):
    options = Options(tmp_path / "cache", "cpu")
    few = tmp_path / "few"
    few.mkdir()
    for name in NAMES[:2]:
        os.link(scene[0] / name, few / name)
    with pytest.raises(CaptureError, match="at least 3") as fault:
        find_poses(few, tmp_path / "out", options, Job())
    assert "70 %" in fault.value.cure
    with pytest.raises(StorageError):
        find_poses(scene[0], scene[0] / "out", options, Job())
    plain = tmp_path / "plain"
    plain.mkdir()
    for i in range(4):
        canvas = Image.new("RGB", (WIDTH, HEIGHT), (120, 120, 120))
        ImageDraw.Draw(canvas).rectangle((50 + i, 50, 150 + i, 150), fill=(200, 200, 200))
        canvas.save(plain / f"{i}.png")
    with pytest.raises(CaptureError, match="hardly any detail") as fault:
        find_poses(plain, tmp_path / "out", options, Job())
    assert "texture" in fault.value.cure


def test_a_capture_without_cameras_is_told_how_to_get_them(scene):
    with pytest.raises(CaptureError, match="no cameras") as fault:
        load_capture(scene[0])
    assert "sa3d captures poses" in fault.value.cure


def test_faded_photos_are_placed_by_a_second_try_with_faint_features(scene, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in NAMES:
        with Image.open(scene[0] / name) as photo_:
            Image.fromarray((100 + np.asarray(photo_) * 0.07).astype(np.uint8)).save(folder / name)
    lines: list[str] = []
    job = Job(log=lines.append)
    report = find_poses(folder, tmp_path / "capture", Options(tmp_path / "cache", "cpu"), job)
    assert "Finding features again" in job.timings and any("fainter" in line for line in lines)
    assert report["placed"] == COUNT and len(load_capture(tmp_path / "capture").views) == COUNT
