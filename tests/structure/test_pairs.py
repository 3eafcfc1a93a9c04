"""Which photos are compared with which."""

from __future__ import annotations

import numpy as np

from engine.structure.pairs import ALIKE_IN_VIDEO, NEIGHBOURS, all_pairs, look_alikes, neighbours, vlad, words


def ring(count):
    """Vectors of photos that were taken once around something: each is most like those beside it, [count, 2]."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return list(np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32))


def test_all_pairs_are_each_with_each_other_once():
    assert all_pairs(3) == {(0, 1), (0, 2), (1, 2)}


def test_neighbours_are_the_next_ones_and_some_far_ones():
    pairs = neighbours(200)
    assert {(50, 50 + step) for step in (*range(1, NEIGHBOURS + 1), 16, 32, 64, 128)} <= pairs
    assert (50, 50 + NEIGHBOURS + 1) not in pairs and max(j for _, j in pairs) == 199


def test_the_end_of_a_walk_around_is_compared_with_its_beginning():
    near = neighbours(150)
    found = look_alikes(ring(150), ALIKE_IN_VIDEO, near)
    assert (0, 149) not in near and {(0, 149), (0, 148), (1, 149)} <= found
    assert not found & near, "what is compared anyway takes no place"


def test_look_alikes_are_those_whose_features_are_alike():
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 255, (40, 128), dtype=np.uint8) for _ in range(2)]
    photos = [scenes[i % 2][rng.permutation(40)[:35]] for i in range(8)]
    typical = words(iter(photos), 0)
    vectors = [vlad(photo, typical) for photo in photos]
    assert all((i - j) % 2 == 0 for i, j in look_alikes(vectors, 3))


def test_photos_without_features_have_pairs_as_well():
    none = np.zeros((0, 128), np.uint8)
    typical = words(iter([none] * 4), 0)
    assert look_alikes([vlad(none, typical)] * 4, 3) == all_pairs(4)
