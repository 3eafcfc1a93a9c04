"""The picture of training in the panel: there while a job trains, with the numbers, and gone with the training."""

from __future__ import annotations

import pytest

from tests.blender.test_jobs_panel import PAPER

WATCH = (
    PAPER
    + """
from bl_ext.user_default.sa3d.sa3d_blender.ui import training_preview
from bl_ext.user_default.sa3d.sa3d_blender.training_picture import CURVE_PX, SIDE_PX
def template_icon(self, icon_value=0, scale=1.0):
    lines.append("picture")
Paper.template_icon = template_icon
def say_training(request, engine, level=200, psnr_db=28.31, **more):
    body = {"view": "images/c.png", "step": 40, "steps": 100, "psnr_db": psnr_db}
    body |= {"curve": [[20, 21.0], [40, psnr_db]]} | more
    picture = np.zeros((6, 8, 3), np.uint8)
    picture[:3, :, 0] = level
    engine.say(Preview(request.id, "training", body, {"picture": RawArray.of(picture)}))
held = []
def hold(request, engine):
    engine.say(Progress(request.id, "Training field", 0.25, 90.0, ""))
    held.append((request, engine))
    say_training(request, engine)
plays["train"] = hold
def start():
    held.clear()
    bpy.ops.sa3d.train()
    pump_until(lambda: jobs.running().training is not None)
def icons():
    return list(training_preview._icons)
def photo():
    icon = training_preview._icons["training"]
    pixels = np.array(icon.image_pixels_float[:], np.float32).reshape(*icon.image_size, 4)
    return [pixels[row, SIDE_PX // 2].tolist() for row in (SIDE_PX - 8, CURVE_PX + 12)]
"""
)


@pytest.fixture
def training(jobs):
    """Runs a script that can hold a training where it is."""
    return lambda script, **more: jobs(WATCH + script, **more)


def test_the_picture_is_in_the_panel_while_a_field_trains_and_not_afterwards(training):
    seen = training(
        """
seen["before"] = shown(), icons()
start()
seen["during"] = shown()
seen["photo"], seen["icons"] = photo(), icons()
first = jobs.running().training
say_training(*held[0], level=100, psnr_db=30.0)
pump_until(lambda: jobs.running().training is not first)
seen["later"], seen["later photo"], seen["still one"] = shown(), photo(), icons()
train(*held[0])
job = finish()
seen["after"] = shown(), icons(), job.state
bpy.ops.sa3d.dismiss_job(uid=job.uid)
link.pump()
seen["dismissed"] = shown(), icons()
""",
    )
    assert "picture" not in seen["before"][0] and seen["before"][1] == []
    box = seen["during"].index("c.png")
    assert seen["during"][box : box + 4] == ["c.png", "PSNR 28.3 dB", "picture", "A photo not used for training"]
    assert seen["icons"] == seen["still one"] == ["training"]
    above, below = seen["photo"]  # as sent; Blender's lowest row is the first
    assert above == pytest.approx([200 / 255, 0, 0, 1], abs=1e-3) and below == [0, 0, 0, 1]
    assert "PSNR 30.0 dB" in seen["later"] and seen["later photo"][0] == pytest.approx([100 / 255, 0, 0, 1], abs=1e-3)
    for panel, icons in (seen["after"][:2], seen["dismissed"]):
        assert "picture" not in panel and not [one for one in panel if "PSNR" in one] and icons == []
    assert seen["after"][2] == "done"


def test_it_goes_when_training_is_stopped_or_breaks_or_segmenting_begins(training):
    seen = training(
        """
start()
bpy.ops.sa3d.cancel()
seen["cancelled"] = finish().state, "picture" in shown(), icons()
start()
held[0][1].crash("signal 9")
seen["crashed"] = finish().state, "picture" in shown(), icons()
bpy.ops.sa3d.restart_engine()
bpy.ops.sa3d.add_click(place=(0.5, 0.5))
plays["segment"] = hold  # a capture that isn't trained is trained first, in the same request
held.clear()
bpy.ops.sa3d.segment()
pump_until(lambda: jobs.running().training is not None)
seen["trains"] = "picture" in shown(), icons()
held[0][1].say(Progress(held[0][0].id, "Rendering masks", 0.1, None, ""))
pump_until(lambda: jobs.running().stage == "Rendering masks")
seen["goes on"] = "picture" in shown(), icons()
say_training(*held[0])  # late
say_view(*held[0])
pump_until(lambda: jobs.running().view == "b")
seen["segments"] = "picture" in shown(), icons(), "3 accepted, 1 rejected" in shown()
""",
    )
    assert seen["cancelled"] == ["cancelled", False, []] and seen["crashed"] == ["failed", False, []]
    assert seen["trains"] == [True, ["training"]]
    assert seen["goes on"] == [False, []]
    assert seen["segments"] == [False, [], True]


def test_messages_that_make_no_sense_change_nothing(training):
    seen = training(
        """
start()
request, engine = held[0]
first, before = jobs.running().training, photo()
body = {"view": "c", "step": 50, "steps": 100, "psnr_db": 29.0, "curve": []}
bad = [np.zeros((4, 5), np.uint8), np.zeros((4, 5, 4), np.uint8), np.zeros((0, 0, 3), np.uint8),
       np.zeros((4, 5, 3), np.float32)]
for array in bad:
    engine.say(Preview(request.id, "training", body, {"picture": RawArray.of(array)}))
engine.say(Preview(request.id, "training", body, {}))
engine.say(Preview(request.id, "training", {}, {"picture": RawArray.of(np.zeros((4, 5, 3), np.uint8))}))
say_training(request, engine, psnr_db="none")
say_training(request, engine, curve=[[1]])
say_training(request, engine, curve=5)
engine.say(Preview(request.id, "something new", {}, {}))
engine.say(Progress(request.id, "Training field", 0.75, None, ""))
pump_until(lambda: jobs.running().fraction == 0.75)
seen["same"] = jobs.running().training is first and photo() == before and "PSNR 28.3 dB" in shown()
seen["said"] = jobs.running().log + link.log_lines()
say_training(request, engine, psnr_db=31.0)
pump_until(lambda: jobs.running().training is not first)
seen["goes on"] = "PSNR 31.0 dB" in shown()
""",
    )
    assert seen["same"] and seen["goes on"]
    assert not [line for line in seen["said"] if "Traceback" in line or "Error" in line]


def test_nothing_is_left_when_the_add_on_is_disabled_and_it_comes_again(training):
    seen = training(
        """
start()
shelf = training_preview._icons
name = "bl_ext.user_default.sa3d"
addon_utils.disable(name)
seen["left"] = len(shelf), shelf._uuid in bpy.utils.previews._uuid_open, training_preview._icons is None
seen["drawn"] = [training_preview.icon_of(types.SimpleNamespace(training=None))]
module = addon_utils.enable(name)
from bl_ext.user_default.sa3d.sa3d_blender.ui import training_preview as anew
seen["again"] = module is not None, list(anew._icons)
""",
    )
    assert seen["left"] == [0, False, True] and seen["drawn"] == [None]
    assert seen["again"] == [True, []]
