"""Random and mutated frames: always an answer or a clean end (tests/benchmarks/protocol_fuzz.py sends 100,000)."""

from __future__ import annotations

import tracemalloc

import pytest
from protocol_fuzzing import Fuzzer


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_sent_the_server_answers_in_whole_frames_and_ends(seed):
    tracemalloc.start()
    tally = Fuzzer(seed).run(200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tally.endings["lost"] > 0
    assert tally.endings["end of input"] > 0
    assert tally.answers["Result"] > 0
    assert tally.answers["Failure"] > 0
    assert peak < 32 << 20  # streams claim gigabytes; the largest frame that comes has some 100 kB
