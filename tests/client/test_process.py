"""A real engine process: started in any folder, killed in mid-job, never left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from toy_engine import ROOT, toy_command

from sa3d_blender.client.process import EngineCommand, ProcessTransport, command_engine, python_engine
from sa3d_blender.client.session import Callbacks, Session
from tests.helpers.patience import patience

LINUX = sys.platform.startswith("linux")


class Toy:
    """A session with toy engines, and the transports it has used."""

    def __init__(self, command: EngineCommand | None = None, folder: Path | None = None) -> None:
        self.transports: list[ProcessTransport] = []
        self.command, self.folder = command or toy_command(), folder
        self.session = Session(self._make)
        self.session.start()

    def _make(self) -> ProcessTransport:
        self.transports.append(ProcessTransport(self.command, self.folder))
        return self.transports[-1]

    @property
    def pid(self) -> int:
        found = self.transports[-1].pid
        assert found is not None
        return found

    def until(self, true: Callable[[], object], seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, (self.session.state, self.session.fault, self.session.log_lines())
            self.session.pump()
            time.sleep(0.005)


@pytest.fixture
def toy():
    one = Toy()
    one.until(lambda: one.session.state == "ready")
    yield one
    one.session.close()


def runs(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def gone(pid: int, seconds: float = 5.0) -> bool:
    until = time.monotonic() + seconds
    while runs(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not runs(pid)


def test_arrays_go_there_and_back(toy):
    numbers = np.random.default_rng(0).normal(size=(300, 400, 3)).astype(np.float32)  # far more than a pipe holds
    handle = toy.session.request("echo", {"name": "größe"}, {"n": numbers})
    assert toy.session.wait(handle).body == {"name": "größe"}
    np.testing.assert_array_equal(handle.array("n"), numbers)


def test_what_a_job_prints_does_not_break_frames(toy):
    lines = []
    handle = toy.session.request("noise", callbacks=Callbacks(log=lambda h, line: lines.append(line)))
    assert toy.session.wait(handle).body == {"stdin": ""}  # and nobody can read frames away
    assert lines == ["a line for the user"]
    toy.until(lambda: "a child of the engine" in toy.session.log_lines())
    assert "a print in a job" in toy.session.log_lines()
    assert "bytes written to descriptor 1" in toy.session.log_lines()
    assert toy.session.wait(toy.session.request("echo", {"still": "there"})).body == {"still": "there"}


def test_cancel_acts_within_a_second(toy):
    handle = toy.session.request("count", {"to": 100_000})
    toy.until(lambda: handle.progress)
    started = time.monotonic()
    handle.cancel()
    assert toy.session.wait(handle).cancelled
    assert time.monotonic() - started < patience(1)


@pytest.mark.parametrize("how", ["killed from outside", "dies by itself"])
def test_an_engine_killed_in_mid_job_is_noticed_and_can_be_restarted(toy, how):
    waiting = toy.session.request("count", {"to": 100_000})
    toy.until(lambda: waiting.progress)
    started = time.monotonic()
    if how == "killed from outside":
        os.kill(toy.pid, signal.SIGKILL)
    else:
        waiting.cancel()
        toy.session.wait(waiting)
        waiting = toy.session.request("die")
    failure = toy.session.wait(waiting)
    assert time.monotonic() - started < patience(2)
    assert (failure.code, "signal 9" in failure.what, failure.cure) == ("engine", True, "Press Restart.")
    assert toy.session.state == "dead"
    toy.session.restart()
    assert toy.session.wait(toy.session.request("echo", {"a": 1})).body == {"a": 1}
    assert len(toy.transports) == 2


def test_closing_ends_the_process_within_the_deadline_even_one_that_is_stuck(toy):
    toy.session.request("stuck")
    time.sleep(0.2)
    pid = toy.pid
    started = time.monotonic()
    toy.session.close(2.0)
    assert time.monotonic() - started < patience(2.5)
    assert gone(pid, patience(0.5))


@pytest.mark.skipif(not LINUX, reason="signals that hold a process")
def test_closing_ends_a_process_that_does_not_react_at_all(toy):
    pid = toy.pid
    os.kill(pid, signal.SIGSTOP)
    toy.session.request("echo", arrays={"n": np.zeros(10_000_000)})  # the writing thread is stuck in the pipe
    time.sleep(0.2)
    started = time.monotonic()
    toy.session.close(1.0)
    assert time.monotonic() - started < patience(2)
    assert gone(pid, patience(1))


PARENT = """
    import sys, threading, time
    from sa3d_blender.client.process import ProcessTransport
    from sa3d_blender.client.session import Session
    from toy_engine import toy_command
    def work():
        session = Session(lambda: ProcessTransport(toy_command(own={own})))
        session.start()
        handle = session.request({kind!r}, {{"to": 100000}})
        while session.state != "ready":
            session.pump()
        time.sleep(0.3)
        print(session.hello.about["pid"], flush=True)
        time.sleep(60)
    {run}
