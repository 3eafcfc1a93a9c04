"""A result at a glance: the object's masks over some of the photos, with what was clicked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from engine.contact_sheet import Tile, contact_sheet, draw_prompts, overlay_mask
from engine.workspace import Workspace

__all__ = ["OVERVIEW", "write_overview"]

OVERVIEW = "overview.png"
TILES = 8
SHOWS = 0.1  # of the most that a photo shows of the object: others tell little


def write_overview(
    workspace: Workspace,
    masks: Mapping[str, Float[np.ndarray, "h w"]],
    places: Sequence[Mapping[str, object]],
    path: Path,
) -> None:
    """Writes a sheet of `TILES` photos at most: those that were clicked in, and others spread over the capture.

    Args:
        masks: at working size, by stem.
        places: the clicks: ``view`` (stem), ``x_px`` and ``y_px`` in the photo as stored, ``label``.
    """
    clicked = list(dict.fromkeys(str(place["view"]) for place in places if place["view"] in masks))[:TILES]
    area = {stem: float(mask.sum()) for stem, mask in masks.items()}
    least = SHOWS * max(area.values(), default=0.0)
    others = [stem for stem in masks if stem not in clicked and area[stem] > least]
    room = TILES - len(clicked)
    picked = {round(i) for i in np.linspace(0, len(others) - 1, min(room, len(others)))} if room else set()
    tiles = []
    for stem in [*clicked, *(others[i] for i in sorted(picked))]:
        picture = overlay_mask(workspace.photo(stem), masks[stem])
        stored, height, width = workspace.stored[stem].camera, *picture.shape[:2]
        here = [place for place in places if place["view"] == stem]
        points = np.array([[place["x_px"], place["y_px"]] for place in here], np.float64).reshape(-1, 2)
        points *= (width / stored.width, height / stored.height)
        labels = np.array([place["label"] for place in here], np.int64)
        tiles.append(Tile(stem, draw_prompts(picture, points, labels) if here else picture))
    if tiles:
        contact_sheet(tiles, path)
