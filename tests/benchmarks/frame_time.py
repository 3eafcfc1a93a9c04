"""Measures how long Blender's window does nothing else while the engine works: `python tests/benchmarks/frame_time.py`.

In a real window (the script `blender-window`; BLENDER_WINDOW_SUITE=sid: Blender 5.2) with the zip installed, and the
real engine on the processor: a timer in Blender that should come every 0.01 s, while nothing is done, while a field is
trained at full load, while masks are carried, and while a mesh of 200,000 faces comes as one message and is drawn.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import trimesh

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from engine.meshing.export import write_glb  # noqa: E402
from tests.gui.conftest import Window, zip_in  # noqa: E402
from tests.gui.gaps import begin_gaps, end_gaps, longest_gap  # noqa: E402
from tests.gui.hands import ADDON, look_at_tab, until  # noqa: E402
from tests.gui.still_life import render_table  # noqa: E402

ROWS = 224  # of a ball with 199,809 faces
SECONDS = 40.0
TRAINING = 'jobs.running() and jobs.running().stage == "Training field" and jobs.running().fraction > 0'


def main() -> None:
    """Opens the window, measures, closes it."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        table = render_table(folder / "scene")
        zip_in(folder)
        window = Window(folder, "1440x1000")
        window.tool("reset")
        seen = [folder, table.folder, Path(sys.prefix), Path(sys.base_prefix)]
        window.tool("run", *(word for one in seen for word in ("--bind", str(one))))
        try:
            _prepare(window, table.folder / "capture")
            _measure(window)
        finally:
            window.tool("stop")


def _prepare(window: Window, capture: Path) -> None:
    (archive,) = window.folder.glob("*.zip")
    window.py(
        f"""
with override():
    bpy.ops.extensions.package_install_files(repo="user_default", filepath={str(archive)!r}, enable_on_install=True)
chosen = bpy.context.preferences.addons["bl_ext.user_default.sa3d"].preferences
chosen.engine, chosen.python = "PYTHON", {sys.executable!r}
chosen.device, chosen.cache_folder = "cpu", {str(window.folder / "cache")!r}
"""
    )
    window.py(f"with override():\n    bpy.ops.sa3d.import_capture(filepath={str(capture)!r})")
    until(window, "capture is not None and views.cameras_of(capture)", 60)
    look_at_tab(window)


def _measure(window: Window) -> None:
    print("Blender", window.py("answer = bpy.app.version_string"))
    print(f"nothing is done: longest gap {longest_gap(window, 10):.3f} s in 10 s")
    window.py(f"{ADDON}with override():\n    bpy.ops.sa3d.train()")
    until(window, TRAINING, 60)
    gap = longest_gap(window, SECONDS)
    assert window.py(f"{ADDON}answer = bool({TRAINING})"), "the training was over before the measuring"
    print(f"a field is trained: longest gap {gap:.3f} s in {SECONDS:.0f} s")
    (taken, drawn), gap = _deliver(window)
    assert window.py(f"{ADDON}answer = bool({TRAINING})"), "the training was over before the measuring"
    print(f"meanwhile 200,000 faces come: {taken:.3f} s, then Blender draws them: {drawn:.3f} s; gap {gap:.3f} s")


def _deliver(window: Window) -> tuple[list[float], float]:
    """What a job does with its mesh (handover.deliver), then the drawing; the seconds of both, and of the gap."""
    ball = trimesh.creation.uv_sphere(count=[ROWS, ROWS])
    ball.visual = trimesh.visual.ColorVisuals(ball, vertex_colors=np.full((len(ball.vertices), 4), 200, np.uint8))
    path = write_glb(ball, window.folder / "ball.glb")
    begin_gaps(window)
    taken = window.py(
        f"""{ADDON}
import time
from pathlib import Path
from bl_ext.user_default.sa3d.sa3d_blender.scene.delivery import place
from bl_ext.user_default.sa3d.sa3d_blender.scene.glb import glb_triangles
data = Path({str(path)!r}).read_bytes()
began = time.perf_counter()
made = place(capture, "benchmark", "Ball", glb_triangles(data, "ball"), {{}})
with override():
    bpy.ops.ed.undo_push(message="Ball")
placed = time.perf_counter()
redraw()
answer = [placed - began, time.perf_counter() - placed]
assert len(made.data.polygons) > 190_000
"""
    )
    window.tool("xdo", "sleep", "3")
    return taken, end_gaps(window)


if __name__ == "__main__":
    main()
