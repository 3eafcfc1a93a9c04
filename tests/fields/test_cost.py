"""What a training costs is said beforehand; time left follows what the steps really take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_capture import TinyCapture

from engine.captures.bounds import scene_box
from engine.captures.load import load_capture
from engine.fields.cost import Pace, available_bytes, needed_bytes, refuse_without_memory
from engine.fields.kinds import KINDS
from engine.fields.settings import PRESETS, TrainingSettings
from sa3d_blender.protocol.errors import FieldError

SETTINGS = TrainingSettings(steps=100, sides=(8, 16, 32), upsample_at=(20, 50))


def test_a_pace_adds_up_what_steps_take_at_each_side():
    pace = Pace(SETTINGS, (0.1, 0.2, 0.4))
    assert pace.between(0, 100) == pytest.approx(20 * 0.1 + 30 * 0.2 + 50 * 0.4)
    assert pace.between(10, 60) == pytest.approx(10 * 0.1 + 30 * 0.2 + 10 * 0.4)
    assert pace.between(100, 100) == 0


def test_time_left_follows_the_steps_that_were_slower_than_tried():
    pace = Pace(SETTINGS, (0.1, 0.2, 0.4))
    assert pace.left(0, 0.0) == pytest.approx(28.0)
    assert pace.left(10, 1.0) == pytest.approx(27.0)  # as expected
    assert pace.left(10, 2.0) == pytest.approx(54.0)  # twice as slow
    assert pace.left(100, 70.0) == 0


def test_steps_that_learn_poses_have_a_pace_of_their_own():
    pace = Pace(replace(SETTINGS, refine_poses=True), (0.1, 0.2, 0.4), (1.0, 2.0, 4.0))  # from step 20 on
    assert pace.between(0, 100) == pytest.approx(20 * 0.1 + 30 * 2.0 + 50 * 4.0)
    assert pace.between(10, 30) == pytest.approx(10 * 0.1 + 10 * 2.0)
    assert pace.between(60, 70) == pytest.approx(40.0)


def test_larger_networks_and_objects_samples_take_their_memory(tiny_capture: TinyCapture):
    capture = load_capture(tiny_capture.folder)
    box = scene_box(capture)
    drafts = KINDS["nerf"].presets
    grown = needed_bytes(capture.views, box, drafts["best"], "nerf") - needed_bytes(
        capture.views, box, drafts["draft"], "nerf"
    )
    assert grown > 2 << 30  # 1024 rays of 64 samples take 2.8 GB by measurement
    object_box = replace(box, kind="object")
    assert needed_bytes(capture.views, object_box, PRESETS["draft"], "tensorf") > needed_bytes(
        capture.views, object_box, replace(PRESETS["draft"], object_fine=16), "tensorf"
    )


def test_memory_grows_with_the_quality_and_is_refused_with_a_sentence_where_it_is_not_there(tiny_capture: TinyCapture):
    capture = load_capture(tiny_capture.folder)
    needed = [needed_bytes(capture.views, scene_box(capture), preset, "tensorf") for preset in PRESETS.values()]
    assert sorted(needed) == needed and needed[0] < 2 << 30
    with pytest.raises(FieldError, match=r"needs about \d+\.\d GB of memory, 0\.5 GB are free") as caught:
        refuse_without_memory(needed[0], 1 << 29)
    assert "--quality" in caught.value.cure
    refuse_without_memory(needed[0], needed[0])
    refuse_without_memory(needed[0], None)  # the system doesn't say


def test_hundreds_of_big_photos_without_opacity_take_less_than_half_of_those_with(tiny_capture: TinyCapture):
    capture = load_capture(tiny_capture.folder)
    camera = replace(capture.views[0].camera, width=8660, height=5774)
    views, box = [replace(capture.views[0], camera=camera)] * 300, scene_box(capture)
    none, plain, clear = (
        needed_bytes(listed, box, PRESETS["best"], "tensorf", has_alpha=alpha)
        for listed, alpha in (([], False), (views, False), (views, True))
    )
    assert plain - none == 300 * 1600 * 1067 * 11 + 1600 * 1067 * 12
    assert clear - none > 2 * (plain - none)
    zoomed = [replace(views[0], camera=replace(camera, fl_x=camera.fl_x + i)) for i in range(300)]
    assert needed_bytes(zoomed, box, PRESETS["best"], "tensorf", has_alpha=False) - none == 300 * 1600 * 1067 * 23


def test_every_kind_at_every_quality_has_a_price_that_an_ordinary_machine_can_pay(tiny_capture: TinyCapture):
    capture = load_capture(tiny_capture.folder)
    for name, kind in KINDS.items():
        for preset in kind.presets.values():
            assert needed_bytes(capture.views, scene_box(capture), preset, name) < 8 << 30


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="only Linux tells the memory that is available")
def test_available_memory_is_what_the_system_says():
    found = available_bytes()
    assert found is not None and 1 << 20 < found < 1 << 45
