"""The preferences without a window: every page draws, nothing goes online unasked, the engine is installed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.patience import patience
from tests.helpers.tiny_lock import lock, source, wheel

PAGE = """
import threading, time
from pathlib import Path
from types import SimpleNamespace
from bl_ext.user_default.sa3d.sa3d_blender import engine_facts, installing, jobs, link, preferences
from bl_ext.user_default.sa3d.sa3d_blender.client.fake import FakeTransport
from bl_ext.user_default.sa3d.sa3d_blender.client.installed import OURS, look
from bl_ext.user_default.sa3d.sa3d_blender.operators import engine as engine_operators
from bl_ext.user_default.sa3d.sa3d_blender.protocol.messages import Failure, Progress, Result
from bl_ext.user_default.sa3d.sa3d_blender.ui import preferences_page

class Paper:
    '''A layout that writes down what is drawn on it.'''
    def __init__(self):
        self.labels, self.buttons, self.props, self.bars = [], [], [], []
    def label(self, text="", icon="NONE"):
        self.labels.append(text)
    def operator(self, name, **more):
        assert hasattr(bpy.types, "SA3D_OT_" + name.removeprefix("sa3d.")), name
        self.buttons.append(name)
        return SimpleNamespace()
    def prop(self, owner, name, **more):
        assert name in type(owner).bl_rna.properties, name
        self.props.append(name)
    def progress(self, factor=0.0, type="", text=""):
        assert 0 <= factor <= 1
        self.bars.append(text)
    def _more(self, *_, **__):
        return self
    row = column = box = split = separator = context_pointer_set = _more
    def __repr__(self):
        return repr(vars(self))

chosen = preferences.preferences()
def drawn(page="ENGINE"):
    chosen.page = page
    paper = Paper()
    class Page:  # the preferences, but for the layout
        layout = paper
        bl_rna = type(chosen).bl_rna
        def __getattr__(self, name):
            return getattr(chosen, name)
    preferences_page.draw_page(Page(), bpy.context, preferences.managed_folder(), preferences._differs())
    return paper
def pump_until(told, seconds):
    until = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < until, (drawn(), installing.log_lines(), link.log_lines())
        link.pump()
        installing.pump()
        time.sleep(0.01)
def refused(run):
    try:
        return sorted(run())
    except RuntimeError as fault:
        return str(fault)
chosen.folder = here + "/Motor für Blender"
"""


def test_every_page_draws_and_nothing_is_installed_offline(in_blender: Any) -> None:
    seen = in_blender(
        PAGE
        + """
bpy.context.preferences.system.use_online_access = False
seen["known"] = sorted(type(chosen).__annotations__)
for source in ("MANAGED", "PYTHON", "COMMAND"):
    chosen.engine = source
    paper = drawn()
    seen[source] = [paper.props, paper.buttons, paper.labels]
chosen.engine = "MANAGED"
for page in ("WEIGHTS", "CACHE"):
    paper = drawn(page)
    seen[page] = [paper.props, paper.buttons, paper.labels]
