"""scene.json, in which the engine describes a result for Blender: read and checked, without bpy."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..protocol.errors import StorageError

__all__ = ["PlacedObject", "Prompt", "SceneDescription", "SceneView", "read_description"]

Matrix = tuple[tuple[float, float, float, float], ...]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class SceneView:
    """A photo and its pinhole camera: pixels from the photo's top-left corner, axes +X right, +Y up, looking along -Z.

    ``world_from_camera`` is a rigid 4 x 4 matrix, row by row.
    """

    name: str
    stem: str
    image: Path
    width: int
    height: int
    fl_x: float
    fl_y: float
    cx: float
    cy: float
    world_from_camera: Matrix


@dataclass(frozen=True)
class Prompt:
    """A click in the photo of the view with stem ``view``: label 1 = this, 0 = not this.

    ``point_world`` is the surface point under the click, None where the engine knew none.
    """

    view: str
    x_px: float
    y_px: float
    label: int
    point_world: Point | None


@dataclass(frozen=True)
class PlacedObject:
    """A segmented object: the path of its GLB and the clicks that asked for it."""

    name: str
    mesh: Path
    prompts: tuple[Prompt, ...]


@dataclass(frozen=True)
class SceneDescription:
    """What scene.json holds, with absolute paths."""

    name: str
    views: tuple[SceneView, ...]
    objects: tuple[PlacedObject, ...]

    def view(self, stem: str) -> SceneView | None:
        """The view of that stem, if there is one."""
        return next((view for view in self.views if view.stem == stem), None)

    @property
    def prompted_view(self) -> SceneView:
        """The view of the first click, or the first view where nothing was clicked."""
        prompts = [prompt for one in self.objects for prompt in one.prompts]
        return (self.view(prompts[0].view) if prompts else None) or self.views[0]


def read_description(path: Path | str) -> SceneDescription:
    """Reads scene.json; ``path`` may be its folder too. Mesh paths in it are relative to it.

    Raises StorageError where anything in it is wrong.
    """
    path = Path(path).absolute()
    if path.is_dir():
        path = path / "scene.json"
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise StorageError(f"{path} can't be read: {fault.strerror or fault}.", "Choose another file.") from fault
    except ValueError as fault:  # bad JSON and bad UTF-8 alike
        raise StorageError(f"{path.name} is not a JSON file.", "Choose the scene.json of an SA3D result.") from fault
    try:
        return _scene(tree, path.parent)
    except _Wrong as fault:
        raise StorageError(
            f"{path.name} is not an SA3D result: {fault}.", "Choose the scene.json that `sa3d segment` wrote."
        ) from fault


class _Wrong(ValueError):
    """What is wrong where, as the middle of a sentence."""


def _scene(tree: Any, folder: Path) -> SceneDescription:
    _a(dict, tree, "the file")
    views = tuple(_view(one, f"view {i}") for i, one in enumerate(_get(tree, "views", list, "the file")))
    if not views:
        raise _Wrong("it has no views")
    stems = {view.stem for view in views}
    if len(stems) < len(views):
        raise _Wrong("two views share a stem")
    objects = tuple(
        _object(one, folder, stems, f"object {i}") for i, one in enumerate(_get(tree, "objects", list, "the file"))
    )
    return SceneDescription(_get(tree, "name", str, "the file"), views, objects)


def _view(tree: Any, where: str) -> SceneView:
    _a(dict, tree, where)
    rows = _get(tree, "world_from_camera", list, where)
    if len(rows) != 4 or not all(isinstance(row, list) and len(row) == 4 for row in rows):
        raise _Wrong(f"world_from_camera of {where} is not a 4 x 4 matrix")
    width, height = (_get(tree, key, int, where) for key in ("width", "height"))
    fl_x, fl_y, cx, cy = (_number(_get(tree, key, None, where), f"{key} of {where}") for key in _INTRINSICS)
    if min(width, height) < 1 or min(fl_x, fl_y) <= 0:
        raise _Wrong(f"{where} has a size or focal length that is not positive")
    return SceneView(
        name=_get(tree, "name", str, where),
        stem=_get(tree, "stem", str, where),
        image=Path(_get(tree, "image", str, where)),
        width=width,
        height=height,
        fl_x=fl_x,
        fl_y=fl_y,
        cx=cx,
        cy=cy,
        world_from_camera=tuple(_numbers(row, f"world_from_camera of {where}") for row in rows),  # type: ignore[misc]
    )


_INTRINSICS = ("fl_x", "fl_y", "cx", "cy")


def _object(tree: Any, folder: Path, stems: set[str], where: str) -> PlacedObject:
    _a(dict, tree, where)
    prompts = _a(list, tree.get("prompts", []), f"prompts of {where}")
    return PlacedObject(
        name=_get(tree, "name", str, where),
        mesh=folder / _get(tree, "mesh", str, where),
        prompts=tuple(_prompt(one, stems, f"prompt {i} of {where}") for i, one in enumerate(prompts)),
    )


def _prompt(tree: Any, stems: set[str], where: str) -> Prompt:
    _a(dict, tree, where)
    view, label = _get(tree, "view", str, where), _get(tree, "label", int, where)
    if view not in stems:
        raise _Wrong(f'{where} names the view "{view}", which is not there')
    if label not in (0, 1):
        raise _Wrong(f"{where} has the label {label}, which is neither 0 nor 1")
    point = tree.get("point_world")
    if point is not None and len(_a(list, point, f"point_world of {where}")) != 3:
        raise _Wrong(f"point_world of {where} has not three coordinates")
    return Prompt(
        view=view,
        x_px=_number(_get(tree, "x_px", None, where), f"x_px of {where}"),
        y_px=_number(_get(tree, "y_px", None, where), f"y_px of {where}"),
        label=label,
        point_world=None if point is None else _numbers(point, f"point_world of {where}"),  # type: ignore[arg-type]
    )


_SAID = {dict: "an object with keys", list: "a list", str: "a text", int: "a whole number"}


def _a(kind: type, value: Any, where: str) -> Any:
    # True and False are ints to Python, though not to a reader of the file.
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _Wrong(f"{where} is not {_SAID[kind]}")
    return value


def _get(tree: dict[str, Any], key: str, kind: type | None, where: str) -> Any:
    if key not in tree:
        raise _Wrong(f'{where} lacks "{key}"')
    return tree[key] if kind is None else _a(kind, tree[key], f"{key} of {where}")


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _Wrong(f"{where} is not a number")
    return float(value)


def _numbers(values: Iterable[Any], where: str) -> tuple[float, ...]:
    return tuple(_number(value, where) for value in values)
