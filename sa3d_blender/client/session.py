"""A session with an engine: requests and their handles, callbacks delivered by ``pump``, restart after a crash.

Nothing here blocks but ``close``, which has a deadline. Callbacks run on the thread that calls ``pump``: in Blender a
timer's, under ``blender -b`` that of a loop.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..protocol.errors import Cancelled, Sa3dError
from ..protocol.framing import ProtocolError, RawArray
from ..protocol.messages import (
    PROTOCOL,
    Cancel,
    Capabilities,
    Failure,
    Hello,
    Log,
    Ping,
    Pong,
    Preview,
    Progress,
    Request,
    Result,
)
from .connection import Connection, Ended, greeting_lines
from .transport import Transport

__all__ = ["Callbacks", "Handle", "Session", "as_numpy"]

ENGINE_GONE = "engine"  # the code of failures that a dead engine leaves behind
PUMP_SECONDS = 0.02  # of callbacks at a time: the window is drawn again before the next ones
PING_SECONDS = 5.0
ENDING_SECONDS = 0.15  # in which a process whose stream is over usually has an exit code; the window waits meanwhile
LOG_LINES = 1000
VERSION = "0.1.0"


def as_numpy(array: RawArray) -> np.ndarray:
    """An array that came from the engine; read-only where its bytes are."""
    return np.frombuffer(array.data, np.dtype(array.dtype).newbyteorder("<")).reshape(array.shape)


def _nothing(*_: Any) -> None:
    return None


@dataclass(frozen=True)
class Callbacks:
    """What is told of a request: any number of ``progress``, ``preview`` and ``log``, then ``result`` or ``failure``,
    and ``done`` after either. Each gets the handle and the message; see `sa3d_blender.protocol.messages`."""

    progress: Callable[[Handle, Progress], None] = _nothing
    preview: Callable[[Handle, Preview], None] = _nothing
    log: Callable[[Handle, str], None] = _nothing
    result: Callable[[Handle, Result], None] = _nothing
    failure: Callable[[Handle, Failure], None] = _nothing
    done: Callable[[Handle], None] = _nothing


@dataclass(eq=False)
class Handle:
    """One request and what is known of it. ``state``: "open", "cancelling", "done", "failed" or "cancelled"."""

    id: int
    kind: str
    body: Mapping[str, Any]
    callbacks: Callbacks
    _send_cancel: Callable[[Handle], None] = field(repr=False)
    state: str = "open"
    progress: Progress | None = None
    result: Result | None = None
    failure: Failure | None = None
    started: float = field(default_factory=time.monotonic)

    @property
    def is_open(self) -> bool:
        """Whether neither a result nor a failure has been delivered."""
        return self.state in ("open", "cancelling")

    def cancel(self) -> None:
        """Asks the engine to stop; the failure with the code "cancelled" follows. Nothing happens to what is over."""
        if self.state == "open":
            self.state = "cancelling"
            self._send_cancel(self)

    def array(self, name: str) -> np.ndarray:
        """An array of the result. Raises KeyError where there is none of that name."""
        if self.result is None:
            raise KeyError(name)
        return as_numpy(self.result.arrays[name])


class Session:
    """Everything that is asked of one engine, over a transport that ``make_transport`` makes at each start.

    ``state`` is "stopped" (never started, or closed), "starting", "ready" or "dead"; ``fault`` says why it died, with
    a cure; ``hello`` and ``capabilities`` are the engine's own words, None until they have come.
    """

    def __init__(
        self, make_transport: Callable[[], Transport], on_change: Callable[[Session], None] = _nothing
    ) -> None:
        """``on_change``: called in ``pump`` (or start, close) when state, hello or capabilities have changed."""
        self._make_transport, self._on_change = make_transport, on_change
        self._connection: Connection | None = None
        self._open: dict[int, Handle] = {}
        self._undelivered: deque[tuple[Handle, Failure]] = deque()
        self._next_id = 1
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._last_heard = self._last_ping = 0.0
        self._pumping = False
        self.state = "stopped"
        self.fault: Failure | None = None
        self.hello: Hello | None = None
        self.capabilities: Mapping[str, Any] | None = None

    def start(self) -> None:
        """Starts the engine unless it runs. Doesn't wait and doesn't raise: a failure is the state "dead"."""
        if self._connection is not None and self.state in ("starting", "ready"):
            return
        self.fault = self.hello = self.capabilities = None
        transport = self._make_transport()
        try:
            transport.start()
        except Sa3dError as fault:
            self._die(Failure(None, fault.code, fault.what, fault.cure))
            return
        self._connection = Connection(transport)
        self._last_heard = self._last_ping = time.monotonic()
        self._connection.send(Hello(VERSION, PROTOCOL))
        self._change("starting")

    def request(
        self,
        kind: str,
        body: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        callbacks: Callbacks | None = None,
    ) -> Handle:
        """Asks for something. Never raises for what the engine is to blame for: that comes as a failure, from ``pump``.

        Args:
            kind: as in docs/protocol.md. body: what JSON can say. arrays: numpy arrays; they are copied.
        """
        handle = Handle(self._next_id, kind, dict(body or {}), callbacks or Callbacks(), self._cancel)
        self._next_id += 1
        self._open[handle.id] = handle
        if self._connection is None or self.state not in ("starting", "ready"):
            gone = Failure(handle.id, ENGINE_GONE, "The engine isn't running.", "Press Restart.")
            self._undelivered.append((handle, gone if self.fault is None else _for(handle, self.fault)))
            return handle
        try:
            raw = {name: RawArray.of(np.array(each, order="C")) for name, each in (arrays or {}).items()}
            self._connection.send(Request(handle.id, kind, handle.body, raw))
        except (ProtocolError, TypeError) as fault:
            what = fault.what if isinstance(fault, ProtocolError) else f"The request can't be sent: {fault}."
            self._undelivered.append((handle, Failure(handle.id, ProtocolError.code, what, "Report this as a bug.")))
        return handle

    def pump(self, seconds: float = PUMP_SECONDS) -> int:
        """Delivers what has come, for about so long at most; returns the number of messages. Call it often.

        An exception in a callback is written to the log and goes no further.
        """
        if self._pumping:  # a callback that pumps: what comes next waits until it is done
            return 0
        self._pumping = True
        try:
            until, count = time.monotonic() + seconds, 0
            while True:
                if self._undelivered:
                    self._finish(*self._undelivered.popleft())
                elif self._connection is None or (message := self._connection.next()) is None:
                    break
                else:
                    self._last_heard = time.monotonic()
                    self._deliver(message)
                count += 1
                if time.monotonic() >= until:
                    break
            self._ask_for_life()
            return count
        finally:
            self._pumping = False

    def wait(self, handle: Handle, seconds: float = 600.0) -> Result | Failure:
        """Pumps until a request is over: for tests and for `blender -b`. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while handle.is_open:
            if time.monotonic() > until:
                raise TimeoutError(f"{handle.kind} took more than {seconds:g} s")
            if not self.pump():
                time.sleep(0.005)
        found = handle.result or handle.failure
        assert found is not None
        return found

    @property
    def open_handles(self) -> tuple[Handle, ...]:
        """The requests that have had no answer yet, oldest first."""
        return tuple(self._open.values())

    @property
    def silent_seconds(self) -> float:
        """For how long nothing has been heard. A healthy engine answers pings, so that it stays below some 10."""
        return time.monotonic() - self._last_heard if self.state in ("starting", "ready") else 0.0

    def log_lines(self) -> list[str]:
        """The log: what the session noticed, then the last lines that the engine printed."""
        printed = [] if self._connection is None else self._connection.transport.log_lines()
        return [*self._log, *printed]

    def close(self, seconds: float = 2.0) -> None:
        """Ends the engine within about ``seconds``. Open requests fail as cancelled, at the next ``pump``."""
        self._end(seconds, wait=True)
        self._all_stopped()

    def restart(self, seconds: float = 2.0) -> None:
        """Starts a new engine, and ends the old one, dead or alive, without waiting for it."""
        self._end(seconds, wait=False)
        self._all_stopped()
        self.start()

    def _all_stopped(self) -> None:
        for handle in self._open.values():
            if not any(handle is waiting for waiting, _ in self._undelivered):
                stopped = Failure(handle.id, Cancelled.code, "Stopped, because the engine was closed.", "")
                self._undelivered.append((handle, stopped))
        self._change("stopped")

    def _end(self, seconds: float, wait: bool) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            # Not a daemon: where Blender quits meanwhile, Python waits for it and no engine is left.
            closing = threading.Thread(target=connection.close, args=(seconds,), name="sa3d-close")
            closing.start()
            if wait:
                closing.join()
            self._log += connection.transport.log_lines()

    def _cancel(self, handle: Handle) -> None:
        if self._connection is not None and self.state in ("starting", "ready"):
            self._connection.send(Cancel(handle.id))

    def _change(self, state: str) -> None:
        self.state = state
        self._guarded(self._on_change, self)

    def _deliver(self, message: Any) -> None:
        if isinstance(message, Ended):
            self._engine_gone(message.fault)
        elif isinstance(message, Hello):
            self._greet(message)
        elif isinstance(message, Capabilities):
            self.capabilities = message.body
            self._change(self.state)
        elif isinstance(message, Failure) and message.id is None:
            self._log.append(f"Engine: {message.what} {message.cure}")
            self.fault = message  # shown, but the engine lives until its stream ends
            self._change(self.state)
        elif isinstance(message, Log) and message.id is None:
            self._log.append(message.line)
        elif not isinstance(message, Pong):
            handle = self._open.get(message.id)
            if handle is not None:  # else it was answered already
                self._deliver_to(handle, message)

    def _deliver_to(self, handle: Handle, message: Any) -> None:
        if isinstance(message, Progress):
            handle.progress = message
            self._guarded(handle.callbacks.progress, handle, message)
        elif isinstance(message, Preview):
            self._guarded(handle.callbacks.preview, handle, message)
        elif isinstance(message, Log):
            self._log.append(f"{handle.kind} {handle.id}: {message.line}")
            self._guarded(handle.callbacks.log, handle, message.line)
        else:
            self._finish(handle, message)

    def _finish(self, handle: Handle, message: Result | Failure) -> None:
        if self._open.pop(handle.id, None) is None:
            return
        if isinstance(message, Result):
            handle.state, handle.result = "done", message
            self._guarded(handle.callbacks.result, handle, message)
        else:
            handle.state, handle.failure = "cancelled" if message.cancelled else "failed", message
            if not message.cancelled:
                self._log.append(f"{handle.kind} {handle.id} failed: {message.what} {message.cure}")
            self._guarded(handle.callbacks.failure, handle, message)
        self._guarded(handle.callbacks.done, handle)

    def _greet(self, hello: Hello) -> None:
        if hello.protocol != PROTOCOL:
            what = f"The engine speaks version {hello.protocol} of the protocol, the add-on version {PROTOCOL}."
            self._die(Failure(None, ProtocolError.code, what, "Install the engine that belongs to this add-on."))
            return
        self.hello = hello
        if hello.version != VERSION:
            self._log.append(
                f"The engine is version {hello.version}, the add-on {VERSION}; both understand each other."
            )
        self._change("ready")

    def _engine_gone(self, fault: ProtocolError | None) -> None:
        """The stream is over: finds out why, and says it to everyone who waits."""
        connection = self._connection
        assert connection is not None
        ending = connection.transport.ending(ENDING_SECONDS)
        printed = [*greeting_lines(connection.frames), *connection.transport.log_lines()]
        last = f" Its last words: {printed[-1][:300]}" if printed else ""
        if fault is not None and self.hello is not None and ending is None:
            what, cure = f"The engine sent what can't be read. {fault.what}", "Press Restart."
        elif self.hello is None:
            how = f" ({ending})" if ending else ""
            what, cure = (
                f"The engine didn't start{how}.{last}",
                "Check the engine in the preferences, then press Restart.",
            )
        else:
            what, cure = f"The engine stopped ({ending or 'its stream ended'}).{last}", "Press Restart."
        self._die(Failure(None, ENGINE_GONE, what, cure))

    def _die(self, fault: Failure) -> None:
        self.fault = fault
        self._log.append(f"{fault.what} {fault.cure}")
        self._end(1.0, wait=False)
        self._undelivered += [(handle, _for(handle, fault)) for handle in self._open.values()]
        self._change("dead")

    def _ask_for_life(self) -> None:
        now = time.monotonic()
        if self.state == "ready" and self._connection is not None and now - self._last_ping > PING_SECONDS:
            self._last_ping = now
            self._connection.send(Ping(0))

    def _guarded(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:
            self._log += traceback.format_exception(*sys.exc_info())


def _for(handle: Handle, fault: Failure) -> Failure:
    return Failure(handle.id, fault.code, fault.what, fault.cure)
