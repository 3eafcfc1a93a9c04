"""Runs a module as ``python -m`` does, and ends with all that it has started when its standard input ends.

Run as a script by the Python that makes, or is in, the engine's environment: where Blender dies in mid-install, pip
does too. On Windows the job object that the process is in does the same for pip's own children.
"""

import os
import runpy
import signal
import sys
import threading


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)  # it leads its own group, see install_process.py
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
