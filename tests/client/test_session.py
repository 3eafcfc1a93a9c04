"""A session delivers what the engine says on the caller's thread, and outlives any engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from sa3d_blender.client import connection
from sa3d_blender.client.fake import FakeTransport
from sa3d_blender.client.session import Callbacks, Session, as_numpy
from sa3d_blender.protocol.errors import EnvironmentFault
from sa3d_blender.protocol.framing import RawArray
from sa3d_blender.protocol.messages import Cancel, Failure, Hello, Log, Preview, Progress, Request, Result


def echo(request: Request, engine: FakeTransport) -> None:
    engine.say(Result(request.id, request.body, request.arrays))


def nothing(request: Request, engine: FakeTransport) -> None:
    return None


def steps(request: Request, engine: FakeTransport) -> None:
    engine.say(Log(request.id, "begun"))
    for i in range(3):
        engine.say(Progress(request.id, "Training field", i / 2, 2.0 - i, f"step {i}"))
        engine.say(Preview(request.id, "mask", {"step": i}, {"m": RawArray.of(np.full((2, 2), i, np.uint8))}))
    engine.say(Result(request.id, {"ok": True}))


SCRIPT = {"echo": echo, "nothing": nothing, "steps": steps}


@pytest.fixture
def engines() -> list[FakeTransport]:
    return []


@pytest.fixture
def session(engines):
    def make() -> FakeTransport:
        engines.append(FakeTransport(SCRIPT, capabilities={"device": "cpu"}))
        return engines[-1]

    one = Session(make)
    one.start()
    yield one
    one.close()


def pump_until(session: Session, true: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, (session.state, session.fault, session.log_lines())
        session.pump()
        time.sleep(0.002)


def test_hello_and_capabilities_are_kept(session):
    assert session.state == "starting"
    pump_until(session, lambda: session.capabilities)
    assert session.state == "ready"
    assert session.hello.about["requests"] == sorted(SCRIPT)
    assert session.capabilities == {"device": "cpu"}


def test_a_request_made_before_the_hello_is_answered_too(session):
    handle = session.request("echo", {"a": 1}, {"n": np.arange(6).reshape(2, 3)})
    result = session.wait(handle)
    assert result.body == {"a": 1}
    np.testing.assert_array_equal(handle.array("n"), np.arange(6).reshape(2, 3))
    assert (handle.state, session.open_handles) == ("done", ())


def test_arrays_are_copied_when_they_are_sent(session):
    numbers = np.zeros(1000)
    handle = session.request("echo", arrays={"n": numbers})
    numbers += 1
    session.wait(handle)
    assert not handle.array("n").any()


def test_callbacks_come_in_order_on_the_thread_that_pumps(session):
    told: list[tuple] = []

    def note(*what) -> None:
        told.append((threading.current_thread(), *what))

    handle = session.request(
        "steps",
        callbacks=Callbacks(
            progress=lambda h, p: note("progress", p.fraction),
            preview=lambda h, p: note("preview", int(as_numpy(p.arrays["m"]).max())),
            log=lambda h, line: note("log", line),
            result=lambda h, r: note("result"),
            done=lambda h: note("done"),
        ),
    )
    session.wait(handle)
    assert {thread for thread, *_ in told} == {threading.current_thread()}
    assert [tuple(what) for _, *what in told] == [
        ("log", "begun"),
        *[each for i in range(3) for each in (("progress", i / 2), ("preview", i))],
        ("result",),
        ("done",),
    ]
    assert handle.progress.detail == "step 2"


def test_nothing_is_delivered_without_pump(session, engines):
    told = []
    session.request("steps", callbacks=Callbacks(done=told.append))
    time.sleep(0.2)
    assert told == []


def test_cancel_is_sent_once_and_the_failure_says_cancelled(session, engines):
    handle = session.request("nothing")
    pump_until(session, lambda: session.state == "ready")
    handle.cancel()
    assert handle.state == "cancelling"
    handle.cancel()
    failure = session.wait(handle)
    assert failure.cancelled
    assert handle.state == "cancelled"
    handle.cancel()  # over: nothing happens
    assert [m for m in engines[0].heard if isinstance(m, Cancel)] == [Cancel(handle.id)]


def test_a_callback_that_breaks_is_logged_and_the_others_are_called(session):
    told = []

    def breaks(*_) -> None:
        raise RuntimeError("a bug in the panel")

    handle = session.request("steps", callbacks=Callbacks(progress=breaks, result=breaks, done=told.append))
    session.wait(handle)
    session.pump()
    assert told == [handle]
    assert any("a bug in the panel" in line for line in session.log_lines())


def test_a_callback_may_ask_again_pump_and_close(session):
    asked = []

    def again(handle, result) -> None:
        assert session.pump() == 0
        asked.append(session.request("echo", {"second": True}))

    session.wait(session.request("echo", callbacks=Callbacks(result=again)))
    assert session.wait(asked[0]).body == {"second": True}
    handle = session.request("echo", callbacks=Callbacks(result=lambda h, r: session.close()))
    session.wait(handle)
    session.pump()
    assert session.state == "stopped"


def test_a_pump_stops_when_its_time_is_over(session):
    handles = [session.request("echo", callbacks=Callbacks(result=lambda h, r: time.sleep(0.03))) for _ in range(10)]
    time.sleep(0.2)
    assert 1 <= session.pump(0.05) < 10
    session.wait(handles[-1])


def test_an_engine_that_dies_fails_what_is_open_and_says_restart(session, engines):
    told = []
    pump_until(session, lambda: session.state == "ready")
    handles = [session.request("nothing", callbacks=Callbacks(failure=lambda h, f: told.append(f))) for _ in range(3)]
    engines[0].lines += ["something", "Segmentation fault"]
    engines[0].crash()
    pump_until(session, lambda: len(told) == 3)
    assert session.state == "dead"
    for failure, handle in zip(told, handles, strict=True):
        assert failure.code == "engine"
        assert failure.id == handle.id
        assert "signal 9" in failure.what
        assert "Segmentation fault" in failure.what
        assert "Restart" in failure.cure
    assert session.fault is not None
    late = session.request("echo")
    assert late.is_open  # told in pump as everything, never from within request
    assert session.wait(late).code == "engine"


def test_restart_gives_a_new_engine_and_nothing_of_the_old_one(session, engines):
    pump_until(session, lambda: session.state == "ready")
    old = session.request("nothing")
    session.restart()
    assert session.wait(old).cancelled
    assert session.wait(session.request("echo", {"a": 1})).body == {"a": 1}
    assert len(engines) == 2
    assert session.fault is None
    engines[0].lines.append("late")
    assert session.state == "ready"


def test_starting_twice_starts_once(session, engines):
    session.start()
    pump_until(session, lambda: session.state == "ready")
    session.start()
    assert len(engines) == 1


def test_closing_ends_open_requests_as_cancelled(session):
    handle = session.request("nothing")
    session.close()
    assert handle.is_open
    session.pump()
    assert handle.state == "cancelled"
    assert session.state == "stopped"
    assert session.wait(session.request("echo")).code == "engine"


def test_an_engine_that_can_not_be_started_is_a_fault_with_a_cure():
    class Absent(FakeTransport):
        def start(self) -> None:
            raise EnvironmentFault("There is no engine.", "Install Engine.")

    changes: list[str] = []
    session = Session(Absent, lambda s: changes.append(s.state))
    session.start()
    assert changes == ["dead"]
    assert session.fault == Failure(None, "environment", "There is no engine.", "Install Engine.")
    assert session.wait(session.request("echo")).cure == "Install Engine."


def one_engine(**how) -> tuple[Session, FakeTransport]:
    fake = FakeTransport(SCRIPT, **how)
    session = Session(lambda: fake)
    session.start()
    return session, fake


def test_an_engine_of_another_protocol_is_not_talked_to():
    session, _ = one_engine(hello=Hello("9.0", protocol=99))
    handle = session.request("echo")
    failure = session.wait(handle)
    assert failure.code == "protocol"
    assert "99" in failure.what
    assert session.state == "dead"


def test_another_version_of_the_same_protocol_is_noted():
    session, _ = one_engine(hello=Hello("0.0.9"))
    pump_until(session, lambda: session.state == "ready")
    assert any("0.0.9" in line for line in session.log_lines())
    session.close()


@pytest.mark.parametrize("data", [b"\0" * 100_000, b"x" * (1 << 17), b"\x89SA3D\r\n\x1a" + b"\xff" * 40])
def test_a_program_that_is_no_engine_is_told_from_one(data):
    session, fake = one_engine(silent=True)
    threading.Thread(target=lambda: fake.say_bytes(data), daemon=True).start()
    failure = session.wait(session.request("echo"), 60)
    assert failure.code == "engine"
    assert "didn't start" in failure.what
    session.close()


def test_what_a_login_prints_before_the_first_frame_is_let_pass():
    session, fake = one_engine(silent=True)
    fake.say_bytes(b"Welcome to gpubox!\r\nYou have mail.\n")
    fake.say(Hello("0.1.0"))
    pump_until(session, lambda: session.state == "ready")
    assert session.wait(session.request("echo", {"a": 2})).body == {"a": 2}
    session.close()


def test_what_can_not_be_sent_fails_that_request_alone(session):
    for body, arrays in (({"a": {1, 2}}, None), ({"a": float("nan")}, None), ({}, {"a": np.array(["text"])})):
        failure = session.wait(session.request("echo", body, arrays))
        assert failure.code == "protocol"
    assert session.wait(session.request("echo")).body == {}


def test_an_engine_that_talks_faster_than_it_is_heard_has_to_wait(monkeypatch):
    monkeypatch.setattr(connection, "MOST_WAITING", 4 << 20)
    said = threading.Semaphore(0)

    def flood(request: Request, engine: FakeTransport) -> None:
        for i in range(40):
            engine.say(Preview(request.id, "mask", {"i": i}, {"m": RawArray.of(np.zeros(1 << 20, np.uint8))}))
            said.release()
        engine.say(Result(request.id))

    fake = FakeTransport({"flood": flood})
    session = Session(lambda: fake)
    session.start()
    handle = session.request("flood")
    time.sleep(0.7)
    assert sum(iter(lambda: said.acquire(blocking=False), False)) < 12
    session.wait(handle)
    assert handle.state == "done"
    session.close()


def test_a_failure_that_belongs_to_no_request_is_shown(session, engines):
    pump_until(session, lambda: session.capabilities)
    engines[0].say(Failure(None, "environment", "The package torch is missing.", "Install the engine again."))
    pump_until(session, lambda: session.fault)
    assert session.state == "ready"
    assert any("torch" in line for line in session.log_lines())
