"""A transport without a process: a scripted engine on a thread, for tests of everything that talks to a session."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping

from ..protocol.errors import Cancelled
from ..protocol.framing import CLIENT_READS, ENGINE_READS, Buffer, FrameReader, ProtocolError, write_all
from ..protocol.messages import (
    FROM_CLIENT,
    Cancel,
    Capabilities,
    Failure,
    Hello,
    Message,
    Ping,
    Pong,
    Request,
    Result,
    decode,
    encode,
)

__all__ = ["FakeTransport"]


class FakeTransport:
    """See `Transport` for its methods, but for those that steer it.

    Args:
        script: what a request of each kind does, on the fake engine's thread; it calls ``say`` then, or the test does
            later. A kind that isn't there gets a failure; a request that is cancelled is answered as an engine does.
        hello: what the engine says first; None for an engine that says nothing. capabilities: likewise, after it.
    """

    def __init__(
        self,
        script: Mapping[str, Callable[[Request, FakeTransport], None]] | None = None,
        hello: Hello | None = None,
        capabilities: Mapping[str, object] | None = None,
        silent: bool = False,
    ) -> None:
        self.script, self.heard = dict(script or {}), list[Message]()
        self._hello = None if silent else hello or Hello("0.1.0", about={"requests": sorted(self.script)})
        self._capabilities = capabilities
        self._client, self._engine = socket.socketpair()
        self._answered: set[int] = set()
        self._speaking = threading.Lock()
        self._ending: str | None = None
        self.lines: list[str] = []

    def say(self, message: Message) -> None:
        """Sends a message to the client."""
        if isinstance(message, Result | Failure) and message.id is not None:
            self._answered.add(message.id)
        self.say_bytes(*encode(message, CLIENT_READS))

    def say_bytes(self, *pieces: Buffer) -> None:
        """Sends bytes to the client, whatever they are."""
        with self._speaking:
            write_all(self._engine.send, pieces)

    def crash(self, ending: str = "signal 9") -> None:
        """The engine is gone from one moment to the next."""
        self._ending = ending
        self._engine.close() if self._thread is threading.current_thread() else self._engine.shutdown(socket.SHUT_RDWR)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="sa3d-fake-engine", daemon=True)
        self._thread.start()

    def read(self, count: int) -> bytes:
        return self._client.recv(count)

    def write(self, data: Buffer) -> int | None:
        return self._client.send(data)

    def finish(self) -> None:
        try:
            self._client.shutdown(socket.SHUT_WR)
        except OSError:  # the other side was faster
            return

    def log_lines(self) -> list[str]:
        return list(self.lines)

    def ending(self, wait_s: float) -> str | None:
        return self._ending

    def close(self, deadline_s: float) -> None:
        self._ending = self._ending or "exit code 0"
        for end in (self._client, self._engine):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is over already
                continue

    def _run(self) -> None:
        frames = FrameReader(self._engine.recv, ENGINE_READS)
        try:
            if self._hello is not None:
                self.say(self._hello)
            if self._capabilities is not None:
                self.say(Capabilities(self._capabilities))
            while (frame := frames.next()) is not None:
                self._take(decode(frame, FROM_CLIENT))
        except (OSError, ProtocolError):  # the client has gone
            return

    def _take(self, message: Message) -> None:
        self.heard.append(message)
        if isinstance(message, Ping):
            self.say(Pong(message.id))
        elif isinstance(message, Cancel) and message.id not in self._answered:
            self.say(Failure(message.id, Cancelled.code, "Stopped on request.", ""))
        elif isinstance(message, Request):
            play = self.script.get(message.kind)
            if play is None:
                self.say(Failure(message.id, "protocol", f"There is no request of the kind {message.kind!r}.", ""))
            else:
                play(message, self)
