"""Where the server's work is done: a thread for long work, one for short work, a job for each request."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.progress import Job, Report
from engine.server_body import plain, reply_array
from engine.server_outbox import Outbox
from sa3d_blender.protocol.errors import Cancelled, EnvironmentFault, Sa3dError
from sa3d_blender.protocol.framing import ENGINE_READS, ProtocolError
from sa3d_blender.protocol.messages import Failure, Log, Preview, Progress, Request, Result

__all__ = ["Answer", "Kind", "Lane", "ServedJob", "unexpected"]

MOST_WAITING = 64  # requests in a lane
SECONDS_BETWEEN_REPORTS = 0.1


@dataclass(frozen=True)
class Answer:
    """What came of a request: ``body`` (anything that JSON can say, paths and numpy's numbers too) and numpy arrays."""

    body: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Any] = field(default_factory=dict)


Work = Callable[[Request, "ServedJob"], Answer]


@dataclass(frozen=True)
class Kind:
    """A kind of request: the work, and whether it may take more than some seconds and so waits for its like."""

    work: Work
    long: bool = False


class ServedJob(Job):
    """A job whose progress, log lines and previews go to the client."""

    @staticmethod
    def of(request: Request, outbox: Outbox) -> ServedJob:
        """The job of a request."""
        last_stage, last_time = "", 0.0

        def listen(report: Report) -> None:
            nonlocal last_stage, last_time
            now, finished = time.monotonic(), report.done >= report.total
            if report.stage == last_stage and not finished and now - last_time < SECONDS_BETWEEN_REPORTS:
                return
            last_stage, last_time = report.stage, now
            share = report.done / report.total if report.total > 0 else 0.0
            left = report.seconds_left
            left = left if left is not None and 0 <= left < float("inf") else None
            share = min(1.0, max(0.0, share)) if share == share else 0.0
            outbox.offer(Progress(request.id, report.stage, share, left, report.detail))

        def show(what: str, body: Mapping[str, Any], **arrays: Any) -> None:
            # Copied: the work goes on with its arrays while these wait to be written.
            copies = {name: reply_array(array.copy()) for name, array in arrays.items()}
            outbox.offer(Preview(request.id, what, plain(body), copies))

        return ServedJob(
            listener=listen,
            log=lambda line: outbox.send(Log(request.id, str(line))),
            preview=show,
            watched=True,
        )


class Lane:
    """A thread that does one request after the other."""

    def __init__(self, name: str, kinds: Mapping[str, Kind], outbox: Outbox) -> None:
        self._kinds, self._outbox = kinds, outbox
        self._waiting: deque[tuple[Request, ServedJob, int]] = deque()
        self._running: tuple[Request, ServedJob, int] | None = None
        self._held = 0  # bytes of arrays in requests that wait or run
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=f"sa3d-{name}", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Puts a request at the end of the queue. Raises ProtocolError where the queue is full."""
        size = sum(array.nbytes for array in request.arrays.values())
        with self._changed:
            if len(self._waiting) >= MOST_WAITING or self._held + size > 2 * ENGINE_READS.payload:
                raise ProtocolError(
                    "More is asked for than can wait.", "Wait until some of it is done.", request=request.id
                )
            self._held += size
            self._waiting.append((request, ServedJob.of(request, self._outbox), size))
            self._changed.notify_all()

    def holds(self, id: int) -> bool:
        """Whether the request of that id waits or runs."""
        with self._changed:
            return any(entry[0].id == id for entry in (*self._waiting, *filter(None, (self._running,))))

    def cancel(self, id: int | None = None) -> None:
        """Asks one request to stop, or all. One that waits is answered at once; one that isn't here has been."""
        with self._changed:
            if self._running is not None and id in (None, self._running[0].id):
                self._running[1].cancel.set()
            dropped = [entry for entry in self._waiting if id in (None, entry[0].id)]
            for entry in dropped:
                self._waiting.remove(entry)
                self._held -= entry[2]
        for request, _, _ in dropped:
            self._outbox.send(Failure(request.id, Cancelled.code, "Stopped before it began.", ""))

    def close(self, seconds: float) -> bool:
        """Cancels everything and waits for what runs, so long at most. Returns whether the thread has ended."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self.cancel()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ending:
                    self._changed.wait()
                if not self._waiting:
                    return
                self._running = entry = self._waiting.popleft()
            request, job, size = entry
            answer = self._answer(request, job)
            with self._changed:
                self._running = None
                self._held -= size
            try:
                self._outbox.send(answer)
            except ProtocolError as fault:  # it can't be said, or is too large
                self._outbox.send(Failure(request.id, fault.code, fault.what, fault.cure))
            del entry, request, job, answer  # arrays would else stay until the next request

    def _answer(self, request: Request, job: ServedJob) -> Result | Failure:
        try:
            job.check()
            done = self._kinds[request.kind].work(request, job)
            arrays = {name: reply_array(array) for name, array in done.arrays.items()}
            return Result(request.id, plain(done.body), arrays)
        except Sa3dError as fault:
            return Failure(request.id, fault.code, fault.what, fault.cure)
        except BaseException as fault:  # whatever it is, the client has to hear of it, and the thread to go on
            traceback.print_exc(file=sys.stderr)
            return unexpected(request.id, fault)


def unexpected(id: int | None, fault: BaseException) -> Failure:
    """What isn't of our own tree, in words that help."""
    name, first = type(fault).__name__, (str(fault).strip().splitlines() or [""])[0][:300]
    if isinstance(fault, ImportError):
        missing = getattr(fault, "name", None) or first
        return Failure(
            id,
            EnvironmentFault.code,
            f"The engine's Python can't load the package {missing}.",
            "Install the engine again, or choose another Python for it in the add-on's preferences.",
        )
    if isinstance(fault, MemoryError) or name == "OutOfMemoryError":
        return Failure(
            id, "memory", "There is not enough memory for this.", "Close other programs, or choose a lower quality."
        )
    return Failure(id, "internal", f"The engine failed: {name}: {first}", "Open the log, and report it as a bug.")
