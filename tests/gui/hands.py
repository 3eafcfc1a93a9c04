"""What an artist does in a window with eyes and hands: waiting for something, finding a button, pressing it."""

from __future__ import annotations

import time
from typing import Any

from tests.helpers.patience import patience

__all__ = ["ADDON", "button", "look_at_tab", "press", "until"]

ADDON = """
from bl_ext.user_default.sa3d import sa3d_blender
from bl_ext.user_default.sa3d.sa3d_blender import jobs, link, shaping
from bl_ext.user_default.sa3d.sa3d_blender.scene import mask_preview, views
from bl_ext.user_default.sa3d.sa3d_blender.scene.delivery import results_of
scene = bpy.context.scene
capture = scene.sa3d.capture
"""
"""What the window's Python starts with, to look into the add-on."""

STEP = 14  # pixels, between places where a button is looked for; buttons are 20 high


def until(window: Any, told: str, seconds: float = 20.0) -> None:
    """Waits until an expression holds in the window's Python."""
    end = time.monotonic() + patience(seconds)
    while not window.py(f"{ADDON}answer = bool({told})"):
        if time.monotonic() > end:
            window.picture("too-late")
            log = "[[j.title, j.state, j.stage, j.what, j.log[-20:]] for j in jobs.all_jobs()]"
            raise AssertionError((told, window.py(f"{ADDON}answer = {log}, link.state(), link.log_lines()[-20:]")))
        time.sleep(0.3)


def look_at_tab(window: Any) -> None:
    """Opens the sidebar at our tab."""
    window.py("window, area, region = view3d()\narea.spaces.active.show_region_ui = True\nredraw()")
    window.py(
        "window, area, region = view3d()\n"
        'next(r for r in area.regions if r.type == "UI").active_panel_category = "SA3D"'
    )
    window.py("redraw()")


_known: dict[str, tuple[int, int]] = {}
"""Where each operator's button was, and the last one of each region: what is pressed next is near."""


def button(
    window: Any, operator: str, region: str = "UI", columns: tuple[float, ...] = (0.5, 0.2, 0.8)
) -> tuple[int, int]:
    """Where the button of an operator is on the display, found with the mouse.

    Blender tells no script where its buttons are. But with the mouse over one, Ctrl-C copies what it would run.
    """
    left, top, width, height = window.py(
        f"""
window, area, _ = view3d()
region = next(r for r in area.regions if r.type == {region!r})
answer = [region.x, window.height - region.y - region.height, region.width, region.height]
"""
    )
    places = [(round(left + column * width), y) for column in columns for y in range(top + 6, top + height - 6, STEP)]
    near = _known.get(operator) or _known.get(region)
    if near is not None:
        places.sort(key=lambda place: abs(place[1] - near[1]) + abs(place[0] - near[0]))
    window.py("bpy.context.window_manager.clipboard = ''")
    for patiently in (1.0, 4.0):  # a window that is busy notices the mouse later
        for x, y in places:
            if operator in under_mouse(window, x, y, patiently):
                _known[operator] = _known[region] = (x, y)
                return x, y
    window.picture("no-button")
    raise AssertionError(f"there is no button of {operator}")


def under_mouse(window: Any, x: int, y: int, patiently: float = 1.0) -> str:
    """What the button at a place on the display would run; empty where there is none."""
    notice, copy = (str(patiently * seconds) for seconds in (0.12, 0.08))
    window.tool("xdo", "mousemove", str(x), str(y), "sleep", notice, "key", "ctrl+c", "sleep", copy)
    manager = "bpy.context.window_manager"
    return str(window.py(f"answer = {manager}.clipboard\n{manager}.clipboard = ''"))  # for the next one


def press(window: Any, operator: str, **where: Any) -> None:
    """Clicks the button of an operator."""
    window.click(*button(window, operator, **where))
