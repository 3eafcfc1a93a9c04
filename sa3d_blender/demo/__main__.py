"""Command line of the demo scene: ``python -m sa3d_blender.demo render --out DIR``, in a Python that has bpy."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from sa3d_blender.demo.render import render_demo
from sa3d_blender.protocol.errors import Sa3dError


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 0 is success, 1 a failure explained in one line on stderr (2, from argparse, bad usage)."""
    parser = argparse.ArgumentParser(prog="python -m sa3d_blender.demo", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="render the capture and the truth about its objects")
    render.add_argument("--out", type=Path, required=True, help="new folder to write")
    render.add_argument("--views", type=int, default=40)
    render.add_argument("--width", type=int, default=320)
    render.add_argument("--height", type=int, default=240)
    render.add_argument("--samples", type=int, default=16, help="rays per pixel before denoising")
    render.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="sa3d-demo-") as settings:
            # The user's own add-ons and preferences must change nothing here; read when bpy is imported.
            os.environ["BLENDER_USER_RESOURCES"] = settings
            render_demo(
                given.out.absolute(), given.views, given.width, given.height, given.samples, given.seed, _print_progress
            )
    except Sa3dError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _print_progress(done: int, total: int) -> None:
    print(json.dumps({"done": done, "total": total}), file=sys.stderr, flush=True)


def _run_and_leave() -> None:
    """End the process without Blender's own clean-up, which can hang in the module of 4.5."""
    # Blender prints a line for each picture on standard output, which is kept for results.
    sys.stdout.flush()
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    try:
        code = main()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _run_and_leave()
