"""The first module of the engine's process: keeps standard input and output for frames before anything else can.

    python -m engine.server_start [--device NAME] [--cache DIR]        what the add-on starts
    sa3d serve [--device NAME] [--cache DIR]                           the same; engine/cli.py imports this module first

From then on file descriptor 1 is standard error, so that a ``print`` anywhere, in a C library too, lands in the log;
and file descriptor 0 is empty, so that no program started from here eats frames.
"""

from __future__ import annotations

import os
import sys

__all__ = ["claim", "claimed"]

_claimed: tuple[int, int] | None = None


def claim() -> tuple[int, int]:
    """File descriptors of our own for reading and writing frames; inherited by no process that is started from here."""
    global _claimed
    if _claimed is None:
        if os.name == "nt":  # line ends must stay as they are
            import msvcrt

            for number in (0, 1):
                msvcrt.setmode(number, os.O_BINARY)  # type: ignore[attr-defined]
        read, write = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDWR)
        try:
            os.fstat(2)
        except OSError:  # started without standard error
            os.dup2(nothing, 2)
        os.dup2(2, 1)
        os.dup2(nothing, 0)
        os.close(nothing)
        _be_polite()
        _claimed = read, write
    return _claimed


def _be_polite() -> None:
    """The program that has started us comes first: its window stays quick while we compute."""
    if "SA3D_PARENT" not in os.environ:
        return
    if os.name == "nt":
        import ctypes

        below_normal = 0x4000
        kernel = ctypes.windll.kernel32  # type: ignore[attr-defined]
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), below_normal)
    else:
        os.nice(5)


def claimed() -> tuple[int, int] | None:
    """What `claim` has taken, or None where it hasn't been called."""
    return _claimed


if sys.argv[1:2] == ["serve"] and os.path.basename(sys.argv[0]).split(".")[0] in ("sa3d", "cli"):
    claim()

if __name__ == "__main__":
    pair = claim()
    if sys.version_info < (3, 11):  # noqa: UP036  someone's own Python may be any
        print("The engine needs Python 3.11 or later; this is", sys.version.split()[0], file=sys.stderr)
        sys.exit(3)
    from engine.server import main

    main(*pair)
