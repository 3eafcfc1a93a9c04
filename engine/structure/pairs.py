"""Which photos are compared with which: all with all while that is affordable, else neighbours and look-alikes.

Look-alikes are found by small global descriptors of their SIFT features (VLAD: Jegou et al., "Aggregating local
descriptors into a compact image representation", 2010), made from the photos themselves: nothing is downloaded.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence, Set

import numpy as np
from scipy.cluster.vq import kmeans2, vq

__all__ = ["ALIKE", "ALIKE_IN_VIDEO", "EXHAUSTIVE_UP_TO", "all_pairs", "look_alikes", "neighbours", "vlad", "words"]

EXHAUSTIVE_UP_TO = 120  # photos: 7,140 pairs
NEIGHBOURS = 10  # photos to either side, in the order of names or of the video
ALIKE = 20  # most similar photos for each
ALIKE_IN_VIDEO = 5  # of those that aren't near in time
WORDS = 32
_SAMPLE = 200  # descriptors of a photo that the words are made from


def all_pairs(count: int) -> set[tuple[int, int]]:
    """Each of ``count`` photos with each other: pairs (i, j), i < j."""
    return {(i, j) for i in range(count) for j in range(i + 1, count)}


def neighbours(count: int, overlap: int = NEIGHBOURS) -> set[tuple[int, int]]:
    """Each photo with the ``overlap`` next ones in order, and with those 16, 32, 64, ... further on."""
    steps = [*range(1, overlap + 1)]
    step = 16
    while step < min(count, 256):
        steps.append(step)
        step *= 2
    return {(i, i + step) for step in steps for i in range(count - step)}


def words(descriptors: Iterator[np.ndarray], seed: int) -> np.ndarray:
    """Typical descriptors, float32 [W, 128], of the photos' uint8 [N, 128]."""
    rng = np.random.default_rng(seed)
    samples = [d[rng.permutation(len(d))[:_SAMPLE]] for d in descriptors if len(d)]
    if not samples:
        return np.zeros((1, 128), np.float32)
    sample = np.concatenate(samples).astype(np.float32)
    count = min(WORDS, len(sample))
    found, _ = kmeans2(sample, count, iter=15, minit="points", seed=seed, missing="warn")
    return np.asarray(found, np.float32)


def vlad(descriptors: np.ndarray, typical: np.ndarray) -> np.ndarray:
    """A photo's features, uint8 [N, 128], as one vector of length 1, float32 [W * 128]; zeros without features."""
    sums = np.zeros(typical.shape, np.float32)
    if len(descriptors):
        values = descriptors.astype(np.float32)
        nearest, _ = vq(values, typical)
        np.add.at(sums, nearest, values - typical[nearest])
    sums = np.sign(sums) * np.sqrt(np.abs(sums))
    flat = sums.reshape(-1)
    length = float(np.linalg.norm(flat))
    return flat / length if length > 0 else flat


def look_alikes(
    vectors: Sequence[np.ndarray], most: int = ALIKE, besides: Set[tuple[int, int]] = frozenset()
) -> set[tuple[int, int]]:
    """For each photo the ``most`` others that look most like it, by their vectors.

    Pairs of ``besides`` don't count: a video's next frames are always the most alike, and would hide that its end is
    back at its beginning.
    """
    table = np.stack(list(vectors))  # [N, D]
    pairs: set[tuple[int, int]] = set()
    for i, vector in enumerate(table):
        alike = table @ vector
        others = (int(j) for j in np.argsort(-alike, kind="stable"))
        new = (pair for j in others if j != i and (pair := (min(i, j), max(i, j))) not in besides)
        pairs.update(itertools.islice(new, most))
    return pairs
