"""The mask of what was clicked in a photo: when it is asked for, what is kept, which of several is meant."""

from __future__ import annotations

import pytest

# What a viewport's drawing tells is told here by hand; in the background nothing is drawn.
LOOK = """
from bl_ext.user_default.sa3d.sa3d_blender.scene import job_masks, mask_preview
from bl_ext.user_default.sa3d.sa3d_blender.scene.mask_answers import box_in_frame
from bl_ext.user_default.sa3d.sa3d_blender.scene.views import cameras_of
from bl_ext.user_default.sa3d.sa3d_blender.scene.cameras import view_of
from bl_ext.user_default.sa3d.sa3d_blender.overlay.mask import layers_of
from bl_ext.user_default.sa3d.sa3d_blender.operators.candidates import answer_here
the_scene = bpy.context.scene
scene_capture = the_scene.sa3d.capture
def half(side, size=(60, 80), at=0.5):
    mask, edge = np.zeros(size, np.uint8), int(size[1] * at)
    mask[:, :edge] = 255 if side == "left" else 0
    mask[:, edge:] = 255 if side == "right" else 0
    return RawArray.of(mask)
def prompt(request, engine):
    arrays = {"mask": half("left"), "candidate0": half("right"), "candidate1": half("left")}
    body = {"view": request.body["view"], "segmenter": "clicknet", "scales": ["part", "object"], "score": 0.9,
            "candidates": [{"scale": "part", "score": 0.4, "array": "candidate0"},
                           {"scale": "object", "score": 0.9, "array": "candidate1"}], "chosen": 1, "box": None,
            "hits": [], "seconds": 0.1}
    if "text" in request.body:
        body["hits"] = [{"box": [20, 15, 60, 45], "score": 0.6, "words": "mug"}]
    engine.say(Result(request.id, body, arrays))
plays["prompt"] = prompt
plays["prepare_view"] = lambda request, engine: engine.say(
    Result(request.id, {"view": request.body["view"], "segmenter": "clicknet", "scales": []}))
def look(seconds=0.4):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        mask_preview.look(1, the_scene, the_scene.camera)
        link.pump()
        time.sleep(0.01)
def wait_for(told):
    until = time.monotonic() + 60
    while not told():
        assert time.monotonic() < until
        look(0.05)
def shown():
    layers = layers_of(the_scene, scene_capture, the_scene.camera)
    return [[int(one.mask[5, 5]), int(one.mask[5, -5])] for one in layers]
def kinds():
    return [one.kind for one in asked]
def answered():
    return answer_here(bpy.context) is not None
the_scene.camera = next(one for one in cameras_of(scene_capture) if one["sa3d_view"] == "a")
"""


@pytest.fixture
def looking(jobs):
    """Runs a script that looks through photo a."""
    return lambda script, **more: jobs(LOOK + script, **more)


def test_a_photo_is_prepared_and_a_click_asked_about_once(looking):
    seen = looking(
        """
look()
seen["before"] = kinds()
bpy.ops.sa3d.add_click(place=(0.25, 0.5))
wait_for(answered)
look()
seen["after"], seen["body"] = kinds(), {k: v for k, v in asked[-1].body.items() if k != "capture"}
seen["shown"] = shown()
prompted = scene_capture.sa3d.objects[0]
prompted.prompts.remove(0)  # as an undo does
look()
seen["undone"] = shown()
bpy.ops.sa3d.add_click(place=(0.25, 0.5))
look()
seen["redone"], seen["asked"] = shown(), kinds()
"""
    )
    assert seen["before"] == ["prepare_view"] and seen["after"] == ["prepare_view", "prompt"]
    assert seen["body"]["view"] == "a" and seen["body"]["points"] == [[20, 30, 1]]
    assert seen["body"]["quality"] == "draft" and seen["body"]["segmenter"] == "auto"
    assert seen["shown"] == [[255, 0]] and seen["undone"] == []
    assert seen["redone"] == [[255, 0]] and seen["asked"] == seen["after"]  # known already


