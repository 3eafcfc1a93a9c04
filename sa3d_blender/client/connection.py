"""One started engine and two threads that move its bytes: one reads frames into a queue, one writes from another."""

from __future__ import annotations

import queue
import threading
from collections import deque
from dataclasses import dataclass

from ..protocol.framing import CLIENT_READS, ENGINE_READS, Buffer, FrameReader, ProtocolError, write_all
from ..protocol.messages import FROM_ENGINE, Message, decode, encode
from .transport import Transport

__all__ = ["Connection", "Ended", "greeting_lines"]

GREETING = 1 << 16  # bytes that a login may print before the engine's first frame
MOST_WAITING = 256 << 20  # bytes of arrays that wait to be delivered; then the engine has to wait too
MOST_FRAMES = 20_000


@dataclass(frozen=True)
class Ended:
    """The stream from the engine is over; ``fault`` where that was its fault."""

    fault: ProtocolError | None = None


class Connection:
    """Threads around a started transport. ``send`` never blocks; ``next`` gives what has come, one by one."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._out: queue.SimpleQueue[list[Buffer] | None] = queue.SimpleQueue()
        self._in: deque[tuple[Message | Ended, int]] = deque()
        self._waiting = 0
        self._room = threading.Condition()
        self._closed = False
        self.frames = FrameReader(transport.read, CLIENT_READS, junk=GREETING)
        self._threads = [
            threading.Thread(target=self._read, name="sa3d-read", daemon=True),
            threading.Thread(target=self._write, name="sa3d-write", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def send(self, message: Message) -> None:
        """Queues a message. Raises ProtocolError for one that is larger than the engine reads."""
        self._out.put(encode(message, ENGINE_READS))

    def next(self) -> Message | Ended | None:
        """The oldest message that has come, or None."""
        with self._room:
            if not self._in:
                return None
            message, size = self._in.popleft()
            self._waiting -= size
            self._room.notify_all()
            return message

    def close(self, deadline_s: float) -> None:
        """Ends the engine and the threads."""
        self._closed = True
        self._out.put(None)
        with self._room:
            self._room.notify_all()
        self.transport.close(deadline_s)

    def _read(self) -> None:
        while True:
            try:
                frame = self.frames.next()
                if frame is None:
                    self._put(Ended(), 0)
                    return
                self._put(decode(frame, FROM_ENGINE), frame.nbytes)
            except ProtocolError as fault:
                # An engine that says nonsense once is not ours: there is nothing to be saved by going on.
                self._put(Ended(fault), 0)
                return
            except (OSError, ValueError):
                self._put(Ended(), 0)
                return

    def _put(self, message: Message | Ended, size: int) -> None:
        with self._room:
            while (
                not self._closed and self._in and (self._waiting + size > MOST_WAITING or len(self._in) >= MOST_FRAMES)
            ):
                self._room.wait()
            self._in.append((message, size))
            self._waiting += size

    def _write(self) -> None:
        try:
            while (pieces := self._out.get()) is not None and not self._closed:
                write_all(self.transport.write, pieces)
        except (OSError, ValueError):  # nobody reads: the other thread notices too, and says it
            return
        finally:
            self.transport.finish()


def greeting_lines(frames: FrameReader) -> list[str]:
    """What was printed before the first frame."""
    return [line for line in frames.greeting.decode("utf-8", "replace").splitlines() if line.strip()]