seen["install"] = refused(bpy.ops.sa3d.install_engine)
seen["repair"] = refused(bpy.ops.sa3d.repair_engine)
seen["remove"] = refused(bpy.ops.sa3d.remove_engine)
seen["weights"] = refused(lambda: bpy.ops.sa3d.get_weights(name="sam-vit-b"))
seen["folder"] = os.path.exists(chosen.folder)
seen["state"] = link.state()
"""
    )
    assert {"engine", "folder", "device", "segmenter", "cache_folder", "package_index"} <= set(seen["known"])
    props, buttons, labels = seen["MANAGED"]
    assert "folder" in props and "sa3d.install_engine" in buttons and "sa3d.test_engine" in buttons
    assert "Allow Online Access" in " ".join(labels)
    assert "python" in seen["PYTHON"][0] and "command" in seen["COMMAND"][0]
    assert seen["WEIGHTS"][1] == ["sa3d.refresh_storage"] and "cache_folder" in seen["CACHE"][0]
    assert "Allow Online Access" in seen["install"] and "Allow Online Access" in seen["weights"]
    assert "no engine to repair" in seen["repair"] and "No engine is installed" in seen["remove"]
    assert not seen["folder"] and seen["state"] == "stopped"


def test_the_engine_is_installed_cancelled_tested_and_removed(in_blender: Any, tmp_path: Any, monkeypatch: Any) -> None:
    """With a lock of two tiny wheels, and an engine that needs them."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    locked = lock(tmp_path / "lock", wheel(wheels, "tiny"), wheel(wheels, "tinytorch"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", wheels.as_uri())
    seen = in_blender(
        PAGE
        + """
from bl_ext.user_default.sa3d.sa3d_blender.client import install
bpy.context.preferences.system.use_online_access = True
whole_plan = install.plan
engine_operators.plan = lambda folder, source, build, python, index: whole_plan(
    folder, Path(given["source"]), "cpu", python, index, Path(given["lock"]))
engine_look = look
tiny_look = lambda folder: engine_look(folder, Path(given["lock"]))
preferences.look = preferences_page.look = engine_operators.look = tiny_look
preferences.source_folder = lambda: Path(given["source"])
folder = preferences.managed_folder()

begun = time.perf_counter()
bpy.ops.sa3d.install_engine()
seen["blocked"] = time.perf_counter() - begun
seen["twice"] = refused(bpy.ops.sa3d.install_engine)
pump_until(lambda: installing.step() is None or installing.step().stage != "Beginning", given["patience"])
seen["under way"] = [drawn().bars, drawn().buttons]
bpy.ops.sa3d.cancel_install()
pump_until(lambda: not installing.busy(), given["patience"])
left = [str(path) for path in folder.glob("*/" + OURS)]
seen["cancelled"] = [engine_look(folder).state, left, repr(installing.fault())]

bpy.ops.sa3d.install_engine()
pump_until(lambda: not installing.busy(), given["patience"])
seen["installed"] = [preferences.look(folder).state, repr(installing.fault())]
seen["after"] = drawn().labels
session = link.session()
pump_until(lambda: session.capabilities is not None, given["patience"])
seen["running"] = session.capabilities["versions"]
seen["differs"] = [preferences._differs()]
chosen.cache_folder = here + "/cache"
seen["differs"].append(preferences._differs())

bpy.ops.sa3d.remove_engine()
pump_until(lambda: not installing.busy(), given["patience"])
seen["removed"] = [preferences.look(folder).state, folder.exists(), repr(installing.fault()), link.state()]
""".replace("given[", "arguments["),
        lock=str(locked),
        source=str(source(tmp_path / "extension")),
        patience=patience(60),
    )
    assert seen["blocked"] < patience(0.5)
    assert "under way" in seen["twice"]
    assert len(seen["under way"][0]) == 1 and "sa3d.cancel_install" in seen["under way"][1]
    assert seen["cancelled"] == ["absent", [], "None"]
    assert seen["installed"] == ["ready", "None"]
    assert any(label.startswith("Installed: Torch") for label in seen["after"])
    assert seen["running"] == {"tiny": "1.0", "tinytorch": "1.0"}
    assert seen["differs"] == [False, True]
    assert seen["removed"] == ["absent", False, "None", "stopped"]


