"""Of several masks the one is taken that fits what has been lifted: a part stays a part from view to view."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from engine.captures.load import load_capture
from engine.lifting.asking import ask
from engine.lifting.corrections import correct
from engine.lifting.lifted import Lifted, Seed, ViewResult
from engine.lifting.loop import lift, plant, rendered_mask, vote
from engine.lifting.masks import MaskCrop, soft_iou
from engine.lifting.settings import LiftingSettings
from engine.progress import Job
from engine.prompted_view import first_seed
from engine.prompts import UserPrompt
from engine.segmenters.base import Candidate, Photo, Prediction, Prompts
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import PromptError

START = 4
SCALES = ("part", "object", "group")
AGREEING = LiftingSettings(agreement=True)


class Nested:
    """Offers the ball, ball and box, and all of the picture's lower half with them; likes the group best.

    ``muddled``: in every other view the names of the scales are turned round.
    """

    name = "nested"
    scales = SCALES

    def __init__(self, stage, muddled: bool = False) -> None:
        self.stage, self.muddled = stage, muddled
        self.asked: dict[str, Prompts] = {}

    def set_image(self, photo: Photo) -> None:
        self.stem = str(photo.key)

    def masks(self) -> list[np.ndarray]:
        view = next(v for v in self.stage.views if v.stem == self.stem)
        ball, box = self.stage.mask("ball", view), self.stage.mask("box", view)
        both = np.maximum(ball, box)
        group = both.copy()
        group[30:] = 1
        return [ball, both, group]

    def predict(self, prompts: Prompts) -> Prediction:
        self.asked[self.stem] = prompts
        names = SCALES[::-1] if self.muddled and int(self.stem) % 2 else SCALES
        scores = (0.6, 0.7, 0.8)
        found = tuple(Candidate(m, s, n) for m, s, n in zip(self.masks(), scores, names, strict=True))
        best = 2 if prompts.scale is None else names.index(prompts.scale)
        return Prediction(found[best].mask, found[best].score, found)


def lifted_from(stage, segmenter: Nested, seed: np.ndarray, settings: LiftingSettings) -> Lifted:
    return lift(stage.scene(), [Seed(stage.views[START], seed)], segmenter, settings, Job())[0]


def ball_iou(stage, lifted: Lifted) -> float:
    p = lifted.probability()
    return float(np.mean([soft_iou(rendered_mask(stage.operators[v.stem], p), stage.mask("ball", v))
                          for v in stage.views]))  # fmt: skip


def both_iou(stage, lifted: Lifted) -> float:
    p = lifted.probability()
    found = [(rendered_mask(stage.operators[v.stem], p), stage.mask("ball", v), stage.mask("box", v))
             for v in stage.views]  # fmt: skip
    return float(np.mean([soft_iou(mask, np.maximum(ball, box)) for mask, ball, box in found]))


@pytest.mark.parametrize("muddled", [False, True])
def test_a_part_stays_a_part_in_every_view_whatever_the_segmenter_likes_or_calls_it(stage, muddled):
    segmenter = Nested(stage, muddled)
    lifted = lifted_from(stage, segmenter, stage.mask("ball", stage.views[START]), replace(AGREEING, scale="part"))
    assert ball_iou(stage, lifted) > 0.9  # as with true masks alone (test_loop.py)
    assert lifted.count()["accepted"] == 19
    assert all(result.score == 0.6 for stem, result in lifted.views.items() if stem != lifted.start)
    assert all(prompts.scale is None for prompts in segmenter.asked.values())


def test_the_object_stays_the_object_too(stage):
    ball, box = (stage.mask(thing, stage.views[START]) for thing in ("ball", "box"))
    lifted = lifted_from(stage, Nested(stage), np.maximum(ball, box), AGREEING)
    assert both_iou(stage, lifted) > 0.85
    assert lifted.count()["accepted"] == 19


def test_without_agreement_the_scale_is_asked_for_in_every_view(stage):
    segmenter = Nested(stage)
    part = replace(LiftingSettings(), agreement=False, scale="part")
    lifted = lifted_from(stage, segmenter, stage.mask("ball", stage.views[START]), part)
    assert ball_iou(stage, lifted) > 0.9
    assert len(segmenter.asked) == 19
    assert {prompts.scale for prompts in segmenter.asked.values()} == {"part"}


def test_with_neither_the_segmenters_own_choice_is_what_it_was(stage):
    segmenter = Nested(stage)
    settings = LiftingSettings(agreement=False)
    lifted = lifted_from(stage, segmenter, stage.mask("ball", stage.views[START]), settings)
    assert {prompts.scale for prompts in segmenter.asked.values()} == {None}
    assert all(r.score == 0.8 for stem, r in lifted.views.items() if r.mask is not None and stem != lifted.start)
    assert lifted.count()["rejected"] > 10  # the group is not the ball


def points(*clicks: tuple[float, float, int]) -> Prompts:
    at = np.array([c[:2] for c in clicks], np.float32).reshape(-1, 2)
    return Prompts(at, np.array([c[2] for c in clicks], np.int64))


def at(stage, thing: str, view: int) -> tuple[float, float]:
    return stage.truth.centre_px(thing, view)


def asked(stage, view: int, settings: LiftingSettings, shown: np.ndarray, *clicks, scale: str | None = None):
    segmenter = Nested(stage)
    segmenter.set_image(Photo(np.zeros((60, 80, 3), np.float32), key=stage.views[view].stem))
    prompts = replace(points(*clicks), scale=scale)
    return ask(segmenter, prompts, settings, shown > 0.5, clicks=prompts)


def test_what_the_user_clicks_is_worth_more_than_agreement(stage):
    view = stage.views[0]
    both = np.maximum(stage.mask("ball", view), stage.mask("box", view))
    ball, box = (*at(stage, "ball", 0), 1), (*at(stage, "box", 0), 0)
    assert asked(stage, 0, AGREEING, both, ball)[1] == 0.7  # the object agrees
    assert asked(stage, 0, AGREEING, both, ball, box)[1] == 0.6  # but the box is not wanted


def test_a_scale_that_is_asked_for_in_this_view_stands(stage):
    ball = stage.mask("ball", stage.views[0])
    assert asked(stage, 0, AGREEING, ball, (*at(stage, "ball", 0), 1), scale="object")[1] == 0.7


def test_where_nothing_agrees_the_score_decides(stage):
    assert asked(stage, 0, AGREEING, np.zeros((60, 80)), (*at(stage, "ball", 0), 1))[1] == 0.8


def test_a_scale_that_another_segmenter_does_not_know_is_not_asked_of_it(stage):
    settings = LiftingSettings(agreement=False, scale="whole")
    assert asked(stage, 0, settings, stage.mask("ball", stage.views[0]), (*at(stage, "ball", 0), 1))[1] == 0.8


def test_parts_that_neither_a_point_nor_the_rendered_mask_speaks_for_can_be_left_out(stage):
    segmenter = Nested(stage)
    view = stage.views[0]
    ball, box = stage.mask("ball", view), stage.mask("box", view)
    segmenter.set_image(Photo(np.zeros((60, 80, 3), np.float32), key=view.stem))
    segmenter.masks = lambda: [np.maximum(ball, box)] * 3
    assert not (np.minimum(ball, box) > 0).any()
    prompts = points((*at(stage, "ball", 0), 1))
    settings = LiftingSettings(clicked_parts=True)
    mask, _ = ask(segmenter, prompts, settings, ball > 0.5)
    assert (mask.dense() > 0.5).sum() == (ball > 0.5).sum()
    mask, _ = ask(segmenter, prompts, settings, np.maximum(ball, box) > 0.5)
    assert (mask.dense() > 0.5).sum() == (np.maximum(ball, box) > 0.5).sum()


def test_corrections_choose_the_mask_that_heeds_the_click(stage):
    """Ball and box were lifted as one: a 'not this' on the box leaves the ball, in the other views, too."""
    segmenter = Nested(stage)
    ball, box = (stage.mask(thing, stage.views[START]) for thing in ("ball", "box"))
    lifted = lifted_from(stage, segmenter, np.maximum(ball, box), replace(AGREEING, anchored=False))
    view, click = stage.views[12], np.array([at(stage, "box", 12)], np.float32)
    done = correct(stage.scene(), lifted, view, click, np.zeros(1, np.int64), segmenter, Job())
    assert lifted.views[view.stem].score == 0.6
    assert len(done.touched) > 10
    assert ball_iou(stage, lifted) > 0.8


def test_a_correction_takes_the_scale_that_is_asked_for(stage):
    segmenter = Nested(stage)
    lifted = lifted_from(stage, segmenter, stage.mask("ball", stage.views[START]), AGREEING)
    view = stage.views[0]
    click = np.array([at(stage, "ball", 0)], np.float32)
    correct(stage.scene(), lifted, view, click, np.ones(1, np.int64), segmenter, Job(), "object")
    assert lifted.views[view.stem].score == 0.7


@pytest.fixture
def workspace(stage) -> Workspace:
    """As much of a workspace as the prompted view needs."""
    found = Workspace.__new__(Workspace)
    found.capture = load_capture(stage.truth.folder)
    found.views = found.stored = {view.stem: view for view in stage.views}
    found.operators = SimpleNamespace(get=lambda view: stage.operators[view.stem])
    found.__dict__["scene"] = stage.scene()
    return found


@pytest.mark.parametrize(("scale", "score"), [("part", 0.6), ("object", 0.7), (None, 0.8)])
def test_the_users_wish_decides_about_the_first_mask(stage, workspace, scale, score):
    x, y = at(stage, "ball", START)
    seed = first_seed(workspace, UserPrompt("004.png", ((x, y, 1),)), Nested(stage), 0, scale)
    assert seed.score == score


def test_a_wish_that_cannot_be_granted_is_refused_with_what_there_is(stage, workspace):
    x, y = at(stage, "ball", START)
    with pytest.raises(PromptError, match='no scale "crumb"') as caught:
        first_seed(workspace, UserPrompt("004.png", ((x, y, 1),)), Nested(stage), 0, "crumb")
    assert "part, object, group" in caught.value.cure


@pytest.mark.parametrize(("score", "weight"), [(0.9, 0.875), (0.5, 0.5), (0.01, 0.125), (1.0, 1.0), (None, 1.0)])
def test_a_view_votes_with_its_score_in_eighths(stage, score, weight):
    scene, start, view = stage.scene(), stage.views[START], stage.views[5]
    settings = LiftingSettings(scored=True)
    lifted = plant(scene, Seed(start, stage.mask("ball", start)), settings)
    before = lifted.evidence.foreground
    crop = MaskCrop.of(stage.mask("ball", view))
    vote(scene, lifted, view, ViewResult("accepted", 0.9, score, crop))
    full = stage.operators[view.stem].back_project_mask(crop.dense()).scatter(stage.voxels.count)
    np.testing.assert_allclose(lifted.evidence.foreground - before, weight * full, atol=1e-5)
    both = stage.operators[start.stem].looked.scatter(stage.voxels.count) * settings.trust
    both = both + weight * stage.operators[view.stem].looked.scatter(stage.voxels.count)
    np.testing.assert_allclose(lifted.evidence.foreground + lifted.evidence.background, both, atol=1e-4)
    assert lifted.evidence.contributions[view.stem].looked is scene.looked_of(view)  # not a copy for each object
    lifted.evidence.remove(view.stem)
    np.testing.assert_array_equal(lifted.evidence.foreground, before)  # to the last bit


def test_the_users_own_mask_is_not_weighed_by_the_segmenters_score(stage):
    start = stage.views[START]
    seed = Seed(start, stage.mask("ball", start), 0.2)
    planted = [plant(stage.scene(), seed, LiftingSettings(scored=scored)) for scored in (False, True)]
    np.testing.assert_array_equal(planted[0].evidence.foreground, planted[1].evidence.foreground)
