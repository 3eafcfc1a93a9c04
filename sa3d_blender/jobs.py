"""Jobs: what was asked of the engine in one press of a button, how far it is, what came of it.

One job runs at a time, the next ones wait. A job knows its capture and its object by their ids; their data may be
renamed, undone or gone when its answer comes. What came is handed over by handover.py, when Blender can take it.
"""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import handover, link
from .client.session import Callbacks, Handle, as_numpy
from .job import Job, ViewPreview
from .opening import IMPORT
from .protocol.errors import Sa3dError
from .protocol.messages import Failure, Preview, Progress, Result
from .training_picture import read_training

__all__ = [
    "Job",
    "ViewPreview",
    "add",
    "again",
    "all_jobs",
    "by_uid",
    "cancel",
    "corrections_of",
    "dismiss",
    "on_delivered",
    "on_preview",
    "register",
    "request_defaults",
    "running",
    "take_in",
    "unfinished",
    "unregister",
]

MOST_KEPT = 30
REDRAW_SECONDS = 0.2


_jobs: list[Job] = []
_corrections: dict[str, int] = {}
_watchers: list[Callable[[ViewPreview], object]] = []
_receivers: list[Callable[[Job], object]] = []
_drawn = 0.0
_unhook: Callable[[], None] | None = None


def all_jobs() -> tuple[Job, ...]:
    """Oldest first."""
    return tuple(_jobs)


def by_uid(uid: str) -> Job | None:
    """The job of that id."""
    return next((job for job in _jobs if job.uid == uid), None)


def running() -> Job | None:
    """The job that the engine works on."""
    return next((job for job in _jobs if job.state in ("running", "cancelling")), None)


def unfinished(capture_uid: str, object_uid: str = "") -> Job | None:
    """A job for that object (or for the capture itself) that isn't over."""
    return next(
        (j for j in _jobs if not j.is_over and (j.capture_uid, j.object_uid) == (capture_uid, object_uid)), None
    )


def add(job: Job) -> Job:
    """Starts a job, or has it wait until the engine has done those before it."""
    _jobs.append(job)
    for old in [one for one in _jobs if one.is_over and one.glb is None][: max(0, len(_jobs) - MOST_KEPT)]:
        _jobs.remove(old)
    _begin_next()
    link.redraw()
    return job


def again(job: Job) -> Job:
    """The same once more: a new job."""
    return add(
        Job(
            job.kind,
            job.title,
            job.capture_uid,
            job.capture_name,
            job.source,
            job.object_uid,
            job.object_name,
            job.quality,
            job.asks,
            result="" if job.kind == "segment" else job.result,
            lam=job.lam,
            known=job.known,
            corrected=job.corrected,
            options=job.options,
        )
    )


def cancel(job: Job) -> None:
    """Stops a job. What it has finished already stays."""
    if job.state == "waiting":
        _end(job, "cancelled", "Stopped before it began.")
    elif job.state == "running" and job.handle is not None:
        job.state, job.asked_to_stop = "cancelling", time.monotonic()
        job.say("Stopping on request.")
        job.handle.cancel()
    link.redraw()


def dismiss(job: Job) -> None:
    """Takes a job that is over off the list."""
    if job.is_over and job in _jobs:
        _jobs.remove(job)
    link.redraw()


def take_in(job: Job) -> None:
    """Hands a homeless result over once more, now that the open file has its capture."""
    if job.state == "homeless":
        job.state = "ready"
        _hand_over(job)


def on_preview(function: Callable[[ViewPreview], object]) -> Callable[[], None]:
    """``function`` is shown each view of a running job as it comes; returns what stops that."""
    _watchers.append(function)

    def remove() -> None:
        if function in _watchers:
            _watchers.remove(function)

    return remove


def on_delivered(function: Callable[[Job], object]) -> Callable[[], None]:
    """``function`` is told of each job whose mesh is in the scene now; returns what stops that."""
    _receivers.append(function)

    def remove() -> None:
        if function in _receivers:
            _receivers.remove(function)

    return remove


