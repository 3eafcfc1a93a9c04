"""The bodies of requests, read with care; and answers made of what JSON and frames can carry."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sa3d_blender.protocol.framing import ProtocolError, RawArray
from sa3d_blender.protocol.messages import Request

__all__ = ["Body", "plain", "reply_array"]

T = TypeVar("T")
_MISSING: Any = object()
_CURE = "Give the request what the protocol's documentation says."


def plain(value: Any) -> Any:
    """A value as JSON has it: paths and other objects become text, numbers that aren't finite null."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def reply_array(array: Any) -> RawArray:
    """A numpy array to be sent."""
    return RawArray.of(array)


class Body:
    """Takes values out of a request's body, one by one. Every method raises ProtocolError for what has no sense.

    ``done`` at the end raises for names that nobody asked for, so that a misspelt one isn't taken for the default.
    """

    def __init__(self, request: Request) -> None:
        self._request, self._left = request, dict(request.body)
        self._arrays = dict(request.arrays)

    def text(self, name: str, default: str | None = _MISSING) -> Any:
        """A text; None only where that is the default."""
        return self._take(name, default, lambda v: v if isinstance(v, str) and v.strip() else None, "a text")

    def path(self, name: str, default: Path | None = _MISSING) -> Any:
        """An absolute path, or one that begins with ~, on the engine's machine."""
        return self._take(name, default, _as_path, "an absolute path")

    def flag(self, name: str, default: bool | None = False) -> Any:
        """True or false; None only where that is the default."""
        return self._take(name, default, lambda v: v if isinstance(v, bool) else None, "true or false")

    def number(self, name: str, default: float | None, low: float, high: float) -> Any:
        """A number from ``low`` to ``high``."""
        return self._take(name, default, lambda v: _within(v, low, high), f"a number from {low:g} to {high:g}")

    def whole(self, name: str, default: int | None, low: int, high: int) -> Any:
        """A whole number from ``low`` to ``high``; None only where that is the default."""
        wanted = f"a whole number from {low} to {high}"
        return self._take(name, default, lambda v: v if type(v) is int and low <= v <= high else None, wanted)

    def points(self, name: str = "points") -> tuple[tuple[float, float, int], ...]:
        """Clicks [[x, y, label], ...] in pixels of the photo, label 1 = the object, 0 = not the object."""
        found = self._take(name, (), _as_points, "a list of [x, y, 0 or 1]")
        return tuple(found)

    def box(self, name: str = "box") -> tuple[float, float, float, float] | None:
        """A box [x0, y0, x1, y1] in pixels of the photo."""
        found: tuple[float, float, float, float] | None = self._take(name, None, _as_box, "[x0, y0, x1, y1]")
        return found

    def corners(self, name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]] | None:
        """A box [[x, y, z], [x, y, z]] in the capture's world, its lowest and its highest corner."""
        found: Any = self._take(name, None, _as_corners, "[[x, y, z], [x, y, z]], each number of the first the smaller")
        return None if found is None else (found[0], found[1])

    def paths(self, name: str) -> list[Path]:
        """A list of paths as of ``path``."""

        def read(value: Any) -> list[Path] | None:
            found = [_as_path(each) for each in value] if isinstance(value, list) else [None]
            return None if None in found else found  # type: ignore[return-value]

        return list(self._take(name, (), read, "a list of absolute paths"))

    def table(self, name: str) -> Body | None:
        """A table of its own, or None where there is none."""
        found = self._take(name, None, lambda v: v if isinstance(v, dict) else None, "a table")
        return None if found is None else Body(Request(self._request.id, self._request.kind, found))

    def array(self, name: str, dtypes: Sequence[str], dimensions: Sequence[int]) -> Any:
        """A numpy array that came along, or None where none of that name did."""
        import numpy as np

        raw = self._arrays.pop(name, None)
        if raw is None:
            return None
        if raw.dtype not in dtypes or len(raw.shape) not in dimensions or 0 in raw.shape:
            raise self._wrong(f'the array "{name}" has the kind {raw.dtype} and the shape {list(raw.shape)}')
        return np.frombuffer(raw.data, np.dtype(raw.dtype).newbyteorder("<")).reshape(raw.shape)

    def done(self) -> None:
        """Nothing else may be there."""
        left = [*self._left, *self._arrays]
        if left:
            raise self._wrong(f"nothing called {', '.join(repr(name[:40]) for name in left[:5])} is known")

    def _take(self, name: str, default: Any, read: Callable[[Any], T | None], wanted: str) -> Any:
        value = self._left.pop(name, None)
        if value is None:  # left out, or null
            if default is _MISSING:
                raise self._wrong(f'"{name}" is missing')
            return default
        found = read(value)
        if found is None:
            raise self._wrong(f'"{name}" is not {wanted}')
        return found

    def _wrong(self, why: str) -> ProtocolError:
        return ProtocolError(
            f'The request "{self._request.kind}" can\'t be read: {why}.', _CURE, request=self._request.id
        )


def _within(value: Any, low: float, high: float) -> Any:
    return value if type(value) in (int, float) and low <= value <= high else None


def _as_path(value: Any) -> Path | None:
    if not isinstance(value, str) or not value or "\0" in value:
        return None
    try:
        path = Path(value).expanduser()
    except RuntimeError:  # a home that isn't known
        return None
    return path if path.is_absolute() else None


def _as_points(value: Any) -> list[tuple[float, float, int]] | None:
    if not isinstance(value, list) or len(value) > 10_000:
        return None
    found = []
    for each in value:
        if not isinstance(each, list) or len(each) != 3 or each[2] not in (0, 1):
            return None
        x, y = (_within(number, -1e7, 1e7) for number in each[:2])
        if x is None or y is None:
            return None
        found.append((float(x), float(y), int(each[2])))
    return found


def _as_box(value: Any) -> tuple[float, ...] | None:
    if not isinstance(value, list) or len(value) != 4:
        return None
    found = [_within(number, -1e7, 1e7) for number in value]
    return None if None in found else tuple(float(number) for number in found)


def _as_corners(value: Any) -> list[tuple[float, ...]] | None:
    if not isinstance(value, list) or len(value) != 2:
        return None
    if not all(isinstance(corner, list) and len(corner) == 3 for corner in value):
        return None
    found = [tuple(_within(number, -1e7, 1e7) for number in corner) for corner in value]
    if any(number is None for corner in found for number in corner):
        return None
    return found if all(low < high for low, high in zip(*found, strict=True)) else None
