"""Colours of points on a surface from all photos that see them: balanced, voted on, without visible switches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.meshing.colours import PhotoForColour
from engine.meshing.exposure import balanced, exposure_gains
from engine.meshing.sight import Sight, emphasis_of, sight_of
from engine.progress import Stage

__all__ = ["Baked", "Witness", "bake", "witnesses"]

_DISAGREEMENT = 0.15  # colours further than this from what most agree on count for little: highlights, wrong depths
_ROUNDS = 3
_SHARPEN = 3.0  # of the votes, in the mean: photos are never aligned to the pixel, so the best few make the detail
_PLACES = 6000  # of the surface, on which exposures are compared


@dataclass(frozen=True)
class Witness:
    """A photo's sight of the surface, its colours ``rgb`` [h, w, 3] balanced, and how much it counts for its sharpness
    (``emphasis``). ``gain`` [3] is what its linear light was multiplied by."""

    sight: Sight
    rgb: np.ndarray
    emphasis: float
    gain: np.ndarray


@dataclass(frozen=True)
class Baked:
    """Of N points: ``colours`` float32 [N, 3] in sRGB, and ``certain`` float32 [N] in [0, 1], 0 where no photo sees the
    point (its colour then means nothing)."""

    colours: np.ndarray
    certain: np.ndarray


def witnesses(
    photos: Sequence[PhotoForColour],
    vertices: np.ndarray,
    normals: np.ndarray,
    faces: np.ndarray,
    stage: Stage | None = None,
    tolerance: float = 0.02,
) -> list[Witness]:
    """The photos that show the mesh ``vertices`` [V, 3] with unit ``normals`` [V, 3] and ``faces`` [F, 3].

    ``tolerance`` is the largest difference between the mesh's and the field's depth, as a share of the diagonal of the
    mesh's box. The stage advances by one a photo. Raises MeshError for a photo whose depth or mask has another size.
    """
    reach = tolerance * float(np.linalg.norm(np.ptp(vertices, axis=0)))
    sights = []
    for photo in photos:
        found = sight_of(photo, vertices, faces, reach)
        if found is not None:
            sights.append(found)
        if stage is not None:
            stage.advance()
    emphasis = emphasis_of(sights)
    places = np.unique(np.linspace(0, len(vertices) - 1, min(_PLACES, len(vertices))).astype(np.int64))
    votes = np.zeros((len(places), len(sights)))
    colours = np.zeros((len(places), len(sights), 3), np.float32)
    for number, sight in enumerate(sights):
        seen = sight.samples(vertices[places], normals[places], sight.rgb)
        # Not by how large it is in the picture: a far photo knows its exposure as well as a near one.
        votes[seen.index, number] = seen.certain
        colours[seen.index, number] = seen.colours
    gains = exposure_gains(colours, votes)
    return [
        Witness(sight, balanced(sight.rgb, gain), weight, gain)
        for sight, gain, weight in zip(sights, gains, emphasis, strict=True)
    ]


def bake(
    points: np.ndarray, normals: np.ndarray, seen_by: Sequence[Witness], stage: Stage | None = None, keep: int = 6
) -> Baked:
    """Colours of ``points`` [N, 3] with unit ``normals`` [N, 3]; the stage advances by one a photo.

    Of the ``keep`` photos that count most at a point, those that the rest disagrees with are played down, and the rest
    is averaged with weights that favour the best. All weights fall off smoothly over the surface, to outlines and to
    grazing angles, so no border between two photos shows.
    """
    votes = np.zeros((len(points), keep), np.float32)
    colours = np.zeros((len(points), keep, 3), np.float32)
    certain = np.zeros(len(points), np.float32)
    for witness in seen_by:
        found = witness.sight.samples(points, normals, witness.rgb, witness.emphasis)
        # Photo by photo into the weakest of the best few, so memory does not grow with the number of photos.
        slot = np.argmin(votes[found.index], axis=1)
        better = found.votes > votes[found.index, slot]
        at, slot = found.index[better], slot[better]
        votes[at, slot] = found.votes[better]
        colours[at, slot] = found.colours[better]
        certain[found.index] = np.maximum(certain[found.index], found.certain)
        if stage is not None:
            stage.advance()
    return Baked(_agreed(colours, votes), certain)


def _agreed(colours: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Mean [N, 3] of the colours [N, K, 3] that agree, the best votes [N, K] counting most.

    Reweighted from the plain mean on (Geman-McClure). A median would be stronger, but where two photos have about the
    same vote it jumps from one to the other, and that is a seam.
    """
    best = votes / np.maximum(votes.max(axis=1, keepdims=True), 1e-30)
    weights = best
    for _ in range(_ROUNDS):
        share = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
        mean = np.einsum("nk,nkc->nc", share, colours)
        off = np.square(colours - mean[:, None, :]).sum(axis=2) / _DISAGREEMENT**2
        weights = best / (1.0 + off) ** 2
    weights = weights * best ** (_SHARPEN - 1.0)
    return np.einsum("nk,nkc->nc", weights, colours) / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
