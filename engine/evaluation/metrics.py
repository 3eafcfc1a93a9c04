"""How close a mask, a mesh or a picture comes to the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import trimesh
from scipy import ndimage, sparse
from scipy.spatial import cKDTree

from sa3d_blender.protocol.errors import MeshError, Sa3dError

__all__ = [
    "Chamfer",
    "Comparison",
    "FScore",
    "boundary_iou",
    "chamfer_distance",
    "compare_surfaces",
    "f_score",
    "iou",
    "outer_surface",
    "pixel_accuracy",
    "psnr",
    "surface_samples",
]


@dataclass(frozen=True)
class Chamfer:
    """Chamfer distance: ``distance`` in world units, ``fraction`` of the true mesh's bounding-box diagonal."""

    distance: float
    fraction: float
    to_truth: float
    from_truth: float


@dataclass(frozen=True)
class FScore:
    """``score`` is the harmonic mean of ``precision`` and ``recall``, all in [0, 1]; ``threshold`` in world units."""

    score: float
    precision: float
    recall: float
    threshold: float


@dataclass(frozen=True)
class Comparison:
    """Samples of two surfaces, and for each the nearest of the other surface's.

    ``to_truth`` [S] are the distances of the mesh's samples, ``from_truth`` [S] those of the true mesh's, in world
    units; ``cosines_there`` and ``cosines_back`` [S] the absolute cosines between the normals of the two. ``diagonal``
    is that of the true mesh's bounding box.
    """

    to_truth: np.ndarray
    from_truth: np.ndarray
    cosines_there: np.ndarray
    cosines_back: np.ndarray
    diagonal: float

    def chamfer(self) -> Chamfer:
        """As `chamfer_distance`."""
        to_truth, from_truth = float(self.to_truth.mean()), float(self.from_truth.mean())
        distance = 0.5 * (to_truth + from_truth)
        return Chamfer(distance, distance / self.diagonal, to_truth, from_truth)

    def f_score(self, threshold_fraction: float = 0.02) -> FScore:
        """As the function `f_score`."""
        threshold = threshold_fraction * self.diagonal
        precision, recall = float(np.mean(self.to_truth <= threshold)), float(np.mean(self.from_truth <= threshold))
        score = 2.0 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
        return FScore(score, precision, recall, threshold)

    def normal_consistency(self) -> float:
        """As `engine.evaluation.mesh_metrics.normal_consistency`."""
        return float(0.5 * (self.cosines_there.mean() + self.cosines_back.mean()))


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of two masks [H, W] (bool, or soft in [0, 1] and cut at 0.5). 1 where both are empty."""
    a, b = _two_masks(mask, truth)
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def pixel_accuracy(mask: np.ndarray, truth: np.ndarray) -> float:
    """Share of the pixels on which two masks [H, W] agree."""
    a, b = _two_masks(mask, truth)
    return float(np.mean(a == b))


def boundary_iou(mask: np.ndarray, truth: np.ndarray, dilation: float = 0.02) -> float:
    """IoU of the inner boundary bands of two masks [H, W] (Cheng et al. 2021).

    The bands are ``dilation`` x the image's diagonal wide. Unlike the plain IoU it does not forgive a coarse outline
    on a large object. The photo's border counts as outside.
    """
    a, b = _two_masks(mask, truth)
    width = max(1, round(dilation * float(np.linalg.norm(a.shape))))
    return iou(_band(a, width), _band(b, width))


def psnr(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of two pictures [H, W, 3] in [0, 1].

    Over the pixels in ``mask`` [H, W] if given. Infinite for equal pictures. Raises Sa3dError where the shapes differ
    or the mask is empty.
    """
    _same_shape(np.shape(image), np.shape(truth), "pictures")
    error = (np.asarray(image, dtype=np.float64) - np.asarray(truth, dtype=np.float64)) ** 2
    if mask is not None:
        _same_shape(np.shape(mask), error.shape[:2], "picture and mask")
        error = error[_cut(mask)]
    if error.size == 0:
        raise Sa3dError(
            "There are no pixels to compare.", "Give pictures of at least one pixel, and a mask that is not empty."
        )
    mean = float(error.mean())
    return float("inf") if mean == 0.0 else -10.0 * float(np.log10(mean))


def chamfer_distance(
    mesh: trimesh.Trimesh, true_mesh: trimesh.Trimesh, samples: int = 100_000, seed: int = 0
) -> Chamfer:
    """Mean distance from one outer surface to the other, averaged over both directions.

    ``samples`` points on each surface, uniform by area, drawn from ``seed``. Two equal meshes come out at about half
    the mean spacing of the samples, not at 0. Raises MeshError where a mesh has no surface.
    """
    return compare_surfaces(mesh, true_mesh, samples, seed).chamfer()


