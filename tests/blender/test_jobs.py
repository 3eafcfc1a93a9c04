"""Train, Segment, Refine and Cancel against an engine that is a script: what is asked, what comes of it."""

from __future__ import annotations

import pytest

from tests.helpers.patience import patience


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
        "device": "auto",
        "segmenter": "auto",
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
bpy.ops.sa3d.add_click(place=(0.75, 0.5), view="b")
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
    assert segment["view"] == "b" and len(segment["points"]) == 3
    assert segment["text"] == {"words": "the red mug"} and segment["scale"] == "part"
    assert correct["view"] == "a" and correct["result"] == "/results/1"
    labels = [point[2] for point in correct["points"]]
    assert labels == [1, 0, 0, 0, 0, 0, 1]  # the click, five along the stroke, the middle of the box
    assert correct["points"][-1] == [pytest.approx(32, abs=0.01), pytest.approx(30, abs=0.01), 1]
    assert all(8 < x < 40 and y == pytest.approx(54, abs=0.01) for x, y, label in correct["points"] if not label)
    assert seen["told"] == [7, 1] and "No prompt was added since" in seen["refine"]
    assert "What was said in a follows as corrections." in seen["log"]
    assert "Of the box in a, a correction takes the middle." in seen["log"]


def test_a_second_object_is_told_of_the_first(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
bpy.ops.sa3d.add_object(name="Bowl")
bpy.ops.sa3d.add_click(place=(0.2, 0.5))
bpy.ops.sa3d.segment()
finish()
seen["beside"] = [one.body.get("beside") for one in asked if one.kind == "segment"]
seen["objects"] = [made_of(name)["sa3d_result"] for name in ("Object", "Bowl")]
def stale(request, engine):
    if request.body.get("beside"):
        engine.say(Failure(request.id, "storage", "The field has been trained anew since.", ""))
    else:
        segment(request, engine)
plays["segment"] = stale
bpy.ops.sa3d.segment()
job = finish()
seen["stale"] = job.state, asked[-1].body.get("beside"), "Trying without regard" in "".join(job.log)
bpy.context.scene.sa3d.quality = "good"
bpy.ops.sa3d.segment()
finish()
seen["other quality"] = asked[-1].body.get("beside")
""",
    )
    assert seen["beside"] == [None, ["/results/1"]] and seen["objects"] == ["/results/1", "/results/2"]
    assert seen["stale"] == ["done", None, True] and seen["other quality"] is None


def test_a_region_of_interest_that_was_moved_is_sent(jobs):
    seen = jobs(
        """
from bl_ext.user_default.sa3d.sa3d_blender.scene.capture import add_region
for item in [item for item in capture.all_objects if "sa3d_region" in item]:
    bpy.data.objects.remove(item)
region = add_region((-1, -1, 0), (1, 1, 0.5), capture)
bpy.context.view_layer.update()
bpy.ops.sa3d.train()
finish()
seen["suggested"] = asked[-1].body.get("region")
region.scale = (0.5, 0.5, 0.25)
bpy.context.view_layer.update()
bpy.ops.sa3d.train()
finish()
seen["moved"] = asked[-1].body.get("region")
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
seen["segment"] = [one.body.get("region") for one in asked if one.kind == "segment"]
""",
    )
    assert seen["suggested"] is None
    assert seen["moved"] == [pytest.approx([-0.5, -0.5, 0]), pytest.approx([0.5, 0.5, 0.5])]
    assert seen["segment"] == [seen["moved"]]


def test_what_waits_starts_when_the_engine_is_free_and_can_be_cancelled(jobs):
    seen = jobs(
        """
held = []
plays["train"] = lambda request, engine: held.append((request, engine))
bpy.ops.sa3d.train()
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
bpy.ops.sa3d.add_object(name="Bowl")
bpy.ops.sa3d.add_click(place=(0.2, 0.5))
bpy.ops.sa3d.segment()
seen["twice"] = refused(bpy.ops.sa3d.train), refused(bpy.ops.sa3d.segment)
pump_until(lambda: held)
seen["states"] = [job.state for job in jobs.all_jobs()]
bpy.ops.sa3d.cancel(uid=jobs.all_jobs()[2].uid)
train(*held[0])
finish()
seen["after"] = [job.state for job in jobs.all_jobs()]
seen["psnr"], seen["log"] = capture["sa3d_field_draft"], "".join(jobs.all_jobs()[0].log)
""",
    )
    assert "This capture is being trained" in seen["twice"][0] and "being worked on" in seen["twice"][1]
    assert seen["states"] == ["running", "waiting", "waiting"] and seen["after"] == ["done", "done", "cancelled"]
    assert seen["psnr"] == 28.1 and "28.1 dB" in seen["log"]


def test_cancelling_stops_what_runs_and_keeps_what_was_finished(jobs):
    seen = jobs(
        """
plays["segment"] = lambda request, engine: engine.say(Progress(request.id, "Training field", 0.5, 60.0, ""))
seen["idle"] = refused(bpy.ops.sa3d.cancel)
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
pump_until(lambda: jobs.running().stage == "Training field")
from types import SimpleNamespace as Made
window = Made(modal_operators=[])
by_key = bpy.types.SA3D_OT_cancel_by_key.poll
screens = [Made(is_animation_playing=playing) for playing in (True, False)]
seen["for whom"] = [by_key(Made(window=window, screen=screen)) for screen in screens]
started = time.monotonic()
bpy.ops.sa3d.cancel_by_key()
seen["at once"] = jobs.running().state
job = finish()
seen["state"], seen["took"] = job.state, time.monotonic() - started
seen["no mesh"] = "Object" not in bpy.data.objects
plays["segment"] = segment
plays["correct"] = lambda request, engine: engine.say(Progress(request.id, "Taking the object up again", 0.5, 60.0, ""))
bpy.ops.sa3d.add_click(place=(0.5, 0.5), view="b")
bpy.ops.sa3d.segment()
pump_until(lambda: jobs.running() and jobs.running().stage == "Taking the object up again")
bpy.ops.sa3d.cancel()
job = finish()
seen["half"] = job.state, made_of()["sa3d_result"], len(json.loads(capture.sa3d.objects[0].told))
plays["correct"] = correct
bpy.ops.sa3d.refine()
finish()
seen["rest"] = asked[-1].kind, asked[-1].body["view"]
""",
    )
    assert "Nothing is running" in seen["idle"] and seen["at once"] == "cancelling"
    assert seen["for whom"] == [False, True]  # Blender stops its animation by the same key
    assert seen["state"] == "cancelled" and seen["took"] < patience(1) and seen["no mesh"]
    assert seen["half"] == ["cancelled", "/results/2", 1]
    assert seen["rest"] == ["correct", "b"]
