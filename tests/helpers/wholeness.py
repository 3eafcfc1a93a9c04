"""Whether caches and results are whole: everything can be read, nothing is half-written."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors
from PIL import Image

__all__ = ["assert_whole"]


def assert_whole(*folders: Path) -> None:
    """Reads every file, and finds none that was being written."""
    for path in (each for folder in folders for each in folder.rglob("*") if each.is_file()):
        assert ".partial" not in str(path) and ".written" not in str(path), path
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="numpy") as file:
                assert all(file.get_tensor(name) is not None for name in file.keys())  # noqa: SIM118 (no mapping)
        elif path.suffix == ".png":
            Image.open(path).load()
        elif path.suffix == ".glb":
            assert int.from_bytes(path.read_bytes()[8:12], "little") == path.stat().st_size, path
