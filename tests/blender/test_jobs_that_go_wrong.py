"""Engines that die, captures that go away, results that can't be taken just now: nothing is lost."""

from __future__ import annotations


def test_an_engine_that_is_killed_is_started_again_and_the_job_runs_again(jobs):
    seen = jobs(
        """
plays["segment"] = lambda request, engine: engine.crash("signal 9")
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
before = [item.name for item in bpy.data.objects], len(capture.sa3d.objects[0].prompts)
bpy.ops.sa3d.segment()
job = finish()
seen["failed"] = job.state, job.code, job.what, job.cure, link.state()
seen["nothing lost"] = before == ([item.name for item in bpy.data.objects], len(capture.sa3d.objects[0].prompts))
plays["segment"] = segment
bpy.ops.sa3d.restart_engine()
pump_until(lambda: link.state() == "ready")
bpy.ops.sa3d.run_again(uid=job.uid)
seen["again"] = finish().state, made_of()["sa3d_result"], len(engines)
engines[-1].crash("signal 9")
pump_until(lambda: link.state() == "dead")
bpy.ops.sa3d.segment()  # who presses it wants an engine
seen["by itself"] = finish().state, len(engines)
""",
    )
    state, code, what, cure, link = seen["failed"]
    assert (state, code, link, cure) == ("failed", "engine", "dead", "Press Restart.")
    assert "stopped (signal 9)" in what and seen["nothing lost"]
    assert seen["again"] == ["done", "/results/2", 2] and seen["by itself"] == ["done", 3]


def test_an_engine_that_is_not_set_up_says_what_to_do(jobs):
    seen = jobs(
        """
from bl_ext.user_default.sa3d.sa3d_blender.protocol.errors import EnvironmentFault
def missing():
    raise EnvironmentFault("No engine is installed.", "Install one in the preferences.")
link.use(missing)
bpy.ops.sa3d.train()
job = finish()
seen["failed"] = job.state, job.code, job.what, job.cure
""",
    )
    assert seen["failed"] == ["failed", "environment", "No engine is installed.", "Install one in the preferences."]


def test_a_capture_that_is_renamed_or_undone_meanwhile_gets_its_result(jobs):
    seen = jobs(
        """
held = []
plays["segment"] = lambda request, engine: held.append((request, engine))
path = here + "/work.blend"
bpy.ops.wm.save_as_mainfile(filepath=path)
bpy.ops.wm.open_mainfile(filepath=path)
capture = bpy.context.scene.sa3d.capture
bpy.ops.ed.undo_push(message="Open")
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.ed.undo_push(message="Click")
bpy.ops.sa3d.segment()
pump_until(lambda: held)
bpy.context.scene.sa3d.capture.name = "Capture: other"
bpy.context.scene.sa3d.capture.sa3d.objects[0].name = "Mug"
bpy.ops.ed.undo_push(message="Rename")
bpy.ops.ed.undo()
bpy.ops.ed.redo()
segment(*held[0])
job = finish()
seen["state"], seen["made"] = job.state, [made_of()["sa3d_result"], made_of().users_collection[0].name]
seen["parent"] = [c.name for c in bpy.data.collections if "sa3d_uid" in c and made_of().name in c.all_objects]
bpy.ops.ed.undo()
seen["undone"] = "Object" in bpy.data.objects, bpy.context.scene.sa3d.capture.sa3d.objects[0].result
bpy.ops.ed.redo()
seen["redone"] = "Object" in bpy.data.objects, bpy.context.scene.sa3d.capture.sa3d.objects[0].result
""",
    )
    assert seen["state"] == "done" and seen["made"] == ["/results/1", "Objects"]
    assert seen["parent"] == ["Capture: other"]
    assert seen["undone"] == [False, ""] and seen["redone"] == [True, "/results/1"]


