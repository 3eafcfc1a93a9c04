"""Frames on a stream of bytes: magic, version, two lengths, a JSON header, raw array bytes. Every length has a limit.

    offset  size  what
    0       8     magic: 89 53 41 33 44 0D 0A 1A (as in PNG, a stream that changes line ends is noticed at once)
    8       2     version of the frames, big-endian
    10      2     zero
    12      4     H, bytes of the header, big-endian
    16      8     P, bytes of all arrays together, big-endian
    24      H     header: one JSON object in UTF-8; its list "arrays" says how the P bytes are shared out
    24+H    P     arrays one after the other, little-endian, rows first, without gaps

Nothing is allocated because a length says so: memory grows only with bytes that have really come.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from .errors import Sa3dError

__all__ = [
    "CLIENT_READS",
    "DTYPES",
    "ENGINE_READS",
    "FRAME_VERSION",
    "MAGIC",
    "Buffer",
    "Frame",
    "FrameReader",
    "Limits",
    "ProtocolError",
    "RawArray",
    "pack",
    "write_all",
]

Buffer = bytes | bytearray | memoryview
MAGIC = b"\x89SA3D\r\n\x1a"
FRAME_VERSION = 1
_PREFIX = struct.Struct("!8sHHIQ")
_CHUNK = 1 << 20  # bytes asked for at a time

# Names as numpy has them, with the size of one number in bytes.
DTYPES: dict[str, int] = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "uint16": 2,
    "int16": 2,
    "float16": 2,
    "uint32": 4,
    "int32": 4,
    "float32": 4,
    "uint64": 8,
    "int64": 8,
    "float64": 8,
}
_CODES = {"?": "bool", "e": "float16", "f": "float32", "d": "float64"}
MOST_DIMENSIONS, LONGEST, LONGEST_NAME = 8, 1 << 40, 64


class ProtocolError(Sa3dError):
    """The other side sent what is no frame or no message.

    ``lost``: where the next frame begins is not known any more, so the stream has come to its end. ``request``: the id
    of the request that was meant, where that could be read.
    """

    code = "protocol"

    def __init__(self, what: str, cure: str = "", lost: bool = False, request: int | None = None) -> None:
        super().__init__(what, cure or "Install the engine that belongs to this version of the add-on.")
        self.lost = lost
        self.request = request


@dataclass(frozen=True)
class Limits:
    """The most that is read: bytes of a header, bytes of a frame's arrays, arrays in a frame."""

    header: int
    payload: int
    arrays: int = 256


# What an engine is asked is short, but for painted masks; what it answers describes whole captures.
ENGINE_READS = Limits(header=1 << 20, payload=256 << 20)
CLIENT_READS = Limits(header=32 << 20, payload=1 << 30)


@dataclass(frozen=True)
class RawArray:
    """Numbers as they travel: rows first, read by ``numpy.frombuffer(data, dtype).reshape(shape)``."""

    dtype: str
    shape: tuple[int, ...]
    data: Buffer

    @staticmethod
    def of(numbers: Any) -> RawArray:
        """Of anything with a buffer, such as a numpy array; copied only where it isn't contiguous.

        Raises TypeError for numbers of a kind that doesn't travel.
        """
        view = memoryview(numbers)
        code, size = view.format.lstrip("<=@"), view.itemsize
        name = _CODES.get(code) or f"{'u' if code.isupper() else ''}int{8 * size}"
        if len(code) != 1 or code not in "?efdbBhHiIlLqQ" or DTYPES.get(name) != size:
            raise TypeError(f"arrays of the format {view.format!r} can't be sent")
        shape = tuple(view.shape or ())
        whole = view.c_contiguous and 0 not in shape
        return RawArray(name, shape, view.cast("B") if whole and view.ndim else view.tobytes())

    @property
    def nbytes(self) -> int:
        """Bytes that the numbers take."""
        return DTYPES[self.dtype] * math.prod(self.shape)


@dataclass(frozen=True)
class Frame:
    """One frame, taken apart: the header without its list of arrays, and the arrays by name."""

    header: Mapping[str, Any]
    arrays: Mapping[str, RawArray] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(array.nbytes for array in self.arrays.values())


