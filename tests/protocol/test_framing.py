"""Frames come back as they went, and what is no frame is an error that costs no memory."""

from __future__ import annotations

import io
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa3d_blender.protocol.framing import (
    DTYPES,
    ENGINE_READS,
    FRAME_VERSION,
    MAGIC,
    FrameReader,
    Limits,
    ProtocolError,
    RawArray,
    pack,
    write_all,
)

SMALL = Limits(header=2000, payload=2000, arrays=4)


def frame_bytes(header: dict, arrays: dict[str, RawArray] | None = None, limits: Limits = ENGINE_READS) -> bytes:
    return b"".join(pack(header, arrays or {}, limits))


def reader(data: bytes, limits: Limits = ENGINE_READS, junk: int = 0) -> FrameReader:
    return FrameReader(io.BytesIO(data).read, limits, junk)


def prefix(header: int, payload: int, version: int = FRAME_VERSION, zero: int = 0, magic: bytes = MAGIC) -> bytes:
    return struct.pack("!8sHHIQ", magic, version, zero, header, payload)


def raw_frame(header: bytes, payload: bytes = b"") -> bytes:
    return prefix(len(header), len(payload)) + header + payload


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    # every text, lone surrogates too: file names that are no UTF-8 hold them
    | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def numpy_arrays(draw):
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=4)))
    count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    data = draw(st.binary(min_size=count, max_size=count))
    array = np.frombuffer(bytes(b & 1 for b in data) if dtype == "bool" else data, dtype).reshape(shape)
    return array.T if draw(st.booleans()) else array


@given(
    header=st.dictionaries(st.text(max_size=8).filter(lambda key: key != "arrays"), json_values, max_size=5),
    arrays=st.dictionaries(st.text(min_size=1, max_size=12), numpy_arrays(), max_size=4),
    chunk=st.integers(1, 64),
)
def test_a_frame_comes_back_as_it_went_however_the_stream_is_cut(header, arrays, chunk):
    data = frame_bytes(header, {name: RawArray.of(array) for name, array in arrays.items()}) * 2
    stream = io.BytesIO(data)
    frames = FrameReader(lambda count: stream.read(min(count, chunk)), ENGINE_READS)
    for _ in range(2):
        found = frames.next()
        assert found is not None
        assert found.header == header
        assert list(found.arrays) == list(arrays)
        for name, array in arrays.items():
            raw = found.arrays[name]
            back = np.frombuffer(raw.data, raw.dtype).reshape(raw.shape)
            assert back.dtype == array.dtype
            assert back.tobytes() == array.tobytes()  # by bytes, for NaN is not itself
    assert frames.next() is None


@pytest.mark.parametrize("array", [np.zeros(2, ">f4"), np.zeros(2, "c16"), np.array(["a"]), np.zeros(2, "f4,i4")])
def test_numbers_that_do_not_travel_are_refused(array):
    with pytest.raises((TypeError, ValueError)):
        RawArray.of(array)


def lost(data: bytes, limits: Limits = ENGINE_READS) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        reader(data, limits).next()
    assert caught.value.lost
    assert caught.value.what.endswith(".")
    assert caught.value.cure
    return caught.value


@pytest.mark.parametrize(
    "data",
    [
        b"Welcome to gpubox\n" * 3,
        b"\n",
        MAGIC[:5],
        MAGIC + b"\0",
        prefix(10, 0, version=FRAME_VERSION + 1) + b"0123456789",
        prefix(10, 0, version=0),
        prefix(2, 0, zero=1) + b"{}",
        prefix(2, 0, magic=b"\x89SA3D\n\x1a\0") + b"{}",  # a stream that turned line ends
        prefix(10, 0) + b"{}",
        prefix(2, 10) + b"{}1234",
        prefix(2001, 0),
        prefix(2, 2001) + b"{}",
        prefix(2**32 - 1, 2**64 - 1),
        prefix(100, 2 << 30),
    ],
)
def test_a_stream_that_is_no_row_of_frames_is_lost(data):
    lost(data, SMALL)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"[]",
        b"3",
        b'"text"',
        b"{",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b"\xff\xfe{}",
        b'{"a":' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"arrays":{}}',
        b'{"arrays":[1]}',
        b'{"arrays":[{"name":"a","dtype":"uint8"}]}',
        b'{"arrays":[{"name":"a","dtype":"object","shape":[4]}]}',
        b'{"arrays":[{"name":"","dtype":"uint8","shape":[4]}]}',
        b'{"arrays":[{"name":"a","dtype":"uint8","shape":[5]}]}',
        b'{"arrays":[{"name":"a","dtype":"uint8","shape":[-4]}]}',
        b'{"arrays":[{"name":"a","dtype":"uint8","shape":[true,4]}]}',
        b'{"arrays":[{"name":"a","dtype":"uint8","shape":[4.0]}]}',
        b'{"arrays":[{"name":"a","dtype":"uint8","shape":[2]},{"name":"a","dtype":"uint8","shape":[2]}]}',
        b'{"arrays":[{"name":"a","dtype":"float64","shape":[1152921504606846976,16]}]}',
        b'{"arrays":[{"name":"a","dtype":"uint8","shape":[4,1,1,1,1,1,1,1,1]}]}',
    ],
    ids=range(23),
)
def test_a_bad_header_is_an_error_and_the_next_frame_is_read(header):
    frames = reader(raw_frame(header, b"1234") + frame_bytes({"type": "ping"}))
    with pytest.raises(ProtocolError) as caught:
        frames.next()
    assert not caught.value.lost
    found = frames.next()
    assert found is not None
    assert found.header == {"type": "ping"}


def test_a_claim_of_two_gigabytes_takes_no_memory():
    tracemalloc.start()
    lost(prefix(100, 2 << 30) + b"x" * 100)
    lost(prefix(ENGINE_READS.header, 0))
    data = raw_frame(b'{"arrays":[{"name":"a","dtype":"uint8","shape":[268435456]}]}')
    claims = data[:16] + struct.pack("!Q", ENGINE_READS.payload) + data[24:] + b"only this"
    lost(claims)  # within the limit, but it never comes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20  # a few chunks of 1 MiB


def test_more_than_the_reader_takes_is_not_sent():
    with pytest.raises(ProtocolError, match="too large"):
        pack({"a": "x" * 3000}, {}, SMALL)
    with pytest.raises(ProtocolError, match="too large"):
        pack({}, {"a": RawArray.of(np.zeros(2001, np.uint8))}, SMALL)
    with pytest.raises(ProtocolError, match="JSON"):
        pack({"a": float("nan")}, {}, SMALL)


def test_a_greeting_before_the_first_frame_is_let_pass_and_kept():
    greeting = b"Last login: today\r\n\x89 odd\n"
    frames = reader(greeting + frame_bytes({"a": 1}) + frame_bytes({"b": 2}), junk=1000)
    found = [frames.next(), frames.next()]
    assert [each.header for each in found if each] == [{"a": 1}, {"b": 2}]
    assert frames.greeting == greeting
    frames = reader(frame_bytes({"a": 1}) + greeting, junk=1000)
    frames.next()
    with pytest.raises(ProtocolError):  # only before the first
        frames.next()
    with pytest.raises(ProtocolError):
        reader(b"x" * 2000 + frame_bytes({}), junk=1000).next()


def test_writing_goes_on_where_a_stream_takes_only_a_part():
    taken = bytearray()

    def write(data) -> int:
        part = bytes(data[:7])
        taken.extend(part)
        return len(part)

    write_all(write, [b"a" * 20, memoryview(b"b" * 9), b""])
    assert bytes(taken) == b"a" * 20 + b"b" * 9
