"""The prompts of a capture's objects as they lie in the file: adding, finding, removing, handing to the engine.

Objects and prompts are those of properties.py. Places are fractions of the camera's frame, x from the left and y from
the top: they stay right under any zoom, resolution and aspect of the render.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .cameras import view_of
from .frame import Frame
from .lens import photo_from_frame
from .strokes import paint

__all__ = [
    "active_object",
    "active_prompt",
    "add_object",
    "add_prompt",
    "hit",
    "places",
    "prompt_request",
    "prompted_cameras",
    "prompts_in",
    "remove_object",
    "remove_prompt",
]

RED, GREEN = (255, 0, 0), (0, 255, 0)
"""How the engine reads strokes: red = not the object."""


def active_object(capture: Any) -> Any:
    """The object that new prompts are for; None where the capture has none yet."""
    state = capture.sa3d
    return state.objects[state.active] if 0 <= state.active < len(state.objects) else None


def active_prompt(prompted: Any) -> Any:
    """The selected prompt of an object."""
    return prompted.prompts[prompted.active] if 0 <= prompted.active < len(prompted.prompts) else None


def add_object(capture: Any, name: str = "") -> Any:
    """A new object of the capture, made the active one, with a name that no other has."""
    state = capture.sa3d
    taken = {one.name for one in state.objects}
    name = name.strip() or "Object"
    free, number = name, 1
    while free in taken:
        free = f"{name}.{number:03d}"
        number += 1
    made = state.objects.add()
    made.name, made.uid = free, uuid.uuid4().hex
    state.active = len(state.objects) - 1
    return made


def remove_object(capture: Any) -> None:
    """Forgets the active object and its prompts."""
    state = capture.sa3d
    state.objects.remove(state.active)
    state.active = max(0, min(state.active, len(state.objects) - 1))


def add_prompt(
    prompted: Any, kind: str, camera: Any, fractions: Sequence[Sequence[float]], positive: bool = True
) -> Any:
    """A new prompt, made the selected one. A second box in the same photo takes the first one's place."""
    if kind == "BOX":
        for number in reversed(range(len(prompted.prompts))):
            if prompted.prompts[number].kind == "BOX" and prompted.prompts[number].camera == camera:
                prompted.prompts.remove(number)
        fractions = [np.min(fractions, axis=0), np.max(fractions, axis=0)]
    made = prompted.prompts.add()
    made.kind, made.camera, made.positive = kind, camera, positive
    for place in fractions:
        made.points.add().place = tuple(float(value) for value in np.clip(place, 0.0, 1.0))
    prompted.active = len(prompted.prompts) - 1
    return made


def remove_prompt(prompted: Any, number: int) -> None:
    """Forgets one prompt; the one before it is selected then."""
    prompted.prompts.remove(number)
    prompted.active = min(
        prompted.active if number > prompted.active else prompted.active - 1, len(prompted.prompts) - 1
    )
    if prompted.active < 0 and len(prompted.prompts):
        prompted.active = 0


def places(prompt: Any) -> np.ndarray:
    """A prompt's points [N, 2] as fractions of the photo."""
    return np.array([tuple(point.place) for point in prompt.points], dtype=np.float64).reshape(-1, 2)


def prompts_in(prompted: Any, camera: Any) -> Iterable[tuple[int, Any]]:
    """An object's prompts in one camera's photo, with their numbers."""
    return [(number, one) for number, one in enumerate(prompted.prompts) if one.camera == camera]


def prompted_cameras(prompted: Any) -> list[Any]:
    """The cameras in which something was said about an object, in the order of its first prompts."""
    return list(dict.fromkeys(one.camera for one in prompted.prompts if one.camera is not None))


def hit(
    capture: Any, camera: Any, frame: Frame, x: float, y: float, reach: float, kinds: set[str] | None = None
) -> tuple[int, int] | None:
    """(object, prompt) of the prompt nearest to a region's pixel, within ``reach`` pixels; None where there is none."""
    best: tuple[float, int, int] | None = None
    for which, prompted in enumerate(capture.sa3d.objects):
        for number, prompt in prompts_in(prompted, camera):
            if kinds is not None and prompt.kind not in kinds:
                continue
            off = _distance(prompt.kind, frame.pixels(places(prompt)), np.array([x, y]))
            # Of several in reach the object that is worked on comes first.
            rank = off + (0.0 if which == capture.sa3d.active else reach)
            if off <= reach and (best is None or rank < best[0]):
                best = (rank, which, number)
    return None if best is None else best[1:]


def _distance(kind: str, points: np.ndarray, at: np.ndarray) -> float:
    if not len(points):
        return float("inf")
    if kind == "BOX":
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]])
    if len(points) == 1:
        return float(np.linalg.norm(points[0] - at))
    start, along = points[:-1], np.diff(points, axis=0)
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    share = np.clip(((at - start) * along).sum(axis=1) / length, 0.0, 1.0)
    return float(np.linalg.norm(start + share[:, None] * along - at, axis=1).min())


def prompt_request(prompted: Any, camera: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What was said about an object in one photo, as the engine's requests have it: (body, arrays).

    The body holds ``view`` (the photo's stem), and where there are such prompts ``points`` [[x, y, label], ...] and
    ``box`` [x0, y0, x1, y1], in pixels of the photo as stored: a lens that bends the photo bends them too. The arrays
    hold ``scribble``, uint8 [H, W, 3], strokes in green and, for what is not the object, red on black.
    """
    view = view_of(camera)
    size = np.array([view.width, view.height], dtype=np.float64)
    body: dict[str, Any] = {"view": view.stem}
    strokes: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for _, prompt in prompts_in(prompted, camera):
        fractions = places(prompt)
        if prompt.kind == "BOX":
            fractions = _outline(fractions)
        elif prompt.kind == "SCRIBBLE":
            fractions = _dense(fractions, size)
        pixels = np.clip(photo_from_frame(view, fractions * size), 0.0, size)
        if prompt.kind == "CLICK":
            body.setdefault("points", []).append([*(float(value) for value in pixels[0]), int(prompt.positive)])
        elif prompt.kind == "BOX":
            body["box"] = [float(value) for value in (*pixels.min(axis=0), *pixels.max(axis=0))]
        else:
            strokes[bool(prompt.positive)].append(pixels)
    arrays = {}
    if strokes[True] or strokes[False]:
        picture = np.zeros((view.height, view.width, 3), np.uint8)
        picture[paint(strokes[True], (view.width, view.height))] = GREEN
        picture[paint(strokes[False], (view.width, view.height))] = RED
        arrays["scribble"] = picture
    return body, arrays


def _outline(corners: np.ndarray) -> np.ndarray:
    """Points along the edges of a box: bent by a lens, its corners alone would cut its bulges off."""
    (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
    share = np.linspace(0.0, 1.0, 9)
    x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
    sides = [np.stack([x, np.full(9, edge)], axis=1) for edge in (y0, y1)]
    return np.concatenate(sides + [np.stack([np.full(9, edge), y], axis=1) for edge in (x0, x1)])


def _dense(line: np.ndarray, size: np.ndarray) -> np.ndarray:
    """A line with a point at least every 20 pixels, so that a lens bends it between its points too."""
    made = [line[:1]]
    for start, end in pairwise(line):
        steps = max(1, int(np.ceil(np.linalg.norm((end - start) * size) / 20)))
        made.append(start + (end - start) * (np.arange(1, steps + 1) / steps)[:, None])
    return np.concatenate(made)
