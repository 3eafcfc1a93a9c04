"""What is said of photos that found no place."""

from __future__ import annotations

from engine.structure.advice import warnings
from engine.structure.photos import Photo


def outcome(*models: list[str]) -> dict:
    facts = {name: {"features": 900, "inliers": 200} for names in models for name in names}
    return {"frames": [{"name": name} for name in models[0]], "models": list(models), "photos": facts}


def photos(*names: str) -> list[Photo]:
    return [Photo(name, name, 80, 60, "") for name in names]


def test_photos_of_two_scenes_are_told_and_a_false_start_is_not():
    told = warnings(photos(*"abcdef"), outcome([*"abc"], [*"def"]))
    assert any("2 separate scenes of 3 and 3" in line for line in told) and any("d, e, f" in line for line in told)
    assert warnings(photos(*"abc"), outcome([*"abc"], [*"ab"])) == []


def test_many_photos_of_another_scene_are_told_where_they_are_listed_and_what_to_do():
    others = [f"b{i:02d}" for i in range(16)]
    mine = [f"a{i:02d}" for i in range(20)]
    told = warnings(photos(*mine, *others), outcome(mine, others))
    (left_out,) = [line for line in told if "found no place" in line]
    assert "16 of 36" in left_out and "b00, b01" in left_out and "poses.json" in left_out
    assert "folder of their own" in left_out and "70 %" in left_out


def test_of_one_photo_is_spoken_in_the_singular():
    found = outcome([*"abc"])
    found["photos"]["d"] = {"features": 3, "inliers": 0}
    (line,) = warnings(photos(*"abcd"), found)
    assert "d; it shows hardly any detail" in line and "Take it again" in line
