"""What became of the photos, in plain sentences: which found no place, why, and what to photograph more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.captures.validate import examples
from engine.structure.photos import Photo, Skipped

__all__ = ["FEW_FEATURES", "LEAST_PHOTOS", "failure", "skipped_warnings", "unplaced", "warnings"]

LEAST_PHOTOS = 3
FEW_FEATURES = 100
_FEW_INLIERS = 30
_EXAMPLES = 5  # names in a sentence
_MORE = "Take more photos in between, each sharing 70 % or more with the next."

NO_DETAIL = "they show hardly any detail (dark, blurred or plain)"
NOTHING_SHARED = "they share too little with the others"
APART = "they fit each other, but not the rest"
UNCERTAIN = "where they were taken from could not be told for certain"

_OF_ONE = {
    NO_DETAIL: "it shows hardly any detail (dark, blurred or plain)",
    NOTHING_SHARED: "it shares too little with the others",
    APART: "it fits a few others, but not the rest",
    UNCERTAIN: "where it was taken from could not be told for certain",
}


def unplaced(photos: Sequence[Photo], outcome: Mapping[str, Any]) -> dict[str, list[str]]:
    """The photos without a place by the reason for that, under the names that their owner knows."""
    placed = {frame["name"] for frame in outcome["frames"]}
    elsewhere = {name for names in outcome["models"][1:] for name in names}
    found: dict[str, list[str]] = {}
    for photo in photos:
        if photo.name in placed:
            continue
        facts = outcome["photos"].get(photo.name, {"features": 0, "inliers": 0})
        if facts["features"] < FEW_FEATURES:
            why = NO_DETAIL
        elif photo.name in elsewhere:
            why = APART
        elif facts["inliers"] < _FEW_INLIERS:
            why = NOTHING_SHARED
        else:
            why = UNCERTAIN
        found.setdefault(why, []).append(photo.source)
    return found


def warnings(photos: Sequence[Photo], outcome: Mapping[str, Any]) -> list[str]:
    """One sentence for each reason for which photos found no place, with what to do about it."""
    told = []
    for why, names in unplaced(photos, outcome).items():
        cure = {
            NO_DETAIL: f"Take {'it' if len(names) == 1 else 'them'} again with more light, in focus.",
            APART: "If they show another scene, put them into a folder of their own; if it is the same, "
            + _MORE[0].lower()
            + _MORE[1:],
        }.get(why, _MORE)
        clause = _OF_ONE[why] if len(names) == 1 else why
        all_names = " (poses.json lists all)" if len(names) > _EXAMPLES else ""
        told.append(
            f"{len(names)} of {len(photos)} photos found no place: {examples(names, _EXAMPLES)}{all_names}; "
            f"{clause}. {cure}"
        )
    placed = {frame["name"] for frame in outcome["frames"]}
    # A small model of photos that the largest has as well is a false start, no scene of its own.
    others = [len(names) for names in outcome["models"][1:] if not placed.issuperset(names)]
    if others:
        told.append(
            f"The photos came to {len(others) + 1} separate scenes of {len(outcome['frames'])} and "
            f"{', '.join(map(str, others))} photos; the largest is kept."
        )
    return told


def skipped_warnings(skipped: Sequence[Skipped]) -> list[str]:
    """One sentence for each reason for which photos were not even tried."""
    reasons: dict[str, list[str]] = {}
    for each in skipped:
        reasons.setdefault(each.why, []).append(each.name)
    return [
        f"{len(names)} photo{'s are' if len(names) > 1 else ' is'} left out: {examples(names)} because {why}."
        for why, names in reasons.items()
    ]


def failure(photos: Sequence[Photo], outcome: Mapping[str, Any]) -> tuple[str, str]:
    """(what happened, what to do) where no cameras were found at all."""
    facts = list(outcome["photos"].values())
    poor = [photo.source for photo in photos if outcome["photos"].get(photo.name, {}).get("features", 0) < FEW_FEATURES]
    if 2 * len(poor) > len(photos):
        return (
            f"No cameras were found: {len(poor)} of {len(photos)} photos show hardly any detail, such as {poor[0]}.",
            "Photograph something with texture (put patterned paper under a plain object), in good light and focus.",
        )
    if outcome["panoramic"] > 0.5:
        return (
            "No cameras were found: the photos seem to be taken from one place, by turning only.",
            "Walk around the object and take each photo from another place.",
        )
    if all(each["inliers"] < _FEW_INLIERS for each in facts):
        return (
            f"No cameras were found: no two of the {len(photos)} photos share enough.",
            "Take more photos of one scene, each sharing 70 % or more with the next.",
        )
    return (
        f"No cameras were found for the {len(photos)} photos, though some of them share parts.",
        "Take more photos, from places between those that there are, and some from further to the side.",
    )
