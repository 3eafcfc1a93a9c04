"""A capture with its trained field: photos, view operators and cameras, made once and kept in the cache."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float

from engine.cache import Cache
from engine.captures.capture import Camera, Capture, View
from engine.captures.images import read_mask, read_rgb, working_size
from engine.fields.sampling import OccupancyGrid
from engine.fields.training import TrainedField
from engine.lifting.loop import rendered_mask
from engine.lifting.masks import resample
from engine.lifting.operators import OperatorBudget, OperatorStore
from engine.lifting.projection import ViewOperator, render_dense, view_operator
from engine.lifting.scene import Scene
from engine.lifting.voxel_colours import voxel_colours
from engine.lifting.voxels import VoxelGrid
from engine.memory import BudgetedMemory
from engine.photo_copies import PhotoCopies
from engine.progress import Job

OPERATOR_PIXELS = 40_000  # of a view for the lifting: finer than the voxels, whatever the photo's size
OPERATOR_FORMAT = "2"
FLAT = 0.05  # where those around differ by less there is no outline: see below
CLEARLY_IN, CLEARLY_OUT = 0.95, 0.02  # rendered probabilities between which a pixel is looked at more closely
PHOTOS_MB = 512  # of photos at working size
# When a pixel is looked at again, its depth is known: fewer intervals, around the surfaces there.
COARSE_NEAR_SURFACE = 32
MARGIN_CELLS = 8


def working_photo(
    view: View, max_side: int, copies: PhotoCopies | None = None
) -> tuple[Camera, Float[np.ndarray, "h w c"]]:
    """A photo at working size and the camera for it; colours with alpha come premultiplied. Without ``copies`` a big
    photo is shrunk each time."""
    size = working_size(view.camera, max_side)
    image = read_rgb(view, size) if copies is None else copies.read(view, size)
    if image.shape[2] == 4:
        image = np.concatenate([image[..., :3] * image[..., 3:], image[..., 3:]], -1)
    return view.camera.resized(*size), image.astype(np.float32)


def counted_pixels(view: View, max_side: int, copies: PhotoCopies | None = None) -> Bool[np.ndarray, "h w"] | None:
    """Which pixels of a photo at working size say something of the scene; None where all do."""
    if view.mask_path is None or view.silhouette:
        return None
    size = working_size(view.camera, max_side)
    mask: np.ndarray = read_mask(view, size) if copies is None else copies.read_mask(view, size)
    return mask > 0.5


def over_white(image: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w 3"]:
    """A premultiplied image on white paper."""
    return image if image.shape[2] == 3 else image[..., :3] + (1 - image[..., 3:])


class Workspace:
    """All that segmenting needs of one capture and one field.

    Args:
        capture: as read; never written to.
        capture_key: of its content.
        trained: the field.
        field_key: of the field's content; operators are cached under it.
        cache: where operators are kept, within the ``budget``, and copies of photos at working size.
        log: hears of such copies that are of no use.
    """

    def __init__(
        self,
        capture: Capture,
        capture_key: str,
        trained: TrainedField,
        field_key: str,
        cache: Cache,
        budget: OperatorBudget | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.capture, self.capture_key, self.trained, self.cache = capture, capture_key, trained, cache
        max_side = trained.settings.max_side_px
        self.max_side = max_side
        self.views = {
            v.stem: replace(v, camera=v.camera.resized(*working_size(v.camera, max_side))) for v in capture.views
        }
        self.stored = {v.stem: v for v in capture.views}
        # The lifting is a matter of sparse matrices on the CPU; only what is dense runs on the device.
        self.volume = trained.model.density_volume().core()
        self.grid = OccupancyGrid.from_volume(self.volume)
        self.voxels = VoxelGrid.from_volume(self.volume)
        name = hashlib.sha256(f"{field_key}|{OPERATOR_PIXELS}|{OPERATOR_FORMAT}".encode()).hexdigest()[:32]
        cameras = {stem: self.operator_camera(view) for stem, view in self.views.items()}
        self.operators = OperatorStore(
            cache.folder("operators", name), cameras, self._trace, self.voxels.count, budget or OperatorBudget()
        )
        self._dense: tuple[np.ndarray, torch.Tensor] | None = None
        self.copies = PhotoCopies(cache, log)
        self._photos = BudgetedMemory(self._read_photo, lambda photo: photo.nbytes, PHOTOS_MB << 20)

    def photo(self, stem: str) -> Float[np.ndarray, "h w 3"]:
        """A view's photo at working size, in [0, 1], on white where it is transparent."""
        return self._photos.get(stem)

    def _read_photo(self, stem: str) -> Float[np.ndarray, "h w 3"]:
        return over_white(working_photo(self.stored[stem], self.max_side, self.copies)[1])

    def operator_camera(self, view: View) -> Camera:
        """The view's camera on the raster of its operator."""
        c = view.camera
        scale = min(1.0, float(np.sqrt(OPERATOR_PIXELS / (c.width * c.height))))
        return c.resized(max(1, round(c.width * scale)), max(1, round(c.height * scale)))

    def operator(self, view: View) -> ViewOperator:
        """A of a view, from memory, from the cache, or made now."""
        return self.operators.get(view)

    def prepare(self, job: Job) -> None:
        """Makes the operators of all views that the cache lacks."""
        self.operators.prepare(list(self.views.values()), job)

    @functools.cached_property
    def cell_opacity(self) -> Float[np.ndarray, "x y z"]:
        """Share of the light that a cell of the voxels' grid stops."""
        cell = float(np.mean(self.voxels.cell_size))
        opacity: np.ndarray = (1 - torch.exp(-self.volume.densities() * cell)).cpu().numpy()
        return opacity

    @functools.cached_property
    def voxel_colours(self) -> Float[np.ndarray, "n 3"]:
        """What the photos say about the colours of the occupied voxels; NaN where no view sees them."""
        views = list(self.views.values())
        return voxel_colours(self.voxels, views, self.operator, lambda view: self.photo(view.stem))

    @functools.cached_property
    def scene(self) -> Scene:
        """What the lifting needs."""
        views = list(self.views.values())
        return Scene(views, self.operator, self._photo_and_key, self.voxels, self.operators.looked)

    def _photo_and_key(self, view: View) -> tuple[Float[np.ndarray, "h w 3"], str]:
        return self.photo(view.stem), self.copies.key(self.stored[view.stem], self.max_side)

    def render_probability(self, view: View, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "h w"]:
        """A voxel probability at the photo's working size, sharp: only the pixels near the outline are traced anew.

        A probability that changes slowly has none. With `FLAT`, 21 % of a photo's pixels are traced instead of 54 (fox)
        and 44 (horns), and at most 9 of 68,000 pixels of their masks turn out otherwise.
        """
        rough = rendered_mask(self.operator(view), values)
        found, unclear = _enlarged(rough, (view.camera.height, view.camera.width), CLEARLY_OUT, CLEARLY_IN, FLAT)
        if unclear.any():
            rendered, opacity = self._trace_values(view, unclear, values)
            found[unclear] = np.clip(rendered / np.maximum(opacity, 0.1), 0, 1)
        return found

    def render_positive(self, view: View, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "h w"]:
        """Where a voxel quantity renders as positive (the paper's ``M = A V > 0``), as 0 and 1 at working size."""
        rough = self.operator(view).render(values)
        found, unclear = _enlarged(rough, (view.camera.height, view.camera.width), 0.0, 0.0)
        if unclear.any():
            found[unclear] = self._trace_values(view, unclear, values)[0]
        return (found > 0).astype(np.float32)

    def _trace_values(
        self, view: View, only: Bool[np.ndarray, "h w"], values: Float[np.ndarray, " n"]
    ) -> tuple[Float[np.ndarray, " p"], Float[np.ndarray, " p"]]:
        if self._dense is None or self._dense[0] is not values:  # the same object in view after view
            self._dense = values, torch.from_numpy(self.voxels.dense(values))[..., None]
        margin = MARGIN_CELLS * float(self.voxels.cell_size.max())
        near, far = _depth_range(self.operator(view).depth, only.shape, margin)
        sampling = replace(self.trained.settings.rendering, coarse=COARSE_NEAR_SURFACE)
        rendered, opacity = render_dense(
            self.volume, self.grid, self._dense[1], view.camera, sampling, only, (near, far)
        )
        return rendered[:, 0], opacity

    def _trace(self, camera: Camera, only: Bool[np.ndarray, "h w"] | None = None) -> ViewOperator:
        return view_operator(self.volume, self.grid, self.voxels, camera, self.trained.settings.rendering, only)


