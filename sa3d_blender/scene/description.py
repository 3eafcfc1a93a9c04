"""How the engine describes a capture or a result (scene.json) for Blender: read and checked, without bpy."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..protocol.errors import CaptureError, StorageError

__all__ = [
    "CaptureDescription",
    "Pinhole",
    "PlacedObject",
    "Prompt",
    "SceneDescription",
    "SceneView",
    "capture_description",
    "read_capture_file",
    "read_description",
    "without_lenses",
]

Matrix = tuple[tuple[float, float, float, float], ...]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Pinhole:
    """Focal lengths and principal point of a camera without distortion, pixels from the picture's top-left corner."""

    fl_x: float
    fl_y: float
    cx: float
    cy: float


@dataclass(frozen=True)
class SceneView:
    """A photo and its camera: pixels from the photo's top-left corner, axes +X right, +Y up, looking along -Z.

    ``world_from_camera`` is a rigid 4 x 4 matrix, row by row. ``model`` and ``distortion`` are the lens that the photo
    was taken through, as in lens.py. ``straight`` is the camera without distortion
    that shows the photo straightened, in a picture of the photo's width and height; None: that of the same numbers.
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
    model: str = "pinhole"
    distortion: tuple[float, ...] = ()
    straight: Pinhole | None = None

    @property
    def pinhole(self) -> Pinhole:
        """What Blender's camera is for this view."""
        return self.straight or Pinhole(self.fl_x, self.fl_y, self.cx, self.cy)


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
    """What scene.json holds, with absolute paths; ``source`` is the capture's folder."""

    name: str
    views: tuple[SceneView, ...]
    objects: tuple[PlacedObject, ...]
    source: str = ""

    def view(self, stem: str) -> SceneView | None:
        """The view of that stem, if there is one."""
        return next((view for view in self.views if view.stem == stem), None)

    @property
    def prompted_view(self) -> SceneView:
        """The view of the first click, or the first view where nothing was clicked."""
        prompts = [prompt for one in self.objects for prompt in one.prompts]
        return (self.view(prompts[0].view) if prompts else None) or self.views[0]


@dataclass(frozen=True)
class CaptureDescription:
    """A capture as it stands in the scene: its name, its ``source`` (what the engine opens), its views.

    ``box`` is the lowest and the highest corner of the region of interest, or None. ``points`` float32 [N, 3] are its
    sparse points in the capture's world, ``colours`` uint8 [N, 3] theirs in sRGB; None where there are none.
    """

    name: str
    source: str
    views: tuple[SceneView, ...]
    box: tuple[Point, Point] | None = None
    points: np.ndarray | None = None
    colours: np.ndarray | None = None
    warnings: tuple[str, ...] = ()


def capture_description(tree: Any, points: Any = None, colours: Any = None) -> CaptureDescription:
    """The engine's answer to `open_capture` (its body, and its arrays as anything numpy reads), checked.

    The same as a result's scene.json with, all of them optional: ``capture`` (path), ``box`` ({"low", "high"}) and
    ``warnings``; in a file ``points`` and ``colours`` are lists.
    Raises CaptureError where anything in it is wrong.
    """
    try:
        return _capture(tree, points, colours)
    except _Wrong as fault:
        raise CaptureError(
            f"This is no description of a capture: {fault}.", "Choose a scene.json, or open the capture again."
        ) from fault


def read_capture_file(path: Path | str) -> CaptureDescription:
    """Reads a capture's description, or a result's scene.json, from a JSON file. Raises CaptureError, StorageError."""
    return capture_description(_json(Path(path).absolute()))


def read_description(path: Path | str) -> SceneDescription:
    """Reads scene.json; ``path`` may be its folder too. Mesh paths in it are relative to it. Views of results that were
    written before lenses were count as straight.

    Raises StorageError where anything in it is wrong.
    """
    path = Path(path).absolute()
    if path.is_dir():
        path = path / "scene.json"
    tree = _json(path)
    try:
        return _scene(tree, path.parent)
    except _Wrong as fault:
        raise StorageError(
            f"{path.name} is not an SA3D result: {fault}.", "Choose the scene.json that `sa3d segment` wrote."
        ) from fault


def without_lenses(description: SceneDescription) -> SceneDescription:
    """The same with all photos counted as straight, for pictures and files that show them as they are."""
    views = tuple(replace(view, model="pinhole", distortion=()) for view in description.views)
    return replace(description, views=views)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise StorageError(f"{path} can't be read: {fault.strerror or fault}.", "Choose another file.") from fault
    except ValueError as fault:  # bad JSON and bad UTF-8 alike
        raise StorageError(f"{path.name} is not a JSON file.", "Choose the scene.json of an SA3D result.") from fault


