"""The mask over the photo in a real window: on the ball and nowhere else, zoomed, bent by a lens, another with a key.

The engine is a script that answers with the ball as the photo has it, so that what is drawn can be held against what
is seen: each display pixel that shows the ball must have changed its colour, and none of the table's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion, binary_opening

from tests.gui.hands import ADDON, look_at_tab, until
from tests.gui.test_prompts_in_a_window import FRAME, spot
from tests.helpers.scripted_engine import FAKE

pytestmark = pytest.mark.timeout(600)

SIZE = (400, 300)
BENT = [-0.25, 0.08, 0.0, 0.0]
BALL = (140, 110, 55)  # column, row, radius in pixels of the photo as stored

PLAY = """
def ball(radius):
    rows, columns = np.indices((given["size"][1], given["size"][0])) + 0.5
    x, y, _ = given["ball"]
    return RawArray.of(np.where(np.hypot(columns - x, rows - y) < radius, 255, 0).astype(np.uint8))
def prompt(request, engine):
    radius = given["ball"][2]
    arrays = {"mask": ball(radius), "candidate0": ball(radius / 2), "candidate1": ball(radius)}
    candidates = [{"scale": "part", "score": 0.7, "array": "candidate0"},
                  {"scale": "object", "score": 0.9, "array": "candidate1"}]
    body = {"view": request.body["view"], "segmenter": "clicknet", "scales": ["part", "object"], "score": 0.9,
            "candidates": candidates, "chosen": 1, "box": None, "hits": [], "seconds": 0.1}
    if "text" in request.body:
        body["hits"] = [{"box": [85, 55, 195, 165], "score": 0.8, "words": "ball"},
                        {"box": [250, 200, 300, 260], "score": 0.4, "words": "ball"}]
    engine.say(Result(request.id, body, arrays))
plays["prompt"] = prompt
plays["prepare_view"] = lambda request, engine: engine.say(
    Result(request.id, {"view": request.body["view"], "segmenter": "clicknet", "scales": []}))
"""

ANSWERED = "mask_preview.answer_for(scene, capture, capture.sa3d.objects[0], scene.camera) is not None"


def write_capture(folder: Path) -> dict[str, Any]:
    """A red ball on grey, photographed straight and through a lens that bends it."""
    rows, columns = np.indices((SIZE[1], SIZE[0])) + 0.5
    on_ball = np.hypot(columns - BALL[0], rows - BALL[1]) < BALL[2]
    picture = np.where(on_ball[..., None], np.uint8([170, 60, 50]), np.uint8([120, 120, 125]))
    views = []
    for stem, x, more in (("straight", -0.3, {}), ("bent", 0.3, {"model": "opencv", "distortion": BENT})):
        path = folder / f"{stem}.png"
        Image.fromarray(picture.astype(np.uint8)).save(path)
        view = {"name": path.name, "stem": stem, "image": str(path), "width": SIZE[0], "height": SIZE[1]}
        view |= {"fl_x": 420, "fl_y": 420, "cx": 200, "cy": 150}
        view |= {"world_from_camera": [[1, 0, 0, x], [0, 0, -1, -2], [0, 1, 0, 0.2], [0, 0, 0, 1]]}
        views.append(view | more)
    tree = {"name": "table", "capture_root": str(folder), "capture": str(folder / "t.json"), "views": views}
    return tree | {"objects": []}


SCRIPT = FAKE.split("path = here")[0].replace("plays = {", 'plays = {"prompt": None, "prepare_view": None, ') + PLAY


@pytest.fixture(scope="module")
def desk(window: Any) -> Any:
    """The window with the scripted engine, the capture imported, the click tool in the hand."""
    given = {"described": write_capture(window.folder), "size": SIZE, "ball": BALL}
    path = str(window.folder / "capture.json")
    window.py(
        f"""
import json, sys, numpy as np
space = sys.sa3d_test = {{"arguments": json.loads({json.dumps(given)!r}), "np": np, "bpy": bpy}}
exec({SCRIPT!r}, space)
json.dump(space["arguments"]["described"], open({path!r}, "w"))
bpy.data.objects.remove(bpy.data.objects["Cube"])  # it hides the photo
with override():
    bpy.ops.sa3d.import_capture(filepath={path!r})
    bpy.ops.wm.tool_set_by_id(name="sa3d.click_tool")
    bpy.ops.ed.undo_push(message="Import")  # which it does itself only where a hand has called it
"""
    )
    look_at_tab(window)
    return window


def free(shape: tuple[int, ...]) -> np.ndarray:
    """Display pixels of the viewport over which neither toolbar, gizmos nor sidebar lie."""
    found = np.zeros(shape[:2], dtype=bool)
    found[110:670, 120:660] = True
    return found


def is_ball(shown: np.ndarray) -> np.ndarray:
    """Display pixels of the bare photo's ball."""
    red = (shown[..., 0] - shown[..., 2] > 60) & (np.abs(shown[..., 1] - shown[..., 2]) < 40)
    solid: np.ndarray = binary_opening(red & free(red.shape), iterations=4)  # lines and points are Blender's own
    return solid


def check_tint(before: np.ndarray, after: np.ndarray, dot: tuple[int, int]) -> None:
    """The ball has turned bluer, all of it, and nothing else of the photo has changed."""
    ball = is_ball(before)
    assert ball.sum() > 20_000
    rows, columns = np.indices(ball.shape)
    photo = free(ball.shape) & (np.hypot(columns - dot[0], rows - dot[1]) > 14)  # the prompt's own dot
    bluer = (after[..., 2] - after[..., 0]) - (before[..., 2] - before[..., 0]) > 60
    inner, beside = binary_erosion(ball, iterations=3), ~binary_dilation(ball, iterations=6)
    assert bluer[inner & photo].mean() > 0.999
    assert np.abs(after - before).max(axis=-1)[beside & photo].max() <= 3


