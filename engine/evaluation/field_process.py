"""Runs of the benchmark of fields in processes of their own: started, listened to, ended when the job is."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import engine
from engine.evaluation.field_run import FieldRun, Outcome
from engine.progress import Job, Report
from sa3d_blender.protocol.errors import FieldError, Sa3dError

COMMAND = (sys.executable, "-m", "engine.evaluation.field_run")
POLL_SECONDS = 0.1
ENDING_SECONDS = 0.5  # that a process may take to end by itself
TAIL_BYTES = 8192  # of what a process that died said
ERRORS: dict[str, type[Sa3dError]] = {kind.code: kind for kind in Sa3dError.__subclasses__()}


def measure_apart(run: FieldRun, job: Job, command: Sequence[str] = COMMAND) -> Outcome:
    """`engine.evaluation.field_run.measure` in a process of its own, so that its peak of memory is its own, too.

    Progress and words for the log go on to the job.

    Raises:
        Cancelled: on request, within a fraction of a second; the process is gone then.
        Sa3dError: as `measure`. FieldError: the process died.
    """
    with tempfile.TemporaryFile() as errors, _started(command, errors) as process:
        assert process.stdin is not None and process.stdout is not None
        said: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_hear, args=(process.stdout, said), daemon=True).start()
        with contextlib.suppress(BrokenPipeError):  # where it died at once, what it said tells more
            process.stdin.write(run.to_json() + "\n")
            process.stdin.flush()
        found = _followed(said, job)
        if found is not None:
            return found
        code = process.wait()
        errors.seek(max(0, errors.seek(0, 2) - TAIL_BYTES))
        raise _died(run, code, errors.read().decode("utf-8", "replace"))


@contextlib.contextmanager
def _started(command: Sequence[str], errors: IO[bytes]) -> Iterator[subprocess.Popen[str]]:
    """The process, which is ended, if need be by force: what it writes is thrown away anyhow."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        encoding="utf-8",
        cwd=Path(engine.__file__).parents[1],  # so that it finds this engine and no other
        # Ctrl-C in a terminal is for us alone: we end it.
        start_new_session=sys.platform != "win32",
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError, ValueError):
                if pipe is not None:
                    pipe.close()


def _hear(lines: Iterable[str], said: queue.Queue[str | None]) -> None:
    try:
        with contextlib.suppress(OSError, ValueError):  # it has been closed
            for line in lines:
                said.put(line)
    finally:
        said.put(None)  # whatever happened: nobody shall wait for more


def _followed(said: queue.Queue[str | None], job: Job) -> Outcome | None:
    """Passes on what the process says, up to its outcome; None where it ended without one."""
    while True:
        job.check()
        try:
            line = said.get(timeout=POLL_SECONDS)
        except queue.Empty:
            continue
        if line is None or not line.endswith("\n"):  # it was killed while it spoke
            return None
        ((what, value),) = json.loads(line).items()
        if what == "report":
            job.listener(Report(**value))
        elif what == "log":
            job.log(value)
        elif what == "error":
            raise ERRORS.get(value["code"], Sa3dError)(value["what"], value["cure"])
        else:
            return Outcome.from_json(value)


def _died(run: FieldRun, code: int, errors: str) -> FieldError:
    what = f"The process that trained {run.kind} ({run.quality}) on {run.capture.name} died"
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return FieldError(
            f"{what}: {name}.",
            "Where memory ran out: close other programs, or choose a lower --quality or fewer views.",
        )
    last = next((line.strip() for line in reversed(errors.splitlines()) if line.strip()), f"exit code {code}")
    return FieldError(f"{what}: {last.rstrip('.')}.", "Try `sa3d train` with the same capture, --field and --quality.")
