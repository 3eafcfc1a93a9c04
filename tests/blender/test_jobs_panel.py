"""What the panel says of jobs and results in each of their states, drawn on paper."""

from __future__ import annotations

PAPER = """
import types
from bl_ext.user_default.sa3d.sa3d_blender.ui import jobs_panel
from bl_ext.user_default.sa3d.sa3d_blender.operators.steps import make_job
ICONS = {i.identifier for i in bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items}
lines = []
class Paper:
    def __init__(self):
        self.bl = {}
    def label(self, text="", icon="NONE"):
        assert icon in ICONS, icon
        lines.append(text)
    def operator(self, name, text=None, icon="NONE", emboss=True):
        assert icon in ICONS, icon
        getattr(bpy.ops.sa3d, name.split(".")[1]).get_rna_type()
        lines.append(name)
        return types.SimpleNamespace()
    def prop(self, data, name, **more):
        assert name in data.bl_rna.properties
        lines.append(name)
    def progress(self, factor, type, text):
        lines.append(f"{factor:.2f} {text}")
    def row(self, **more):
        return self
    column = box = row
def shown():
    lines.clear()
    for panel in jobs_panel.CLASSES:
        if panel.poll(bpy.context):
            panel.draw(types.SimpleNamespace(layout=Paper()), bpy.context)
    return list(lines)
"""


def test_the_panel_says_what_runs_what_waits_and_what_is_wrong(jobs):
    seen = jobs(
        PAPER
        + """
seen["idle"] = shown()
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
def halfway(request, engine):
    engine.say(Progress(request.id, "Carrying the mask from view to view", 0.4, 75.0, ""))
    say_view(request, engine)
plays["segment"] = halfway
bpy.ops.sa3d.segment()
pump_until(lambda: jobs.running().view == "b")
bpy.ops.sa3d.train()
seen["running"] = shown()
jobs.running().state, jobs.running().asked_to_stop = "cancelling", time.monotonic() - 9
seen["stuck"] = shown()
jobs.running().state = "running"
bpy.ops.sa3d.cancel()
finish()
seen["cancelled"] = shown()
plays["segment"] = lambda request, engine: engine.crash("signal 9")
bpy.ops.sa3d.segment()
finish()
seen["dead"] = shown()
bpy.ops.sa3d.dismiss_job(uid=jobs.all_jobs()[-1].uid)
seen["dismissed"] = shown()
bpy.ops.sa3d.restart_engine()
plays["segment"] = lambda request, engine: engine.say(Failure(request.id, "segmenter", "sam-vit-h has no weights.",
                                                              "Get them in the preferences."))
bpy.ops.sa3d.segment()
finish()
seen["weights"] = shown()
plays["segment"] = segment
bpy.ops.sa3d.segment()
finish()
seen["done"] = shown()
jobs.all_jobs()[-1].state, jobs.all_jobs()[-1].note = "ready", "Leave Edit Mode to get it"
seen["ready"] = shown()
jobs.all_jobs()[-1].state = "homeless"
seen["homeless"] = shown()
""",
    )
    verbs = ["sa3d.train", "sa3d.segment", "sa3d.refine"]
    assert seen["idle"] == ["quality", *verbs, "sa3d.cancel"]
    progress = ["Carrying the mask from view to view", "0.40 40%, 75 s left", "b", "3 accepted, 1 rejected", "watch"]
    assert seen["running"][4:11] == [*progress, "sa3d.cancel", "1 more waits"]
    assert seen["running"].count("sa3d.show_log") == 2  # in the list of jobs
    assert seen["stuck"][4:6] == ["Stopping", "sa3d.restart_engine"]
    assert "sa3d.run_again" in seen["cancelled"] and "sa3d.restart_engine" not in seen["cancelled"]
    assert {"The engine stopped (signal 9).", "Press Restart.", "sa3d.restart_engine"} <= set(seen["dead"])
    assert "sa3d.restart_engine" in seen["dismissed"]  # the engine is dead still
    assert {"sam-vit-h has no weights.", "sa3d.open_preferences"} <= set(seen["weights"])
    assert {"grow", "sa3d.apply_shape", "7 views accepted, 2 rejected", "Segmenter: clicked"} <= set(seen["done"])
    assert "12 faces, lambda 0.15" in seen["done"] and "sa3d.remove_from_capture" in seen["done"]
    assert "Leave Edit Mode to get it" in " ".join(map(str, seen["ready"]))
    assert "sa3d.import_job_result" in seen["homeless"]
