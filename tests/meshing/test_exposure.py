"""Gains make photos of one surface agree, and leave those alone that agree already."""

from __future__ import annotations

import numpy as np
import pytest

from engine.meshing.exposure import balanced, exposure_gains
from engine.meshing.srgb import from_linear, to_linear


def shown(gains: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """400 places as photos of such exposures [P, 3] show them, every photo two thirds of them: (colours, votes)."""
    random = np.random.default_rng(seed)
    light = random.uniform(0.05, 0.4, (400, 1, 3))
    noise = np.exp(random.normal(0.0, 0.02, (400, len(gains), 3)))
    return from_linear(light * gains * noise), (random.uniform(size=(400, len(gains))) < 0.67).astype(float)


def test_photos_that_agree_are_left_as_they_are():
    assert np.abs(exposure_gains(*shown(np.ones((6, 3)))) - 1.0).max() < 0.02


def test_dark_and_tinted_photos_are_brought_to_the_others():
    true = np.ones((7, 3))
    true[2], true[5] = 0.5, (1.3, 1.0, 0.8)
    found = exposure_gains(*shown(true)) * true
    assert np.abs(found - 1.0).max() < 0.05


def test_a_highlight_in_one_photo_is_not_its_exposure():
    colours, votes = shown(np.ones((6, 3)))
    colours[:80, 3] = 0.96
    assert np.abs(exposure_gains(colours, votes) - 1.0).max() < 0.05


def test_clipped_places_say_nothing():
    colours, votes = shown(np.ones((4, 3)))
    colours[:300, 1] = 1.0
    assert np.abs(exposure_gains(colours, votes) - 1.0).max() < 0.03


def test_photos_that_share_nothing_keep_their_brightness():
    colours, votes = shown(np.array([[1.0] * 3, [0.4] * 3]))
    votes[:200, 0], votes[200:, 1] = 0.0, 0.0
    np.testing.assert_array_equal(exposure_gains(colours, votes), np.ones((2, 3)))
    assert exposure_gains(np.zeros((0, 3, 3)), np.zeros((0, 3))).tolist() == [[1.0] * 3] * 3


def test_a_gain_multiplies_light_not_numbers():
    rgb = np.random.default_rng(1).uniform(size=(5, 6, 3)).astype(np.float32)
    brighter = balanced(rgb, np.array([1.5, 1.0, 0.5]))
    expected = np.minimum(to_linear(rgb) * (1.5, 1.0, 0.5), 1.0)
    assert to_linear(brighter) == pytest.approx(expected, abs=2e-3)
    assert balanced(rgb, np.ones(3)) is rgb
