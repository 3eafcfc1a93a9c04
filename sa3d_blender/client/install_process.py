"""Programs that the installation runs: their lines as they come, stopped within a moment, never left behind."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..protocol.errors import Cancelled, EnvironmentFault
from . import windows_job

__all__ = ["clean_environment", "guarded", "run"]

POLL_SECONDS = 0.1
GUARD = Path(__file__).parent / "guarded.py"
# Of pip's settings in the environment: how it reaches an index. The others (where to, for whom, what else) are ours.
_PIP = """INDEX_URL EXTRA_INDEX_URL FIND_LINKS NO_INDEX PROXY CERT CLIENT_CERT TRUSTED_HOST TIMEOUT DEFAULT_TIMEOUT
    RETRIES CACHE_DIR NO_CACHE_DIR CONFIG_FILE KEYRING_PROVIDER USE_FEATURE USE_DEPRECATED"""
_KEPT = frozenset("PIP_" + name for name in _PIP.split())


def clean_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for another Python: nothing of the surrounding one, and only pip's ways to an index."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "__PYVENV", "VIRTUAL_ENV")) and (name in _KEPT or not name.startswith("PIP_"))
    }
    return passed | {"PYTHONUTF8": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"} | dict(more or {})


def guarded(python: Path, *words: str) -> list[str]:
    """The command that runs ``python -m words`` so that it ends when we do; see guarded.py."""
    return [str(python), "-I", "-u", str(GUARD), *words]


def run(
    words: Sequence[str],
    cancel: threading.Event,
    hear: Callable[[str], None],
    scratch: Path,
    idle: Callable[[], None] = lambda: None,
) -> int:
    """Runs a command of `guarded` to its end and returns its exit code.

    Args:
        scratch: for the command's temporary files: one that is killed, as pip is, can't delete its own.
        hear: is called with each line. idle: about ten times a second, in the calling thread as well.

    Raises:
        Cancelled: ``cancel`` was set; nothing of the command runs any more. EnvironmentFault: it can't be started.
    """
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean_environment(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))),
            cwd=scratch,
            close_fds=True,
            start_new_session=sys.platform != "win32",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise EnvironmentFault(f"{words[0]} can't be started: {reason}.", "Choose another Python.") from fault
    job = windows_job.kill_with_us(process)
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(process, lines), name="sa3d-install-read", daemon=True)
    reader.start()
    try:
        while True:
            if cancel.is_set():
                raise Cancelled("The installation was cancelled.")
            try:
                line = lines.get(timeout=POLL_SECONDS)
            except queue.Empty:
                idle()
                continue
            if line is None:
                return process.wait()
            hear(line)
            if lines.empty():
                idle()
    finally:
        _end(process)
        windows_job.release(job)
        assert process.stdin is not None
        process.stdin.close()


def _read(process: subprocess.Popen[bytes], lines: queue.SimpleQueue[str | None]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line.decode("utf-8", "replace").rstrip())
    lines.put(None)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the process's group, which is its own; what has ended by itself has nobody left in it."""
    if process.poll() is not None:
        return
    if sys.platform != "win32":
        import signal

        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
