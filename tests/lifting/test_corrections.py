"""A correction changes what it touches and nothing else, and can be taken back without a trace."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engine.lifting.corrections import correct, marks_of_change, undo
from engine.lifting.lifted import Lifted, Seed
from engine.lifting.loop import lift, rendered_mask
from engine.lifting.masks import soft_iou
from engine.lifting.settings import LiftingSettings
from engine.lifting.store import from_arrays, store, to_arrays
from engine.lifting.two_pass import second_pass
from engine.progress import Job
from engine.segmenters.base import Photo, Prediction, Prompts
from sa3d_blender.protocol.errors import LiftingError, PromptError

START = 4


class Obedient:
    """Knows the true masks of ball and box; takes what positive points lie on, but for what a negative point lies on.

    Without clicks on the box it is careless: it always takes the ball and the box together.
    """

    name = "obedient"
    scales: tuple[str, ...] = ()

    def __init__(self, stage, careless: bool = True) -> None:
        self.stage, self.careless, self.asked = stage, careless, []

    def set_image(self, photo: Photo) -> None:
        self.stem = str(photo.key)

    def predict(self, prompts: Prompts) -> Prediction:
        self.asked.append(self.stem)
        view = next(v for v in self.stage.views if v.stem == self.stem)
        mask = np.zeros((60, 80), np.float32)
        for thing in ("ball", "box"):
            true = self.stage.mask(thing, view)
            inside = true[prompts.points_px[:, 1].astype(int), prompts.points_px[:, 0].astype(int)] > 0.5
            if (inside & (prompts.labels == 0)).any():
                continue
            if self.careless or (inside & (prompts.labels == 1)).any():
                mask = np.maximum(mask, true)
        return Prediction(mask, 0.9)


@pytest.fixture
def both(stage) -> tuple[Lifted, Obedient]:
    """Ball and box, lifted as one by a careless segmenter from a mask of both; stray parts are not left out."""
    segmenter = Obedient(stage)
    start = stage.views[START]
    mask = np.maximum(stage.mask("ball", start), stage.mask("box", start))
    (lifted,) = lift(stage.scene(), [Seed(start, mask)], segmenter, LiftingSettings(anchored=False), Job())
    segmenter.asked.clear()
    return lifted, segmenter


def agreement(stage, lifted: Lifted, thing: str) -> float:
    p = lifted.probability()
    return float(
        np.mean([soft_iou(rendered_mask(stage.operators[v.stem], p), stage.mask(thing, v)) for v in stage.views])
    )


def click_on(stage, thing: str, view, label: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = stage.truth.centre_px(thing, stage.views.index(view))
    return np.array([[x, y]], np.float32), np.array([label], np.int64)


def test_one_not_this_click_takes_the_box_away_in_all_views_that_see_it(stage, both):
    lifted, segmenter = both
    assert agreement(stage, lifted, "ball") < 0.7
    view = stage.views[12]
    done = correct(stage.scene(), lifted, view, *click_on(stage, "box", view, 0), segmenter, Job())
    assert agreement(stage, lifted, "ball") > 0.85
    assert done.view == view.stem
    assert lifted.views[view.stem].verdict == "prompted"
    assert set(segmenter.asked) == set(done.touched)


def test_a_click_that_all_agree_with_touches_its_own_view_only(stage, both):
    lifted, segmenter = both
    view = stage.views[9]
    done = correct(stage.scene(), lifted, view, *click_on(stage, "ball", view, 1), segmenter, Job())
    assert done.touched == (view.stem,)
    assert segmenter.asked == [view.stem]


def test_undo_takes_it_back_bit_for_bit(stage, both):
    lifted, segmenter = both
    foreground, background = lifted.evidence.foreground, lifted.evidence.background
    views = dict(lifted.views)
    scene = stage.scene()
    first = correct(scene, lifted, stage.views[12], *click_on(stage, "box", stage.views[12], 0), segmenter, Job())
    middle = lifted.evidence.foreground
    second = correct(scene, lifted, stage.views[2], *click_on(stage, "ball", stage.views[2], 1), segmenter, Job())
    assert not np.array_equal(foreground, lifted.evidence.foreground)
    undo(scene, lifted, second)
    np.testing.assert_array_equal(middle, lifted.evidence.foreground)
    undo(scene, lifted, first)
    np.testing.assert_array_equal(foreground, lifted.evidence.foreground)
    np.testing.assert_array_equal(background, lifted.evidence.background)
    assert lifted.views == views
    assert len(lifted.marks.points) == 0


def test_an_object_that_was_kept_is_corrected_in_a_later_session_as_if_nothing_had_been_between(stage, both, tmp_path):
    lifted, segmenter = both
    scene = stage.scene()
    first = correct(scene, lifted, stage.views[12], *click_on(stage, "box", stage.views[12], 0), segmenter, Job())
    arrays, words = to_arrays(store(lifted, (first,)))
    assert all(isinstance(value, str) for value in words.values())  # as safetensors wants it
    kept = from_arrays(arrays, words, stage.voxels)
    np.testing.assert_array_equal(kept.probability(), lifted.probability())
    np.testing.assert_array_equal(kept.seen(), lifted.evidence.seen)
    resumed = kept.resume(scene)
    np.testing.assert_array_equal(resumed.evidence.foreground, lifted.evidence.foreground)
    click = click_on(stage, "ball", stage.views[2], 1)
    again = [correct(scene, each, stage.views[2], *click, segmenter, Job()) for each in (lifted, resumed)]
    assert again[0].touched == again[1].touched
    np.testing.assert_array_equal(resumed.probability(), lifted.probability())
    undo(scene, resumed, again[1])
    undo(scene, resumed, kept.corrections[0])
    undo(scene, lifted, again[0])
    undo(scene, lifted, first)
    np.testing.assert_array_equal(resumed.evidence.foreground, lifted.evidence.foreground)


def test_what_belongs_to_another_field_is_not_taken_up(stage, both):
    arrays, words = to_arrays(store(both[0]))
    with pytest.raises(ValueError, match="another field"):
        from_arrays(arrays, {**words, "occupied": "17"}, stage.voxels)
    with pytest.raises(KeyError):
        from_arrays(
            {**arrays} | {"voxel": arrays["voxel"]}, {k: v for k, v in words.items() if k != "views"}, stage.voxels
        )


def test_a_correction_that_would_leave_nothing_is_taken_back(stage, both):
    lifted, _ = both
    before = lifted.evidence.foreground

    class Refusing(Obedient):
        def predict(self, prompts: Prompts) -> Prediction:
            return Prediction(np.zeros((60, 80), np.float32), 0.1)

    view = stage.views[START]
    clicks = np.concatenate([click_on(stage, thing, view, 0)[0] for thing in ("ball", "box")])
    with pytest.raises(LiftingError, match="nothing of the object would be left"):
        correct(stage.scene(), lifted, view, clicks, np.zeros(2, np.int64), Refusing(stage), Job())
    np.testing.assert_array_equal(before, lifted.evidence.foreground)


def test_without_a_click_there_is_no_correction(stage, both):
    lifted, segmenter = both
    with pytest.raises(PromptError, match="no prompt"):
        correct(
            stage.scene(), lifted, stage.views[0], np.zeros((0, 2), np.float32), np.zeros(0, np.int64), segmenter, Job()
        )


def test_marks_stand_only_in_changed_parts_that_hold_a_click_of_their_kind():
    before, after = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    before[2:8, 2:8] = before[2:8, 20:26] = True  # two parts are gone afterwards,
    after[12:18, 10:16] = True  # and one has come
    rows, columns = np.indices((20, 30))
    positions = np.stack([columns, rows, np.zeros((20, 30))], -1).astype(np.float32)
    marks = marks_of_change(before, after, np.array([[4.5, 4.5]], np.float32), np.array([0]), positions)
    assert len(marks.points) >= 2
    assert (marks.labels == 0).all()
    assert (marks.points[:, 0] < 8).all()
    assert (marks.points[:, 1] < 8).all()


def test_objects_lifted_together_share_no_voxel_though_the_segmenter_gives_both_to_each(stage):
    """Ball and box, a mask of its own each; the segmenter is told apart only by the other's points."""
    start = stage.views[START]
    seeds = [Seed(start, stage.mask(thing, start)) for thing in ("ball", "box")]
    objects = lift(stage.scene(), seeds, Obedient(stage), LiftingSettings(), Job())
    p = [lifted.probability() > 0.5 for lifted in objects]
    assert p[0].sum() > 100
    assert p[1].sum() > 100
    assert not (p[0] & p[1]).any()
    for lifted, thing in zip(objects, ("ball", "box"), strict=True):
        assert agreement(stage, lifted, thing) > 0.85


