"""The installed zip where it is cramped: odd folders, read-only, offline, a full disk, two Blenders, a killed one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.bpy_pythons import run_in_blender
from tests.helpers.cramped import ODD, mounted, read_only
from tests.helpers.quick_engine import quick_command
from tests.helpers.tiny_capture import TinyCapture
from tests.helpers.wholeness import assert_whole

LONG = 600.0
NAME = "bl_ext.user_default.sa3d"

INSTALL = """
bpy.ops.extensions.package_install_files(repo="user_default", filepath=archive, enable_on_install=True)
bpy.ops.wm.save_userpref()
import bl_ext.user_default.sa3d as package
seen["folder"] = os.path.dirname(os.path.realpath(package.__file__))
"""

# The real engine as an artist has it: from the extension's own folder, a process of its own. Whoever opens a connection
# to anywhere, in Blender or in the engine, is written down.
USE = """
import socket, sys, time
def watch(event, given):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        if not (event == "socket.connect" and isinstance(given[1], (str, bytes))):  # a file's name: no network
            with open(calls, "a") as file:
                print("Blender", event, given, file=file)
sys.addaudithook(watch)
if not addon_utils.check("bl_ext.user_default.sa3d")[1]:
    addon_utils.enable("bl_ext.user_default.sa3d", default_set=True)
from bl_ext.user_default.sa3d.sa3d_blender import jobs, link, shaping
from bl_ext.user_default.sa3d.sa3d_blender.client.process import EngineCommand, ProcessTransport
engines = []
def launch():
    engines.append(ProcessTransport(EngineCommand(tuple(words), environment, own=True)))
    return engines[-1]
link.use(launch)
def pump_until(told, seconds=500):
    until = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < until, [(job.title, job.state, job.note, job.log) for job in jobs.all_jobs()]
        link.pump()
        time.sleep(0.01)
def finish():
    pump_until(lambda: all(job.is_over for job in jobs.all_jobs()) and not shaping.is_busy())
    job = jobs.all_jobs()[-1]
    return [job.state, job.what]
def begin():
    bpy.ops.sa3d.import_capture(filepath=capture)
    seen["imported"] = finish()
    bpy.ops.sa3d.add_click(place=ball, view="004")
    bpy.ops.sa3d.segment()
"""
END = """
made = bpy.data.objects["Object"]
bpy.context.view_layer.update()
seen["made"] = [round(each, 2) for each in made.location], len(made.data.polygons), made["sa3d_result"]
bpy.context.scene.sa3d.capture.sa3d.objects[0].grow = 0.4
pump_until(lambda: not shaping.is_busy())
seen["draft"] = bool(made.get("sa3d_draft"))
bpy.ops.wm.save_as_mainfile(filepath=os.getcwd() + "/saved.blend")
link.stop()
"""
SPY = """
import os, sys
def watch(event, given):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(os.environ["SPIED"], "a") as file:
            print("engine", event, given, file=file)
sys.addaudithook(watch)
with open(os.environ["SPIED"] + ".watched", "a") as file:
    print(os.getpid(), file=file)