def _enlarged(
    rough: Float[np.ndarray, "i j"], size: tuple[int, int], out: float, inside: float, flat: float = -1.0
) -> tuple[Float[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
    """A rendering at another size, and where that isn't good enough: wherever not all around is clearly in or out, and
    values around differ by more than ``flat``."""
    if rough.shape == size:
        return rough.astype(np.float32), np.zeros(size, bool)
    planes = torch.from_numpy(np.ascontiguousarray(rough))[None, None]
    high = torch.nn.functional.max_pool2d(planes, 3, 1, 1)[0, 0].numpy()
    low = -torch.nn.functional.max_pool2d(-planes, 3, 1, 1)[0, 0].numpy()
    unclear = (high > out) & (low <= inside) & (high - low > flat)
    return resample(rough, size), resample(unclear.astype(np.float32), size) > 0


def _depth_range(
    depth: Float[np.ndarray, "i j"], size: tuple[int, ...], margin: float
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """Between which depths the surfaces around a pixel lie, at another size; from 0 to 0 where there are none."""
    known = depth > 0
    planes = torch.from_numpy(np.stack([np.where(known, -depth, -np.inf), np.where(known, depth, -np.inf)]))[None]
    low, high = torch.nn.functional.max_pool2d(planes.float(), 5, 1, 2)[0]
    found = torch.stack([-low, high]).nan_to_num(0.0, 0.0, 0.0)[None]
    near, far = torch.nn.functional.interpolate(found, size=tuple(size), mode="nearest")[0].numpy()
    return np.maximum(near - margin, 0.0), np.where(far > 0, far + margin, 0.0).astype(np.float32)
