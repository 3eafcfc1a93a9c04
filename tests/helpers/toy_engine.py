"""A real engine process with toy requests instead of torch: what the client's and the server's tests talk to."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from engine.server_lanes import Answer, Kind, ServedJob
from sa3d_blender.client.process import EngineCommand
from sa3d_blender.protocol.errors import PromptError
from sa3d_blender.protocol.messages import Request

ROOT = Path(__file__).resolve().parents[2]


def _echo(request: Request, job: ServedJob) -> Answer:
    arrays = {name: np.frombuffer(each.data, each.dtype).reshape(each.shape) for name, each in request.arrays.items()}
    return Answer(request.body, arrays)


def _count(request: Request, job: ServedJob) -> Answer:
    """Counts to ``to``, a hundredth of a second each, and says so."""
    total = int(request.body.get("to", 1000))
    with job.stage("Counting", total) as stage:
        for i in range(total):
            time.sleep(0.01)
            stage.advance(1, f"at {i}")
            job.preview("picture", {"number": i}, pixels=np.full((4, 5), i % 256, np.uint8))
    return Answer({"counted": total})


def _noise(request: Request, job: ServedJob) -> Answer:
    """Says things where frames go, in every way there is."""
    print("a print in a job")
    sys.stdout.flush()
    os.write(1, b"bytes written to descriptor 1\n")
    os.system("echo a child of the engine")
    job.log("a line for the user")
    return Answer({"stdin": sys.stdin.read()})


def _wrong(request: Request, job: ServedJob) -> Answer:
    raise PromptError("There is no view called 'x'.", "Choose another.")


def _bug(request: Request, job: ServedJob) -> Answer:
    raise ZeroDivisionError("a bug")


def _missing(request: Request, job: ServedJob) -> Answer:
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


def _die(request: Request, job: ServedJob) -> Answer:
    os.kill(os.getpid(), signal.SIGKILL)
    return Answer()


def _large(request: Request, job: ServedJob) -> Answer:
    return Answer({}, {"bytes": np.zeros(int(request.body["bytes"]), np.uint8)})


def _not_json(request: Request, job: ServedJob) -> Answer:
    return Answer({"path": Path("/a"), "nan": float("nan"), "number": np.float32(0.5), "list": (1, np.arange(2))})


def _stuck(request: Request, job: ServedJob) -> Answer:
    """Never asks whether to stop."""
    time.sleep(3600)
    return Answer()


TOYS = {
    "echo": Kind(_echo),
    "count": Kind(_count, long=True),
    "noise": Kind(_noise, long=True),
    "wrong": Kind(_wrong),
    "bug": Kind(_bug),
    "missing": Kind(_missing),
    "die": Kind(_die, long=True),
    "large": Kind(_large),
    "not_json": Kind(_not_json),
    "stuck": Kind(_stuck, long=True),
}


def toy_command(python: str = sys.executable, own: bool = True) -> EngineCommand:
    """How the toy engine is started."""
    environment = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/helpers")]), "PYTHONSAFEPATH": "1"}
    return EngineCommand((python, "-u", "-m", "toy_engine"), environment, own)


if __name__ == "__main__":
    from engine import server_requests
    from engine.server_start import claim

    pair = claim()
    server_requests.request_kinds = lambda *_: TOYS  # type: ignore[assignment]
    from engine.server import main

    main(*pair)