def test_a_click_brings_the_mask_over_the_ball_and_nowhere_else(desk):
    frame = desk.py(FRAME)
    before = desk.picture("mask-before")
    x, y = spot(frame, BALL[0] / SIZE[0], BALL[1] / SIZE[1])
    desk.click(x, y)
    until(desk, ANSWERED)
    after = desk.picture("mask-clicked")
    check_tint(before, after, (x, y))


def test_undo_takes_the_mask_away_and_redo_asks_nobody(desk):
    x, y = spot(desk.py(FRAME), 0.8, 0.9)
    shown = desk.picture("mask-still")
    count = "import sys\nanswer = sum(one.kind == 'prompt' for one in sys.sa3d_test['asked'])"
    asked = desk.py(count)
    desk.xdo("mousemove", x, y, "sleep", "0.2", "key", "ctrl+z")
    assert is_ball(desk.picture("mask-undone")).sum() > 20_000
    desk.xdo("key", "ctrl+shift+z")
    again = desk.picture("mask-redone")
    assert is_ball(again).sum() < 100 and desk.py(count) == asked
    assert (np.abs(again - shown).max(axis=-1)[free(shown.shape)] > 3).mean() < 0.001


def test_the_mask_follows_zoom_and_pan(desk):
    desk.py(
        """
window, area, region = view3d()
area.spaces.active.region_3d.view_camera_zoom += 8
area.spaces.active.region_3d.view_camera_offset = (0.03, -0.02)
redraw()
"""
    )
    left, top, width, height = desk.py(FRAME)
    shown = desk.picture("mask-zoomed")
    rows, columns = np.indices(shown.shape[:2]) + 0.5
    x, y = left + BALL[0] / SIZE[0] * width, top + BALL[1] / SIZE[1] * height
    away, radius = np.hypot(columns - x, rows - y), BALL[2] / SIZE[0] * width
    blue = shown[..., 2] - shown[..., 0] > 30
    seen = free(shown.shape)
    assert (seen & (away < radius)).sum() > 20_000
    assert blue[seen & (away > 14) & (away < radius - 4)].mean() > 0.999
    solid = binary_opening(blue, iterations=2)  # the 3D cursor has blue pixels too
    assert not solid[seen & (away > radius + 4)].any()


def test_c_takes_the_next_mask(desk):
    before = desk.picture("mask-whole")
    x, y = spot(desk.py(FRAME), BALL[0] / SIZE[0], BALL[1] / SIZE[1])
    rim = spot(desk.py(FRAME), (BALL[0] + 0.8 * BALL[2]) / SIZE[0], BALL[1] / SIZE[1])
    desk.xdo("mousemove", x + 4, y + 40, "sleep", "0.2", "key", "c")
    assert desk.py(f"{ADDON}answer = capture.sa3d.objects[0].scale") == "part"
    after = desk.picture("mask-part")
    assert is_ball(after)[rim[1], rim[0]] and not is_ball(before)[rim[1], rim[0]]  # the rim is bare again
    desk.xdo("key", "c")
    assert desk.py(f"{ADDON}answer = capture.sa3d.objects[0].scale") == "object"


def test_in_a_photo_that_a_lens_bends_the_mask_lies_on_the_straight_picture(desk):
    desk.xdo("key", "Next")
    desk.py("redraw()")
    assert desk.py(f'{ADDON}answer = scene.camera["sa3d_view"]') == "bent"
    before = desk.picture("mask-bent-before")
    ball = is_ball(before)
    y, x = (int(value) for value in np.argwhere(ball).mean(axis=0))
    desk.click(x, y)
    until(desk, ANSWERED)
    check_tint(before, desk.picture("mask-bent"), (x, y))


def test_what_words_are_found_to_be_is_listed(desk):
    desk.py(f'{ADDON}capture.sa3d.objects[0].words = "ball"\nwith override():\n    bpy.ops.sa3d.find_words()')
    told = "len(mask_preview.answer_for(scene, capture, capture.sa3d.objects[0], scene.camera).hits or ()) == 2"
    until(desk, f"{ANSWERED} and {told}")
    desk.picture("mask-hits")
    desk.py("with override():\n    bpy.ops.sa3d.choose_hit(number=0)\nredraw()")
    kinds = desk.py(f"{ADDON}answer = [p.kind for p in capture.sa3d.objects[0].prompts]")
    assert kinds == ["CLICK", "CLICK", "BOX"]
    until(desk, ANSWERED)
    desk.picture("mask-chosen-hit")


def test_the_panel_speaks_german_where_blender_does(desk):
    there = desk.py(
        """
view = bpy.context.preferences.view
answer = "de_DE" in bpy.app.translations.locales
if answer:
    view.language = "de_DE"
    view.use_translate_interface = view.use_translate_tooltips = True
    redraw()
"""
    )
    if there:
        say = 'answer = bpy.app.translations.pgettext_iface("Segment", "Operator")'
        assert desk.py(say) == "Ausschneiden"
        desk.picture("mask-german")
        desk.py("bpy.context.preferences.view.language = 'en_US'\nredraw()")
    assert "Traceback" not in desk.tool("log")
