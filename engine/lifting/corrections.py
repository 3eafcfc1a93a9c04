"""Corrections: more prompts in any view, of which only what they touch is worked out anew; each can be taken back."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from engine.captures.capture import View
from engine.lifting.asking import ask
from engine.lifting.geometry import surface_points
from engine.lifting.lifted import Lifted, Marks, ViewResult
from engine.lifting.loop import LEAST_PIXELS, render_objects, rendered_mask, show_view, visit, vote
from engine.lifting.masks import resample
from engine.lifting.order import views_outward
from engine.lifting.projection import ViewOperator
from engine.lifting.prompting import away_from, select_points
from engine.lifting.scene import Scene, visible_points
from engine.lifting.voxels import SparseVoxels
from engine.progress import Job
from engine.segmenters.base import Prompts, Segmenter
from sa3d_blender.protocol.errors import LiftingError, PromptError

ROUNDS = 3  # over the views: what one of them gives up may be what kept another from agreeing
MARKS_PER_PART = 3  # points that stand for a part which a correction adds or takes away


@dataclass(frozen=True)
class Correction:
    """What a correction changed, so that it can be taken back: what the touched views said before (None: nothing)."""

    view: str
    points_px: Float[np.ndarray, "n 2"]
    labels: Int[np.ndarray, " n"]
    replaced: dict[str, ViewResult | None]
    marks: Marks

    @property
    def touched(self) -> tuple[str, ...]:
        """The views that were worked out anew."""
        return tuple(self.replaced)


@dataclass(frozen=True)
class Change:
    """The object's probabilities, float32 [N], before a correction and by now."""

    before: Float[np.ndarray, " n"]
    now: Float[np.ndarray, " n"]

    @functools.cached_property
    def any(self) -> bool:
        """Whether a voxel has come to the object, or left it."""
        return bool(((self.before > 0.5) != (self.now > 0.5)).any())


def correct(
    scene: Scene,
    lifted: Lifted,
    view: View,
    points_px: Float[np.ndarray, "n 2"],
    labels: Int[np.ndarray, " n"],
    segmenter: Segmenter,
    job: Job,
    scale: str | None = None,
) -> Correction:
    """Puts right what one view shows of an object, and asks again those other views that say otherwise.

    The view's mask is made again from all of the user's prompts there and the rendered mask; from now on it stands,
    as the user has seen it. What the prompts add or take away is marked in space, and the views whose masks
    contradict a mark that they see are visited again, nearest first. The other views keep their masks and votes.

    Args:
        points_px: the new prompts, in pixels of the view's camera; ``labels`` 1 = the object, 0 = not the object.
        scale: which of the segmenter's scales is meant in this view; by default the one that heeds most of the clicks,
            and of those the one nearest to the mask so far (with ``agreement``, else the settings' one).

    Raises:
        PromptError: there is no prompt. LiftingError: nothing of the object would be left.
    """
    if len(points_px) == 0:
        raise PromptError("There is no prompt.", "Click at least once: on the object, or on what isn't part of it.")
    before, p_before = lifted.views.get(view.stem), lifted.probability()
    replaced: dict[str, ViewResult | None] = {view.stem: before}
    operator = scene.operator_of(view)
    raster = operator.opacity.shape
    rendered = render_objects(operator, [lifted], lifted.settings).mask(0)
    result = _prompted_again(scene, lifted, view, points_px, labels, segmenter, scale)
    assert result.mask is not None
    mask = result.mask.dense()
    to_raster = np.array([raster[1] / view.camera.width, raster[0] / view.camera.height], np.float32)
    marks = marks_of_change(
        rendered, mask > 0.5, points_px * to_raster, labels, surface_points(operator.camera, operator.depth)
    )
    marks_before = lifted.marks
    vote(scene, lifted, view, result)
    show_view(job, view, lifted)
    lifted.marks = marks_before.plus(marks)
    others = _nearest_first(scene, lifted, view)
    change = Change(p_before, lifted.probability())
    with job.stage("Asking the views that say otherwise", len(others) * ROUNDS) as stage:
        for _ in range(ROUNDS):
            asked = 0
            for other in others:
                stage.advance(1, f"{len(replaced) - 1} views asked")
                rejected = other.stem in replaced and lifted.views[other.stem].verdict == "rejected"
                if rejected or contradicts(scene, lifted, other, marks) or left_behind(scene, lifted, other, change):
                    replaced.setdefault(other.stem, lifted.views.get(other.stem))
                    _ask_again(scene, lifted, other, segmenter)
                    show_view(job, other, lifted)
                    change = Change(p_before, lifted.probability())
                    asked += 1
            if asked == 0:
                break
    correction = Correction(view.stem, points_px, labels, replaced, marks_before)
    if not (lifted.voxels().probability(lifted.settings.lam) > 0.5).any():
        undo(scene, lifted, correction)
        raise LiftingError(
            "With this correction nothing of the object would be left, so that it was taken back.",
            "Put the 'not this' points beside the object, or begin anew.",
        )
    return correction


