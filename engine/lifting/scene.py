"""What the lifting needs of a capture with a field: views, their operators, their photos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from engine.captures.capture import View
from engine.captures.rays import project
from engine.lifting.geometry import surface_normals, surface_points
from engine.lifting.masks import resample
from engine.lifting.order import around, view_signatures
from engine.lifting.projection import ViewOperator
from engine.lifting.voxels import SparseVoxels, VoxelGrid
from engine.memory import BudgetedMemory
from engine.segmenters.base import Photo

PHOTOS_MB = 384  # of photos with their geometry, for the next object


class Scene:
    """Views, operators and photos of one capture, each got when it is asked for.

    Args:
        views: all views, cameras at the size of the photos that the segmenter sees. operator_of: A of a view (cached
        or made), usually on a coarser raster than the photo: a voxel covers many pixels. photo_of: the photo, float32
        [H, W, 3], and its content key. grid: the occupied voxels. looked_of: A^T 1 of a view, where it can be had
        more cheaply than from the operator.
    """

    def __init__(
        self,
        views: Sequence[View],
        operator_of: Callable[[View], ViewOperator],
        photo_of: Callable[[View], tuple[Float[np.ndarray, "h w 3"], str]],
        grid: VoxelGrid,
        looked_of: Callable[[View], SparseVoxels] | None = None,
    ) -> None:
        self.views: Mapping[str, View] = {view.stem: view for view in views}
        self.operator_of, self.photo_of, self.grid = operator_of, photo_of, grid
        self.looked_of = looked_of or (lambda view: operator_of(view).looked)
        self._photos = BudgetedMemory(self._photo, _bytes_of, PHOTOS_MB << 20)
        self._signatures: tuple[Float[np.ndarray, "views places"], Int[np.ndarray, " n"]] | None = None

    def signatures(self, shown: SparseVoxels) -> Float[np.ndarray, "views near"]:
        """How each view, in the order of ``views``, looks at the places where ``shown`` is (see `order.around`)."""
        if self._signatures is None:
            views = list(self.views.values())
            self._signatures = view_signatures(views, {v.stem: self.looked_of(v) for v in views}, self.grid)
        return around(*self._signatures, shown)

    def photo(self, view: View) -> Photo:
        """The photo with the field's geometry, as a segmenter takes it."""
        return self._photos.get(view.stem)

    def _photo(self, stem: str) -> Photo:
        view = self.views[stem]
        rgb, key = self.photo_of(view)
        operator = self.operator_of(view)
        points = surface_points(operator.camera, operator.depth)
        normals = resample(surface_normals(points, operator.camera), rgb.shape[:2])
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
        return Photo(rgb, resample(operator.depth, rgb.shape[:2]), normals / np.maximum(length, 1e-6), key)


def _bytes_of(photo: Photo) -> int:
    return sum(array.nbytes for array in (photo.rgb, photo.depth, photo.normals) if array is not None)


def visible_points(
    operator: ViewOperator, points_world: Float[np.ndarray, "k 3"], tolerance: float = 0.02
) -> tuple[Float[np.ndarray, "n 2"], np.ndarray]:
    """Where a view sees world points: pixels (x, y) of its operator, and bool [K] which of the points these are.

    Left out are points that are hidden or out of the picture: one counts as seen where the view's depth agrees with
    its own to within ``tolerance``, relatively.
    """
    seen = np.zeros(len(points_world), bool)
    if len(points_world) == 0:
        return np.zeros((0, 2), np.float32), seen
    pixels, depths = project(operator.camera, points_world)
    height, width = operator.opacity.shape
    inside = np.isfinite(pixels).all(1) & (depths > 0)
    inside &= (pixels >= 0).all(1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
    columns, rows = pixels[inside].astype(int).T
    seen[inside] = np.abs(operator.depth[rows, columns] - depths[inside]) < tolerance * depths[inside]
    return pixels[seen].astype(np.float32), seen
