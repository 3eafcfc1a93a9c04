"""Sends 100,000 random and mutated frames to servers: `python tests/benchmarks/protocol_fuzz.py [FRAMES] [SEED]`.

Each stream of some 15 frames goes to a server of its own; every answer has to be a whole frame, every stream has to end
within seconds, and memory must not grow. A stream that hangs ends the program with the stacks of all threads.
"""

from __future__ import annotations

import faulthandler
import resource
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

from protocol_fuzzing import Fuzzer  # noqa: E402

STEP = 5000
HANG_SECONDS = 60


def main() -> None:
    """Prints what came of it, and fails where anything is wrong."""
    frames = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    fuzzer = Fuzzer(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    fuzzer.run(STEP)  # so that everything is loaded
    before, started = _peak_mb(), time.perf_counter()
    while fuzzer.tally.frames < frames:
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        fuzzer.run(min(frames, fuzzer.tally.frames + STEP))
        seconds = time.perf_counter() - started
        print(f"{fuzzer.tally.frames} frames, {seconds:.0f} s, peak {_peak_mb():.0f} MB", flush=True)
    faulthandler.cancel_dump_traceback_later()
    tally = fuzzer.tally
    print(f"{tally.frames} frames in {tally.streams} streams: {dict(tally.endings)}; said {dict(tally.answers)}")
    print(f"Slowest stream {tally.slowest_s:.2f} s; peak memory grew by {_peak_mb() - before:.1f} MB")
    assert _peak_mb() - before < 64, "memory grows"


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