class _Wrong(ValueError):
    """What is wrong where, as the middle of a sentence."""


def _scene(tree: Any, folder: Path) -> SceneDescription:
    views = _views(tree)
    stems = {view.stem for view in views}
    objects = tuple(
        _object(one, folder, stems, f"object {i}") for i, one in enumerate(_get(tree, "objects", list, "the file"))
    )
    root = tree.get("capture_root")
    return SceneDescription(_get(tree, "name", str, "the file"), views, objects, root if isinstance(root, str) else "")


def _views(tree: Any) -> tuple[SceneView, ...]:
    _a(dict, tree, "the file")
    views = tuple(_view(one, f"view {i}") for i, one in enumerate(_get(tree, "views", list, "the file")))
    if not views:
        raise _Wrong("it has no views")
    if len({view.stem for view in views}) < len(views):
        raise _Wrong("two views share a stem")
    return views


def _capture(tree: Any, points: Any, colours: Any) -> CaptureDescription:
    views = _views(tree)
    root = tree.get("capture_root", "")
    source = _a(str, tree.get("capture", root), "capture")
    warnings = tuple(str(line) for line in _a(list, tree.get("warnings", []), "warnings"))
    cloud = _rows(tree.get("points") if points is None else points, "points", np.float32)
    shades = _rows(tree.get("colours") if colours is None else colours, "colours", np.uint8)
    if cloud is None or not len(cloud):
        cloud = shades = None
    elif shades is not None and len(shades) != len(cloud):
        raise _Wrong("it has not one colour a point")
    return CaptureDescription(
        _get(tree, "name", str, "the file"), source, views, _box(tree.get("box")), cloud, shades, warnings
    )


def _box(tree: Any) -> tuple[Point, Point] | None:
    if tree is None:
        return None
    _a(dict, tree, "box")
    low, high = (_numbers(_get(tree, key, list, "box"), f"{key} of box") for key in ("low", "high"))
    if len(low) != 3 or len(high) != 3 or not all(a < b for a, b in zip(low, high, strict=True)):
        raise _Wrong("the low corner of the box is not below the high one")
    return low, high  # type: ignore[return-value]


def _rows(values: Any, what: str, kind: Any) -> np.ndarray | None:
    if values is None:
        return None
    try:
        rows = np.asarray(values, dtype=kind)
    except (TypeError, ValueError, OverflowError) as fault:
        raise _Wrong(f"{what} are not rows of numbers") from fault
    if rows.size and (rows.ndim != 2 or rows.shape[1] != 3):
        raise _Wrong(f"{what} are not rows of three numbers")
    if not np.isfinite(rows).all():
        raise _Wrong(f"{what} are not all finite")
    return rows.reshape(-1, 3)


def _view(tree: Any, where: str) -> SceneView:
    _a(dict, tree, where)
    rows = _get(tree, "world_from_camera", list, where)
    if len(rows) != 4 or not all(isinstance(row, list) and len(row) == 4 for row in rows):
        raise _Wrong(f"world_from_camera of {where} is not a 4 x 4 matrix")
    width, height = (_get(tree, key, int, where) for key in ("width", "height"))
    fl_x, fl_y, cx, cy = (_number(_get(tree, key, None, where), f"{key} of {where}") for key in _INTRINSICS)
    if min(width, height) < 1 or min(fl_x, fl_y) <= 0:
        raise _Wrong(f"{where} has a size or focal length that is not positive")
    model = _a(str, tree.get("model", "pinhole"), f"model of {where}")
    distortion = _numbers(_a(list, tree.get("distortion", []), f"distortion of {where}"), f"distortion of {where}")
    most = _COEFFICIENTS.get(model)
    if most is None or len(distortion) > most:
        raise _Wrong(f"{where} has the lens {model} with {len(distortion)} numbers, which is not known")
    if max(fl_x, fl_y, abs(cx), abs(cy)) > ABSURD_PX or any(abs(value) > ABSURD_LENS for value in distortion):
        raise _Wrong(f"{where} has a lens of absurd numbers")
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
        model=model,
        distortion=distortion,
    )


ABSURD_PX, ABSURD_LENS = 1e9, 1e6  # as the engine has it: beyond them a lens's terms overflow
_COEFFICIENTS = {"pinhole": 0, "opencv": 8, "fisheye": 4}
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
