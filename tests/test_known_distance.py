"""Two points and a distance, as they are typed."""

from __future__ import annotations

import pytest

from engine.known_distance import KnownDistance, PixelPoint, WorldPoint, known_distance


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0,0,0:1,0,-2.5:0.25", KnownDistance(WorldPoint(0, 0, 0), WorldPoint(1, 0, -2.5), 0.25)),
        (
            "images/a.jpg:10,20:b:30.5,4:1e-1",
            KnownDistance(PixelPoint("images/a.jpg", 10, 20), PixelPoint("b", 30.5, 4), 0.1),
        ),
        ("C:/a.jpg:1,2:0,0,1:2", KnownDistance(PixelPoint("C:/a.jpg", 1, 2), WorldPoint(0, 0, 1), 2.0)),
    ],
)
def test_points_are_in_the_world_or_in_photos(text, expected):
    assert known_distance(text) == expected


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is not A:B:METRES"),
        ("1", "is not A:B:METRES"),
        ("0,0,0:1", "is not A:B:METRES"),
        ("0,0:1,1:2", "is not A:B:METRES"),
        ("0,0,0:1,0,0", "is not A:B:METRES"),
        ("0,0,0:1,0,0:x", "is not A:B:METRES"),
        ("0,0,0:1,0,0:nan", "is not A:B:METRES"),
        ("0,0,0:1,0,nan:1", "is not A:B:METRES"),
        ("0,0,0:1,0,inf:1", "is not A:B:METRES"),
        ("0,0,0:1,0,0:2,0,0:1", "is not A:B:METRES"),
        ("a:1,2:b:1", "is not A:B:METRES"),
        ("0,0,0:1,0,0:0", "above 0 metres"),
        ("0,0,0:1,0,0:-1", "above 0 metres"),
        ("0,0,0:0,0,0:1", "must differ"),
        ("a:1,2:a:1,2:1", "must differ"),
    ],
)
def test_what_says_no_distance_is_refused_with_a_sentence(text, match):
    with pytest.raises(ValueError, match=match):
        known_distance(text)
