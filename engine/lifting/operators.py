"""The ray weights of a capture's views: made once, then kept in memory and on disk as far as the budgets go."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import scipy.sparse
from safetensors.numpy import save_file

from engine.cache import atomic_file
from engine.captures.capture import Camera, View
from engine.lifting.projection import ViewOperator
from engine.lifting.voxels import SparseVoxels
from engine.memory import BudgetedMemory
from engine.progress import Job

log = logging.getLogger(__name__)

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class OperatorBudget:
    """How much room ray weights may take, in megabytes. What does not fit is made again whenever it is needed."""

    memory_mb: int = 1024
    disk_mb: int = 4096


class OperatorStore:
    """Gives the operator A of any view, from memory, from disk, or made now.

    Args:
        folder: where operators of this field are kept.
        cameras: the camera of each view's operator, by stem.
        make: makes an operator.
        voxels: number of occupied voxels.
    """

    def __init__(
        self,
        folder: Path,
        cameras: dict[str, Camera],
        make: Callable[[Camera], ViewOperator],
        voxels: int,
        budget: OperatorBudget,
    ) -> None:
        self.folder, self.cameras, self.make, self.voxels, self.budget = folder, cameras, make, voxels, budget
        self._kept = BudgetedMemory(self._load, lambda operator: operator.nbytes, budget.memory_mb * MEGABYTE)
        self._looked: dict[str, SparseVoxels] = {}
        self._on_disk = sum(p.stat().st_size for p in folder.glob("*.safetensors"))
        self._said_full = False

    def get(self, view: View) -> ViewOperator:
        """A of a view."""
        return self._kept.get(view.stem)

    def _load(self, stem: str) -> ViewOperator:
        operator = self._read(stem) or self._make(stem)
        self._looked.setdefault(stem, operator.looked)
        return operator

    def looked(self, view: View) -> SparseVoxels:
        """A^T 1 of a view, kept for all views: small, and asked for by every object."""
        if view.stem not in self._looked:
            self.get(view)
        return self._looked[view.stem]

    def prepare(self, views: Sequence[View], job: Job) -> None:
        """Makes what isn't there yet of all views, with progress."""
        with job.stage("Tracing views through the field", len(views)) as stage:
            for view in views:
                self.get(view)
                stage.advance(1, view.stem)

    @property
    def memory_bytes(self) -> int:
        """What the operators in memory take."""
        return self._kept.used

    def _path(self, stem: str) -> Path:
        return self.folder / (hashlib.sha256(stem.encode()).hexdigest()[:24] + ".safetensors")

    def _make(self, stem: str) -> ViewOperator:
        operator = self.make(self.cameras[stem])
        if self._on_disk + operator.nbytes <= self.budget.disk_mb * MEGABYTE:
            _write(self._path(stem), operator)
            self._on_disk += operator.nbytes
        elif not self._said_full:
            log.warning(
                "The ray weights of all views take more than %d MB of disk: some are worked out again each time.",
                self.budget.disk_mb,
            )
            self._said_full = True
        return operator

    def _read(self, stem: str) -> ViewOperator | None:
        path = self._path(stem)
        if not path.is_file():
            return None
        try:
            return _read(path, self.cameras[stem], self.voxels)
        except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
            log.warning("Ray weights in %s can't be used (%s); they are made again.", path, error)
            self._on_disk -= path.stat().st_size
            path.unlink(missing_ok=True)
            return None


def _write(path: Path, operator: ViewOperator) -> None:
    # float32 as they are: a run that reads them has to give the same voxels as the run that made them
    arrays = {
        "data": operator.matrix.data,
        "indices": operator.matrix.indices.astype(np.int32),
        "indptr": operator.matrix.indptr.astype(np.int64),
        "opacity": operator.opacity,
        "depth": operator.depth,
        "looked_index": operator.looked.index,
        "looked_values": operator.looked.values,
    }
    with atomic_file(path) as temporary:
        save_file(arrays, temporary)


def _read(path: Path, camera: Camera, voxels: int) -> ViewOperator:
    with safetensors.safe_open(path, framework="numpy") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    size = (camera.height, camera.width)
    indices, indptr, looked = found["indices"], found["indptr"], found["looked_index"]
    fits = found["opacity"].shape == size == found["depth"].shape and len(indptr) == camera.height * camera.width + 1
    if not fits or int(indptr[-1]) != len(indices):
        raise ValueError("they are of another size")
    if max(indices.max(initial=-1), looked.max(initial=-1)) >= voxels or indices.min(initial=0) < 0:
        raise ValueError("they are of another field")
    matrix = scipy.sparse.csr_matrix((found["data"], indices, indptr), shape=(len(indptr) - 1, voxels))
    operator = ViewOperator(camera, matrix, found["opacity"], found["depth"])
    operator.__dict__["looked"] = SparseVoxels(looked, found["looked_values"])  # already worked out: fills the property
    return operator
