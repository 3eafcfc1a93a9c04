"""Blender's Python module, in processes of its own: the engine never imports bpy."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from engine.progress import Job
from sa3d_blender.protocol.errors import EnvironmentFault

__all__ = ["REPOSITORY", "has_blender_module", "run_blender_module"]

REPOSITORY = Path(__file__).resolve().parent.parent


def has_blender_module() -> bool:
    """Whether the bpy package is installed beside the engine."""
    return importlib.util.find_spec("bpy") is not None


def run_blender_module(module: str, arguments: Sequence[str], job: Job, stage_name: str) -> None:
    """Runs ``python -m module`` in Blender's Python module; its JSON lines on standard error become progress.

    Raises:
        EnvironmentFault: the bpy package is not installed, or the process failed.
        Cancelled: on request; the process is ended.
    """
    if not has_blender_module():
        raise EnvironmentFault(
            f"{stage_name} takes Blender's Python module, which is not installed.",
            "Run `make setup`, or install the extra: pip install 'sa3d-blender[blender]'.",
        )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=environment,
    )
    last: list[str] = []
    try:
        with job.stage(stage_name) as stage:
            assert process.stderr is not None
            for line in process.stderr:
                try:
                    report = json.loads(line)
                    stage.total = float(report["total"])
                    stage.at(float(report["done"]))
                except (ValueError, KeyError, TypeError):
                    last = [*last[-5:], line.strip()]
                job.check()
            code = process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code != 0:
        said = next((line for line in reversed(last) if line), "it said nothing")
        raise EnvironmentFault(
            f"Blender's module failed while {stage_name[0].lower()}{stage_name[1:]} (exit {code}): {said}",
            "Run `sa3d doctor`; on a bare Linux the module's system libraries may be missing (see the README).",
        )
