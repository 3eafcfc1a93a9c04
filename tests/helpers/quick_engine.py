"""The real engine as a process, with a draft that is trained within seconds: for tests that need no good field."""

from __future__ import annotations

import sys
from pathlib import Path

from sa3d_blender.client.process import EngineCommand

ROOT = Path(__file__).resolve().parents[2]


def quick_command(cache: Path | str, python: str = sys.executable, source: Path | str = ROOT) -> EngineCommand:
    """How it is started; ``source`` is the folder that holds ``engine`` and ``sa3d_blender``."""
    words = (python, "-u", str(Path(__file__).resolve()), "--cache", str(cache))
    environment = {"PYTHONPATH": str(source), "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return EngineCommand(words, environment, own=True)


if __name__ == "__main__":
    from engine.server_start import claim

    pair = claim()
    from dataclasses import replace

    from engine.fields.training import PRESETS

    PRESETS["draft"] = replace(PRESETS["draft"], steps=300, rays=1024, sides=(32, 48), upsample_at=(120,))
    from engine.server import main

    main(*pair)
