"""The alternation of the paper: mask inverse rendering and cross-view self-prompting, view after view.

masks of the prompted view
  -> evidence (evidence.py, Eq. 5)
  -> for the views outward from it (order.py): rendered mask (Eq. 3) -> prompts (prompting.py, Eq. 6-8)
     -> 2D segmenter -> mask; accepted if its IoU with the rendered mask is at least tau: more evidence
  -> rejected views are tried once more, with all the evidence of the others

Any number of objects go through a view together: one product renders them all, one hands their masks back, and each
is a "not this" to the others.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from engine.captures.capture import View
from engine.lifting.asking import ask
from engine.lifting.evidence import Evidence, contribution_of
from engine.lifting.geometry import surface_points
from engine.lifting.lifted import Lifted, Marks, Seed, Verdict, ViewResult
from engine.lifting.masks import MaskCrop, resample, soft_iou
from engine.lifting.order import share_of, views_outward
from engine.lifting.projection import ViewOperator
from engine.lifting.prompting import away_from, mask_box, negative_points, select_points
from engine.lifting.scene import Scene, visible_points
from engine.lifting.settings import LiftingSettings
from engine.progress import Job
from engine.segmenters.base import Prompts, Segmenter
from sa3d_blender.protocol.errors import LiftingError

log = logging.getLogger(__name__)

LEAST_PIXELS = 12  # of a rendered mask: with fewer the object does not show in that view
SCORE_STEPS = 8  # a power of two
UNKNOWN = 0.5  # of the hint where no accepted view has looked: neither object nor background


def lift(
    scene: Scene,
    seeds: Sequence[Seed],
    segmenter: Segmenter,
    settings: LiftingSettings,
    job: Job,
    beside: Sequence[Lifted] = (),
    outside: Float[np.ndarray, " n"] | None = None,
) -> list[Lifted]:
    """Carries the masks of one view or several into 3D, over all the others: one object for each seed.

    Args:
        segmenter: asked once for each object and each of the other views (and once more where it was rejected).
        beside: objects of the scene that are known already; none of their voxels will be the new objects'.
        outside: the same as probabilities of all voxels (the largest of all such objects'), in place of ``beside``.

    Raises:
        LiftingError: a mask lies where the field has nothing.
    """
    if beside:
        outside = np.max([neighbour.own_probability() for neighbour in beside], axis=0)
    objects = [plant(scene, seed, settings) for seed in seeds]
    for lifted in objects:
        lifted.rivals, lifted.outside = [other for other in objects if other is not lifted], outside
    show_view(job, objects[0].seed.view, objects[0])
    others = share_of(_ordered(scene, objects[0]), settings.views)
    with job.stage("Carrying the mask from view to view", len(others)) as stage:
        for view in others:
            visit(scene, view, objects, segmenter)
            show_view(job, view, objects[0])
            stage.advance(1, f"{view.stem}: {_verdicts(objects, view)}")
    if settings.second_chance:
        rejected = [view for view in others if any(_is_rejected(lifted, view) for lifted in objects)]
        with job.stage("Trying rejected views again", max(1, len(rejected))) as stage:
            for view in rejected:
                visit(scene, view, [lifted for lifted in objects if _is_rejected(lifted, view)], segmenter)
                show_view(job, view, objects[0])
                stage.advance(1, f"{view.stem}: {_verdicts(objects, view)}")
    for lifted in objects:
        log.info("Views: %s", lifted.count())
    return objects


def plant(scene: Scene, seed: Seed, settings: LiftingSettings) -> Lifted:
    """An object that only its prompted view has voted on. Raises LiftingError where the field has nothing there."""
    lifted = Lifted(seed, settings, scene.grid, Evidence(scene.grid.count))
    lifted.marks = Marks(seed.refused, np.zeros(len(seed.refused), np.int64))
    operator = scene.operator_of(seed.view)
    mask = resample(seed.mask, operator.opacity.shape)
    crop = MaskCrop.of(mask)
    vote(scene, lifted, seed.view, ViewResult("prompted", 1.0, seed.score, crop, seed.points_px, seed.labels))
    if float(lifted.evidence.foreground.sum()) < 1e-3:
        raise LiftingError(
            f"The mask in {seed.view.name} lies where the field is empty, so that nothing can be lifted into 3D.",
            "Click on something inside the region of interest, or train with a larger one.",
        )
    return lifted


def vote(scene: Scene, lifted: Lifted, view: View, result: ViewResult) -> None:
    """Writes down what came of a view, in place of what was there before; its mask votes if it may."""
    if view.stem in lifted.evidence.contributions:
        lifted.evidence.remove(view.stem)
    lifted.views[view.stem] = result
    if result.votes and result.mask is not None:
        operator, looked = scene.operator_of(view), scene.looked_of(view)
        weight = lifted.settings.trust if result.verdict == "prompted" else _weight(lifted.settings, result.score)
        contribution = contribution_of(operator, result.mask.dense(), looked, weight)
        lifted.evidence.put(view.stem, contribution)


def _weight(settings: LiftingSettings, score: float | None) -> float:
    """How much a mask counts that the segmenter itself expects to have the IoU ``score``.

    In steps of one eighth, the least of which is one: such weights keep sums of evidence exact.
    """
    if not settings.scored or score is None or not np.isfinite(score):
        return 1.0
    return float(np.clip(round(SCORE_STEPS * score), 1, SCORE_STEPS)) / SCORE_STEPS


def _ordered(scene: Scene, lifted: Lifted) -> list[View]:
    views, start = list(scene.views.values()), lifted.seed.view
    if lifted.settings.order == "name":
        return sorted((view for view in views if view.stem != start.stem), key=lambda view: view.stem)
    return views_outward(views, start, scene.signatures(lifted.evidence.contributions[lifted.start].foreground))


def _is_rejected(lifted: Lifted, view: View) -> bool:
    return view.stem in lifted.views and lifted.views[view.stem].verdict == "rejected"


def _verdicts(objects: Sequence[Lifted], view: View) -> str:
    counts = objects[0].count()
    verdict = ", ".join(lifted.views[view.stem].verdict for lifted in objects if view.stem in lifted.views)
    return f"{verdict} ({counts['accepted']} accepted, {counts['rejected']} rejected)"


def show_view(job: Job, view: View, lifted: Lifted) -> None:
    """Lets whoever looks on see what came of a view: its mask, whether it agrees, how many did so far."""
    result, counts = lifted.views.get(view.stem), lifted.count()
    if result is None:
        return
    body = {"view": view.stem, "verdict": result.verdict, "iou": result.iou}
    body |= {"accepted": counts["accepted"], "rejected": counts["rejected"]}
    arrays = {}
    if result.mask is not None:
        arrays["mask"] = (np.clip(result.mask.dense(), 0, 1) * 255 + 0.5).astype(np.uint8)
    job.preview("view", body, **arrays)


@dataclass(frozen=True)
class Rendered:
    """Objects as a view sees them: ``confidence`` [H, W, K] exceeds ``level`` where an object is.

    ``known`` [H, W, K] is the share of the light that comes from voxels which an accepted view of that object has seen;
    ``others`` [H, W] the confidence of whatever other objects there are.
    """

    confidence: Float[np.ndarray, "h w k"]
    level: float
    known: Float[np.ndarray, "h w k"]
    others: Float[np.ndarray, "h w"]

    def mask(self, k: int) -> Bool[np.ndarray, "h w"]:
        """Where object k is."""
        return self.confidence[..., k] > self.level

    def rivals(self, k: int) -> Float[np.ndarray, "h w"]:
        """The confidence of all other objects than k."""
        among = np.delete(self.confidence, k, axis=-1)
        return np.maximum(self.others, among.max(-1)) if among.shape[-1] else self.others


def rendered_mask(operator: ViewOperator, values: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "h w ..."]:
    """Voxel probabilities as a view sees them, normalised by opacity (raw A V weighs half-covered pixels less)."""
    return normalised(operator, operator.render(values))


def normalised(operator: ViewOperator, image: Float[np.ndarray, "h w ..."]) -> Float[np.ndarray, "h w ..."]:
    """A rendering A V over the opacity, in [0, 1]."""
    opacity = np.maximum(operator.opacity, 0.1)
    return np.clip(image / opacity.reshape(*opacity.shape, *[1] * (image.ndim - 2)), 0, 1)


def render_objects(operator: ViewOperator, objects: Sequence[Lifted], settings: LiftingSettings) -> Rendered:
    """Renders K objects at once (Eq. 3), by our rule or by the paper's, and beside them their rivals."""
    count = len(objects)
    columns = [lifted.evidence.seen_values for lifted in objects]
    if settings.rule == "paper":
        columns += [o.evidence.foreground - np.float32(settings.lam) * o.evidence.background for o in objects]
        found = operator.render_each(columns)
        return Rendered(found[..., count:], 0.0, found[..., :count], np.zeros(operator.opacity.shape, np.float32))
    columns += [lifted.probability() for lifted in objects]
    others = [lifted.outside for lifted in objects[:1] if lifted.outside is not None]
    others += [rival.own_probability() for rival in _absent_rivals(objects)]
    if others:
        columns.append(np.max(others, axis=0))
    found = normalised(operator, operator.render_each(columns))
    none = np.zeros(operator.opacity.shape, np.float32)
    return Rendered(found[..., count : 2 * count], 0.5, found[..., :count], found[..., 2 * count] if others else none)


def _absent_rivals(objects: Sequence[Lifted]) -> list[Lifted]:
    """The rivals of the objects that aren't among them, each once."""
    found: list[Lifted] = []
    for lifted in objects:
        for rival in lifted.rivals:
            if not any(rival is known for known in (*objects, *found)):
                found.append(rival)
    return found


def visit(scene: Scene, view: View, objects: Sequence[Lifted], segmenter: Segmenter) -> None:
    """Prompts the segmenter in one view from what the other views say; masks that agree with them vote.

    Views that the user has prompted are left alone: there the user's word stands.
    """
    open_to = [o for o in objects if view.stem not in o.views or o.views[view.stem].verdict != "prompted"]
    if not open_to:
        return
    for lifted in open_to:
        if view.stem in lifted.evidence.contributions:
            lifted.evidence.remove(view.stem)  # a view must not prompt itself with its own earlier vote
    settings = open_to[0].settings
    operator = scene.operator_of(view)
    rendered = render_objects(operator, open_to, settings)
    positions = surface_points(operator.camera, operator.depth)
    photo_is_set = False
    for k, lifted in enumerate(open_to):
        prompts = prompts_in(operator, positions, rendered, k, lifted)
        if prompts is None:
            vote(scene, lifted, view, ViewResult("not visible"))
            continue
        if not photo_is_set:
            photo = scene.photo(view)
            segmenter.set_image(photo)
            photo_is_set = True
        scaled = _at_size(prompts, operator.opacity.shape, photo.rgb.shape[:2])
        known = None if settings.rule == "paper" else rendered.known[..., k] > 0.5
        marked, which = visible_points(operator, lifted.marks.points)
        said = _at_size(Prompts(marked, lifted.marks.labels[which]), operator.opacity.shape, photo.rgb.shape[:2])
        mask, score = ask(segmenter, scaled, lifted.settings, rendered.mask(k), known, said)
        iou = soft_iou(mask.dense(), rendered.mask(k).astype(np.float32), known)
        verdict: Verdict = "accepted" if iou >= settings.tau else "rejected"
        vote(scene, lifted, view, ViewResult(verdict, iou, score, mask, scaled.points_px, scaled.labels))


def prompts_in(
    operator: ViewOperator,
    positions: Float[np.ndarray, "h w 3"],
    rendered: Rendered,
    k: int,
    lifted: Lifted,
) -> Prompts | None:
    """Prompts for object k of a rendered view, in the operator's pixels; None where it doesn't show there."""
    settings = lifted.settings
    mask, confidence = rendered.mask(k), rendered.confidence[..., k]
    if int(mask.sum()) < LEAST_PIXELS:
        return None
    marked, which = visible_points(operator, lifted.marks.points)
    refused = marked[lifted.marks.labels[which] == 0]
    towards = away_from(confidence, positions, refused)
    inward = settings.rule == "ours"
    points = select_points(towards, positions, settings.prompts, rendered.level, settings.decay, inward)
    if len(points) == 0:
        return None
    known = rendered.known[..., k]
    against = [np.zeros((0, 2), np.float32)]
    if settings.negatives:
        against.append(negative_points(mask, rendered.rivals(k), settings.prompts))
        voted_out = np.clip(known - np.clip(confidence, 0, 1), 0, 1) * (confidence < 0.1)
        against.append(negative_points(mask, voted_out, settings.prompts))
    points = np.concatenate([points, *against, marked])
    labels = np.concatenate(
        [np.ones(len(points) - len(marked) - sum(map(len, against))), np.zeros(sum(map(len, against))),
         lifted.marks.labels[which]]
    ).astype(np.int64)  # fmt: skip
    hint = np.clip(confidence + UNKNOWN * np.clip(operator.opacity - known, 0, 1), 0, 1) if settings.hint else None
    return Prompts(points, labels, mask_box(mask) if settings.boxes else None, hint)


def _at_size(prompts: Prompts, raster: tuple[int, ...], size: tuple[int, ...]) -> Prompts:
    """Prompts of the operator's raster (height, width) in pixels of a photo of another size."""
    scale = np.array([size[1] / raster[1], size[0] / raster[0]], np.float32)
    box = None if prompts.box_px is None else prompts.box_px * np.tile(scale, 2)
    mask = None if prompts.mask is None else resample(prompts.mask, size)
    return replace(prompts, points_px=prompts.points_px * scale, box_px=box, mask=mask)