"""


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
@pytest.mark.parametrize(
    ("kind", "own", "signal_name"),
    [("count", True, "SIGKILL"), ("stuck", True, "SIGKILL"), ("stuck", False, "SIGKILL"), ("count", False, "SIGTERM")],
)
def test_no_engine_outlives_its_parent(kind, own, signal_name):
    # own: Linux itself ends it (prctl); else it ends because its input does
    code = textwrap.dedent(PARENT).format(own=own, kind=kind, run="work()")
    environment = {**os.environ, **toy_command().environment}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert runs(pid)
    parent.send_signal(getattr(signal, signal_name))
    parent.wait(60)
    parent.stdout.close()
    assert gone(pid, 4.0)


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_an_engine_started_by_a_thread_outlives_that_thread():
    code = textwrap.dedent(
        """
        import os, threading, time
        from sa3d_blender.client.process import ProcessTransport
        from sa3d_blender.client.session import Session
        from toy_engine import toy_command
        session = Session(lambda: ProcessTransport(toy_command()))
        thread = threading.Thread(target=session.start)
        thread.start()
        thread.join()
        time.sleep(1)
        print(session.wait(session.request("echo", {"alive": True}), 60).body, flush=True)
        session.close()
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **toy_command().environment},
    )
    assert done.stdout.strip() == "{'alive': True}", done.stderr


def test_an_engine_whose_output_nobody_reads_ends(tmp_path):
    command = toy_command()
    process = subprocess.Popen(
        command.words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        env={**os.environ, **command.environment},
    )
    assert process.stdout is not None and process.stdin is not None
    process.stdout.read(20)
    process.stdout.close()  # half of the way is closed, its input stays open
    from sa3d_blender.protocol.framing import ENGINE_READS
    from sa3d_blender.protocol.messages import Ping, encode

    process.stdin.write(b"".join(encode(Ping(1), ENGINE_READS)))
    assert process.wait(60) == 0
    process.stdin.close()


def test_two_sessions_at_once_do_not_know_of_each_other(toy):
    other = Toy()
    handles = [each.session.request("count", {"to": 30}) for each in (toy, other)]
    assert toy.session.wait(handles[0]).body == {"counted": 30}
    os.kill(toy.pid, signal.SIGKILL)
    assert other.session.wait(handles[1]).body == {"counted": 30}
    assert other.session.state == "ready"
    other.session.close()


def test_folders_with_spaces_umlauts_and_two_hundred_letters_hold_an_engine(tmp_path):
    folder = tmp_path / ("Größe & 'Länge' $HOME " + "x" * 170)  # 200 bytes and some more
    (folder / "engine").mkdir(parents=True)
    for path in (ROOT / "engine").glob("*.py"):
        shutil.copy(path, folder / "engine")
    shutil.copytree(ROOT / "sa3d_blender/protocol", folder / "sa3d_blender/protocol")
    (folder / "sa3d_blender/__init__.py").write_text("")
    python = folder / "my python"
    python.symlink_to(sys.executable)
    command = python_engine(python, folder, cache=folder / "cache ü", device="cpu")
    assert command.own
    one = Toy(command, folder)
    # (the copy lacks the folders with torch in them, so that only the server itself starts)
    one.until(lambda: one.session.hello)
    assert one.session.hello.about["pid"] == one.pid
    size = one.session.wait(one.session.request("nonsense $(touch x); `x`", {"a": "'; exit 1"}))
    assert size.code == "protocol"
    one.session.close()


def test_a_folder_called_engine_where_blender_was_started_is_not_ours(tmp_path):
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine/__init__.py").write_text("raise SystemExit('the wrong engine')")
    one = Toy(python_engine(sys.executable, ROOT), tmp_path)
    one.until(lambda: one.session.hello)
    one.session.close()


def test_what_surrounds_blender_is_not_passed_on(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))  # as a program with a Python of its own may set it
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    one = Toy()
    one.until(lambda: one.session.hello)
    one.session.close()


def test_a_wrapping_command_is_ended_with_what_it_started():
    words = toy_command().words
    environment = toy_command().environment
    one = Toy(EngineCommand(("nice", "-n", "1", *words), environment))
    one.until(lambda: one.session.hello)
    pid = one.session.hello.about["pid"]
    one.session.close(1.0)
    assert gone(pid, patience(1))


@pytest.mark.parametrize(
    ("words", "code", "word"),
    [
        ((), "environment", "No engine"),
        (("/no/such/python",), "environment", "No such file"),
        ((str(ROOT),), "environment", "Permission denied"),
        ((sys.executable, "-c", "raise SystemExit('there is no torch here')"), "engine", "there is no torch here"),
        ((sys.executable, "-c", "print('Python 2 here')"), "engine", "Python 2 here"),
        ((sys.executable, "-c", "import os; os.abort()"), "engine", "signal 6"),
    ],
)
def test_what_is_no_engine_is_said_with_its_last_words(words, code, word):
    one = Toy(command_engine(words))
    failure = one.session.wait(one.session.request("echo"), 60)
    assert failure.code == code
    assert word in failure.what
    assert failure.cure
    one.session.close()


def test_the_log_keeps_the_last_lines_only():
    code = "import sys; [print('line', i, file=sys.stderr) for i in range(5000)]; print('x' * 100000, file=sys.stderr)"
    one = Toy(command_engine((sys.executable, "-c", code)))
    one.session.wait(one.session.request("echo"), 60)
    lines = one.session.log_lines()
    assert "line 4999" in lines
    assert "line 1" not in lines
    assert max(map(len, lines)) < 10_000
