"""The real engine as a process, with a draft that is trained within seconds: for tests that need no good field."""

from __future__ import annotations

import sys
from pathlib import Path

from sa3d_blender.client.process import EngineCommand

ROOT = Path(__file__).resolve().parents[2]


def quick_command(
    cache: Path | str, python: str = sys.executable, source: Path | str = ROOT, steps: int = 300
) -> EngineCommand:
    """How it is started; ``source`` is the folder that holds ``engine`` and ``sa3d_blender``. With fewer ``steps`` its
    fields are good for nothing but being written."""
    words = (python, "-u", str(Path(__file__).resolve()), str(steps), "--cache", str(cache))
    environment = {"PYTHONPATH": str(source), "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return EngineCommand(words, environment, own=True)


if __name__ == "__main__":
    from engine.server_start import claim

    pair = claim()
    from dataclasses import replace

    from engine.fields.settings import PRESETS

    steps = int(sys.argv.pop(1))
    PRESETS["draft"] = replace(PRESETS["draft"], steps=steps, rays=1024, sides=(32, 48), upsample_at=(steps * 2 // 5,))
    from engine.server import main

    main(*pair)
