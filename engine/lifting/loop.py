"""The alternation of the paper: mask inverse rendering and cross-view self-prompting, view after view.

masks of the prompted view
  -> evidence (evidence.py, Eq. 5)
  -> for the views outward from it: rendered mask (Eq. 3) -> points (prompting.py, Eq. 6-8) -> 2D segmenter -> mask
     accepted if its IoU with the rendered mask is at least tau: more evidence
  -> rejected views are tried once more, with all the evidence of the others
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage

from engine.captures.capture import View
from engine.captures.rays import project
from engine.lifting.evidence import Evidence, contribution_of, probability, seen
from engine.lifting.geometry import surface_normals, surface_points
from engine.lifting.projection import ViewOperator, VoxelGrid
from engine.lifting.prompting import select_points
from engine.lifting.settings import LiftingSettings
from engine.progress import Job
from engine.segmenters.base import Photo, Prompts, Segmenter
from sa3d_blender.protocol.errors import LiftingError

log = logging.getLogger(__name__)

LEAST_PIXELS = 12  # of a rendered mask: with fewer the object does not show in that view
ANCHOR = 0.3  # of the prompted view's evidence for a voxel: enough pixels of its mask stop there
FIRM = 1.0  # F + B of a voxel that is surface and not haze: about one whole pixel over all views
Verdict = Literal["prompted", "accepted", "rejected", "not visible"]


@dataclass(frozen=True)
class ViewResult:
    """What came of one view: the 2D mask that voted (or would have), its agreement with the rendered one, its
    prompts.
    """

    verdict: Verdict
    iou: float | None = None
    score: float | None = None
    mask: Float[np.ndarray, "h w"] | None = None
    points_px: Float[np.ndarray, "n 2"] | None = None


@dataclass
class Lifted:
    """An object in 3D: evidence on occupied voxels, and what each view contributed."""

    evidence: Evidence
    settings: LiftingSettings
    views: dict[str, ViewResult] = field(default_factory=dict)
    refused: Float[np.ndarray, "k 3"] = field(default_factory=lambda: np.zeros((0, 3)))
    grid: VoxelGrid | None = None
    start: str = ""

    def probability(self) -> Float[np.ndarray, " n"]:
        """Of each occupied voxel to be the object's.

        Above one half where F > lambda B; 0 in parts that hang together with nothing that the prompted view shows (only
        where the loop knows the voxels' grid).
        """
        foreground, background = self.evidence.foreground, self.evidence.background
        values = probability(foreground, background, self.settings.lam)
        first = self.evidence.contributions.get(self.start)
        if self.grid is None or first is None:
            return values
        anchored = (first.foreground > ANCHOR) & (first.foreground > first.background)
        return values * attached(self.grid, values > 0.5, foreground + background > FIRM, anchored)


def attached(
    grid: VoxelGrid,
    object_voxels: Bool[np.ndarray, " n"],
    firm: Bool[np.ndarray, " n"],
    anchored: Bool[np.ndarray, " n"],
) -> Bool[np.ndarray, " n"]:
    """All voxels but those of stray parts: connected parts of the object that hold no anchored voxel.

    Parts are connected through ``firm`` voxels only: the haze that every field has around silhouettes
    bridges what is apart. Without a single anchored part nothing is stray.
    """
    solid = np.zeros(grid.shape, bool)
    solid[grid.index >= 0] = object_voxels & firm
    part, _ = ndimage.label(solid, np.ones((3, 3, 3)))
    part = part[grid.index >= 0]
    wanted = np.unique(part[anchored & (part > 0)])
    if len(wanted) == 0:
        return np.ones(len(object_voxels), bool)
    stray = np.zeros(grid.shape, bool)
    stray[grid.index >= 0] = (part > 0) & ~np.isin(part, wanted)
    kept = np.zeros(grid.shape, bool)
    kept[grid.index >= 0] = np.isin(part, wanted)
    # the haze goes with the part that it surrounds
    stray = ndimage.binary_dilation(stray, np.ones((3, 3, 3)), iterations=2) & ~kept
    return ~stray[grid.index >= 0]


class Scene:
    """What the loop needs of a capture with a field.

    Args:
        views: all views, cameras at the size of the photos that the segmenter sees.
        operator_of: A of a view (cached or made), usually on a coarser raster than the photo: a voxel covers
            many pixels.
        photo_of: the photo, float32 [H, W, 3], and its content key.
        voxels: number of occupied voxels.
        grid: where they are; with it, parts of the object that hang together with nothing the user showed are left out.
    """

    def __init__(
        self,
        views: Sequence[View],
        operator_of: Callable[[View], ViewOperator],
        photo_of: Callable[[View], tuple[Float[np.ndarray, "h w 3"], str]],
        voxels: int,
        grid: VoxelGrid | None = None,
    ) -> None:
        self.views: Mapping[str, View] = {view.stem: view for view in views}
        self.operator_of, self.photo_of, self.voxels, self.grid = operator_of, photo_of, voxels, grid

    def photo(self, view: View) -> Photo:
        """The photo with the field's geometry, as a segmenter takes it."""
        rgb, key = self.photo_of(view)
        operator = self.operator_of(view)
        points = surface_points(operator.camera, operator.depth)
        normals = resample(surface_normals(points, operator.camera), rgb.shape[:2])
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
        return Photo(rgb, resample(operator.depth, rgb.shape[:2]), normals / np.maximum(length, 1e-6), key)


def resample(image: Float[np.ndarray, "h w *c"], size: tuple[int, ...]) -> Float[np.ndarray, "i j *c"]:
    """An image at another size (height, width): means of areas when it shrinks, bilinear when it grows."""
    if image.shape[:2] == tuple(size):
        return image.astype(np.float32)
    planes = torch.from_numpy(np.ascontiguousarray(image, np.float32)).reshape(*image.shape[:2], -1).permute(2, 0, 1)
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    found = torch.nn.functional.interpolate(planes[None], size=size, mode="area" if shrinks else "bilinear")[0]
    return found.permute(1, 2, 0).reshape(*size, *image.shape[2:]).numpy()


def rendered_mask(operator: ViewOperator, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "h w"]:
    """A voxel probability as a view sees it, normalised by opacity (raw A V weighs half-covered pixels less)."""
    return np.clip(operator.render(values) / np.maximum(operator.opacity, 0.1), 0, 1)


def visible_points(
    operator: ViewOperator, points_world: Float[np.ndarray, "k 3"], tolerance: float = 0.02
) -> Float[np.ndarray, "n 2"]:
    """Where a view sees world points, in its operator's pixels; without those that are hidden or out of the picture.

    A point counts as seen where the view's depth agrees with its own to within ``tolerance``, relatively.
    """
    if len(points_world) == 0:
        return np.zeros((0, 2), np.float32)
    pixels, depths = project(operator.camera, points_world)
    height, width = operator.opacity.shape
    inside = np.isfinite(pixels).all(1) & (depths > 0)
    inside &= (pixels >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    pixels, depths = pixels[inside], depths[inside]
    found = operator.depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
    return pixels[np.abs(found - depths) < tolerance * depths].astype(np.float32)


def soft_iou(a: Float[np.ndarray, "h w"], b: Float[np.ndarray, "h w"], where: np.ndarray | None = None) -> float:
    """IoU of two masks at one half, over the pixels of ``where`` if given."""
    p, q = a > 0.5, b > 0.5
    if where is not None:
        p, q = p & where, q & where
    union = int((p | q).sum())
    return float((p & q).sum() / union) if union else 0.0


def views_outward(views: Sequence[View], start: View) -> list[View]:
    """The other views, each as near as can be to one that comes before it (camera position and direction).

    Distances between cameras are measured in the spread of the capture's cameras, and angles in radians, so that
    walking half
    around an object costs about as much as turning away from it.
    """
    position = np.array([v.camera.position for v in views])
    forward = np.array([v.camera.forward for v in views])
    spread = float(np.linalg.norm(position - position.mean(0), axis=1).mean()) or 1.0
    names = [v.stem for v in views]
    here = names.index(start.stem)
    cost = np.full(len(views), np.inf)
    left = set(range(len(views))) - {here}
    order = []
    while left:
        step = np.linalg.norm(position - position[here], axis=1) / spread
        step = step + np.arccos(np.clip(forward @ forward[here], -1, 1))
        cost = np.minimum(cost, step)
        here = min(left, key=lambda i: (cost[i], names[i]))
        left.remove(here)
        order.append(views[here])
    return order


def share_of(views: Sequence[View], share: float) -> list[View]:
    """An even selection of ``share`` of the views, at least one, in their order."""
    count = max(1, round(share * len(views)))
    picked = np.unique(np.round(np.linspace(0, len(views) - 1, count)).astype(int))
    return [views[i] for i in picked]


def lift(
    scene: Scene,
    start: View,
    mask: Float[np.ndarray, "h w"],
    segmenter: Segmenter,
    settings: LiftingSettings,
    job: Job,
    start_score: float | None = None,
    refused: Float[np.ndarray, "k 3"] | None = None,
) -> Lifted:
    """Carries the mask of one view into 3D, over all the others.

    Args:
        start: the prompted view; ``mask`` [H, W] in [0, 1] is its 2D mask at any size.
        segmenter: asked once for each of the other views and sweep.
        refused: world points under the user's "not this" clicks; views that see them get them as negative prompts.

    Raises:
        LiftingError: the mask lies where the field has nothing.
    """
    evidence = Evidence(scene.voxels)
    lifted = Lifted(evidence, settings, refused=np.zeros((0, 3)) if refused is None else refused)
    lifted.grid, lifted.start = scene.grid, start.stem
    operator = scene.operator_of(start)
    evidence.put(start.stem, contribution_of(operator, resample(mask, operator.opacity.shape)))
    lifted.views[start.stem] = ViewResult("prompted", 1.0, start_score, mask)
    if float(evidence.foreground.sum()) < 1e-3:
        raise LiftingError(
            f"The mask in {start.name} lies where the field is empty, so that nothing can be lifted into 3D.",
            "Click on something inside the region of interest, or train with a larger one.",
        )
    others = share_of(views_outward(list(scene.views.values()), start), settings.views)
    with job.stage("Carrying the mask from view to view", len(others) * settings.sweeps) as stage:
        for sweep in range(settings.sweeps):
            for view in others:
                result = _visit(scene, view, lifted, segmenter)
                lifted.views[view.stem] = result
                counts = _count(lifted)
                stage.advance(1, f"{view.stem} {result.verdict} ({counts})")
            rejected = [v for v in others if lifted.views[v.stem].verdict == "rejected"]
            if sweep == settings.sweeps - 1:
                _second_chance(scene, rejected, lifted, segmenter, job)
    log.info("Views: %s", _count(lifted))
    return lifted


def _second_chance(scene: Scene, rejected: list[View], lifted: Lifted, segmenter: Segmenter, job: Job) -> None:
    if not rejected:
        return
    with job.stage("Trying rejected views again", len(rejected)) as stage:
        for view in rejected:
            lifted.views[view.stem] = _visit(scene, view, lifted, segmenter)
            stage.advance(1, f"{view.stem} {lifted.views[view.stem].verdict}")


def _count(lifted: Lifted) -> str:
    verdicts = [result.verdict for result in lifted.views.values()]
    return f"{verdicts.count('accepted')} accepted, {verdicts.count('rejected')} rejected"


def _visit(scene: Scene, view: View, lifted: Lifted, segmenter: Segmenter) -> ViewResult:
    """Prompts the segmenter in one view from what the others say, and lets its mask vote if the two agree."""
    settings, evidence = lifted.settings, lifted.evidence
    if view.stem in evidence.contributions:
        evidence.remove(view.stem)  # a view must not prompt itself with its own earlier vote
    operator = scene.operator_of(view)
    foreground, background = evidence.foreground, evidence.background
    confidence = rendered_mask(operator, lifted.probability())
    if int((confidence > 0.5).sum()) < LEAST_PIXELS:
        return ViewResult("not visible")
    points = select_points(confidence, surface_points(operator.camera, operator.depth), settings.prompts)
    if len(points) == 0:
        return ViewResult("not visible")
    known = rendered_mask(operator, seen(foreground, background).astype(np.float32))
    # pixels whose surface no accepted view has looked at are neither object nor background: one half
    hint = np.clip(confidence + 0.5 * np.clip(operator.opacity - known, 0, 1), 0, 1)

    photo = scene.photo(view)
    height, width = photo.rgb.shape[:2]
    scale = np.array([width / operator.camera.width, height / operator.camera.height], np.float32)
    points = points * scale
    segmenter.set_image(photo)
    against = visible_points(operator, lifted.refused) * scale
    labels = np.concatenate([np.ones(len(points), np.int64), np.zeros(len(against), np.int64)])
    prompts = Prompts(np.concatenate([points, against]), labels)
    if settings.hint:
        prompts = replace(prompts, mask=resample(hint, (height, width)))
    found = segmenter.predict(prompts)
    mask = resample(found.mask, operator.opacity.shape)
    iou = soft_iou(mask, confidence, known > 0.5)
    if iou < settings.tau:
        return ViewResult("rejected", iou, found.score, found.mask, points)
    evidence.put(view.stem, contribution_of(operator, mask))
    return ViewResult("accepted", iou, found.score, found.mask, points)
