"""A job: what was asked of the engine in one press of a button, how far it is, what is known of its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .asks import Ask
from .client.session import Handle
from .training_picture import TrainingPreview

__all__ = ["Job", "ViewPreview"]


@dataclass(frozen=True)
class ViewPreview:
    """What came of one view of a capture in a running job: ``mask`` uint8 [h, w] (255 = the object) or None."""

    capture_uid: str
    object_uid: str
    view: str
    verdict: str
    mask: np.ndarray | None


@dataclass(eq=False)
class Job:
    """One press of a button.

    ``state``: "waiting" (for another job), "running", "cancelling", "ready" (made, but Blender can't take it just now:
    ``note`` says why), "homeless" (made, and the open file doesn't have its capture), "done", "failed" (``what``
    happened, the ``cure``, its ``code``) or "cancelled". ``after`` is the state that a job that is ready will have. An
    import has neither ids nor names yet: ``described`` is what the engine found, ``options`` how it is built (see
    opening.py). ``known`` and ``corrected`` are the object's ``told`` and ``corrections`` as they were when the job was
    made, so for the result that it works on: until it is delivered, undo may make them another result's. ``training``
    is what the engine has shown last of a field that is being trained; None as soon as it isn't any more.
    """

    kind: str
    title: str
    capture_uid: str
    capture_name: str
    source: str
    object_uid: str
    object_name: str
    quality: str
    asks: tuple[Ask, ...]
    result: str = ""
    lam: float | None = None
    known: str = ""
    corrected: int = 0
    uid: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: float = field(default_factory=time.time)
    state: str = "waiting"
    after: str = "done"
    note: str = ""
    step: int = 0
    stage: str = ""
    fraction: float = 0.0
    seconds_left: float | None = None
    view: str = ""
    training: TrainingPreview | None = field(default=None, repr=False)
    accepted: int = 0
    rejected: int = 0
    what: str = ""
    cure: str = ""
    code: str = ""
    log: list[str] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    answer: Mapping[str, Any] | None = None
    report: Mapping[str, Any] | None = None
    scene: Mapping[str, Any] | None = None
    glb: bytes | None = None
    beside: tuple[str, ...] = ()
    described: Mapping[str, Any] | None = None
    options: Mapping[str, bool] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0
    asked_to_stop: float = 0.0
    handle: Handle | None = field(default=None, repr=False)

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.state in ("done", "failed", "cancelled", "homeless")

    @property
    def seconds(self) -> float:
        """For how long it has run."""
        return 0.0 if not self.began else (self.ended or time.monotonic()) - self.began

    def say(self, line: str) -> None:
        """A line for the log."""
        self.log.append(f"{time.strftime('%H:%M:%S')}  {line}")
