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
