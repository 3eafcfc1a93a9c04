"""Messages survive the way through a frame; nonsense is refused with the request that it was meant for."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sa3d_blender.protocol import errors
from sa3d_blender.protocol.framing import CLIENT_READS, Frame, FrameReader, ProtocolError, RawArray
from sa3d_blender.protocol.messages import (
    FROM_CLIENT,
    FROM_ENGINE,
    Cancel,
    Capabilities,
    Failure,
    Hello,
    Log,
    Ping,
    Pong,
    Preview,
    Progress,
    Request,
    Result,
    as_error,
    decode,
    encode,
)

ids = st.integers(0, 2**53)
texts = st.text(max_size=30)
bodies = st.dictionaries(texts, st.integers() | texts | st.lists(st.floats(allow_nan=False, allow_infinity=False)))
arrays = st.dictionaries(
    st.text(min_size=1, max_size=9), st.builds(lambda n: RawArray.of(np.arange(n, dtype=np.int16)), st.integers(0, 9))
)
client_messages = st.one_of(
    st.builds(Hello, texts, ids, bodies),
    st.builds(Request, ids, st.text(min_size=1, max_size=20), bodies, arrays),
    st.builds(Cancel, ids),
    st.builds(Ping, ids),
)
engine_messages = st.one_of(
    st.builds(Hello, texts, ids, bodies),
    st.builds(Capabilities, bodies),
    st.builds(Progress, ids, texts, st.floats(0, 1), st.none() | st.floats(0, 1e9), texts),
    st.builds(Log, st.none() | ids, texts),
    st.builds(Preview, ids, texts, bodies, arrays),
    st.builds(Result, ids, bodies, arrays),
    st.builds(Failure, st.none() | ids, texts, texts, texts),
    st.builds(Pong, ids),
)


def through_a_frame(message, expected):
    data = b"".join(encode(message, CLIENT_READS))
    frame = FrameReader(io.BytesIO(data).read, CLIENT_READS).next()
    assert frame is not None
    return decode(frame, expected)


@given(client_messages)
def test_what_a_client_says_arrives(message):
    assert through_a_frame(message, FROM_CLIENT) == message


@given(engine_messages)
def test_what_an_engine_says_arrives(message):
    assert through_a_frame(message, FROM_ENGINE) == message


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"type": None},
        {"type": ["ping"]},
        {"type": "pong", "id": 1},  # a message of the other direction
        {"type": "ping"},
        {"type": "ping", "id": -1},
        {"type": "ping", "id": True},
        {"type": "ping", "id": 1.0},
        {"type": "ping", "id": 2**60},
        {"type": "request", "id": 1, "kind": "", "body": {}},
        {"type": "request", "id": 1, "kind": "x" * 65, "body": {}},
        {"type": "request", "id": 1, "kind": "echo", "body": []},
        {"type": "hello", "version": 1, "protocol": 1, "about": {}},
    ],
)
def test_nonsense_is_refused(header):
    with pytest.raises(ProtocolError) as caught:
        decode(Frame(header), FROM_CLIENT)
    assert not caught.value.lost


def test_a_refusal_names_the_request_where_it_can():
    with pytest.raises(ProtocolError) as caught:
        decode(Frame({"type": "request", "id": 7, "kind": 3, "body": {}}), FROM_CLIENT)
    assert caught.value.request == 7


def test_arrays_come_only_with_what_takes_them():
    with pytest.raises(ProtocolError, match="no arrays"):
        decode(Frame({"type": "ping", "id": 1}, {"a": RawArray("uint8", (1,), b"x")}), FROM_CLIENT)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, "half", None])
def test_progress_is_a_share(fraction):
    header = {"type": "progress", "id": 1, "stage": "s", "fraction": fraction, "seconds_left": None, "detail": ""}
    with pytest.raises(ProtocolError):
        decode(Frame(header), FROM_ENGINE)


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_of_the_tree_comes_back_as_itself_with_its_cure(name):
    kind = getattr(errors, name)
    fault = kind("What happened.", "What to do.")
    back = as_error(Failure(1, fault.code, fault.what, fault.cure))
    assert type(back) is kind
    assert (back.what, back.cure, back.code) == (fault.what, fault.cure, fault.code)


def test_an_error_of_another_code_keeps_it():
    back = as_error(Failure(1, "engine", "It stopped.", "Press Restart."))
    assert (back.code, back.cure) == ("engine", "Press Restart.")