"""


@pytest.fixture
def work(tiny_capture: TinyCapture, extension_zip: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a script in a Blender that has the zip in ``folder``, with the real engine and its cache there."""

    def given(folder: Path, source: str | None = None) -> dict[str, Any]:
        x, y = tiny_capture.centre_px("ball", 4)
        spy = tmp_path / "spy"
        spy.mkdir(exist_ok=True)
        (spy / "sitecustomize.py").write_text(SPY)
        command = quick_command(folder / "Zwischenspeicher ß", source=source or "/nowhere")
        environment = dict(command.environment) | {"SPIED": str(tmp_path / "calls.txt")}
        environment["PYTHONPATH"] = os.pathsep.join([str(spy), environment["PYTHONPATH"]])
        return {
            "archive": str(extension_zip),
            "capture": str(tiny_capture.folder),
            "ball": [x / 80, y / 60],
            "words": list(command.words),
            "environment": environment,
            "calls": str(tmp_path / "calls.txt"),
        }

    def run(script: str, folder: Path, source: str | None = None, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = run_in_blender(
            sys.executable, script, folder, seconds=LONG, **(given(folder, source) | more)
        )
        return found

    return run


def assert_ball(seen: dict[str, Any]) -> None:
    """The ball's mesh stands where the ball does."""
    place, faces, _result = seen["made"]
    assert seen["imported"] == seen["segmented"] == ["done", ""]
    assert place[0] == pytest.approx(-0.45, abs=0.15) and place[1] == pytest.approx(0.0, abs=0.15) and faces > 100
    assert seen["draft"]


@pytest.mark.timeout(LONG)
def test_installed_in_an_odd_folder_that_turned_read_only_and_offline_everything_works(work, tiny_capture, tmp_path):
    folder = tmp_path / ODD
    folder.mkdir()
    capture = folder / "Aufnahme ü"
    os.symlink(tiny_capture.folder, capture)
    installed = work(INSTALL, folder)
    place = Path(installed["folder"])
    assert folder in place.parents
    script = USE + "seen['online'] = bpy.app.online_access\nbegin()\nseen['segmented'] = finish()\n" + END
    with read_only(place):
        seen = work(script, folder, str(place), capture=str(capture))
    assert_ball(seen)
    assert (folder / "saved.blend").is_file() and folder in Path(seen["made"][2]).parents
    # Offline: neither side has asked the network for anything, and both were watched.
    assert seen["online"] is False
    assert (tmp_path / "calls.txt.watched").is_file()
    assert not (tmp_path / "calls.txt").exists(), (tmp_path / "calls.txt").read_text()


@pytest.mark.timeout(LONG)
def test_two_blenders_at_once_on_one_capture_and_one_cache_do_not_get_in_each_others_way(work, tmp_path):
    place = work(INSTALL, tmp_path)["folder"]
    script = USE + "begin()\nseen['segmented'] = finish()\n" + END
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        os.symlink(tmp_path / "user", tmp_path / name / "user")  # the same artist's
    cache = str(tmp_path / "cache")
    with ThreadPoolExecutor() as both:
        runs = [
            both.submit(work, script + f"seen['folder'] = {name!r}\n", tmp_path / name, place, words=words)
            for name in ("one", "two")
            for words in [list(quick_command(cache, source=place).words)]
        ]
        seen = [run.result() for run in runs]
    for each in seen:
        assert_ball(each)
    assert seen[0]["made"][2] != seen[1]["made"][2]  # each has a result of its own
    assert_whole(Path(cache))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 40 MB: room for the extension, and little more."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=40m", "tmpfs") as folder:
        yield folder


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_where_the_disk_is_full_bent_photos_are_shown_as_they_are_and_nothing_half_written_stays(
    work, described, tiny_disk, tmp_path, mode
):
    work(INSTALL, tiny_disk)
    photo = Path(described["views"][2]["image"])
    noise = np.random.default_rng(0).integers(0, 255, (600, 900, len(mode)), np.uint8)
    Image.fromarray(noise, mode).save(photo)  # without a loss it takes 2 MB, as a JPEG 0.7
    described["views"][2] |= {"width": 900, "height": 600, "fl_x": 990, "fl_y": 990, "cx": 450, "cy": 300}
    path, kept = tmp_path / "capture.json", tiny_disk / "kept.blend"
    path.write_text(json.dumps(described))
    script = """
addon_utils.enable("bl_ext.user_default.sa3d", default_set=True)
bpy.ops.sa3d.import_capture(filepath=capture)
item = next(item for item in bpy.context.scene.sa3d.capture.objects if item.name == "c")
shown = lambda: [os.path.basename(one.image.filepath) for one in item.data.background_images]
bpy.ops.wm.save_as_mainfile(filepath=kept)
before = open(kept, "rb").read()
with open(filler, "wb") as file:
    free = os.statvfs(filler)
    file.write(bytes(max(0, free.f_bavail * free.f_frsize - 200_000)))
from bl_ext.user_default.sa3d.sa3d_blender.scene.photos import ensure_photo
from bl_ext.user_default.sa3d.sa3d_blender.scene.straight_copies import folder_of_copies
seen["said"], seen["photo"] = ensure_photo(item), shown()
seen["copies"] = os.listdir(folder_of_copies())
made = bpy.data.meshes.new("large")
made.vertices.add(200_000)
made.vertices.foreach_set("co", np.random.rand(600_000).astype(np.float32))
made.use_fake_user = True
try:
    bpy.ops.wm.save_as_mainfile(filepath=kept)
except RuntimeError as fault:
    seen["saving"] = str(fault)
seen["as it was"] = open(kept, "rb").read() == before
os.remove(filler)
item.data.background_images.clear()
seen["later"], seen["straight"] = ensure_photo(item), shown()
bpy.ops.wm.save_as_mainfile(filepath=kept)
bpy.ops.wm.open_mainfile(filepath=kept)
seen["views"] = len(bpy.data.collections["Capture: table"].all_objects)
"""
    seen = work(
        "import numpy as np\n" + script, tiny_disk, kept=str(kept), filler=str(tiny_disk / "filler"), capture=str(path)
    )
    assert seen["said"].startswith("The photo c.png is shown as its lens bent it: ") and "\n" not in seen["said"]
    assert seen["photo"] == ["c.png"] and seen["copies"] == []
    assert seen["saving"] and seen["as it was"]
    assert seen["later"] == "" and seen["straight"][0].startswith("c-") and seen["views"] >= 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.timeout(LONG)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "ended"])
def test_no_engine_outlives_a_blender_that_ended_in_mid_job(work, tmp_path, how):
    place = work(INSTALL, tmp_path)["folder"]
    script = (
        USE
        + """
begin()
pump_until(lambda: jobs.running().stage == "Training field" and jobs.running().fraction > 0.02)
with open(calls + ".part", "w") as file:
    file.write(f"{os.getpid()} {engines[-1].pid}")
os.rename(calls + ".part", calls + ".pids")
pump_until(lambda: False)
"""
    )
    with ThreadPoolExecutor() as other:
        run = other.submit(work, script, tmp_path, place)
        pids = tmp_path / "calls.txt.pids"
        until = time.monotonic() + LONG / 2
        while not pids.is_file():
            assert time.monotonic() < until and not run.done(), run.exception() if run.done() else "too slow"
            time.sleep(0.05)
        blender, engine = map(int, pids.read_text().split())
        assert is_running(blender) and is_running(engine)
        os.kill(blender, how)
        until = time.monotonic() + 120  # a second or two, on a machine with nothing else to do
        while is_running(engine) or is_running(blender):
            assert time.monotonic() < until, subprocess.run(["ps", "-ef"], capture_output=True, text=True).stdout
            time.sleep(0.05)
        assert isinstance(run.exception(), AssertionError)  # Blender's exit code


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it isn't one that is only waiting to be counted."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
