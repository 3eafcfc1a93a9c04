"""The protocol of promptable 2D segmenters: set the image once, predict many times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Prompts:
    """What the user, or the lifting, says about one image.

    ``points_px`` float32 [N, 2] (x right, y down, from the top-left corner), ``labels`` int [N] (1 = the object,
    0 = not the object), ``box_px`` float32 [4] (x0, y0, x1, y1) or None, ``mask`` float32 [H, W]
    in [0, 1], a previous or rendered mask used as a hint, or None. ``scale`` asks for one of the segmenter's ``scales``
    (a part of the object rather than the whole); None leaves the choice to the segmenter's score.
    """

    points_px: np.ndarray
    labels: np.ndarray
    box_px: np.ndarray | None = None
    mask: np.ndarray | None = None
    scale: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One of several masks that the same prompts may mean: as Prediction, at the ``scale`` of that name."""

    mask: np.ndarray
    score: float
    scale: str


@dataclass(frozen=True)
class Prediction:
    """A soft mask, float32 [H, W] in [0, 1], and the segmenter's own estimate of its IoU in [0, 1].

    ``candidates`` holds every mask the segmenter offers, smallest scale first, the chosen one among them; it is empty
    where the segmenter knows only one.
    """

    mask: np.ndarray
    score: float
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True)
class Photo:
    """What a segmenter may look at: the photo, and the field's geometry where there is a field.

    ``rgb`` float32 [H, W, 3] in [0, 1]; ``depth`` float32 [H, W], distance along the viewing axis in
    the capture's units, 0 where the ray meets nothing; ``normals`` float32 [H, W, 3], unit vectors in the world, 0
    where there is nothing; ``key`` identifies the photo's content for caches of embeddings.
    """

    rgb: np.ndarray
    depth: np.ndarray | None = None
    normals: np.ndarray | None = None
    key: str | None = None


class Segmenter(Protocol):
    """A promptable 2D segmenter. ``scales`` names what it can tell apart, smallest first; empty where nothing."""

    name: str
    scales: tuple[str, ...]

    def set_image(self, photo: Photo) -> None:
        """Takes a photo; whatever is slow happens here, once."""
        ...

    def predict(self, prompts: Prompts) -> Prediction:
        """Segments the current photo.

        Raises PromptError where the prompts say nothing or ask for a scale that isn't among ``scales``.
        """
        ...


@runtime_checkable
class Encoder(Protocol):
    """A segmenter whose work on a photo can be done ahead, in batches, and is kept in an embedding store."""

    def is_encoded(self, photo: Photo) -> bool:
        """Whether the store holds this photo's embedding; False for photos without a key."""
        ...

    def encode(self, photos: Sequence[Photo]) -> None:
        """Encodes photos of one size in one batch into the store. Raises PromptError, SegmenterError, StorageError."""
        ...
