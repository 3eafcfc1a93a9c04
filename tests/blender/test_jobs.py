"""Train, Segment, Refine and Cancel against an engine that is a script: every way a job can end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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
def say_view(request, engine, view="b", verdict="accepted", accepted=3, rejected=1):
    body = {"view": view, "verdict": verdict, "iou": 0.9, "accepted": accepted, "rejected": rejected}
    engine.say(Preview(request.id, "view", body, {"mask": RawArray.of(np.full((6, 8), 255, np.uint8))}))
def segment(request, engine):
    engine.say(Progress(request.id, "Carrying the mask from view to view", 0.5, 12.0, ""))
    say_view(request, engine)
    engine.say(Log(request.id, "2D segmenter: clicked."))
    folder = "/results/%d" % sum(one.kind == "segment" for one in asked)
    corrections[folder] = 0
    scene = {k: v for k, v in given["described"].items() if k not in ("points", "colours", "warnings", "box")}
    answer = {"result": folder, "mesh": folder + "/object.glb", "report": report(folder), "scene": scene}
    engine.say(Result(request.id, answer, {"glb": numbers(given["first"])}))
def correct(request, engine, step=1):
    folder = request.body["result"]
    corrections[folder] = corrections.get(folder, 0) + step
    answer = {"result": folder, "mesh": folder, "report": report(folder), "scene": {}}
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
    asked.append(request)
    plays[request.kind](request, engine)
def launch():
    engines.append(FakeTransport({kind: play for kind in plays}))
    return engines[-1]
link.use(launch)
def pump_until(told, seconds=20):
    until = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < until, [(job.title, job.state, job.note, job.log) for job in jobs.all_jobs()]
        link.pump()
        time.sleep(0.005)
def finish():
    pump_until(lambda: all(job.is_over for job in jobs.all_jobs()))
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


@pytest.fixture
def meshes(tmp_path: Path) -> dict[str, str]:
    """Two results: a box from (0, 0, 0.5) to (1, 2, 1.5) with orange corners, and the same 0.25 wider in x."""
    paths = {}
    for name, width in (("first", 1.0), ("second", 1.25)):
        box = trimesh.creation.box((width, 2.0, 1.0)).apply_translation((width / 2, 1.0, 1.0))
        box.visual = trimesh.visual.ColorVisuals(
            box, vertex_colors=np.tile([255, 128, 0, 255], (8, 1)).astype(np.uint8)
        )
        paths[name] = str(write_glb(box, tmp_path / f"{name}.glb"))
    return paths


@pytest.fixture
def jobs(in_blender, described, meshes):
    """Runs a script with a scripted engine and an imported capture."""
    return lambda script, **more: in_blender(FAKE + script, described=described, **meshes, **more)


def test_segmenting_puts_a_mesh_into_the_capture(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.25, 0.5))
bpy.ops.sa3d.add_click(place=(0.75, 0.5), positive=False)
previews = []
jobs.on_preview(previews.append)
bpy.ops.sa3d.segment()
seen["at once"] = jobs.running().state
job = finish()
bpy.context.view_layer.update()
made = made_of()
seen["body"] = {k: v for k, v in asked[0].body.items() if k != "capture"}
seen["source"] = asked[0].body["capture"]
seen["state"], seen["kinds"] = job.state, [one.kind for one in asked]
seen["where"] = [c.name for c in made.users_collection], [c.name for c in capture.children]
seen["extent"], seen["origin"], seen["scale"] = extent(made), list(made.location), list(made.scale)
seen["kept"] = {k: made[k] for k in ("sa3d_result", "sa3d_lambda", "sa3d_quality", "sa3d_segmenter", "sa3d_accepted")}
seen["colour"] = list(made.data.color_attributes["Color"].data[0].color)
seen["material"], seen["smooth"] = made.data.materials[0].name, made.data.polygons[0].use_smooth
seen["active"] = bpy.context.view_layer.objects.active.name
first = previews[0]
seen["preview"] = [first.view, first.verdict, list(first.mask.shape), first.object_uid == made["sa3d_object_uid"]]
seen["counts"], seen["log"] = [job.accepted, job.rejected], "\\n".join(job.log)
""",
    )
    assert seen["at once"] == "running" and seen["state"] == "done" and seen["kinds"] == ["segment"]
    assert seen["body"] == {
        "view": "a",
        "quality": "draft",
        "points": [[pytest.approx(20, abs=0.01), pytest.approx(30, abs=0.01), 1],
                   [pytest.approx(60, abs=0.01), pytest.approx(30, abs=0.01), 0]],
    }  # fmt: skip
    assert seen["source"].endswith("transforms.json")
    assert seen["where"] == [["Objects"], ["Objects"]]
    assert seen["extent"] == [[0, 0, 0.5], [1, 2, 1.5]]
    assert seen["origin"] == [0.5, 1.0, 0.5] and seen["scale"] == [1, 1, 1]
    assert seen["kept"] == {
        "sa3d_result": "/results/1",
        "sa3d_lambda": 0.15,
        "sa3d_quality": "draft",
        "sa3d_segmenter": "clicked",
        "sa3d_accepted": 7,
    }
    assert seen["colour"] == pytest.approx([1, 0.2158605, 0, 1], abs=1e-5)  # sRGB 128 in linear light
    assert seen["material"] == "SA3D Vertex Colours" and seen["smooth"] and seen["active"] == "Object"
    assert seen["preview"] == ["b", "accepted", [6, 8], True]
    assert seen["counts"] == [7, 2] and "Prompted view: a." in seen["log"] and "2D segmenter: clicked." in seen["log"]


def test_what_was_said_in_other_photos_follows_as_corrections(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.add_click(place=(0.5, 0.5), view="b")
bpy.ops.sa3d.add_click(place=(0.25, 0.5), view="b")
from bl_ext.user_default.sa3d.sa3d_blender.scene.prompt_store import add_prompt
prompted = capture.sa3d.objects[0]
add_prompt(prompted, "SCRIBBLE", bpy.data.objects["a"], [(0.1, 0.9), (0.5, 0.9)], positive=False)
add_prompt(prompted, "BOX", bpy.data.objects["a"], [(0.2, 0.2), (0.6, 0.8)])
prompted.words, prompted.scale = "the red mug", "part"
bpy.ops.sa3d.segment()
job = finish()
seen["asked"] = [[one.kind, {k: v for k, v in one.body.items() if k != "capture"}] for one in asked]
seen["told"] = len(json.loads(prompted.told)), prompted.corrections
seen["refine"] = refused(bpy.ops.sa3d.refine)
seen["log"] = "\\n".join(job.log)
""",
    )
    (first, segment), (second, correct) = seen["asked"]
    assert (first, second) == ("segment", "correct")
    assert segment["view"] == "b" and len(segment["points"]) == 2
    assert segment["text"] == {"words": "the red mug"} and segment["scale"] == "part"
    assert correct["view"] == "a" and correct["result"] == "/results/1"
    labels = [point[2] for point in correct["points"]]
    assert labels == [1, 0, 0, 0, 0, 0, 1]  # the click, five along the stroke, the middle of the box
    assert correct["points"][-1] == [pytest.approx(32, abs=0.01), pytest.approx(30, abs=0.01), 1]
    assert all(8 < x < 40 and y == pytest.approx(54, abs=0.01) for x, y, label in correct["points"] if not label)
    assert seen["told"] == [6, 1] and "No prompt was added since" in seen["refine"]
    assert "What was said in a follows as corrections." in seen["log"]
    assert "Of the box in a, a correction takes the middle." in seen["log"]
