"""Runs the mapper in its own process: its progress, its end, and its death on request within a second."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import queue
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.blender_process import REPOSITORY
from engine.progress import Job
from engine.structure.mapper import DATABASE
from sa3d_blender.protocol.errors import CaptureError, EnvironmentFault

__all__ = ["check_pycolmap", "run_mapper"]

_STAGES = {
    "features": "Finding features",
    "pairs": "Choosing pairs",
    "matches": "Matching photos",
    "mapping": "Placing photos",
    "outcome": "Setting the scene upright",
}
_TABLES = {"features": "keypoints", "matches": "two_view_geometries"}
_TICK = 0.2  # seconds


def check_pycolmap() -> None:
    """Raises EnvironmentFault where pycolmap isn't installed."""
    if importlib.util.find_spec("pycolmap") is None:
        raise EnvironmentFault(
            "Finding cameras needs pycolmap, which is not installed.",
            "Run `pip install pycolmap` in the engine's Python.",
        )


def run_mapper(folder: Path, job: Job, threads: int) -> None:
    """Runs `engine.structure.mapper` on a work folder.

    Raises:
        Cancelled: on request; the process is killed, and what it has written is what the next run goes on with.
        CaptureError: it crashed. EnvironmentFault: pycolmap is not installed.
    """
    check_pycolmap()
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.structure.mapper", str(folder)],
        stdin=subprocess.PIPE,  # its end tells the process that we have ended
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    )
    said: queue.Queue[str] = queue.Queue()
    last: list[str] = []

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.put(line)

    def drain() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            last[:] = [*last[-20:], line.strip()]

    readers = [threading.Thread(target=each, daemon=True) for each in (listen, drain)]
    for reader in readers:
        reader.start()
    try:
        with contextlib.ExitStack() as stages:
            _follow(folder, job, process, said, stages)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for reader in readers:
            reader.join(1.0)
    if process.returncode != 0:
        for line in last:
            job.log(f"pycolmap: {line}")
        why = next((line for line in reversed(last) if line), f"exit code {process.returncode}")
        raise CaptureError(
            f"Finding the cameras failed: {why[:200]}",
            "Run it again, it goes on where it stopped; if it fails again, use fewer or smaller photos.",
        )


def _follow(
    folder: Path, job: Job, process: subprocess.Popen[str], said: queue.Queue[str], stages: contextlib.ExitStack
) -> None:
    kind, stage, first, database = "", None, 0, folder / DATABASE
    while True:
        ended = process.poll() is not None
        for message in _messages(said):
            if "stage" in message:
                stages.close()
                kind, database = message["stage"], folder / message.get("database", DATABASE)
                title = _STAGES[kind] + (" again" if message.get("again") else "")
                if kind == "features" and message.get("again"):
                    job.log("Many photos found no place, and they have few features: trying again with fainter ones.")
                stage = stages.enter_context(job.stage(title, max(1, message["total"])))
                first = _count(database, kind) or 0
                stage.total = max(1, message["total"] - first)  # what an earlier run did takes no time
            elif stage is not None and "registered" in message:
                stage.at(min(stage.total, message["registered"]), f"{message['registered']} photos")
        if ended:
            return
        job.check()
        if stage is not None and kind in _TABLES:
            count = _count(database, kind)
            if count is not None and count - first > stage.done:
                stage.at(min(stage.total, count - first), f"{count} of {int(stage.total) + first}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_TICK)


def _messages(said: queue.Queue[str]) -> Iterator[dict[str, Any]]:
    while True:
        try:
            line = said.get_nowait()
        except queue.Empty:
            return
        try:
            yield json.loads(line)
        except ValueError:
            continue  # something that a library prints


def _count(database: Path, kind: str) -> int | None:
    """The rows that the mapper has written so far; None while its database can't be read."""
    if kind not in _TABLES:
        return None
    try:
        uri = f"{database.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=0.05)) as opened:
            return int(opened.execute(f"select count(*) from {_TABLES[kind]}").fetchone()[0])
    except sqlite3.Error:  # it is being written; the next look is soon
        return None
