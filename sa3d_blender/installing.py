"""The engine's installation while Blender goes on: a thread works, a timer asks how far it is.

One at a time. The thread never touches bpy; what it says waits in a queue until ``pump`` takes it out on Blender's main
thread: by a timer in a window, in a loop without one.
"""

from __future__ import annotations

import queue
import threading
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import bpy

from . import jobs, link
from .client.install import Plan, Step, install
from .client.installed import clean, remove
from .protocol.errors import Cancelled, EnvironmentFault, Sa3dError

__all__ = [
    "busy",
    "cancel",
    "cancelling",
    "fault",
    "log_lines",
    "pump",
    "refuse",
    "register",
    "start_install",
    "start_remove",
    "step",
    "title",
    "unregister",
]

TICK_SECONDS = 0.15
CLEAN_SECONDS = 5.0  # after Blender's start, when nobody waits for the disk any more
LEAVE_SECONDS = 1.5


@dataclass
class _Work:
    """What goes on now, or went on last."""

    title: str
    cancel: threading.Event
    said: queue.SimpleQueue[Step | str | BaseException | None]
    thread: threading.Thread
    step: Step
    over: bool = False


_work: _Work | None = None
_fault: Sa3dError | None = None
_log: deque[str] = deque(maxlen=2000)


def start_install(planned: Plan) -> None:
    """Begins an installation. Nothing of it is waited for; nothing begins while another is under way."""
    _start(
        "Installing the Engine",
        planned.folder,
        lambda tell, stop, log: (install(planned, tell, stop, log), None)[1],
    )


def start_remove(folder: Path) -> None:
    """Begins to delete what is installed in ``folder``. The engine has to be stopped before."""

    def work(tell: Callable[[Step], None], _stop: threading.Event, _log: Callable[[str], None]) -> None:
        tell(Step("Removing", 0.5))
        remove(folder)

    _start("Removing the Engine", folder, work)


def cancel() -> None:
    """Has the installation stop; it does within a moment, and then tidies up."""
    if _work is not None and not _work.over:
        _work.cancel.set()


def busy() -> bool:
    """Whether something is under way."""
    return _work is not None and not _work.over


def step() -> Step | None:
    """How far it is; None while nothing is under way."""
    return _work.step if _work is not None and not _work.over else None


def title() -> str:
    """What is under way."""
    return _work.title if _work is not None else ""


def cancelling() -> bool:
    """Whether it has been told to stop and hasn't yet."""
    return busy() and _work is not None and _work.cancel.is_set()


def fault() -> Sa3dError | None:
    """Why the last attempt failed or wasn't begun; None if it didn't fail, or was cancelled."""
    return _fault


def refuse(why: Sa3dError | None) -> None:
    """Keeps why an installation wasn't begun, for the page to say."""
    global _fault
    _fault = why
    link.redraw(preferences=True)


def log_lines() -> list[str]:
    """What the programs of the installation have said, oldest first."""
    return list(_log)


def pump() -> bool:
    """Takes in what the thread has said. Returns whether something is under way."""
    work = _work
    if work is None or work.over:
        return False
    news = False
    while not work.over:
        try:
            said = work.said.get_nowait()
        except queue.Empty:
            break
        news = True
        if isinstance(said, Step):
            work.step = said
        elif isinstance(said, str):
            _log.append(said)
        else:
            _finish(work, said)
    if news:
        link.redraw(preferences=True)
    return not work.over


def _start(
    title: str,
    folder: Path,
    act: Callable[[Callable[[Step], None], threading.Event, Callable[[str], None]], None],
) -> None:
    global _work
    if busy():
        return
    stop: threading.Event = threading.Event()
    said: queue.SimpleQueue[Step | str | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            act(said.put, stop, said.put)
        except BaseException as why:
            said.put(why)
        else:
            said.put(None)

    refuse(None)
    thread = threading.Thread(target=run, name="sa3d-install", daemon=True)  # Blender may quit; pip then ends too
    _log.append(f"{title}: {folder}")
    _work = _Work(title, stop, said, thread, Step("Beginning", 0.0))
    thread.start()
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=TICK_SECONDS, persistent=True)


def _finish(work: _Work, why: BaseException | None) -> None:
    work.over = True
    if isinstance(why, Cancelled):
        _log.append("Cancelled.")
    elif isinstance(why, Sa3dError):
        refuse(why)
        _log.append(f"{why.what} {why.cure}")
    elif why is not None:
        _log.extend("".join(traceback.format_exception(why)).splitlines())
        refuse(EnvironmentFault(f"The installation failed: {why}.", "Copy the log to see more."))
    elif jobs.running() is None:  # the next request starts the new one
        link.stop()
        _clean_soon()


def _clean_soon() -> None:
    """Deletes what is left over of earlier installations, in a thread: it may be a gigabyte."""
    from .preferences import managed_folder

    threading.Thread(target=clean, args=(managed_folder(),), name="sa3d-clean", daemon=True).start()


def _tick() -> float | None:
    return TICK_SECONDS if pump() else None


def _clean_once() -> None:
    _clean_soon()


def register() -> None:
    """What a killed Blender has left half-made is cleaned up a little later."""
    if not bpy.app.background:
        bpy.app.timers.register(_clean_once, first_interval=CLEAN_SECONDS, persistent=True)


def unregister() -> None:
    """Stops what is under way and gives it a moment to tidy up; what it leaves goes at the next start."""
    global _work, _fault
    if _work is not None and not _work.over:
        _work.cancel.set()
        _work.thread.join(LEAVE_SECONDS)
    _work = _fault = None
    for timer in (_tick, _clean_once):
        if bpy.app.timers.is_registered(timer):
            bpy.app.timers.unregister(timer)
