"""Kills a working engine at random moments: `python tests/benchmarks/kill_engine.py [KILLS] [SEED]`.

On the tests' tiny capture an engine trains, segments and writes, with kill -9 at any moment of it: a third of them
while something is being written. Now and then the cache is emptied, so that it trains again. After each kill the
session has to say so within seconds; the next engine opens the result, or refuses it in words, and then every file in
cache and result has to be whole and none half-written. At the end the same work has to go through.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

from tiny_capture import write_tiny_capture  # noqa: E402
from wholeness import assert_whole  # noqa: E402

from sa3d_blender.client.process import EngineCommand, ProcessTransport, python_engine  # noqa: E402
from sa3d_blender.client.session import Handle, Session  # noqa: E402
from sa3d_blender.protocol.messages import Failure, Result  # noqa: E402

# The engine as it is, but for training of seconds instead of minutes.
SHORT = """
from engine.server_start import claim
pair = claim()
from dataclasses import replace
from engine.fields.settings import PRESETS
PRESETS["draft"] = replace(PRESETS["draft"], steps=300, rays=1024, sides=(32, 48), upsample_at=(120,))
from engine.server import main
main(*pair, ["--device", "cpu"])
"""


def main() -> None:
    """Prints what came of each kill, and fails where anything is wrong."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        capture = write_tiny_capture(folder / "capture")
        x, y = capture.centre_px("ball", 4)
        body = {
            "capture": str(capture.folder),
            "view": "004",
            "points": [[x, y, 1], [x + 4, y + 3, 1]],
            "segmenter": "graph-cut",
            "out": str(folder / "result"),
        }
        environment = {**python_engine(sys.executable, ROOT).environment, "SA3D_CACHE": str(folder / "cache")}
        transports: list[ProcessTransport] = []

        def make() -> ProcessTransport:
            command = EngineCommand((sys.executable, "-c", SHORT), environment, own=True)
            transports.append(ProcessTransport(command))
            return transports[-1]

        session = Session(make)
        session.start()
        begun = time.monotonic()
        first = session.wait(session.request("segment", body), 600)
        assert isinstance(first, Result), first
        tally: Counter[str] = Counter()
        longest = whole = time.monotonic() - begun
        slowest_notice = 0.0
        while tally.total() < kills:
            handle = session.request("segment", body)
            wait_for(session, handle, lambda now=handle: now.progress is not None)
            begun = time.monotonic()
            if saving := chance.random() < 1 / 3:
                trained = any((folder / "cache").glob("fields/*/field.json"))
                place = folder / "result" if trained else folder / "cache"
                wait_for(session, handle, lambda now=place: is_writing(now), 0.0005)
                time.sleep(chance.random() * 0.05)
            else:
                moment = time.monotonic() + chance.random() * longest
                wait_for(session, handle, lambda at=moment: time.monotonic() > at)
            if not handle.is_open:
                longest = time.monotonic() - begun  # it takes no longer than this any more
            if not handle.is_open or handle.progress is None:  # killed in mid-work, or not at all
                continue
            stage = handle.progress.stage
            stage += " while it writes" if saving and is_writing(folder) else ""
            tally[stage] += 1
            pid = transports[-1].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            while session.state != "dead":
                session.pump()
                assert time.monotonic() - killed < 5
                time.sleep(0.002)
            slowest_notice = max(slowest_notice, time.monotonic() - killed)
            session.wait(handle, 5)
            print(f"kill {tally.total()} in mid {stage!r}", flush=True)
            session.restart()
            found = session.wait(session.request("open_capture", {"path": str(capture.folder)}), 120)
            assert isinstance(found, Result), found
            look = session.wait(session.request("shape", {"result": body["out"]}), 120)
            is_result = (folder / "result/report.json").is_file()
            # "field": the cache was emptied, and the engine killed before there was a field again
            refused = isinstance(look, Failure) and (look.code == "field" or (look.code == "storage" and not is_result))
            assert isinstance(look, Result) or refused, look
            wait_until(session, lambda: session.capabilities is not None)
            assert_whole(folder)
            if chance.random() < 0.3:
                cleared = session.wait(session.request("cache_clear"), 120)
                assert isinstance(cleared, Result), cleared
                longest = whole
        done = session.wait(session.request("segment", body), 600)
        assert isinstance(done, Result), done
        session.close()
        assert_whole(folder)
        print(dict(tally))
        print(f"{kills} kills; noticed within {slowest_notice:.2f} s; the same work went through at the end")


def wait_for(session: Session, handle: Handle, true: Callable[[], object], step: float = 0.005) -> None:
    """Pumps until something is so, or the request is over."""
    while handle.is_open and not true():
        session.pump()
        time.sleep(step)


def wait_until(session: Session, true: Callable[[], object]) -> None:
    """Pumps until something is so, for a minute at most."""
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        session.pump()
        time.sleep(0.005)


def is_writing(folder: Path) -> bool:
    """Whether there is something half-written."""
    with contextlib.suppress(FileNotFoundError):  # it comes and goes meanwhile
        return any(folder.rglob(".partial-*")) or any(folder.rglob(".written"))
    return False


if __name__ == "__main__":
    main()
