"""What the engine has to say, written by one thread: answers always, progress as far as the other side keeps up."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from sa3d_blender.protocol.errors import Sa3dError
from sa3d_blender.protocol.framing import CLIENT_READS, Buffer, Limits, write_all
from sa3d_blender.protocol.messages import Message, Preview, Progress, encode

__all__ = ["Outbox"]

MOST_WAITING = 1000  # answers; a client that asks without reading is not read either
MOST_BYTES = 1 << 30  # of answers that wait
STUCK_SECONDS = 60.0  # without one byte taken, while answers wait in full number: nobody reads any more


class _Entry:
    """One message in the queue: packed already (answers), or yet to be (what a later one may replace)."""

    def __init__(self, message: Message | None, pieces: list[Buffer] | None) -> None:
        self.message, self.pieces = message, pieces
        self.size = sum(len(piece) for piece in pieces or ())


class Outbox:
    """A queue and the thread that writes it.

    Args:
        write: takes bytes, and may block for as long as the other side doesn't read.
        on_broken: called once, on the writing thread or that of a sender, when nobody can be written to any more.
    """

    def __init__(
        self,
        write: Callable[[Buffer], int | None],
        on_broken: Callable[[], None] = lambda: None,
        limits: Limits = CLIENT_READS,
    ) -> None:
        self._write, self._on_broken, self._limits = write, on_broken, limits
        self._queue: deque[_Entry] = deque()
        self._latest: dict[tuple[object, ...], _Entry] = {}
        self._changed = threading.Condition()
        self._answers = self._bytes = 0
        self._ending = self._broken = self._hurried = False
        self._moved = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="sa3d-writer", daemon=True)
        self._thread.start()

    def send(self, message: Message) -> None:
        """Queues a message that has to arrive; waits while too many do. Raises ProtocolError for too large a one."""
        entry = _Entry(None, encode(message, self._limits))
        with self._changed:
            while self._answers and (self._answers >= MOST_WAITING or self._bytes + entry.size > MOST_BYTES):
                if self._broken or self._hurried:
                    return
                self._changed.wait(min(1.0, STUCK_SECONDS))
                if time.monotonic() - self._moved > STUCK_SECONDS:
                    break
            else:
                if not self._broken:
                    self._queue.append(entry)
                    self._answers += 1
                    self._bytes += entry.size
                    self._changed.notify_all()
                return
        self._give_up()

    def offer(self, message: Progress | Preview) -> None:
        """Queues a message unless an older one of its kind still waits: that one is replaced."""
        key = (type(message), message.id, message.what if isinstance(message, Preview) else "")
        with self._changed:
            waiting = self._latest.get(key)
            if waiting is not None:
                waiting.message = message
            elif not self._broken:
                entry = self._latest[key] = _Entry(message, None)
                self._queue.append(entry)
                self._changed.notify_all()

    def hurry(self) -> None:
        """The end is near: from now on nobody waits for room, and what finds none is left out."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def close(self, seconds: float) -> bool:
        """Writes what waits, for so long at most. Returns whether all of it went out."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(seconds)
        return not self._thread.is_alive() and not self._broken

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._ending:
                    self._changed.wait()
                if not self._queue:
                    return
                entry = self._queue.popleft()
                message = entry.message
                if message is not None:
                    self._latest = {key: other for key, other in self._latest.items() if other is not entry}
            try:
                pieces = entry.pieces if message is None else encode(message, self._limits)
                write_all(self._write, pieces or [])
            except Sa3dError as fault:  # progress that can't be said is no reason to stop
                print(f"Left out a {type(message).__name__.lower()} message: {fault}", file=sys.stderr)
            except (OSError, ValueError):  # nobody reads, or the file is closed
                self._give_up()
                return
            with self._changed:
                self._moved = time.monotonic()
                if message is None:
                    self._answers -= 1
                    self._bytes -= entry.size
                self._changed.notify_all()

    def _give_up(self) -> None:
        with self._changed:
            first, self._broken = not self._broken, True
            self._queue.clear()
            self._latest.clear()
            self._changed.notify_all()
        if first:
            self._on_broken()