def test_a_new_object_takes_no_voxel_of_one_that_is_there(stage, both):
    whole, segmenter = both
    start = stage.views[START]
    (box,) = lift(stage.scene(), [Seed(start, stage.mask("box", start))], segmenter, LiftingSettings(), Job(), [whole])
    taken = whole.own_probability() > 0.5
    assert not (taken & (box.probability() > 0.5)).any()


def test_the_second_pass_pushes_back_what_came_along(stage):
    """The user's mask is the ball's; all other views also take the box, so that the prompted view shows it wrongly."""
    segmenter = Obedient(stage)
    start = stage.views[START]
    loose = LiftingSettings(anchored=False, tau=0.1, trust=1.0, prompts=3)
    (lifted,) = lift(stage.scene(), [Seed(start, stage.mask("ball", start))], Obedient(stage), loose, Job())
    before = agreement(stage, lifted, "ball")
    done = second_pass(stage.scene(), lifted, segmenter, Job())
    if done.misclassified == 0:
        pytest.fail("the first pass was to take the box along")
    assert agreement(stage, done.lifted, "ball") > max(0.85, before)


def test_without_a_mistake_there_is_no_second_pass(stage):
    start = stage.views[START]
    careful = Obedient(stage, careless=False)
    (lifted,) = lift(stage.scene(), [Seed(start, stage.mask("ball", start))], careful, LiftingSettings(), Job())
    careful.asked.clear()
    done = second_pass(stage.scene(), lifted, careful, Job())
    assert done.misclassified == 0
    assert done.lifted is lifted
    assert careful.asked == []