def pack(header: Mapping[str, Any], arrays: Mapping[str, RawArray], limits: Limits) -> list[Buffer]:
    """A frame as pieces to be written one after the other. Raises ProtocolError for more than the reader would take."""
    listed = [{"name": name, "dtype": each.dtype, "shape": list(each.shape)} for name, each in arrays.items()]
    try:
        text = json.dumps({**header, "arrays": listed}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        # A name of a file that is no UTF-8 holds lone surrogates; JSON has them as \\udcXX, which this makes.
        head = text.encode("utf-8", "backslashreplace")
    except (TypeError, ValueError, RecursionError) as fault:
        raise ProtocolError(f"A message holds what JSON can't say: {fault}.", "Report this as a bug.") from fault
    payload = sum(array.nbytes for array in arrays.values())
    if len(head) > limits.header or payload > limits.payload or len(listed) > limits.arrays:
        raise ProtocolError(
            f"A message of {len(head)} bytes with {len(listed)} arrays of {payload} bytes is too large to be sent.",
            "Use fewer or smaller photos.",
        )
    prefix = _PREFIX.pack(MAGIC, FRAME_VERSION, 0, len(head), payload)
    return [prefix + head, *(array.data for array in arrays.values() if array.nbytes)]


class FrameReader:
    """Reads frames from ``read(n)``, which returns 1 to n bytes, or none at the stream's end.

    Args:
        limits: what more than makes a frame an error.
        junk: bytes before the first frame that are let pass, as a login's greeting makes them in front of an engine
            that is reached through ssh. They are kept in ``greeting``.
    """

    def __init__(self, read: Callable[[int], bytes], limits: Limits, junk: int = 0) -> None:
        self._read, self.limits, self._junk = read, limits, junk
        self._held = b""
        self.greeting = b""

    def next(self) -> Frame | None:
        """The next frame, or None where the stream ends between two frames.

        Raises:
            ProtocolError: this is no frame; ``lost`` where reading on makes no sense. OSError: from ``read``.
        """
        prefix = self._prefix()
        if prefix is None:
            return None
        _, version, zero, header_length, payload_length = _PREFIX.unpack(prefix)
        if version != FRAME_VERSION:
            raise ProtocolError(f"The frames are of version {version}, not of {FRAME_VERSION}.", lost=True)
        if zero:
            raise ProtocolError("A frame's reserved bytes are not zero.", lost=True)
        if header_length > self.limits.header or payload_length > self.limits.payload:
            raise ProtocolError(
                f"A frame claims {header_length} bytes of header and {payload_length} of arrays; the limits are "
                f"{self.limits.header} and {self.limits.payload}.",
                lost=True,
            )
        head = self._exactly(header_length)
        # A header that says nothing good still tells how much there is to skip.
        try:
            header = _json_object(head)
            shares = _shares(header.pop("arrays", []), payload_length, self.limits)
        except ProtocolError:
            self._skip(payload_length)
            raise
        payload = memoryview(self._exactly(payload_length))
        arrays, at = {}, 0
        for name, dtype, shape in shares:
            size = DTYPES[dtype] * math.prod(shape)
            arrays[name] = RawArray(dtype, shape, payload[at : at + size])
            at += size
        return Frame(header, arrays)

    def _prefix(self) -> bytes | None:
        """The next 24 bytes, which begin with the magic; None at the end."""
        while True:
            got = self._some(_PREFIX.size)
            if got[:8] == MAGIC[: len(got[:8])] and len(got) == _PREFIX.size:
                self._junk = 0  # from now on one frame follows the other
                return got
            if not got:
                return None
            if self._junk <= 0:
                if got[:8] != MAGIC[: len(got[:8])]:
                    raise ProtocolError("What was sent is no frame.", lost=True)
                raise ProtocolError("The stream ends within a frame.", lost=True)
            if len(got) < _PREFIX.size:
                self.greeting += got
                raise ProtocolError("The stream ends before the first frame.", lost=True)
            begin = got.find(MAGIC[:1], 1)
            skipped = len(got) if begin < 0 else begin
            self.greeting += got[:skipped]
            self._junk -= skipped
            self._held = got[skipped:]

    def _some(self, count: int) -> bytes:
        """``count`` bytes, fewer only at the stream's end."""
        parts, missing = [self._held], count - len(self._held)
        self._held = b""
        while missing > 0:
            got = self._read(missing)
            if not got:
                break
            parts.append(got)
            missing -= len(got)
        return b"".join(parts)

    def _exactly(self, count: int) -> bytearray:
        whole = bytearray()
        while len(whole) < count:
            got = self._read(min(_CHUNK, count - len(whole)))
            if not got:
                raise ProtocolError("The stream ends within a frame.", lost=True)
            whole += got
        return whole

    def _skip(self, count: int) -> None:
        while count > 0:
            got = self._read(min(_CHUNK, count))
            if not got:
                raise ProtocolError("The stream ends within a frame.", lost=True)
            count -= len(got)


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def _json_object(text: bytearray) -> dict[str, Any]:
    try:
        found = json.loads(text.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError, MemoryError) as fault:
        raise ProtocolError("A frame's header is no JSON.") from fault
    if not isinstance(found, dict):
        raise ProtocolError("A frame's header is no JSON object.")
    return found


def _shares(listed: Any, payload: int, limits: Limits) -> list[tuple[str, str, tuple[int, ...]]]:
    """(name, dtype, shape) of every array, which together take exactly ``payload`` bytes."""
    if not isinstance(listed, list) or len(listed) > limits.arrays:
        raise ProtocolError("A frame's list of arrays is no list, or too long.")
    found: list[tuple[str, str, tuple[int, ...]]] = []
    total = 0
    for each in listed:
        name, dtype, shape = (
            (each.get(k) for k in ("name", "dtype", "shape")) if isinstance(each, dict) else (None,) * 3
        )
        if (
            not isinstance(name, str)
            or not 0 < len(name) <= LONGEST_NAME
            or any(name == other for other, _, _ in found)
        ):
            raise ProtocolError("An array in a frame has no name, too long a one, or another array's.")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ProtocolError(f"The array {name!r} holds numbers of an unknown kind.")
        if not _is_shape(shape):
            raise ProtocolError(f"The array {name!r} has a shape that can't be.")
        total += DTYPES[dtype] * math.prod(shape)
        found.append((name, dtype, tuple(shape)))
    if total != payload:
        raise ProtocolError(f"A frame's arrays take {total} bytes, but {payload} come with it.")
    return found


def _is_shape(shape: Any) -> TypeGuard[list[int]]:
    # Each length is bounded, so that the product of all stays a number of ordinary size.
    return (
        isinstance(shape, list)
        and len(shape) <= MOST_DIMENSIONS
        and all(type(length) is int and 0 <= length <= LONGEST for length in shape)
    )


def write_all(write: Callable[[Buffer], int | None], pieces: Sequence[Buffer]) -> None:
    """Writes every piece to its end, in chunks; an unbuffered stream may take only a part at a time."""
    for piece in pieces:
        view = memoryview(piece)
        while len(view):
            taken = write(view[:_CHUNK])
            view = view[_CHUNK if taken is None else taken :]
