"""What a session needs of the way to an engine: bytes in both directions, and to know what became of it."""

from __future__ import annotations

from typing import Protocol

from ..protocol.framing import Buffer

__all__ = ["Transport"]


class Transport(Protocol):
    """A way to one engine, used once: started, closed, never started again.

    ``read`` and ``write`` may block; each is called by one thread of its own. Once the engine has ended both return or
    raise.
    """

    def start(self) -> None:
        """Starts the engine, or reaches for it. Raises EnvironmentFault where that can't be done."""
        ...

    def read(self, count: int) -> bytes:
        """1 to ``count`` bytes; none where the engine has closed its side. Raises OSError or ValueError."""
        ...

    def write(self, data: Buffer) -> int | None:
        """Takes some or all bytes. Raises OSError or ValueError where nobody reads any more."""
        ...

    def finish(self) -> None:
        """Nothing more will be written: ends the engine's input. Called by the thread that writes."""
        ...

    def log_lines(self) -> list[str]:
        """The last lines that the engine printed."""
        ...

    def ending(self, wait_s: float) -> str | None:
        """How the engine ended, in words ("exit code 1"); None while it runs. Waits for so long at most."""
        ...

    def close(self, deadline_s: float) -> None:
        """Ends the engine: politely, then by force. Returns within about ``deadline_s``; may be called twice."""
        ...
