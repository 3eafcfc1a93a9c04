"""The server always answers: errors with a cure, cancel at once, and it ends cleanly when nobody is there any more."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from toy_engine import TOYS

from engine import server_outbox
from engine.server import LOST, Server
from engine.server_lanes import MOST_WAITING, Answer, Kind
from sa3d_blender.protocol.framing import CLIENT_READS, ENGINE_READS, MAGIC, FrameReader, RawArray, pack
from sa3d_blender.protocol.messages import (
    FROM_ENGINE,
    Cancel,
    Capabilities,
    Failure,
    Hello,
    Log,
    Message,
    Ping,
    Pong,
    Preview,
    Progress,
    Request,
    Result,
    decode,
    encode,
)
from tests.helpers.patience import patience


class Served:
    """A server on a thread of this process, with pipes to it."""

    def __init__(self, kinds=TOYS) -> None:
        self.to_engine, self.from_engine = os.pipe(), os.pipe()
        self.broken = threading.Event()
        self.code: int | None = None
        self.server = Server(
            lambda count: os.read(self.to_engine[0], count),
            lambda data: os.write(self.from_engine[1], data),
            kinds,
            self.broken.set,
        )
        self.frames = FrameReader(lambda count: os.read(self.from_engine[0], count), CLIENT_READS)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.code = self.server.run()
        os.close(self.from_engine[1])

    def send(self, message: Message) -> None:
        self.send_bytes(b"".join(encode(message, ENGINE_READS)))

    def send_bytes(self, data: bytes) -> None:
        os.write(self.to_engine[1], data)

    def next(self) -> Message | None:
        frame = self.frames.next()
        return None if frame is None else decode(frame, FROM_ENGINE)

    def until(self, found: Callable[[Message], bool]) -> Message:
        while (message := self.next()) is not None:
            if found(message):
                return message
        raise AssertionError("the engine ended")

    def answer(self, id: int | None) -> Message:
        return self.until(lambda m: isinstance(m, Result | Failure) and m.id == id)

    def end(self) -> list[Message]:
        """Closes the input; returns what was still said."""
        os.close(self.to_engine[1])
        said = []
        while (message := self.next()) is not None:
            said.append(message)
        self.thread.join(patience(5))
        assert not self.thread.is_alive()
        return said


@pytest.fixture
def served():
    one = Served()
    hello = one.next()
    assert isinstance(hello, Hello)
    assert hello.about["requests"] == sorted(TOYS)
    yield one


def test_a_request_is_answered_with_what_came_of_it(served):
    numbers = np.arange(12, dtype=np.float32).reshape(3, 4)
    served.send(Request(1, "echo", {"a": ["ü", 1, None]}, {"n": RawArray.of(numbers)}))
    found = served.answer(1)
    assert found.body == {"a": ["ü", 1, None]}
    np.testing.assert_array_equal(np.frombuffer(found.arrays["n"].data, "f4").reshape(3, 4), numbers)
    assert served.end() == []
    assert served.code == 0


def test_paths_and_numpy_numbers_become_what_json_has(served):
    served.send(Request(1, "not_json"))
    assert served.answer(1).body == {"path": os.sep + "a", "nan": None, "number": 0.5, "list": [1, [0, 1]]}
    served.end()


@pytest.mark.parametrize(
    ("kind", "code", "word"),
    [("wrong", "prompt", "no view"), ("bug", "internal", "ZeroDivisionError"), ("missing", "environment", "torch")],
)
def test_a_failure_says_what_and_cure_and_the_next_request_is_served(served, capfd, kind, code, word):
    served.send(Request(1, kind))
    failure = served.answer(1)
    assert failure.code == code
    assert word in failure.what
    assert failure.cure
    served.send(Request(2, "echo"))
    assert isinstance(served.answer(2), Result)
    served.end()


def test_progress_previews_and_the_result_come_in_order(served):
    served.send(Request(1, "count", {"to": 40}))
    seen: list[Message] = []
    served.until(lambda m: bool(seen.append(m)) or isinstance(m, Result))
    progress = [m for m in seen if isinstance(m, Progress)]
    assert progress[0].fraction == 0
    assert progress[-1].fraction == 1
    assert [p.fraction for p in progress] == sorted(p.fraction for p in progress)
    assert 3 <= len(progress) <= 12  # about ten a second, however often the work reports
    previews = [m for m in seen if isinstance(m, Preview)]
    assert previews[-1].arrays["pixels"].shape == (4, 5)
    assert bytes(previews[-1].arrays["pixels"].data) == bytes([previews[-1].body["number"]]) * 20
    served.end()


def test_while_long_work_runs_everything_short_is_answered(served):
    served.send(Request(1, "count", {"to": 10_000}))
    served.until(lambda m: isinstance(m, Progress))
    started = time.monotonic()
    served.send(Ping(5))
    assert served.until(lambda m: isinstance(m, Pong)) == Pong(5)
    served.send(Request(2, "echo"))
    assert isinstance(served.answer(2), Result)
    assert time.monotonic() - started < patience(1)
    served.end()


def test_cancel_stops_what_runs_and_drops_what_waits(served):
    served.send(Request(1, "count", {"to": 10_000}))
    served.send(Request(2, "count", {"to": 10_000}))
    served.until(lambda m: isinstance(m, Progress))
    started = time.monotonic()
    served.send(Cancel(2))
    assert served.answer(2).cancelled
    served.send(Cancel(1))
    assert served.answer(1).cancelled
    assert time.monotonic() - started < patience(1)
    served.send(Cancel(1))  # once more, too late: nothing happens
    served.send(Ping(1))
    assert served.next() == Pong(1)
    served.end()


def test_a_number_in_use_and_an_unknown_kind_are_refused(served):
    served.send(Request(1, "count", {"to": 10_000}))
    served.send(Request(1, "echo"))
    assert served.answer(1).code == "protocol"
    served.send(Request(2, "fly"))
    assert "'fly'" in served.answer(2).what
    served.end()


def test_too_many_requests_are_refused_not_kept(served):
    for id in range(1, MOST_WAITING + 3):
        served.send(Request(id, "count", {"to": 10_000}))
    failure = served.until(lambda m: isinstance(m, Failure))
    assert failure.code == "protocol"
    assert failure.id in (MOST_WAITING + 1, MOST_WAITING + 2)
    served.end()


def test_a_frame_that_says_nonsense_is_answered_and_the_next_is_served(served):
    served.send_bytes(b"".join(pack({"type": "request", "id": 4, "kind": 5}, {}, ENGINE_READS)))
    assert served.next() == Failure(
        4,
        "protocol",
        'The message "request" lacks "kind", or has something else there.',
        "Install the engine that belongs to this version of the add-on.",
    )
    served.send(Ping(1))
    assert served.next() == Pong(1)
    served.end()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n" + b" " * 20,
        MAGIC + struct.pack("!HHIQ", 1, 0, 100, 2 << 30),
        MAGIC + struct.pack("!HHIQ", 99, 0, 2, 0) + b"{}",
        MAGIC + struct.pack("!HHIQ", 1, 0, 2**32 - 1, 0),
    ],
    ids=["no frame", "2 GB of arrays", "another version", "4 GB of header"],
)
def test_a_stream_that_makes_no_sense_is_answered_and_the_server_ends(served, data):
    served.send_bytes(data)
    failure = served.next()
    assert isinstance(failure, Failure)
    assert failure.code == "protocol"
    assert failure.cure
    assert served.next() is None
    served.thread.join(patience(5))
    assert served.code == LOST


def test_a_client_of_another_protocol_is_told_so(served):
    served.send(Hello("9.9", protocol=99))
    failure = served.next()
    assert "version 99" in failure.what
    assert served.next() is None


def test_the_end_of_input_ends_even_work_that_cannot_be_stopped():
    one = Served()
    one.send(Request(1, "stuck"))
    one.send(Request(2, "count"))
    time.sleep(0.1)
    started = time.monotonic()
    said = one.end()
    assert time.monotonic() - started < patience(4)
    assert any(isinstance(m, Failure) and m.id == 2 and m.cancelled for m in said)


def test_the_end_of_input_in_mid_frame_is_an_end():
    one = Served()
    one.send_bytes(b"".join(encode(Request(1, "echo", {"a": 1}), ENGINE_READS))[:-3])
    said = one.end()
    assert [type(m) for m in said] == [Hello, Failure]


def test_a_client_that_does_not_read_holds_nothing_up_but_itself():
    one = Served()
    count, sent = 8000, threading.Event()

    def flood() -> None:
        for id in range(count):
            one.send(Ping(id))
        sent.set()

    threading.Thread(target=flood, daemon=True).start()
    assert not sent.wait(1.0)  # the server stopped reading: it keeps no more than so many answers
    assert one.server._outbox._answers <= 1001
    pongs = 0
    while pongs < count:  # and when they are read, all of them come
        pongs += isinstance(one.next(), Pong)
    assert sent.wait(patience(5))
    one.end()


def test_a_client_that_never_reads_again_is_given_up(monkeypatch):
    monkeypatch.setattr(server_outbox, "STUCK_SECONDS", 0.5)
    one = Served()

    def flood() -> None:
        with contextlib.suppress(OSError):  # at last nobody reads this end either
            for id in range(100_000):
                one.send(Ping(id))

    threading.Thread(target=flood, daemon=True).start()
    assert one.broken.wait(patience(10))  # and the process would end here


def test_the_end_of_input_ends_a_server_whose_answers_nobody_reads():
    one = Served()
    for id in range(1, 4):
        one.send(Request(id, "large", {"bytes": 1 << 20}))
    one.send(Request(9, "count", {"to": 10_000}))
    time.sleep(0.3)
    started = time.monotonic()
    os.close(one.to_engine[1])
    one.thread.join(patience(6))
    # its threads are done or given up; only the descriptor stays open, in the thread that is stuck
    assert time.monotonic() - started < patience(4)
    assert one.code == 0


def test_progress_nobody_reads_is_replaced_not_kept():
    one = Served()
    one.next()
    one.send(Request(1, "count", {"to": 150}))
    one.send(Request(2, "large", {"bytes": 1 << 20}))  # fills the pipe
    time.sleep(2.5)
    waiting = len(one.server._outbox._queue)
    assert waiting <= 4  # at most one progress, one preview, and the results
    assert isinstance(one.answer(1), Result)
    one.end()


def test_a_client_that_has_gone_is_noticed_while_writing():
    one = Served()
    os.close(one.from_engine[0])
    one.send(Request(1, "count", {"to": 10_000}))
    assert one.broken.wait(patience(5))
    os.close(one.to_engine[1])
    one.thread.join(patience(5))
    assert not one.thread.is_alive()


def test_an_answer_that_is_too_large_is_a_failure(served, monkeypatch):
    served.send(Request(1, "large", {"bytes": CLIENT_READS.payload + 1}))
    failure = served.answer(1)
    assert "too large" in failure.what
    served.end()


def test_what_the_engine_can_do_follows_its_hello_without_a_request():
    def info(request, job) -> Answer:
        job.log("looking")
        return Answer({"device": "cpu"})

    one = Served({"info": Kind(info)})
    one.send(Hello("0.1.0"))
    assert one.until(lambda m: isinstance(m, Capabilities)) == Capabilities({"device": "cpu"})
    one.end()


def test_an_engine_that_lacks_a_package_says_so_at_once():
    one = Served({"info": TOYS["missing"]})
    one.send(Hello("0.1.0"))
    failure = one.until(lambda m: isinstance(m, Failure))
    assert (failure.id, failure.code) == (None, "environment")
    assert "torch" in failure.what
    one.end()


def test_log_lines_belong_to_their_request(served):
    def talk(request, job) -> Answer:
        job.log("a line")
        return Answer()

    one = Served({"talk": Kind(talk)})
    one.send(Request(3, "talk"))
    assert one.until(lambda m: isinstance(m, Log)) == Log(3, "a line")
    one.end()
    served.end()
