"""The real engine behind the panel's verbs: trained, segmented, shaped, refined, cancelled, killed, run again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.helpers.patience import patience
from tests.helpers.quick_engine import quick_command
from tests.helpers.tiny_capture import write_tiny_capture

VIEW = 4

REAL = """
import signal, time
from pathlib import Path
from bl_ext.user_default.sa3d.sa3d_blender import jobs, link, shaping
from bl_ext.user_default.sa3d.sa3d_blender.client.process import EngineCommand, ProcessTransport
engines = []
def launch():
    engines.append(ProcessTransport(EngineCommand(tuple(arguments["words"]), arguments["environment"], own=True)))
    return engines[-1]
link.use(launch)
def pump_until(told, seconds=180):
    until, longest = time.monotonic() + seconds, 0.0
    while not told():
        assert time.monotonic() < until, [(job.title, job.state, job.note, job.log) for job in jobs.all_jobs()]
        started = time.perf_counter()
        link.pump()
        longest = max(longest, time.perf_counter() - started)
        time.sleep(0.01)
    seen["longest pump"] = max(longest, seen.get("longest pump", 0.0))
def finish():
    pump_until(lambda: all(job.is_over for job in jobs.all_jobs()))
    job = jobs.all_jobs()[-1]
    return [job.state, job.what]
os.mkdir(arguments["empty"])
bpy.ops.sa3d.import_capture(filepath=arguments["empty"])
seen["empty"] = *finish(), jobs.all_jobs()[-1].cure, len(bpy.data.collections)
bpy.ops.sa3d.import_capture(filepath=arguments["capture"])
seen["imported"] = finish()
capture = bpy.context.scene.sa3d.capture
seen["views"] = len([item for item in capture.objects if item.type == "CAMERA"])
"""


@pytest.mark.timeout(600)
def test_the_whole_way_with_the_real_engine(in_blender, tmp_path: Path):
    tiny = write_tiny_capture(tmp_path / "Aufnahme ü")
    x, y = tiny.centre_px("ball", VIEW)
    u, v = tiny.centre_px("box", VIEW)
    s, t = tiny.centre_px("ball", 9)
    command = quick_command(tmp_path / "cache", sys.executable)
    seen = in_blender(
        REAL
        + """
ball, box, other = arguments["ball"], arguments["box"], arguments["other"]
bpy.ops.sa3d.add_click(place=ball, view="004")
previews = []
jobs.on_preview(previews.append)

# cancelled while it trains
bpy.ops.sa3d.segment()
pump_until(lambda: jobs.running().stage == "Training field" and jobs.running().fraction > 0.05)
started = time.monotonic()
bpy.ops.sa3d.cancel()
seen["cancelled"] = finish()
seen["cancel took"] = time.monotonic() - started

# killed while it trains, started again, the job run again
bpy.ops.sa3d.run_again(uid=jobs.all_jobs()[-1].uid)
pump_until(lambda: jobs.running().stage == "Training field" and jobs.running().fraction > 0.05)
names = sorted(item.name for item in bpy.data.objects)
os.kill(engines[-1].pid, signal.SIGKILL)
seen["killed"] = finish(), link.state()
seen["nothing lost"] = names == sorted(item.name for item in bpy.data.objects)
bpy.ops.sa3d.restart_engine()
bpy.ops.sa3d.run_again(uid=jobs.all_jobs()[-1].uid)
seen["again"] = finish()
made = bpy.data.objects["Object"]
bpy.context.view_layer.update()
seen["extent"] = [[corner[i] for corner in map(lambda c: made.matrix_world @ __import__("mathutils").Vector(c),
                   made.bound_box)] for i in range(3)]
seen["kept"] = [made["sa3d_segmenter"], made["sa3d_accepted"], made["sa3d_lambda"], Path(made["sa3d_result"]).is_dir()]
seen["previews"] = len(previews), [one.mask.shape for one in previews if one.mask is not None][0]

# grown: the first draft takes the object up, the next ones are fast
prompted = capture.sa3d.objects[0]
size = lambda: float(np.prod(made.dimensions))
sizes, waits = [], []
for grow in (0.1, 0.5, -0.5):
    prompted.grow = grow
    started = time.monotonic()
    pump_until(lambda: not shaping.is_busy())
    waits.append(time.monotonic() - started)
    bpy.context.view_layer.update()
    sizes.append(size())
seen["draft"], seen["sizes"], seen["waits"] = made.get("sa3d_draft"), sizes, waits
bpy.ops.sa3d.apply_shape()
seen["applied"] = finish(), made.get("sa3d_draft"), made["sa3d_lambda"]

# refined, and a second object beside it
bpy.ops.sa3d.add_click(place=other, view="009")
bpy.ops.sa3d.refine()
seen["refined"] = finish(), prompted.corrections
prompted.told, prompted.corrections = json.dumps(json.loads(prompted.told)[:1]), 0  # as Ctrl-Z leaves it
bpy.ops.sa3d.refine()
seen["refined again"] = finish(), prompted.corrections, "Taking back" in "".join(jobs.all_jobs()[-1].log)
bpy.ops.sa3d.add_object(name="Box")
bpy.ops.sa3d.add_click(place=box, view="004")
bpy.ops.sa3d.segment()
seen["second"] = finish(), list(bpy.data.objects["Box"].location)
seen["log"] = jobs.all_jobs()[-1].log

link.stop()
seen["stopped"] = link.state(), engines[-1].ending(2.0) is not None
""",
        words=list(command.words),
        environment=dict(command.environment),
        capture=str(tiny.folder),
        empty=str(tmp_path / "nothing here"),
        ball=[x / 80, y / 60],
        box=[u / 80, v / 60],
        other=[s / 80, t / 60],
    )
    print(seen)
    state, what, cure, collections = seen["empty"]
    assert state == "failed" and "nothing here" in what and cure and collections == 1  # the startup file's own
    assert seen["imported"] == ["done", ""] and seen["views"] == 20
    assert seen["cancelled"][0] == "cancelled" and seen["cancel took"] < patience(1)
    (state, what), link_state = seen["killed"]
    assert state == "failed" and "signal 9" in what and link_state == "dead" and seen["nothing lost"]
    assert seen["again"] == ["done", ""]
    for (low, high), centre in zip(((min(a), max(a)) for a in seen["extent"]), (-0.45, 0.0, 0.4), strict=True):
        assert (low + high) / 2 == pytest.approx(centre, abs=0.1)  # some voxels of a field trained for seconds
        assert high - low == pytest.approx(0.8, abs=0.2)
    assert seen["kept"][1] > 5 and seen["kept"][3] and seen["previews"][0] > 10
    assert seen["draft"] and seen["sizes"][1] > seen["sizes"][2] and max(seen["waits"][1:]) < 1
    assert seen["applied"][0] == ["done", ""] and seen["applied"][1] is None
    assert seen["refined"] == [["done", ""], 1]
    assert seen["refined again"] == [["done", ""], 1, True]
    assert seen["second"][0] == ["done", ""] and seen["second"][1][0] == pytest.approx(0.55, abs=0.15)
    assert seen["stopped"] == ["stopped", True] and seen["longest pump"] < 0.5
