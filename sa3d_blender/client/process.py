"""An engine that runs as a process of this machine: a Python that has its packages, or any command such as ssh.

Never through a shell: words stay what they are, with spaces, umlauts and quotes. The process's own standard input and
output carry the frames; a thread keeps the last lines of its standard error.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..protocol.errors import EnvironmentFault
from ..protocol.framing import Buffer
from . import windows_job

__all__ = ["EngineCommand", "ProcessTransport", "command_engine", "python_engine"]

LOG_LINES = 400
LONGEST_LINE = 2000
# What a surrounding Python (Blender's own, an environment) tells its children and another Python mustn't hear.
_NOT_PASSED_ON = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "SA3D_PARENT")


@dataclass(frozen=True)
class EngineCommand:
    """How an engine is started: the ``words`` of a command, and what is set in its environment besides ours.

    ``own``: the process is the engine itself rather than something that leads to it, and may be told our process id.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    own: bool = False
    cure: str = "Choose another engine in the add-on's preferences, then press Restart."


def python_engine(
    python: Path | str, source: Path | str, cache: Path | str | None = None, device: str | None = None
) -> EngineCommand:
    """The engine in ``source`` (the folder that holds ``engine`` and ``sa3d_blender``: the extension's own) run by the
    Python at ``python``, which has the engine's packages. ``cache`` and ``device`` as for the command line."""
    words = [str(python), "-u", "-m", "engine.server_start"]
    words += [] if device is None else ["--device", device]
    words += [] if cache is None else ["--cache", str(cache)]
    environment = {
        "PYTHONPATH": str(source),
        "PYTHONSAFEPATH": "1",  # a folder called "engine" where Blender was started is not ours
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",  # the extension's folder is Blender's to fill
    }
    return EngineCommand(tuple(words), environment, own=True)


def command_engine(words: Sequence[str]) -> EngineCommand:
    """Any command that ends up in `sa3d serve`, as a list of words: ``["ssh", "gpubox", "sa3d", "serve"]``."""
    return EngineCommand(tuple(words))


class ProcessTransport:
    """A started command behind the Transport protocol. See `Transport` for the methods."""

    def __init__(self, command: EngineCommand, folder: Path | None = None) -> None:
        """``folder``: where the process runs; by default the user's home."""
        self.command, self.folder = command, folder
        self._process: subprocess.Popen[bytes] | None = None
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._log_thread: threading.Thread | None = None
        self._job: object = None
        self._killed = False
        self._closing = threading.Lock()

    def start(self) -> None:
        if not self.command.words or not all(self.command.words):
            raise EnvironmentFault("No engine has been chosen.", "Choose one in the add-on's preferences.")
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
        environment |= self.command.environment
        if self.command.own and threading.current_thread() is threading.main_thread():
            environment["SA3D_PARENT"] = str(os.getpid())
        flags = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows alone has it
        try:
            self._process = subprocess.Popen(
                self.command.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                cwd=self.folder or _home(),
                close_fds=True,
                start_new_session=sys.platform != "win32",  # so that Ctrl-C in Blender's terminal is Blender's alone
                creationflags=flags,
            )
        except (OSError, ValueError) as fault:
            reason = getattr(fault, "strerror", None) or str(fault)
            raise EnvironmentFault(
                f"The engine {self.command.words[0]} can't be started: {reason}.", self.command.cure
            ) from fault
        self._job = windows_job.kill_with_us(self._process)
        self._log_thread = threading.Thread(target=self._keep_log, name="sa3d-log", daemon=True)
        self._log_thread.start()

    @property
    def pid(self) -> int | None:
        """The process's id, None before the start."""
        return None if self._process is None else self._process.pid

    def read(self, count: int) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        got = self._process.stdout.read(count) or b""
        if not got:
            _close_quietly(self._process.stdout)  # here, where nobody else can be reading
        return got

    def write(self, data: Buffer) -> int | None:
        assert self._process is not None and self._process.stdin is not None
        return self._process.stdin.write(data)

    def log_lines(self) -> list[str]:
        return list(self._lines)

    def ending(self, wait_s: float) -> str | None:
        if self._process is None:
            return "it was never started"
        try:
            code = self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            return None
        if self._log_thread is not None:
            self._log_thread.join(0.2)  # its last words are being read
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def finish(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            _close_quietly(self._process.stdin)

    def close(self, deadline_s: float) -> None:
        with self._closing:
            if self._process is None:
                return
            # Its input has ended, or is about to: half of the time is the engine's own.
            if self.ending(deadline_s / 2) is None:
                self._process.terminate()
                if self.ending(deadline_s / 4) is None:
                    self._kill()
                    self.ending(deadline_s / 4)
            windows_job.release(self._job)
            self._job = None

    def _kill(self) -> None:
        assert self._process is not None
        if sys.platform != "win32":
            import signal

            try:  # and what it has started, being the leader of its own group
                os.killpg(self._process.pid, signal.SIGKILL)
                return
            except OSError:
                pass
        self._process.kill()

    def _keep_log(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        held = b""
        while True:
            try:
                got = self._process.stderr.read(1 << 16)
            except (OSError, ValueError):
                got = b""
            *whole, held = (held + (got or b"\n")).replace(b"\r", b"\n").split(b"\n")
            self._lines += [line[:LONGEST_LINE].decode("utf-8", "replace") for line in whole if line.strip()]
            held = held[-LONGEST_LINE:]
            if not got:
                _close_quietly(self._process.stderr)
                return


def _home() -> Path:
    """A folder that is always there and never in the way of an uninstall."""
    home = Path(os.path.expanduser("~"))
    return home if home.is_dir() else Path(tempfile.gettempdir())


def _close_quietly(stream: object) -> None:
    try:
        stream.close()  # type: ignore[attr-defined]
    except (OSError, ValueError):  # it was closed from the other side
        return