def undo(scene: Scene, lifted: Lifted, correction: Correction) -> None:
    """Takes the latest correction back: every touched view says again what it said before, bit for bit."""
    for stem, result in correction.replaced.items():
        if result is None:
            if stem in lifted.evidence.contributions:
                lifted.evidence.remove(stem)
            lifted.views.pop(stem, None)
        else:
            vote(scene, lifted, scene.views[stem], result)
    lifted.marks = correction.marks


def _prompted_again(
    scene: Scene,
    lifted: Lifted,
    view: View,
    points_px: Float[np.ndarray, "n 2"],
    labels: Int[np.ndarray, " n"],
    segmenter: Segmenter,
    scale: str | None,
) -> ViewResult:
    """The view's mask from what the user has said there, now and before, and from the mask it has."""
    operator = scene.operator_of(view)
    before = lifted.views.get(view.stem)
    points, kinds = points_px, labels
    if before is not None and before.verdict == "prompted":
        points, kinds = np.concatenate([before.points_px, points]), np.concatenate([before.labels, kinds])
        assert before.mask is not None
        hint = before.mask.dense()
    else:
        hint = np.clip(render_objects(operator, [lifted], lifted.settings).confidence[..., 0], 0, 1)
    photo = scene.photo(view)
    segmenter.set_image(photo)
    prompts = replace(_guided(operator, view, points, kinds, hint, lifted), scale=scale)
    mask, score = ask(segmenter, prompts, lifted.settings, hint > 0.5, clicks=Prompts(points, kinds))
    return ViewResult("prompted", 1.0, score, mask, points, kinds)


def _guided(
    operator: ViewOperator,
    view: View,
    points_px: Float[np.ndarray, "n 2"],
    labels: Int[np.ndarray, " n"],
    hint: Float[np.ndarray, "h w"],
    lifted: Lifted,
) -> Prompts:
    """The user's points, and where none of them is positive, some on the object that are far from the refused ones."""
    size = (view.camera.height, view.camera.width)
    mask = resample(hint, size)
    if (labels == 1).any():
        return Prompts(points_px, labels, None, mask)
    scale = np.array([size[1] / hint.shape[1], size[0] / hint.shape[0]], np.float32)
    positions = surface_points(operator.camera, operator.depth)
    ours = select_points(away_from(hint, positions, points_px / scale), positions, lifted.settings.prompts)
    points = np.concatenate([ours * scale, points_px])
    return Prompts(points, np.concatenate([np.ones(len(ours), np.int64), labels]), None, mask)


def _ask_again(scene: Scene, lifted: Lifted, view: View, segmenter: Segmenter) -> None:
    earlier = lifted.views.get(view.stem)
    if earlier is not None and earlier.verdict == "prompted":
        vote(scene, lifted, view, _reminded(scene, lifted, view, earlier, segmenter))
    else:
        visit(scene, view, [lifted], segmenter)


