"""The engine as a process: reads requests as frames, has them worked on by its lanes, and always answers."""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from engine import __version__
from engine.server_lanes import Kind, Lane
from engine.server_outbox import Outbox
from engine.server_parent import die_with_parent
from sa3d_blender.protocol.errors import Sa3dError
from sa3d_blender.protocol.framing import ENGINE_READS, Buffer, FrameReader, ProtocolError
from sa3d_blender.protocol.messages import (
    FROM_CLIENT,
    PROTOCOL,
    Cancel,
    Capabilities,
    Failure,
    Hello,
    Message,
    Ping,
    Pong,
    Request,
    decode,
)

__all__ = ["Server", "main"]

GRACE_SECONDS = 1.0  # for a running job to stop and for answers to go out, once nobody is there any more
LOST = 3  # exit code where the stream held something else than frames


class Server:
    """Reads on the thread that calls ``run``, works on two others, writes on one more.

    Args:
        read: returns 1 to n bytes, none at the end. write: takes bytes; may block.
        kinds: what can be asked for. The kind "info", where there is one, is also sent as Capabilities at the start.
        on_broken: called when nobody reads what is written any more; ``run`` may be stuck in ``read`` then.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        write: Callable[[Buffer], int | None],
        kinds: Mapping[str, Kind],
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        self._frames = FrameReader(read, ENGINE_READS)
        self._kinds = kinds
        self._on_broken = on_broken
        self._outbox = Outbox(write, self._broken)
        self._long = Lane("long", kinds, self._outbox)
        self._short = Lane("short", kinds, self._outbox)

    def run(self) -> int:
        """Serves until the other side closes or sends what is no frame. Returns the exit code."""
        about = {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "pid": os.getpid(),
            "requests": sorted(self._kinds),
        }
        self._outbox.send(Hello(__version__, PROTOCOL, about))
        code = 0
        while True:
            try:
                frame = self._frames.next()
                if frame is None:
                    break
                self._take(decode(frame, FROM_CLIENT))
            except ProtocolError as fault:
                self._outbox.send(Failure(fault.request, fault.code, fault.what, fault.cure))
                if fault.lost:
                    code = LOST
                    break
            except OSError:
                break
        self.close()
        return code

    def close(self) -> None:
        """Stops what runs and sends what waits, both for a moment at most."""
        self._outbox.hurry()
        for lane in (self._long, self._short):
            lane.close(GRACE_SECONDS / 2)
        self._outbox.close(GRACE_SECONDS)

    def _take(self, message: Message) -> None:
        if isinstance(message, Ping):
            self._outbox.send(Pong(message.id))
        elif isinstance(message, Cancel):
            self._long.cancel(message.id)
            self._short.cancel(message.id)
        elif isinstance(message, Hello):
            if message.protocol != PROTOCOL:
                raise ProtocolError(
                    f"The add-on speaks version {message.protocol} of the protocol, this engine version {PROTOCOL}.",
                    lost=True,
                )
            self._introduce()
        elif isinstance(message, Request):
            kind = self._kinds.get(message.kind)
            if kind is None:
                raise ProtocolError(f"There is no request of the kind {message.kind!r}.", request=message.id)
            if self._long.holds(message.id) or self._short.holds(message.id):
                raise ProtocolError(f"The number {message.id} is another request's.", request=message.id)
            (self._long if kind.long else self._short).submit(message)

    def _introduce(self) -> None:
        """Finds out on a thread of its own what can be done here: loading torch takes seconds."""
        info = self._kinds.get("info")
        if info is None:
            return

        def tell() -> None:
            from engine.server_body import plain
            from engine.server_lanes import ServedJob

            request = Request(0, "info")
            try:
                answer = info.work(request, ServedJob.of(request, self._outbox))
                self._outbox.send(Capabilities(plain(answer.body)))
            except Sa3dError as fault:
                self._outbox.send(Failure(None, fault.code, fault.what, fault.cure))
            except Exception as fault:
                from engine.server_lanes import unexpected

                self._outbox.send(unexpected(None, fault))

        threading.Thread(target=tell, name="sa3d-introduction", daemon=True).start()

    def _broken(self) -> None:
        for lane in (self._long, self._short):
            lane.cancel()
        self._on_broken()


def main(read_from: int, write_to: int, words: list[str] | None = None) -> None:
    """Serves frames on two file descriptors until the client has gone, then ends the process. Doesn't return.

    Args:
        words: ``--device NAME --cache DIR``; the process's own arguments by default.
    """
    parser = argparse.ArgumentParser(prog="sa3d serve", description=__doc__)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--cache", type=Path, default=None, help="cache folder (default: $SA3D_CACHE or the user's)")
    given = parser.parse_args(words)
    die_with_parent()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")

    from engine.server_requests import request_kinds  # light; what is heavy is loaded by the first request

    # A job may be in the middle of something that can't be interrupted, and nobody is left to wait for it: files are
    # written under temporary names, so that a process may end at any moment.
    server = Server(
        lambda count: os.read(read_from, count),
        lambda data: os.write(write_to, data),
        request_kinds(given.device, given.cache),
        on_broken=lambda: os._exit(0),
    )
    try:
        code = server.run()
    except KeyboardInterrupt:
        code = 130
    sys.stderr.flush()
    os._exit(code)