def corrections_of(result: str) -> int | None:
    """How many corrections the engine has in a result; None where that can't be known from here."""
    if result not in _corrections:
        found = handover.report_in(Path(result))
        if found is None:
            return None
        _corrections[result] = len(found.get("corrections", ()))
    return _corrections[result]


def _advance() -> None:
    """After each pump: hands over what is ready, and starts what waits."""
    for job in [one for one in _jobs if one.state == "ready"]:
        _hand_over(job)
    _begin_next()


def _begin_next() -> None:
    if running() is None:
        waiting = next((job for job in _jobs if job.state == "waiting"), None)
        if waiting is not None:
            _begin(waiting)


def _begin(job: Job) -> None:
    job.state, job.began = "running", time.monotonic()
    job.say(f"{job.title}.")
    if link.state() == "dead":  # who presses a button wants it to work: a new engine, or the reason again
        link.restart()
    if job.kind == "segment":
        job.beside = handover.neighbours(job)
    _send(job)


def _send(job: Job) -> None:
    ask = job.asks[job.step]
    for line in ask.says:
        job.say(line)
    body = {**request_defaults(ask.kind), **ask.body}
    if ask.on_result:
        body["result"] = job.result
    if ask.kind == "segment" and job.beside:
        body["beside"] = list(job.beside)
    job.stage, job.fraction, job.seconds_left, job.view, job.training = "Starting", 0.0, None, "", None
    callbacks = Callbacks(_progress(job), _preview(job), lambda _, line: job.say(line), _result(job), _failure(job))
    job.handle = link.session().request(ask.kind, body, ask.arrays, callbacks)


def request_defaults(kind: str) -> dict[str, Any]:
    """What the preferences say of every request, as far as those of this kind take it."""
    from . import preferences

    if kind == "open_capture":
        return {}
    taken = {"device", "segmenter"} if kind == "segment" else {"device"}
    return {name: value for name, value in preferences.request_defaults().items() if name in taken}


def _redraw_calmly() -> None:
    """Numbers that change by themselves are read no faster than this, and each drawing takes from the engine's time."""
    global _drawn
    if time.monotonic() - _drawn > REDRAW_SECONDS:
        _drawn = time.monotonic()
        link.redraw()


def _progress(job: Job) -> Callable[[Handle, Progress], None]:
    def progress(handle: Handle, message: Progress) -> None:
        if handle is job.handle:
            if message.stage != job.stage:
                job.say(f"{message.stage} ...")
                job.training = None  # segmenting goes on after it, in the same request
            job.stage, job.fraction, job.seconds_left = message.stage, message.fraction, message.seconds_left
            _redraw_calmly()

    return progress


def _preview(job: Job) -> Callable[[Handle, Preview], None]:
    def preview(handle: Handle, message: Preview) -> None:
        if handle is not job.handle:
            return
        if message.what == "training":
            _show_training(job, message)
        elif message.what == "view":
            _show_view(job, message)

    return preview


def _show_training(job: Job, message: Preview) -> None:
    picture = as_numpy(message.arrays["picture"]) if "picture" in message.arrays else None
    latest = read_training(message.body, picture)
    if latest is not None:
        job.training = latest
        _redraw_calmly()


def _show_view(job: Job, message: Preview) -> None:
    body, job.training = message.body, None
    job.view, verdict = str(body.get("view", "")), str(body.get("verdict", ""))
    job.accepted, job.rejected = int(body.get("accepted", 0)), int(body.get("rejected", 0))
    mask = as_numpy(message.arrays["mask"]) if "mask" in message.arrays else None
    for watcher in tuple(_watchers):
        watcher(ViewPreview(job.capture_uid, job.object_uid, job.view, verdict, mask))
    _redraw_calmly()


