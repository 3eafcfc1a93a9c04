"""Spoiled captures of every format: `python tests/benchmarks/capture_fuzz.py [--count 20000] [--seed 0] [--first 0]`.

Bytes flipped, files cut, numbers made NaN or huge, counts blown up, keys removed, paths led out of the folder, links,
pipes, bombs. Each capture has to be loaded or refused with a sentence, in time, in memory, and from its folder only.
A failure prints the arguments that repeat it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

from capture_fuzzing import Tally, fuzz  # noqa: E402

ADDRESS_SPACE = 6 * 2**30  # bytes; what wants more fails instead of taking the machine down


def main() -> None:
    """Prints what came of the captures; exit code 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    start = time.perf_counter()

    told = 0

    def check(number: int, tally: Tally) -> None:
        nonlocal told
        for failure in tally.failures[told:]:
            print(failure, file=sys.stderr, flush=True)
        told = len(tally.failures)
        if number % 1000 == 999:
            done, seconds = number + 1 - options.first, time.perf_counter() - start
            print(f"{done} captures, {seconds:.0f} s, {len(tally.failures)} failures", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as name:
        tally = fuzz(Path(name), options.count, options.seed, options.first, check)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.count} captures in {time.perf_counter() - start:.0f} s, seed {options.seed}")
    print(f"loaded {tally.loaded} {dict(tally.formats)}, refused {tally.refused}")
    print(f"slowest {tally.slowest_s:.2f} s, at most {tally.grown_mb:.0f} MB more for one, {peak:.0f} MB in all")
    for sentence, count in tally.sentences.most_common(12):
        print(f"  {count:6d}  {sentence}")
    print(f"{len(tally.failures)} failures")
    sys.exit(1 if tally.failures else 0)


if __name__ == "__main__":
    main()