def _reminded(scene: Scene, lifted: Lifted, view: View, before: ViewResult, segmenter: Segmenter) -> ViewResult:
    """A prompted view's mask once more, with what the user has since said elsewhere: the latest word counts."""
    operator = scene.operator_of(view)
    raster = operator.opacity.shape
    marked, which = visible_points(operator, lifted.marks.points)
    photo = scene.photo(view)
    segmenter.set_image(photo)
    scale = np.array([view.camera.width / raster[1], view.camera.height / raster[0]], np.float32)
    points = np.concatenate([before.points_px, marked * scale])
    labels = np.concatenate([before.labels, lifted.marks.labels[which]])
    assert before.mask is not None
    hint = before.mask.dense()
    prompts = _guided(operator, view, points, labels, hint, lifted)
    mask, score = ask(segmenter, prompts, lifted.settings, hint > 0.5, clicks=Prompts(points, labels))
    return ViewResult("prompted", 1.0, score, mask, before.points_px, before.labels)


def marks_of_change(
    before: Bool[np.ndarray, "h w"],
    after: Bool[np.ndarray, "h w"],
    clicks: Float[np.ndarray, "n 2"],
    labels: Int[np.ndarray, " n"],
    positions: Float[np.ndarray, "h w 3"],
) -> Marks:
    """Places in space that say what a correction meant: under the clicks, and in the part that each of them changed.

    Only a changed part that holds a click of its kind counts: the rest of the difference is the segmenter's, not the
    user's.

    Args:
        before, after: the object in the corrected view; ``clicks`` in the pixels of these masks.
        positions: surface points under the pixels, NaN where there are none.
    """
    points: list[np.ndarray] = []
    kinds: list[int] = []
    height, width = after.shape
    columns = np.clip(clicks[:, 0].astype(int), 0, width - 1)
    rows = np.clip(clicks[:, 1].astype(int), 0, height - 1)
    for row, column, label in zip(rows, columns, labels, strict=True):
        if (label == 1) == bool(after[row, column]) and np.isfinite(positions[row, column]).all():
            points.append(positions[row, column])
            kinds.append(int(label))
    for label, changed in ((1, after & ~before), (0, before & ~after)):
        parts, _ = ndimage.label(changed, np.ones((3, 3)))
        for part in np.unique(parts[rows, columns][labels == label]):
            mask = parts == part
            if part == 0 or mask.sum() < LEAST_PIXELS:
                continue
            chosen = select_points(mask.astype(np.float32), positions, MARKS_PER_PART, decay=False)
            for x, y in chosen.astype(int):
                points.append(positions[y, x])
                kinds.append(label)
    return Marks(np.array(points, np.float64).reshape(-1, 3), np.array(kinds, np.int64))


def contradicts(scene: Scene, lifted: Lifted, view: View, marks: Marks) -> bool:
    """Whether a view sees a mark and says otherwise: by its mask or, where it doesn't vote, by the rendering."""
    result = lifted.views.get(view.stem)
    operator = scene.operator_of(view)
    pixels, which = visible_points(operator, marks.points)
    if len(pixels) == 0:
        return False
    if result is not None and result.votes and result.mask is not None:
        inside = result.mask.dense() > 0.5
    else:
        inside = render_objects(operator, [lifted], lifted.settings).mask(0)
    columns, rows = pixels.astype(int).T
    return bool((inside[rows, columns] != (marks.labels[which] == 1)).any())


def left_behind(scene: Scene, lifted: Lifted, view: View, change: Change) -> bool:
    """Whether an accepted view's mask still says what the object no longer is, or not yet what it has become.

    Only where the object has changed: views that never quite agreed are left alone.
    """
    result = lifted.views.get(view.stem)
    if not change.any or result is None or result.verdict != "accepted" or result.mask is None:
        return False
    seen = rendered_mask(scene.operator_of(view), np.stack([change.before, change.now]).T) > 0.5
    now = seen[..., 1]
    changed = ndimage.binary_opening(seen[..., 0] != now, np.ones((3, 3)))
    return int((changed & ((result.mask.dense() > 0.5) != now)).sum()) >= LEAST_PIXELS


def _nearest_first(scene: Scene, lifted: Lifted, view: View) -> list[View]:
    support = lifted.evidence.support()
    shown = SparseVoxels(support.index, support.foreground)
    return views_outward(list(scene.views.values()), view, scene.signatures(shown))
