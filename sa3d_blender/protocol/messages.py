"""What the two sides say to each other: one frozen dataclass for each kind of message, made from and into frames.

    client -> engine    Hello  Request  Cancel  Ping
    engine -> client    Hello  Capabilities  Progress  Log  Preview  Result  Failure  Pong

Every Request gets, besides any number of Progress, Log and Preview, exactly one Result or one Failure with its id.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from . import errors
from .framing import Buffer, Frame, Limits, ProtocolError, RawArray, pack

__all__ = [
    "FROM_CLIENT",
    "FROM_ENGINE",
    "PROTOCOL",
    "Cancel",
    "Capabilities",
    "Failure",
    "Hello",
    "Log",
    "Message",
    "Ping",
    "Pong",
    "Preview",
    "Progress",
    "Request",
    "Result",
    "as_error",
    "decode",
    "encode",
]

PROTOCOL = 1  # grows when a message or a request changes its meaning
LARGEST_ID = 2**53  # what every JSON reader keeps exact
LONGEST_KIND = 64

Arrays = Mapping[str, RawArray]
Body = Mapping[str, Any]


@dataclass(frozen=True)
class Hello:
    """The first message in both directions: version of the program, of the messages, and a few words more.

    The engine's ``about`` says ``python``, ``platform``, ``pid`` and ``requests`` (the kinds that it answers).
    """

    version: str
    protocol: int = PROTOCOL
    about: Body = field(default_factory=dict)


@dataclass(frozen=True)
class Capabilities:
    """What the engine can do here; follows its Hello as soon as it is known. ``body`` is the result of `info`."""

    body: Body


@dataclass(frozen=True)
class Request:
    """Something to be done. ``id`` is chosen by the client and never used again in the same session."""

    id: int
    kind: str
    body: Body = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Cancel:
    """The request of that id is to stop. Its answer is then a Failure with the code "cancelled", unless it was done."""

    id: int


@dataclass(frozen=True)
class Ping:
    """Asks whether the engine still answers; ``id`` comes back in the Pong."""

    id: int


@dataclass(frozen=True)
class Pong:
    """The answer to a Ping."""

    id: int


@dataclass(frozen=True)
class Progress:
    """How far a request is: the stage in a few words, its ``fraction`` in [0, 1], its seconds left where known."""

    id: int
    stage: str
    fraction: float
    seconds_left: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Log:
    """A line for the user. ``id`` is None where it belongs to no request."""

    id: int | None
    line: str


@dataclass(frozen=True)
class Preview:
    """Something to look at meanwhile: ``what`` it is ("mask"), numbers in ``body``, pictures in ``arrays``."""

    id: int
    what: str
    body: Body = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What came of a request."""

    id: int
    body: Body = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Failure:
    """Why nothing came of a request, as in errors.py. ``id`` is None where the fault belongs to no request."""

    id: int | None
    code: str
    what: str
    cure: str = ""

    @property
    def cancelled(self) -> bool:
        """Whether the user stopped it, so that nothing is wrong."""
        return self.code == errors.Cancelled.code


Message = (
    Hello | Capabilities | Request | Cancel | Ping | Pong | Progress | Log | Preview | Result | Failure
)  # fmt: skip


def as_error(failure: Failure) -> errors.Sa3dError:
    """A failure as the exception of the tree with its code; a plain Sa3dError for a code that the tree doesn't have."""
    for name in errors.__all__:
        kind: type[errors.Sa3dError] = getattr(errors, name)
        if kind.code == failure.code:
            return kind(failure.what, failure.cure)
    found = errors.Sa3dError(failure.what, failure.cure)
    found.code = failure.code
    return found


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value <= LARGEST_ID


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _table(value: Any) -> bool:
    return isinstance(value, dict)


def _maybe(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


_CHECKS: dict[type, dict[str, Callable[[Any], bool]]] = {
    Hello: {"version": _text, "protocol": _whole, "about": _table},
    Capabilities: {"body": _table},
    Request: {"id": _whole, "kind": lambda value: _text(value) and 0 < len(value) <= LONGEST_KIND, "body": _table},
    Cancel: {"id": _whole},
    Ping: {"id": _whole},
    Pong: {"id": _whole},
    Progress: {
        "id": _whole,
        "stage": _text,
        "fraction": lambda value: _number(value) and 0 <= value <= 1,
        "seconds_left": _maybe(_number),
        "detail": _text,
    },
    Log: {"id": _maybe(_whole), "line": _text},
    Preview: {"id": _whole, "what": _text, "body": _table},
    Result: {"id": _whole, "body": _table},
    Failure: {"id": _maybe(_whole), "code": _text, "what": _text, "cure": _text},
}
_NAMES = {kind.__name__.lower(): kind for kind in _CHECKS}
FROM_CLIENT: frozenset[type] = frozenset({Hello, Request, Cancel, Ping})
FROM_ENGINE: frozenset[type] = frozenset(_CHECKS) - {Request, Cancel, Ping}


def encode(message: Message, limits: Limits) -> list[Buffer]:
    """A message as the pieces of its frame. Raises ProtocolError where it is more than the reader takes."""
    header: dict[str, Any] = {"type": type(message).__name__.lower()}
    header |= {name: getattr(message, name) for name in _CHECKS[type(message)]}
    return pack(header, getattr(message, "arrays", {}), limits)


def decode(frame: Frame, expected: frozenset[type]) -> Message:
    """The message in a frame. Raises ProtocolError where it is none of the ``expected`` kinds or says nonsense."""
    header = frame.header
    named = header.get("id")
    request = named if _whole(named) else None
    name = header.get("type")
    kind = _NAMES.get(name) if isinstance(name, str) else None
    if kind is None or kind not in expected:
        raise ProtocolError(f"There is no message of the type {str(name)[:40]!r} in this direction.", request=request)
    checks = _CHECKS[kind]
    for key, check in checks.items():
        if key not in header or not check(header[key]):
            raise ProtocolError(f'The message "{name}" lacks "{key}", or has something else there.', request=request)
    values = {key: header[key] for key in checks}
    if any(each.name == "arrays" for each in fields(kind)):
        values["arrays"] = frame.arrays
    elif frame.arrays:
        raise ProtocolError(f'The message "{name}" takes no arrays.', request=request)
    return kind(**values)  # type: ignore[no-any-return]