def test_what_failed_is_asked_again_once_its_reason_may_be_gone(looking):
    seen = looking(
        """
from bl_ext.user_default.sa3d.sa3d_blender import engine_facts
def refuse(request, engine):
    engine.say(Failure(request.id, "segmenter", "There are no weights.", "Get them."))
plays.update(prompt=refuse, weights_get=lambda request, engine: engine.say(Result(request.id, {})),
    weights_list=lambda request, engine: engine.say(Result(request.id, {"weights": []})),
    cache_size=lambda request, engine: engine.say(Result(request.id, {})))
def said():
    answer = answer_here(bpy.context)
    return answer and (answer.what, answer.mask is not None)
bpy.ops.sa3d.add_click(place=(0.25, 0.5))
wait_for(answered)
look(1)
seen["failed"] = said(), kinds().count("prompt")
plays["prompt"] = prompt
engine_facts.get_weights("mobile-sam")
wait_for(lambda: not engine_facts.facts.getting)
look(1)
seen["got"] = said(), kinds().count("prompt")
plays["prompt"] = refuse
bpy.ops.sa3d.add_click(place=(0.3, 0.5))
wait_for(lambda: said() == ("There are no weights.", False))
plays["prompt"] = prompt
bpy.ops.sa3d.restart_engine()
look(1)
seen["restarted"] = said(), kinds().count("prompt")
"""
    )
    assert seen["failed"] == [["There are no weights.", False], 1]
    assert seen["got"] == [["", True], 2] and seen["restarted"] == [["", True], 4]


def test_of_several_masks_another_is_taken_with_a_key_and_segmenting_says_which(looking):
    seen = looking(
        """
bpy.ops.sa3d.add_click(place=(0.25, 0.5))
wait_for(answered)
prompted = scene_capture.sa3d.objects[0]
seen["first"] = shown(), prompted.scale
bpy.ops.sa3d.next_candidate()
seen["second"] = shown(), prompted.scale
bpy.ops.sa3d.segment()
finish()
seen["segment"] = next(one for one in asked if one.kind == "segment").body["scale"]
bpy.ops.sa3d.choose_candidate(scale="auto")
seen["auto"] = shown()
seen["asked"] = kinds().count("prompt")
"""
    )
    assert seen["first"] == [[[255, 0]], "auto"] and seen["second"] == [[[0, 255]], "part"]
    assert seen["segment"] == "part" and seen["auto"] == [[255, 0]]
    assert seen["asked"] == 1


def test_words_are_looked_for_only_where_asked_and_what_is_found_becomes_a_box(looking):
    seen = looking(
        """
bpy.ops.sa3d.add_object(name="Mug")
scene_capture.sa3d.objects[0].words = "the mug"
look()
seen["before"] = kinds()
bpy.ops.sa3d.find_words()
wait_for(answered)
seen["text"], seen["hits"] = asked[-1].body["text"], len(answer_here(bpy.context).hits)
bpy.ops.sa3d.choose_hit(number=0)
prompt = scene_capture.sa3d.objects[0].prompts[0]
seen["box"] = prompt.kind, [round(v, 3) for point in prompt.points for v in point.place]
"""
    )
    assert seen["before"] == ["prepare_view"] and seen["text"] == {"words": "the mug"} and seen["hits"] == 1
    assert seen["box"] == ["BOX", [0.25, 0.25, 0.75, 0.75]]


def test_who_turns_the_page_is_not_answered_about_the_last_one(looking):
    seen = looking(
        """
plays["prompt"] = lambda request, engine: None  # it takes its time
bpy.ops.sa3d.add_click(place=(0.25, 0.5))
wait_for(lambda: "prompt" in kinds())
capture, prompted, camera = scene_capture, scene_capture.sa3d.objects[0], the_scene.camera
seen["asked"] = mask_preview.is_asked(mask_preview.place_of(capture, prompted, camera))
the_scene.camera = next(one for one in cameras_of(scene_capture) if one["sa3d_view"] == "b")
look()
seen["still"] = mask_preview.is_asked(mask_preview.place_of(capture, prompted, camera))
"""
    )
    assert seen["asked"] and not seen["still"]


def test_what_goes_wrong_is_said_once_and_asked_again_only_after_another_prompt(looking):
    seen = looking(
        """
def refuse(request, engine):
    engine.say(Failure(request.id, "segmenter", "There are no weights.", "Get them in the preferences."))
plays["prompt"] = refuse
bpy.ops.sa3d.add_click(place=(0.25, 0.5))
wait_for(answered)
look()
answer = answer_here(bpy.context)
seen["said"], seen["shown"], seen["asked"] = [answer.what, answer.cure], shown(), kinds().count("prompt")
bpy.ops.sa3d.add_click(place=(0.3, 0.5))
look()
seen["again"] = kinds().count("prompt")
"""
    )
    assert seen["said"] == ["There are no weights.", "Get them in the preferences."]
    assert seen["shown"] == [] and seen["asked"] == 1 and seen["again"] == 2


