"""The add-on's one engine: started when it is first needed, pumped by a timer, restarted when asked.

Everything that wants something of the engine asks ``session()``. In a window a timer that outlives File > Open pumps
it, often while work is under way and seldom otherwise; without one (``blender -b``, the bpy module) timers never fire
and ``pump()`` is called in a loop.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import bpy

from .client.session import Session
from .client.transport import Transport
from .protocol.errors import Sa3dError
from .protocol.messages import Failure, Hello

__all__ = [
    "capabilities",
    "fault",
    "hello",
    "log_lines",
    "on_pump",
    "pump",
    "redraw",
    "register",
    "restart",
    "session",
    "state",
    "stop",
    "unregister",
    "use",
]

BUSY_SECONDS = 0.06
IDLE_SECONDS = 0.5  # notices that an engine died; a new request doesn't wait for it, for it wakes the timer
AWAKE_SECONDS = 2.0  # after a request the answer to another is near

Launcher = Callable[[], Transport]

_session: Session | None = None
_launcher: Launcher | None = None
_listeners: list[Callable[[], object]] = []
_faults: list[str] = []
_awake_until = 0.0
_resting = _ticking = False


def session() -> Session:
    """The session with the engine, started if none was. Its requests never raise: failures arrive by ``pump``."""
    global _session
    if _session is None:
        _session = Session(_transport, _changed)
        _session.start()
    elif _session.state == "stopped":
        _session.start()
    _wake()
    return _session


def state() -> str:
    """What the engine is: "stopped" (not needed yet), "starting", "ready" or "dead"."""
    return "stopped" if _session is None else _session.state


def fault() -> Failure | None:
    """Why the engine is dead, with a cure; None while nothing is wrong."""
    return None if _session is None else _session.fault


def capabilities() -> Mapping[str, Any] | None:
    """What the engine has said that it can do; None until it has. Starts nothing."""
    return None if _session is None else _session.capabilities


def hello() -> Hello | None:
    """The greeting of the engine that runs, each engine's its own; None until it has come. Starts nothing."""
    return None if _session is None else _session.hello


def log_lines() -> list[str]:
    """What session and engine have said, oldest first."""
    return [*([] if _session is None else _session.log_lines()), *_faults]


def restart() -> None:
    """Ends the engine, whatever it is doing, and starts one as the preferences say now."""
    if _session is None:
        session()
        return
    _session.restart()
    _wake()


def stop() -> None:
    """Ends the engine, within a second or so. The next request starts another."""
    global _session
    if _session is not None:
        closed, _session = _session, None
        closed.close(1.0)
        closed.pump(1.0)  # whoever waits for an answer hears that none will come
        _tell()
        redraw(preferences=True)


def use(launcher: Launcher | None) -> None:
    """Engines are started by ``launcher`` from now on rather than as the preferences say (None: by these again)."""
    global _launcher
    stop()
    _launcher = launcher


def pump(seconds: float = 0.02) -> int:
    """Delivers what has come from the engine and tells the listeners; returns the number of messages."""
    count = 0 if _session is None else _session.pump(seconds)
    _tell()
    return count


def on_pump(function: Callable[[], object]) -> Callable[[], None]:
    """``function`` is called after each pump; returns what stops that."""
    _listeners.append(function)

    def remove() -> None:
        if function in _listeners:
            _listeners.remove(function)

    return remove


def redraw(*regions: str, preferences: bool = False) -> None:
    """Has regions of the 3D viewports drawn again: by default the sidebar ("UI"), which is all that the panel needs."""
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            if area.type == "VIEW_3D":
                for region in area.regions:
                    if region.type in (regions or ("UI",)):
                        region.tag_redraw()
            elif preferences and area.type == "PREFERENCES":
                area.tag_redraw()


class _Refused:
    """A transport that can't be started: nothing is set up, and why not is the session's fault, as any other."""

    def __init__(self, why: Sa3dError) -> None:
        self._why = why

    def start(self) -> None:
        raise self._why

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


def _transport() -> Transport:
    try:
        if _launcher is not None:
            return _launcher()
        from .preferences import launcher

        return launcher()()
    except Sa3dError as why:
        return _Refused(why)  # type: ignore[return-value]


def _changed(_session: Session) -> None:
    redraw(preferences=True)


def _tell() -> None:
    for listener in tuple(_listeners):
        try:
            listener()
        except Exception:
            _faults.extend(traceback.format_exception(*sys.exc_info()))
            del _faults[:-200]


def _busy() -> bool:
    waiting = _session is not None and (bool(_session.open_handles) or _session.state == "starting")
    return waiting or time.monotonic() < _awake_until


def _tick() -> float:
    global _resting, _ticking
    _ticking = True
    try:
        pump()
    finally:
        _ticking = False
    _resting = not _busy()
    return IDLE_SECONDS if _resting else BUSY_SECONDS


def _wake() -> None:
    """The timer fires soon, though it was resting."""
    global _awake_until, _resting
    _awake_until = time.monotonic() + AWAKE_SECONDS
    if bpy.app.background:  # it would never fire, and the bpy module would hang on leaving
        return
    if _ticking:  # it says itself when it comes again
        return
    if _resting and bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if not bpy.app.timers.is_registered(_tick):
        _resting = False
        bpy.app.timers.register(_tick, first_interval=BUSY_SECONDS, persistent=True)


def register() -> None:
    """Nothing starts before it is needed."""


def unregister() -> None:
    """Ends the engine and the timer."""
    stop()
    _listeners.clear()
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