def test_a_shuffled_order_gives_the_same_voxels(stage, monkeypatch):
    """Masks that depend on the photo alone, accepted or not by the same evidence: the order leaves no trace."""
    careful, start = Obedient(stage, careless=False), stage.views[START]
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)

        def shuffled(views, first, signatures, rng=rng):
            others = [v for v in views if v.stem != first.stem]
            return [others[i] for i in rng.permutation(len(others))]

        monkeypatch.setattr("engine.lifting.loop.views_outward", shuffled)
        (lifted,) = lift(stage.scene(), [Seed(start, stage.mask("ball", start))], careful, LiftingSettings(), Job())
        found.append(lifted.probability())
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_the_papers_rule_is_kept_as_published(stage):
    from engine.lifting.settings import PAPER

    asked: list[Prompts] = []

    class Watched(Obedient):
        def predict(self, prompts: Prompts) -> Prediction:
            asked.append(prompts)
            return super().predict(prompts)

    start = stage.views[START]
    watched = Watched(stage, careless=False)
    (lifted,) = lift(stage.scene(), [Seed(start, stage.mask("ball", start))], watched, PAPER, Job())
    assert (PAPER.lam, PAPER.tau, PAPER.prompts) == (0.15, 0.5, 3)
    assert watched.asked == sorted(watched.asked)  # by name, each once
    assert all(p.mask is None and p.box_px is None and (p.labels == 1).all() for p in asked)
    v = lifted.evidence.foreground - np.float32(0.15) * lifted.evidence.background
    iou = [
        soft_iou((stage.operators[x.stem].render(v) > 0).astype(np.float32), stage.mask("ball", x)) for x in stage.views
    ]
    assert np.mean(iou) > 0.75


def test_an_object_kept_before_there_were_scores_and_candidates_is_taken_up_as_it_was(stage, both):
    arrays, words = to_arrays(store(both[0]))
    settings = json.loads(words["settings"])
    del settings["scored"], settings["agreement"], settings["clicked_parts"], settings["scale"]
    kept = from_arrays(arrays, words | {"settings": json.dumps(settings)}, stage.voxels)
    assert not kept.settings.scored
    assert not kept.settings.agreement
    assert from_arrays(arrays, words, stage.voxels).settings == both[0].settings