@pytest.mark.timeout(300)
def test_what_the_engine_says_of_itself_its_weights_and_its_cache(in_blender: Any) -> None:
    """A scripted engine: tested, a download with its progress and its cancel, the cache emptied."""
    seen = in_blender(
        PAGE
        + """
bpy.context.preferences.system.use_online_access = True
state, size, finish = {"sam": "missing"}, {"bytes": 3_000_000_000}, threading.Event()
def doctor(request, engine):
    bad = {"name": "disk", "ok": False, "detail": "1 GB free", "cure": "Make room."}
    engine.say(Result(request.id, {"findings": [bad], "healthy": False}))
def weights_list(request, engine):
    one = {"name": "sam", "about": "Segment Anything", "size": 375_000_000, "licence": "Apache-2.0", "url": "",
           "path": "", "state": state["sam"], "bytes_there": 0}
    engine.say(Result(request.id, {"weights": [one]}))
def weights_get(request, engine):
    engine.say(Progress(request.id, "Downloading sam", 0.25, 12.0, ""))
    if finish.is_set():
        state["sam"] = "verified"
        engine.say(Result(request.id, {"name": "sam", "path": "/sam"}))
def weights_remove(request, engine):
    state["sam"] = "missing"
    engine.say(Result(request.id, {"name": "sam", "bytes_freed": 1}))
def cache_size(request, engine):
    engine.say(Result(request.id, {"folder": "/cache", **size}))
def cache_clear(request, engine):
    size["bytes"] = 0
    engine.say(Result(request.id, {"folder": "/cache", "bytes_freed": 3_000_000_000}))
script = {f.__name__: f for f in (doctor, weights_list, weights_get, weights_remove, cache_size, cache_clear)}
about = {"versions": {"sa3d": "0.1.0", "torch": "2.13.0"}, "device": {"words": "the processor", "error": ""},
         "segmenters": [{"name": "clicknet", "ready": True}, {"name": "sam", "ready": False}]}
link.use(lambda: FakeTransport(script, capabilities=about))
facts = lambda: engine_facts.facts
bpy.ops.sa3d.test_engine()
seen["starting"] = drawn().labels
pump_until(lambda: facts().state == "bad" and facts().weights and facts().cache and link.capabilities(), 60)
seen["tested"] = drawn().labels
seen["weights"] = [drawn("WEIGHTS").labels, drawn("WEIGHTS").buttons]
bpy.ops.sa3d.get_weights(name="sam")
pump_until(lambda: facts().told, 60)
seen["getting"] = [drawn("WEIGHTS").bars, drawn("WEIGHTS").buttons]
bpy.ops.sa3d.cancel_weights(name="sam")
pump_until(lambda: not facts().getting, 60)
seen["stopped"] = [repr(facts().failed), drawn("WEIGHTS").buttons]
finish.set()
bpy.ops.sa3d.get_weights(name="sam")
pump_until(lambda: facts().weights[0]["state"] == "verified", 60)
seen["there"] = drawn("WEIGHTS").buttons
bpy.ops.sa3d.remove_weights(name="sam")
pump_until(lambda: facts().weights[0]["state"] == "missing", 60)
seen["cache"] = [drawn("CACHE").labels, drawn("CACHE").buttons]
bpy.ops.sa3d.clear_cache()
pump_until(lambda: facts().cache and facts().cache["bytes"] == 0, 60)
seen["cleared"] = drawn("CACHE").labels
link.stop()
del script["doctor"]
bpy.ops.sa3d.test_engine()
pump_until(lambda: facts().state == "bad", 60)
seen["not tested"] = drawn().labels
"""
    )
    assert "The engine is starting..." in seen["starting"]
    tested = seen["tested"]
    assert "the processor" in tested and "clicknet" in tested and "0.1.0 with Torch 2.13.0" in tested
    assert any("disk: 1 GB free" in label for label in tested)
    assert {"Segment Anything", "Apache-2.0", "375 MB"} <= set(seen["weights"][0])
    assert seen["weights"][1] == ["sa3d.get_weights"]
    assert seen["getting"] == [["25 %"], ["sa3d.cancel_weights"]]
    assert seen["stopped"] == ["None", ["sa3d.get_weights"]]
    assert seen["there"] == ["sa3d.remove_weights"]
    assert "3.0 GB" in seen["cache"][0] and seen["cache"][1] == ["sa3d.clear_cache"]
    assert "0 MB" in seen["cleared"]
    assert "Something is wrong" in seen["not tested"]
