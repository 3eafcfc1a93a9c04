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
from engine.captures.images import photo_key, read_rgb, working_size
from engine.fields.sampling import OccupancyGrid
from engine.fields.training import TrainedField
from engine.lifting.loop import rendered_mask
from engine.lifting.masks import resample
from engine.lifting.operators import OperatorBudget, OperatorStore
from engine.lifting.projection import ViewOperator, view_operator
from engine.lifting.scene import Scene
from engine.lifting.voxels import VoxelGrid
from engine.progress import Job

OPERATOR_PIXELS = 40_000  # of a view for the lifting: finer than the voxels, whatever the photo's size
OPERATOR_FORMAT = "2"
CLEARLY_IN, CLEARLY_OUT = 0.95, 0.02  # rendered probabilities between which a pixel is looked at more closely
PHOTOS_IN_MEMORY = 96


def working_photo(view: View, max_side: int) -> tuple[Camera, Float[np.ndarray, "h w c"]]:
    """A photo at working size and the camera for it; colours with alpha come premultiplied."""
    size = working_size(view.camera, max_side)
    image = read_rgb(view, size)
    if image.shape[2] == 4:
        image = np.concatenate([image[..., :3] * image[..., 3:], image[..., 3:]], -1)
    return view.camera.resized(*size), image.astype(np.float32)


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
        cache: where operators are kept, within the ``budget``.
    """

    def __init__(
        self,
        capture: Capture,
        capture_key: str,
        trained: TrainedField,
        field_key: str,
        cache: Cache,
        budget: OperatorBudget | None = None,
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
        self.photo = functools.lru_cache(PHOTOS_IN_MEMORY)(self._photo)

    def _photo(self, stem: str) -> Float[np.ndarray, "h w 3"]:
        return over_white(working_photo(self.stored[stem], self.max_side)[1])

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
    def scene(self) -> Scene:
        """What the lifting needs."""
        views = list(self.views.values())
        return Scene(views, self.operator, self._photo_and_key, self.voxels, self.operators.looked)

    def _photo_and_key(self, view: View) -> tuple[Float[np.ndarray, "h w 3"], str]:
        stored = self.stored[view.stem]
        return self.photo(view.stem), f"{photo_key(stored.image_path)}-{self.max_side}"

    def render_probability(self, view: View, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "h w"]:
        """A voxel probability at the photo's working size, sharp: only the pixels near the outline are traced anew."""
        rough = rendered_mask(self.operator(view), values)
        return self._sharpened(view, rough, lambda fine: rendered_mask(fine, values), CLEARLY_OUT, CLEARLY_IN)

    def render_positive(self, view: View, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "h w"]:
        """Where a voxel quantity renders as positive (the paper's ``M = A V > 0``), as 0 and 1 at working size."""
        found = self._sharpened(view, self.operator(view).render(values), lambda fine: fine.render(values), 0.0, 0.0)
        return (found > 0).astype(np.float32)

    def _sharpened(
        self,
        view: View,
        rough: Float[np.ndarray, "i j"],
        render: Callable[[ViewOperator], Float[np.ndarray, "h w"]],
        out: float,
        inside: float,
    ) -> Float[np.ndarray, "h w"]:
        """A rendering on the operator's raster at working size; anew around its outline."""
        size = (view.camera.height, view.camera.width)
        if rough.shape == size:
            return rough
        planes = torch.from_numpy(np.ascontiguousarray(rough))[None, None]
        high = torch.nn.functional.max_pool2d(planes, 5, 1, 2)[0, 0].numpy()
        low = -torch.nn.functional.max_pool2d(-planes, 5, 1, 2)[0, 0].numpy()
        unclear = resample(((high > out) & (low <= inside)).astype(np.float32), size) > 0
        found = resample(rough, size)
        if unclear.any():
            found[unclear] = render(self._trace(view.camera, unclear))[unclear]
        return found

    def _trace(self, camera: Camera, only: Bool[np.ndarray, "h w"] | None = None) -> ViewOperator:
        return view_operator(self.volume, self.grid, self.voxels, camera, self.trained.settings.sampling, only)
