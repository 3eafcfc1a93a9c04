"""An engine that is a script inside Blender: what the tests of jobs and results start their own scripts with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from engine.meshing.export import write_glb

# A scripted engine: `asked` keeps what it heard; a test changes `plays` to have it answer otherwise.
FAKE = """
import time, threading
from bl_ext.user_default.sa3d.sa3d_blender import link, jobs, shaping
from bl_ext.user_default.sa3d.sa3d_blender.client.fake import FakeTransport
from bl_ext.user_default.sa3d.sa3d_blender.protocol.framing import RawArray
from bl_ext.user_default.sa3d.sa3d_blender.protocol.messages import Failure, Log, Preview, Progress, Result
asked, engines, corrections = [], [], {}
given = arguments
def numbers(path):
    return RawArray.of(np.frombuffer(open(path, "rb").read(), np.uint8))
def report(folder, **more):
    return {"accepted": 7, "rejected": 2, "segmenter": "clicked", "versions": {"sa3d": "0.1.0"},
            "settings": {"lifting": {"lam": 0.15}}, "field_folder": "/fields/1",
            "corrections": [{}] * corrections.get(folder, 0)} | more
def scene():
    return {k: v for k, v in given["described"].items() if k not in ("points", "colours", "warnings", "box")}
def say_view(request, engine, view="b", verdict="accepted", accepted=3, rejected=1):
    body = {"view": view, "verdict": verdict, "iou": 0.9, "accepted": accepted, "rejected": rejected}
    engine.say(Preview(request.id, "view", body, {"mask": RawArray.of(np.full((6, 8), 255, np.uint8))}))
def segment(request, engine):
    engine.say(Progress(request.id, "Carrying the mask from view to view", 0.5, 12.0, ""))
    say_view(request, engine)
    engine.say(Log(request.id, "2D segmenter: clicked."))
    folder = "/results/%d" % sum(one.kind == "segment" for one in asked)
    corrections[folder] = 0
    answer = {"result": folder, "mesh": folder + "/object.glb", "report": report(folder), "scene": scene()}
    engine.say(Result(request.id, answer, {"glb": numbers(given["first"])}))
def correct(request, engine, step=1):
    folder = request.body["result"]
    corrections[folder] = corrections.get(folder, 0) + step
    answer = {"result": folder, "mesh": folder, "report": report(folder), "scene": scene()}
    engine.say(Result(request.id, answer, {"glb": numbers(given["second"])}))
def train(request, engine):
    engine.say(Progress(request.id, "Training field", 0.25, 90.0, "PSNR 20 dB"))
    body = {"field": "/fields/1", "quality": request.body["quality"], "from_cache": False, "heldout_psnr_db": 28.1}
    engine.say(Result(request.id, body))
def mesh(request, engine):
    body = {"result": request.body["result"], "mesh": "", "seconds": {}}
    engine.say(Result(request.id, body, {"glb": numbers(given["second"])}))
def shape(request, engine):
    # A square that is as wide as lambda is small, so that a test sees which one came.
    side = 0.1 / request.body["lambda"]
    corners = np.array([[0, 0, 0], [side, 0, 0], [side, side, 0], [0, side, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    arrays = {"vertices": corners, "faces": faces, "colours": np.full((4, 4), 188, np.uint8)}
    body = {"result": request.body["result"], "lambda": request.body["lambda"], "level": 0.5}
    engine.say(Result(request.id, body, {name: RawArray.of(each) for name, each in arrays.items()}))
plays = {"train": train, "segment": segment, "correct": correct, "mesh": mesh, "shape": shape,
         "undo": lambda request, engine: correct(request, engine, -1)}
def play(request, engine):
    if request.kind != "shape":  # which is asked after each mesh, to be ready for the slider
        asked.append(request)
    plays[request.kind](request, engine)
def launch():
    engines.append(FakeTransport({kind: play for kind in plays}))
    return engines[-1]
link.use(launch)
def pump_until(told, seconds=120):
    until = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < until, [(job.title, job.state, job.note, job.log) for job in jobs.all_jobs()]
        link.pump()
        time.sleep(0.005)
def finish():
    pump_until(lambda: all(job.is_over for job in jobs.all_jobs()) and not shaping.is_busy())
    return jobs.all_jobs()[-1]
path = here + "/capture.json"
json.dump(given["described"], open(path, "w"))
bpy.ops.sa3d.import_capture(filepath=path)
capture = bpy.context.scene.sa3d.capture
def made_of(name="Object"):
    return bpy.data.objects[name]
def extent(item):
    points = np.array([item.matrix_world @ vertex.co for vertex in item.data.vertices])
    return [points.min(axis=0).round(4).tolist(), points.max(axis=0).round(4).tolist()]
def refused(run):
    try:
        return sorted(run())
    except RuntimeError as fault:
        return str(fault)
"""


def write_meshes(folder: Path) -> dict[str, str]:
    """Two results: a box from (0, 0, 0.5) to (1, 2, 1.5) with orange corners, and the same 0.25 wider in x."""
    paths = {}
    for name, width in (("first", 1.0), ("second", 1.25)):
        box = trimesh.creation.box((width, 2.0, 1.0)).apply_translation((width / 2, 1.0, 1.0))
        box.visual = trimesh.visual.ColorVisuals(
            box, vertex_colors=np.tile([255, 128, 0, 255], (8, 1)).astype(np.uint8)
        )
        paths[name] = str(write_glb(box, folder / f"{name}.glb"))
    return paths
