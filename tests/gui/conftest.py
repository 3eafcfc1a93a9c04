"""A real Blender window that tests click in: driven by the script `blender-window`, skipped where it isn't."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
TOOL = Path(os.environ.get("BLENDER_WINDOW", ROOT.parent / "shared" / "tools" / "blender-window"))
CHROOT = Path(
    os.environ.get("BLENDER_WINDOW_ROOT", "/opt/blender-window"), os.environ.get("BLENDER_WINDOW_SUITE", "trixie")
)
SIZE = "1280x800"  # drawn by the processor: large enough to work in, no larger
SHOTS = os.environ.get("SA3D_SHOTS", "")  # a folder that pictures of the steps are kept in


class Window:
    """Blender's window: mouse, keys, pictures, and Python inside of it."""

    def __init__(self, folder: Path, size: str = SIZE) -> None:
        self.folder, self.size = folder, size

    def tool(self, *words: str, given: str = "", seconds: float = 300) -> str:
        """Runs one command of the script."""
        done = subprocess.run(
            [str(TOOL), *words],
            input=given,
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=seconds,
            env=os.environ | {"BLENDER_WINDOW_SIZE": self.size, "BLENDER_WINDOW_WAIT": "2400"},
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def py(self, code: str) -> Any:
        """Runs Python in the window; what it puts into ``answer`` comes back."""
        said = self.tool("py", given=f"import json\nanswer = None\n{code}\nprint('ANSWER', json.dumps(answer))")
        return json.loads(said.split("ANSWER", 1)[1])

    def xdo(self, *words: object) -> None:
        """Mouse and keys; returns when Blender has worked on them, for its timers come after its events."""
        self.tool("xdo", *map(str, words), "sleep", "0.3")
        self.py("")

    def click(self, x: int, y: int, *keys: str) -> None:
        """A click on the display, with keys held."""
        held = [word for key in keys for word in ("keydown", key, "sleep", "0.1")]
        loose = [word for key in keys for word in ("sleep", "0.1", "keyup", key)]
        self.xdo("mousemove", x, y, "sleep", "0.3", *held, "click", "1", *loose)

    def drag(self, *places: tuple[int, int]) -> None:
        """Press, move through the places, release."""
        words: list[object] = ["mousemove", *places[0], "sleep", "0.3", "mousedown", "1"]
        for place in places[1:]:
            words += ["sleep", "0.15", "mousemove", *place]
        self.xdo(*words, "sleep", "0.2", "mouseup", "1")

    def picture(self, name: str) -> np.ndarray:
        """The display as int [H, W, 3]; kept in $SA3D_SHOTS under ``name`` where that is set."""
        self.py("redraw()")
        path = self.folder / f"{name}.png"
        self.tool("shot", str(path))
        data = path.read_bytes()
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            Path(SHOTS, path.name).write_bytes(data)
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def needed() -> None:
    """Skips where there is no window, or nothing to build the zip with."""
    if not TOOL.is_file():
        pytest.skip("there is no blender-window (set BLENDER_WINDOW)")
    if not (CHROOT / ".blender-window-ready").exists():
        pytest.skip("no Blender for windows: run `blender-window setup` once")
    if importlib.util.find_spec("bpy") is None:
        pytest.skip("needs the bpy module to build the zip")


def zip_in(folder: Path) -> Path:
    """The extension, built from the checkout."""
    spec = importlib.util.find_spec("bpy")
    assert spec is not None and spec.origin is not None
    packer = next(Path(spec.origin).parent.glob("*/scripts/addons_core/bl_pkg/cli/blender_ext.py"))
    command = [sys.executable, str(packer), "build", "--source-dir", str(ROOT), "--output-dir", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (archive,) = folder.glob("*.zip")
    return archive


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    """A window of a fresh Blender with the zip installed; only its ``folder`` is visible inside."""
    needed()
    folder = tmp_path_factory.mktemp("window")
    archive = zip_in(folder)
    opened = Window(folder)
    opened.tool("reset")
    install = ("--command", "extension", "install-file", "-r", "user_default", "--enable", str(archive))
    opened.tool("blender", "--", *install)
    opened.tool("run")  # refused where a window is open, which is then not ours to close
    try:
        yield opened
    finally:
        opened.tool("stop")
