"""What is read off a training's curve."""

from __future__ import annotations

import pytest

from engine.fields.curve import CurvePoint, is_flat, seconds_to


def curve(*values: float | None) -> list[CurvePoint]:
    """Points ten steps and two seconds apart."""
    return [CurvePoint(2.0 * i, 10 * i, 20.0, value) for i, value in enumerate(values, 1)]


def test_the_time_to_a_value_lies_between_two_measurements():
    points = curve(20.0, None, 24.0, 23.0, 26.0)
    assert seconds_to(points, 19.0) == 2.0  # at the first look
    assert seconds_to(points, 22.0) == pytest.approx(4.0)  # half of the way from 2 s to 6 s
    assert seconds_to(points, 25.0) == pytest.approx(8 + 2 * 2 / 3)
    assert seconds_to(points, 26.5) is None
    assert seconds_to(curve(None, None), 10.0) is None


def test_a_curve_is_flat_where_its_end_gained_less_than_asked_for():
    assert is_flat(curve(20.0, 24.0, 24.01, 24.02), window=20, least_db=0.03)
    assert not is_flat(curve(20.0, 24.0, 24.01, 24.05), window=20, least_db=0.03)
    assert not is_flat(curve(20.0, 24.0), window=20, least_db=0.03)  # nothing earlier to compare with
    assert not is_flat(curve(None, None, None), window=10, least_db=0.03)
