"""The engine's process ends with the one that started it.

The end of standard input says so everywhere, through ssh too. That needs a thread that runs; where one is held up
inside a library, the kernel sees to it: on Linux as set here, on Windows through the job object that the client makes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

__all__ = ["PARENT", "die_with_parent"]

PARENT = "SA3D_PARENT"  # the process id of the client; set where the kernel may tie the engine's life to its own
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> bool:
    """Asks Linux to kill this process when its parent ends. True where that is arranged.

    Linux watches the *thread* that started us, so the client sets ``PARENT`` only when that is its main thread.
    """
    named = os.environ.pop(PARENT, "")
    if not sys.platform.startswith("linux") or not named.isdigit():
        return False
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):  # a system library without it: the end of standard input has to do
        return False
    arranged = prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0
    if os.getppid() != int(named):  # it has ended already, or someone stands between us
        if arranged:
            prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
        return False
    return arranged
