"""What the engine has answered about an object in a photo: its masks, kept while what was said about it is the same."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .description import SceneView
from .lens import is_straight, photo_from_frame
from .prompt_store import places, prompts_in
from .straighten import straightened

__all__ = ["Answer", "Candidate", "Hit", "Place", "Question", "Shelf", "what_is_said"]

MOST_BYTES = 96 << 20
GRID = 256  # of a frame's side: to how much of it the edges of a found box are known, where a lens bends them

Said = tuple[Any, ...]


@dataclass(frozen=True)
class Place:
    """An object in a photo: the ids of capture and object, the photo's stem."""

    capture: str
    prompted: str
    view: str


@dataclass(frozen=True)
class Question:
    """What is asked about a place: ``said`` about it, in ``words``, and under which ``settings`` of the engine."""

    place: Place
    said: Said
    words: str
    settings: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Candidate:
    """One of several masks that the prompts may mean: uint8 [h, w], 255 = the object; ``score`` in [0, 1]."""

    scale: str
    score: float
    mask: np.ndarray


@dataclass(frozen=True)
class Hit:
    """What words were found to be: ``box`` (x0, y0, x1, y1) in pixels of the photo as stored."""

    box: tuple[float, float, float, float]
    score: float
    words: str


@dataclass(eq=False)
class Answer:
    """What came of a question. ``mask`` is None where it failed: then ``what`` happened, with a ``cure``."""

    question: Question
    mask: np.ndarray | None = None
    segmenter: str = ""
    score: float | None = None
    candidates: tuple[Candidate, ...] = ()
    chosen: int | None = None
    hits: tuple[Hit, ...] = ()
    seconds: float = 0.0
    what: str = ""
    cure: str = ""
    code: str = ""
    note: str = ""
    _straight: dict[int, np.ndarray] = field(default_factory=dict)

    def candidate(self, scale: str) -> Candidate | None:
        """The mask of that scale; for "auto" that which the segmenter takes. None where it has none such."""
        if scale == "auto":
            return None if self.chosen is None else self.candidates[self.chosen]
        return next((one for one in self.candidates if one.scale == scale), None)

    def shown(self, scale: str, view: SceneView) -> np.ndarray | None:
        """The mask at a scale, uint8 [h, w], as the view's straight picture has it; the segmenter's choice where it
        doesn't know the scale."""
        found = self.candidate(scale)
        mask = self.mask if found is None else found.mask
        if mask is None or is_straight(view):
            return mask
        key = id(mask)  # the masks live as long as this does
        if key not in self._straight:
            self._straight[key] = straightened(view, mask[..., None])[..., 0].round().astype(np.uint8)
        return self._straight[key]

    @property
    def size(self) -> int:
        """Bytes of its masks."""
        masks = [one.mask for one in self.candidates] + ([] if self.mask is None else [self.mask])
        return sum(one.nbytes for one in (*masks, *self._straight.values()))


class Shelf:
    """The answers that are kept, and which was the latest of each place. The longest unused go first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._kept: OrderedDict[Question, Answer] = OrderedDict()
        self._latest: dict[Place, Answer] = {}

    def __contains__(self, question: Question) -> bool:
        return question in self._kept

    def get(self, question: Question) -> Answer | None:
        """The answer to a question; that it was looked at keeps it longer, and makes it its place's latest."""
        found = self._kept.get(question)
        if found is not None:
            self._kept.move_to_end(question)
            self._latest[question.place] = found
        return found

    def latest(self, place: Place) -> Answer | None:
        """What was last known of a place, though more may have been said since."""
        return self._latest.get(place)

    def put(self, answer: Answer) -> None:
        """Keeps an answer."""
        self._kept[answer.question] = answer
        self._latest[answer.question.place] = answer
        total = sum(one.size for one in self._kept.values())
        while total > self._most and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            total -= gone.size
            if self._latest.get(gone.question.place) is gone:
                del self._latest[gone.question.place]

    def forget_failures(self) -> None:
        """What failed may be asked once more."""
        for question in [one for one, answer in self._kept.items() if answer.what]:
            gone = self._kept.pop(question)
            if self._latest.get(question.place) is gone:
                del self._latest[question.place]

    def clear(self) -> None:
        """Forgets all."""
        self._kept.clear()
        self._latest.clear()


def what_is_said(prompted: Any, camera: Any, sought: bool) -> tuple[Said, str] | None:
    """(what was said about an object in a camera's photo, the words to look for there).

    None where nothing says what it is: then there is no mask. Words count only where they are
    ``sought`` and no box says it better.
    """
    here = [one for _, one in prompts_in(prompted, camera)]
    words = "" if not sought or any(one.kind == "BOX" for one in here) else prompted.words.strip()
    if not words and not any(one.positive or one.kind == "BOX" for one in here):
        return None
    said = tuple(
        (one.kind, bool(one.positive), tuple(round(float(value), 5) for value in places(one).ravel())) for one in here
    )
    return said, words


def box_in_frame(view: SceneView, box: tuple[float, float, float, float]) -> np.ndarray:
    """A box in pixels of the photo as stored, as two corners [2, 2] in fractions of the straight picture."""
    size = np.array([view.width, view.height], dtype=np.float64)
    corners = np.array(box, dtype=np.float64).reshape(2, 2)
    if is_straight(view):
        return np.clip(corners / size, 0.0, 1.0)
    steps = (np.arange(GRID) + 0.5) / GRID
    fractions = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    photo = photo_from_frame(view, fractions * size)
    inside = fractions[np.all((photo >= corners[0]) & (photo <= corners[1]), axis=1)]
    if not len(inside):  # smaller than the grid's steps
        inside = fractions[[int(np.argmin(np.linalg.norm(photo - corners.mean(axis=0), axis=1)))]]
    half = 0.5 / GRID
    return np.clip([inside.min(axis=0) - half, inside.max(axis=0) + half], 0.0, 1.0)


def read_hits(body: Mapping[str, Any]) -> tuple[Hit, ...]:
    """The hits in a result's body."""
    return tuple(
        Hit(tuple(float(value) for value in one["box"]), float(one["score"]), str(one["words"]))  # type: ignore[arg-type]
        for one in body.get("hits", ())
    )