def test_a_result_whose_capture_is_gone_waits_to_be_imported(jobs):
    seen = jobs(
        """
held = []
plays["segment"] = lambda request, engine: held.append((request, engine))
path = here + "/work.blend"
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.wm.save_as_mainfile(filepath=path)
bpy.ops.sa3d.segment()
pump_until(lambda: held)
bpy.ops.wm.read_homefile()
segment(*held[0])
pump_until(lambda: jobs.all_jobs()[0].is_over)
job = jobs.all_jobs()[0]
seen["homeless"] = job.state, "Object" in bpy.data.objects, "/results/1" in job.log[-1]
bpy.ops.sa3d.import_job_result(uid=job.uid)
capture = bpy.context.scene.sa3d.capture
seen["imported"] = job.state, capture.name, made_of()["sa3d_result"], len(capture.sa3d.objects)
seen["result"] = capture.sa3d.objects[0].result
bpy.ops.wm.open_mainfile(filepath=path)
bpy.ops.sa3d.segment()
pump_until(lambda: len(held) == 2)
bpy.ops.sa3d.remove_capture()
segment(*held[1])
pump_until(lambda: jobs.all_jobs()[-1].is_over)
seen["removed"] = jobs.all_jobs()[-1].state
bpy.ops.wm.open_mainfile(filepath=path)
before = len(bpy.data.collections)
bpy.ops.sa3d.import_job_result(uid=jobs.all_jobs()[-1].uid)
seen["reopened"] = jobs.all_jobs()[-1].state, made_of()["sa3d_result"], len(bpy.data.collections) - before
""",
    )
    assert seen["homeless"] == ["homeless", False, True]
    assert seen["imported"] == ["done", "Capture: table", "/results/1", 1] and seen["result"] == "/results/1"
    assert seen["removed"] == "homeless"
    assert seen["reopened"] == ["done", "/results/2", 1]  # into the capture that is there: only Objects is new


def test_a_result_that_cant_be_imported_is_not_said_to_be(jobs):
    seen = jobs(
        """
held = []
plays["segment"] = lambda request, engine: held.append((request, engine))
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
pump_until(lambda: held)
bpy.ops.wm.read_homefile()
segment(*held[0])
pump_until(lambda: jobs.all_jobs()[0].is_over)
job = jobs.all_jobs()[0]
job.glb = b"broken"
seen["said"] = refused(lambda: bpy.ops.sa3d.import_job_result(uid=job.uid))
seen["state"] = job.state
"""
    )
    assert seen["state"] == "failed" and "is damaged" in seen["said"]


def test_a_capture_whose_cameras_are_gone_is_grey_for_that_reason(jobs):
    seen = jobs(
        """
from bl_ext.user_default.sa3d.sa3d_blender.scene.views import cameras_of
bpy.ops.sa3d.add_click(place=(0.5, 0.5), view="a")
bpy.data.objects.remove(bpy.data.objects["a"])
seen["one"] = refused(bpy.ops.sa3d.segment)
capture.sa3d.objects[0].words = "mug"
for camera in cameras_of(capture):
    bpy.data.objects.remove(camera)
seen["all"] = refused(bpy.ops.sa3d.segment)
"""
    )
    assert "cameras of its prompts are gone" in seen["one"] and "no cameras left" in seen["all"]


def test_a_result_waits_for_the_artist_to_leave_edit_mode(jobs):
    seen = jobs(
        """
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
finish()
bpy.context.view_layer.objects.active = made_of()
bpy.ops.object.mode_set(mode="EDIT")
bpy.ops.sa3d.segment()
pump_until(lambda: jobs.all_jobs()[-1].state == "ready")
link.pump()
seen["waits"] = jobs.all_jobs()[-1].note, made_of()["sa3d_result"]
bpy.ops.object.mode_set(mode="OBJECT")
seen["then"] = finish().state, made_of()["sa3d_result"]
""",
    )
    assert seen["waits"] == ["Leave Edit Mode to get it", "/results/1"] and seen["then"] == ["done", "/results/2"]


def test_a_mesh_that_is_damaged_fails_in_words(jobs):
    seen = jobs(
        """
def damaged(request, engine):
    glb = RawArray.of(np.frombuffer(open(given["first"], "rb").read()[:300], np.uint8))
    engine.say(Result(request.id, {"result": "/results/9", "report": report("/results/9")}, {"glb": glb}))
plays["segment"] = damaged
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
bpy.ops.sa3d.segment()
job = finish()
seen["failed"] = job.state, job.what, job.cure, "Object" in bpy.data.objects
bpy.ops.sa3d.show_log(uid=job.uid)
seen["text"] = bpy.data.texts["SA3D Log"].as_string()
bpy.ops.sa3d.dismiss_job(uid=job.uid)
seen["left"] = len(jobs.all_jobs())
""",
    )
    state, what, cure, there = seen["failed"]
    assert state == "failed" and "damaged" in what and "again" in cure and not there
    assert "Segment Object" in seen["text"] and "/results/9" in seen["text"] and seen["left"] == 0
