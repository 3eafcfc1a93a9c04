"""Embeddings of photos, made once for all objects: float16 files named by content, within a budget.

A segmenter rounds a fresh embedding to float16 before it is used, so that a stored one gives bit-identical masks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engine.cache import Cache, atomic_file

__all__ = ["BUDGET_MB", "KIND", "EmbeddingStore"]

KIND = "embeddings"  # the cache's name for these files
BUDGET_MB = 8192  # SAM's are 2 MB a photo, clicknet's 4: some thousand photos
_MEGABYTE = 1 << 20


class EmbeddingStore:
    """The embeddings that one model has made, in the user's cache."""

    def __init__(
        self,
        cache_dir: Path,
        model_key: str,
        log: Callable[[str], None] = lambda line: None,
        budget_mb: int = BUDGET_MB,
    ) -> None:
        """``model_key``: whatever changes the result, the hash of the weights first of all.

        ``budget_mb``: room for the embeddings of all models together; those that nobody has used for longest make way.
        """
        self._cache, self._budget, self._log = Cache(Path(cache_dir)), budget_mb * _MEGABYTE, log
        self._model = hashlib.sha256(model_key.encode()).hexdigest()[:24]

    def has(self, photo_key: str, height: int, width: int) -> bool:
        """Whether there is a file for the photo of that content and size; it is looked into only when it is read."""
        return self._path(photo_key, height, width).is_file()

    def read(self, photo_key: str, height: int, width: int) -> dict[str, torch.Tensor] | None:
        """The tensors as written, float16; None where there are none, or (with a line in the log) damaged ones."""
        path = self._path(photo_key, height, width)
        if not path.is_file():
            return None
        try:
            found = load_file(path)
            damaged = not all(bool(torch.isfinite(value).all()) for value in found.values())
            os.utime(path)  # used now
        except (OSError, SafetensorError) as error:
            self._log(f"A stored embedding is damaged ({type(error).__name__}); the photo is encoded again.")
            return None
        if damaged:
            self._log("A stored embedding holds values that are no numbers; the photo is encoded again.")
            return None
        return found

    def write(self, photo_key: str, height: int, width: int, tensors: dict[str, torch.Tensor]) -> None:
        """Keeps tensors as float16. Raises StorageError where the disk is full or can't be written."""
        folder = self._cache.folder(KIND, self._model)
        half = {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in tensors.items()}
        self._cache.make_room(KIND, sum(value.nbytes for value in half.values()), self._budget)
        path = self._path(photo_key, height, width)
        with atomic_file(folder / path.name) as part:
            save_file(half, part)

    def _path(self, photo_key: str, height: int, width: int) -> Path:
        name = hashlib.sha256(f"{photo_key}|{height}x{width}".encode()).hexdigest()[:32]
        return self._cache.root / KIND / self._model / f"{name}.safetensors"