def f_score(
    mesh: trimesh.Trimesh,
    true_mesh: trimesh.Trimesh,
    threshold_fraction: float = 0.02,
    samples: int = 100_000,
    seed: int = 0,
) -> FScore:
    """F-score of a mesh (Knapitsch et al. 2017): how much of either outer surface lies close to the other.

    Close is within ``threshold_fraction`` of the true mesh's bounding-box diagonal. Raises MeshError where a mesh has
    no surface.
    """
    return compare_surfaces(mesh, true_mesh, samples, seed).f_score(threshold_fraction)


def outer_surface(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """The mesh without closed parts that lie inside out within it (cavities nobody can see).

    A part counts as a cavity when it is closed and encloses a negative volume while the whole mesh encloses a
    positive one. Open parts stay, as their inside is not defined.
    """
    parts = _parts(mesh)
    if len(parts) < 2 or mesh.volume <= 0.0:
        return mesh
    kept = [part for part in parts if not (part.is_watertight and part.volume < 0.0)]
    return mesh if len(kept) == len(parts) else cast(trimesh.Trimesh, trimesh.util.concatenate(kept))


def _parts(mesh: trimesh.Trimesh) -> list[trimesh.Trimesh]:
    """Parts by shared positions: files that split vertices at seams would otherwise fall into patches."""
    _, welded = np.unique(np.asarray(mesh.vertices), axis=0, return_inverse=True)
    faces = welded.reshape(-1)[mesh.faces]
    size = int(welded.max(initial=0)) + 1
    links = sparse.coo_matrix(
        (np.ones(2 * len(faces), dtype=bool), (faces[:, [0, 1]].ravel(), faces[:, [1, 2]].ravel())), shape=(size, size)
    )
    count, label = sparse.csgraph.connected_components(links, directed=False)
    of_face = label[faces[:, 0]]
    if count == 1:
        return [mesh]
    positions = np.zeros((size, 3))
    positions[welded.reshape(-1)] = mesh.vertices
    return [trimesh.Trimesh(positions, faces[of_face == k], process=False) for k in np.unique(of_face)]


def compare_surfaces(
    mesh: trimesh.Trimesh, true_mesh: trimesh.Trimesh, samples: int = 100_000, seed: int = 0
) -> Comparison:
    """Two outer surfaces beside each other: all that their distances and normals tell, from one look.

    ``samples`` points on each surface, uniform by area, drawn from ``seed``. Raises MeshError where a mesh has no
    surface.
    """
    points, normals = surface_samples(outer_surface(mesh), samples, seed, "The mesh")
    true_points, true_normals = surface_samples(outer_surface(true_mesh), samples, seed + 1, "The true mesh")
    to_truth, nearest = cKDTree(true_points).query(points)
    from_truth, true_nearest = cKDTree(points).query(true_points)
    cosines_there = np.abs(np.einsum("si,si->s", normals, true_normals[nearest]))
    cosines_back = np.abs(np.einsum("si,si->s", true_normals, normals[true_nearest]))
    diagonal = float(np.linalg.norm(true_mesh.bounds[1] - true_mesh.bounds[0]))
    return Comparison(to_truth, from_truth, cosines_there, cosines_back, diagonal)


def surface_samples(
    mesh: trimesh.Trimesh, samples: int, seed: int, what: str = "The mesh"
) -> tuple[np.ndarray, np.ndarray]:
    """Points [S, 3] on a surface, uniform by area, and the unit normals [S, 3] of the faces that they lie on.

    ``what`` it is called in the error.

    Raises MeshError where the mesh has no surface.
    """
    if len(mesh.faces) == 0 or not np.isfinite(mesh.vertices).all() or not mesh.area > 0.0:
        raise MeshError(f"{what} has no surface to measure.", "Give a mesh with faces and finite vertices.")
    points, faces = trimesh.sample.sample_surface(mesh, samples, seed=seed)
    # Not Trimesh.face_normals: what a file says of them may be something else.
    corners = np.asarray(mesh.vertices, np.float64)[np.asarray(mesh.faces)[faces]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(points), normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _band(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a mask within ``width`` of its outside; equals the paper's square erosions, ``width`` times."""
    inner = ndimage.minimum_filter(mask, size=2 * width + 1, mode="constant", cval=0)
    return mask & ~inner


def _two_masks(mask: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    _same_shape(np.shape(mask), np.shape(truth), "masks")
    return _cut(mask), _cut(truth)


def _cut(mask: np.ndarray) -> np.ndarray:
    array = np.asarray(mask)
    if array.dtype == bool:
        return array
    if np.issubdtype(array.dtype, np.integer):
        # 0/1 and 0/255 masks both mean "inside" by anything but 0.
        return array > (127 if array.max(initial=0) > 1 else 0)
    return array > 0.5


def _same_shape(first: tuple[int, ...], second: tuple[int, ...], what: str) -> None:
    if first != second:
        raise Sa3dError(
            f"The {what} to be compared have the sizes {first} and {second}.",
            "Resample one of them to the other's size.",
        )