def _result(job: Job) -> Callable[[Handle, Result], None]:
    def result(handle: Handle, message: Result) -> None:
        if handle is not job.handle:
            return
        ask, body = job.asks[job.step], message.body
        job.answer = body
        job.result = str(body.get("result", job.result))
        job.report, job.scene = body.get("report", job.report), body.get("scene", job.scene)
        job.told += ask.told
        if ask.kind == "open_capture":
            job.described = {**body, **{name: as_numpy(array) for name, array in message.arrays.items()}}
        if "glb" in message.arrays:
            job.glb = as_numpy(message.arrays["glb"]).tobytes()
        if job.report is not None:
            job.accepted, job.rejected = (int(job.report.get(key, 0)) for key in ("accepted", "rejected"))
            _corrections[job.result] = len(job.report.get("corrections", ()))
        job.step += 1
        if job.step == len(job.asks):
            _ready(job, "done")
        elif job.state == "cancelling":
            _ready(job, "cancelled")
        else:
            _send(job)

    return result


def _failure(job: Job) -> Callable[[Handle, Failure], None]:
    def failure(handle: Handle, message: Failure) -> None:
        if handle is not job.handle:
            return
        if message.code == "storage" and job.beside and job.asks[job.step].kind == "segment":
            job.say(message.what)
            job.say("Trying without regard to the objects that were segmented before.")
            job.beside = ()
            _send(job)
            return
        if message.cancelled:
            state, line = "cancelled", message.what
        else:
            state, line = "failed", f"{message.what} {message.cure}"
            job.what, job.cure, job.code = message.what, message.cure, message.code
        job.say(line)
        if job.glb is not None:  # an earlier step has made something: that isn't lost
            left = len(job.asks) - job.step
            job.say(f"What was made before that is kept; {left} of {len(job.asks)} steps are missing. Press Refine.")
            _ready(job, state)
        else:
            _end(job, state)

    return failure


def _ready(job: Job, after: str) -> None:
    job.handle, job.training, job.after = None, None, after
    job.stage, job.fraction, job.seconds_left = "Delivering", 1.0, None
    job.state = "ready"
    link.redraw()


def _end(job: Job, state: str, line: str = "") -> None:
    job.state, job.handle, job.training, job.note = state, None, None, ""
    job.ended = time.monotonic() if job.began else 0.0
    if line:
        job.say(line)
    if state == "done":
        job.say(f"Done in {_duration(job.seconds)}.")
    link.redraw()


def _hand_over(job: Job) -> None:
    try:
        job.note = handover.why_not_now(job)
        if job.note:
            return
        started = time.perf_counter()
        if not handover.deliver(job):
            _end(job, "homeless", f"{job.capture_name} is not in the open file. The result is in {job.result}.")
            return
        job.say(f"Delivered within {time.perf_counter() - started:.2f} s.")
    except Sa3dError as fault:
        job.what, job.cure, job.code = fault.what, fault.cure, fault.code
        _end(job, "failed", str(fault))
        return
    except Exception as fault:
        job.log.extend("".join(traceback.format_exception(*sys.exc_info())).splitlines())
        job.what = f"The result can't be put into the scene: {fault}."
        job.cure, job.code = "Open the log, and report it as a bug.", "internal"
        _end(job, "failed", f"The result is in {job.result}.")
        return
    job.glb = job.scene = job.described = None  # all are on disk, and large
    _end(job, job.after)
    if job.kind not in ("train", IMPORT):
        for receiver in tuple(_receivers):
            receiver(job)


def _duration(seconds: float) -> str:
    whole = math.ceil(seconds)
    return f"{whole} s" if whole < 90 else f"{math.ceil(whole / 60)} min"


def register() -> None:
    """Listens to the engine."""
    global _unhook
    _unhook = link.on_pump(_advance)


def unregister() -> None:
    """Listens no more. The jobs are forgotten, their results are not."""
    global _unhook
    if _unhook is not None:
        _unhook()
        _unhook = None
    _jobs.clear()
    _watchers.clear()
    _receivers.clear()