def test_an_engine_that_dies_is_said_in_one_sentence_and_asked_again_after_a_restart(looking):
    seen = looking(
        """
from bl_ext.user_default.sa3d.sa3d_blender.ui.mask_panel import SA3D_PT_mask
class Layout:  # keeps what is written
    def __init__(self): self.said = []
    def __getattr__(self, name): return lambda *a, **k: self
    def label(self, text="", **more): self.said.append(text)
class Panel: pass
def panel():
    drawn = Panel()
    drawn.layout = Layout()
    SA3D_PT_mask.draw(drawn, bpy.context)
    return drawn.layout.said
look()
plays["prompt"] = lambda request, engine: engine.crash()
bpy.ops.sa3d.add_click(place=(0.25, 0.5))
wait_for(lambda: link.state() == "dead")
look()
seen["dead"], seen["engines"], seen["asked"] = panel(), len(engines), kinds().count("prompt")
plays["prompt"] = prompt
link.restart()
wait_for(answered)
seen["shown"], seen["engines later"], seen["panel"] = shown(), len(engines), panel()
"""
    )
    assert seen["dead"] == ["No mask: the engine isn't running"]
    assert seen["engines"] == 1 and seen["asked"] == 1  # it isn't started again unasked
    assert seen["shown"] == [[255, 0]] and seen["engines later"] == 2
    assert seen["panel"] == ["clicknet, 90% sure"]


def test_what_a_job_finds_is_shown_in_photos_without_prompts_and_straight_where_a_lens_bends_them(looking):
    seen = looking(
        """
bpy.ops.sa3d.add_click(place=(0.25, 0.5))
wait_for(answered)
def views(request, engine):
    for name, size, at in (("b", (70, 50), 1), ("c", (60, 90), 0.25)):
        body = {"view": name, "verdict": "accepted", "iou": 0.9, "accepted": 1, "rejected": 0}
        engine.say(Preview(request.id, "view", body, {"mask": half("left", size, at)}))
    segment(request, engine)
plays["segment"] = views
bpy.ops.sa3d.segment()
finish()
seen["a"] = shown()
for name in "bc":
    the_scene.camera = next(one for one in cameras_of(scene_capture) if one["sa3d_view"] == name)
    seen[name] = shown()
mask = layers_of(the_scene, scene_capture, the_scene.camera)[0].mask
seen["edge"] = [int((mask[row] > 127).sum()) for row in (0, 30)]
"""
    )
    assert seen["a"] == [[255, 0]]  # its own prompts' mask
    assert seen["b"] == [[255, 255]]  # the job's latest
    assert seen["c"] == [[255, 0]] and abs(seen["edge"][0] - seen["edge"][1]) >= 1  # a straight line, bent


def test_who_watches_is_turned_to_the_photo_that_is_worked_on(looking):
    seen = looking(
        """
from bl_ext.user_default.sa3d.sa3d_blender.scene import job_view
from bl_ext.user_default.sa3d.sa3d_blender.job import ViewPreview
mask = np.full((6, 8), 255, np.uint8)
uid = scene_capture["sa3d_uid"]
def turn(view, capture=uid, mask=mask):
    job_view._turned = 0.0
    return job_view.turn_to(the_scene, ViewPreview(capture, "", view, "accepted", mask)), the_scene.camera.name
seen["turned"] = turn("b")
seen["resolution"] = the_scene.render.resolution_x, the_scene.render.resolution_y
seen["unseen"], seen["another"], seen["unknown"] = turn("a", mask=None), turn("a", "other"), turn("z")
job_view._turned = time.monotonic()
seen["too soon"] = job_view.turn_to(the_scene, ViewPreview(uid, "", "a", "accepted", mask))
"""
    )
    assert seen["turned"] == [True, "b"] and seen["resolution"] == [50, 70]
    assert seen["unseen"] == seen["another"] == seen["unknown"] == [False, "b"] and not seen["too soon"]
