"""Colours spread over a mesh from where they are known."""

from __future__ import annotations

import numpy as np
import trimesh

from engine.meshing.infill import spread_colours


def sheet(side: int = 21) -> tuple[np.ndarray, np.ndarray]:
    """A flat sheet from 0 to 1 in x and y."""
    x, y = np.meshgrid(np.linspace(0, 1, side), np.linspace(0, 1, side), indexing="ij")
    number = np.arange(side * side).reshape(side, side)
    corners = np.s_[:-1, :-1], np.s_[1:, :-1], np.s_[1:, 1:], np.s_[:-1, 1:]
    a, b, c, d = (number[s].ravel() for s in corners)
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return np.stack([x.ravel(), y.ravel(), np.zeros(side * side)], 1), faces


def test_between_two_known_sides_colours_pass_evenly_from_one_to_the_other():
    vertices, faces = sheet()
    x = vertices[:, 0]
    certain = ((x < 0.01) | (x > 0.99)).astype(float)
    found = spread_colours(np.stack([x, 1 - x, np.full_like(x, 0.4)], 1), certain, vertices, faces)
    assert np.abs(found[:, 0] - x).max() < 0.04  # the known sides give in a little
    assert np.abs(found[:, 2] - 0.4).max() < 1e-3


def test_colours_that_are_known_are_kept_and_doubtful_ones_smoothed():
    vertices, faces = sheet()
    noise = 0.5 + 0.2 * np.random.default_rng(0).choice([-1.0, 1.0], (len(vertices), 3))
    surely = spread_colours(noise, np.ones(len(vertices)), vertices, faces)
    hardly = spread_colours(noise, np.full(len(vertices), 0.01), vertices, faces)
    assert np.abs(surely - noise).mean() < 0.06
    assert np.abs(hardly - 0.5).mean() < 0.5 * np.abs(noise - 0.5).mean()


def test_an_island_takes_the_nearest_colour_and_nothing_at_all_is_grey():
    near, far = trimesh.creation.box(), trimesh.creation.box().apply_translation((5, 0, 0))
    both = trimesh.util.concatenate([near, far])
    colours = np.tile([0.9, 0.2, 0.1], (16, 1))
    certain = np.array([1.0] * 8 + [0.0] * 8)
    found = spread_colours(colours * certain[:, None], certain, both.vertices, both.faces)
    assert np.abs(found - [0.9, 0.2, 0.1]).max() < 0.01
    assert (spread_colours(colours, np.zeros(16), both.vertices, both.faces) == 0.5).all()
