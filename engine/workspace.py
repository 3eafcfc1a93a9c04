"""A capture with its trained field: photos, view operators and cameras, made once and kept in the cache."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors
import scipy.sparse
import torch
from jaxtyping import Float
from safetensors.numpy import load_file, save_file

from engine.cache import Cache, atomic_file
from engine.captures.capture import Camera, Capture, View
from engine.captures.images import photo_key, read_rgb, working_size
from engine.fields.sampling import OccupancyGrid
from engine.fields.training import TrainedField
from engine.lifting.loop import Scene, resample
from engine.lifting.projection import ViewOperator, VoxelGrid, view_operator
from engine.progress import Job

OPERATOR_PIXELS = 40_000  # of a view for the lifting: finer than the voxels, whatever the photo's size
OPERATOR_FORMAT = "1"
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
        cache: where operators are kept.
    """

    def __init__(self, capture: Capture, capture_key: str, trained: TrainedField, field_key: str, cache: Cache) -> None:
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
        self.operators = cache.folder("operators", name)
        self.photo = functools.lru_cache(PHOTOS_IN_MEMORY)(self._photo)

    def _photo(self, stem: str) -> Float[np.ndarray, "h w 3"]:
        return over_white(working_photo(self.stored[stem], self.max_side)[1])

    def operator_camera(self, view: View) -> Camera:
        """The view's camera on the raster of its operator."""
        c = view.camera
        scale = min(1.0, float(np.sqrt(OPERATOR_PIXELS / (c.width * c.height))))
        return c.resized(max(1, round(c.width * scale)), max(1, round(c.height * scale)))

    def operator(self, view: View) -> ViewOperator:
        """A of a view, from the cache or made now and kept."""
        path = self.operators / (hashlib.sha256(view.stem.encode()).hexdigest()[:24] + ".safetensors")
        camera = self.operator_camera(view)
        if path.is_file():
            try:
                return _read_operator(path, camera, self.voxels.count)
            except (OSError, KeyError, ValueError, safetensors.SafetensorError):
                path.unlink(missing_ok=True)  # damaged: a cache entry can always be made again
        made = view_operator(self.volume, self.grid, self.voxels, camera, self.trained.settings.sampling)
        _write_operator(path, made)
        return made

    def prepare(self, job: Job) -> None:
        """Makes the operators of all views that the cache lacks."""
        with job.stage("Tracing views through the field", len(self.views)) as stage:
            for view in self.views.values():
                self.operator(view)
                stage.advance(1, view.stem)

    def scene(self) -> Scene:
        """What the lifting needs."""
        return Scene(list(self.views.values()), self.operator, self._photo_and_key, self.voxels.count, self.voxels)

    def _photo_and_key(self, view: View) -> tuple[Float[np.ndarray, "h w 3"], str]:
        stored = self.stored[view.stem]
        return self.photo(view.stem), f"{photo_key(stored.image_path)}-{self.max_side}"

    def render_probability(self, view: View, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, "h w"]:
        """A voxel probability at the photo's working size, sharp: only the pixels near the object are traced anew."""
        rough_operator = self.operator(view)
        rough = rough_operator.render(values)
        size = (view.camera.height, view.camera.width)
        if rough.shape == size:
            return np.clip(rough / np.maximum(rough_operator.opacity, 0.1), 0, 1)
        near = torch.nn.functional.max_pool2d(torch.from_numpy(rough)[None, None], 5, 1, 2)[0, 0].numpy()
        only = resample(near, size) > 0.02
        if not only.any():
            return np.zeros(size, np.float32)
        sampling = self.trained.settings.sampling
        fine = view_operator(self.volume, self.grid, self.voxels, view.camera, sampling, only)
        return np.clip(fine.render(values) / np.maximum(fine.opacity, 0.1), 0, 1)


def _write_operator(path: Path, operator: ViewOperator) -> None:
    matrix = operator.matrix
    arrays = {
        "data": matrix.data.astype(np.float16),
        "indices": matrix.indices.astype(np.int32),
        "indptr": matrix.indptr.astype(np.int64),
        "opacity": operator.opacity.astype(np.float32),
        "depth": operator.depth.astype(np.float32),
    }
    with atomic_file(path) as temporary:
        save_file(arrays, temporary)


def _read_operator(path: Path, camera: Camera, voxels: int) -> ViewOperator:
    found = load_file(path)
    shape = (camera.width * camera.height, voxels)
    matrix = scipy.sparse.csr_matrix((found["data"].astype(np.float32), found["indices"], found["indptr"]), shape=shape)
    if found["opacity"].shape != (camera.height, camera.width):
        raise ValueError("an operator of another size")
    return ViewOperator(camera, matrix, found["opacity"], found["depth"])
