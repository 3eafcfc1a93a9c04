"""Progress of long work and its cancellation: what the work reports, and to whom."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sa3d_blender.protocol.errors import Cancelled


@dataclass(frozen=True)
class Report:
    """One message of progress.

    ``stage`` is a short verb phrase ("Training field"), ``done`` of ``total`` steps are behind, ``seconds_left`` is an
    estimate or None while there is none, ``detail`` a few words such as "PSNR 28.1 dB".
    """

    stage: str
    done: float
    total: float
    seconds_left: float | None = None
    detail: str = ""


def readable_seconds(seconds: float | None) -> str:
    """ "1 min 20 s", "8 s", or nothing while there is no estimate."""
    if seconds is None:
        return ""
    whole = max(0, round(seconds))
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


@dataclass
class Job:
    """One piece of long work: it reports to ``listener``, asks ``check()`` often, and times its stages.

    ``timings`` maps the name of every finished stage to its seconds. ``preview(what, body, **arrays)`` shows something
    of the work meanwhile to whoever looks on; its arrays are copied by who keeps them. Only where it is ``watched`` is
    it worth while to make a picture for that alone.
    """

    listener: Callable[[Report], None] = lambda report: None
    log: Callable[[str], None] = lambda line: None
    cancel: threading.Event = field(default_factory=threading.Event)
    timings: dict[str, float] = field(default_factory=dict)
    preview: Callable[..., None] = lambda what, body, **arrays: None
    watched: bool = False

    def check(self) -> None:
        """Raises Cancelled when the user has asked to stop. Cheap: call it every fraction of a second."""
        if self.cancel.is_set():
            raise Cancelled("Stopped on request.", "Run the same command again to go on.")

    def stage(self, name: str, total: float = 1.0) -> Stage:
        """A timed stage, to be used in a ``with`` statement."""
        return Stage(self, name, total)


class Stage:
    """A stage of a job: ``advance`` it, and the time left is worked out from the steps behind."""

    def __init__(self, job: Job, name: str, total: float) -> None:
        self.job, self.name, self.total = job, name, total
        self.done = 0.0

    def __enter__(self) -> Stage:
        self.job.check()
        self.started = time.perf_counter()
        self.job.listener(Report(self.name, 0.0, self.total))
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        seconds = time.perf_counter() - self.started
        self.job.timings[self.name] = self.job.timings.get(self.name, 0.0) + seconds
        if kind is None:
            self.job.listener(Report(self.name, self.total, self.total, 0.0))

    def advance(self, steps: float = 1.0, detail: str = "") -> None:
        """``steps`` more are done. Raises Cancelled when the user has asked to stop."""
        self.at(self.done + steps, detail)

    def at(self, done: float, detail: str = "", seconds_left: float | None = None) -> None:
        """``done`` of ``total`` steps are done. Raises Cancelled when the user has asked to stop."""
        self.job.check()
        self.done = done
        if seconds_left is None and done > 0:
            seconds_left = (time.perf_counter() - self.started) / done * max(0.0, self.total - done)
        self.job.listener(Report(self.name, done, self.total, seconds_left, detail))
