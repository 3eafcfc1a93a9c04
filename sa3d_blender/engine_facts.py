"""What the engine has said about itself: its test, its weights and downloads, the size of its cache."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import link
from .client.session import Callbacks, Handle
from .protocol.messages import Failure, Progress, Result
from .scene import mask_preview

__all__ = [
    "Facts",
    "cancel_get",
    "clear_cache",
    "facts",
    "forget",
    "get_weights",
    "refresh",
    "remove_weights",
    "test",
]


@dataclass
class Facts:
    """None where it isn't known. ``seconds`` from the start to the engine's account of itself; ``weights`` as the
    request `weights_list` answers; ``cache`` as `cache_size` does; ``trouble`` [(what, cure)] of the latest test."""

    state: str = ""  # of the test: "", "starting", "looking", "good", "bad"
    began: float = 0.0
    seconds: float | None = None
    trouble: list[tuple[str, str]] = field(default_factory=list)
    weights: list[Mapping[str, Any]] | None = None
    cache: Mapping[str, Any] | None = None
    getting: dict[str, Handle] = field(default_factory=dict)
    told: dict[str, Progress] = field(default_factory=dict)
    failed: Failure | None = None


facts = Facts()


def forget() -> None:
    """Nothing is known any more, as before the first test."""
    global facts
    facts = Facts()


def test() -> None:
    """Starts the engine anew as it is set up now, and has it look at itself. Answers come by ``link.pump``."""
    facts.state, facts.began, facts.seconds, facts.trouble, facts.failed = "starting", time.monotonic(), None, [], None
    link.restart()
    link.session().request("doctor", callbacks=Callbacks(result=_tested, failure=_not_tested))
    refresh()


def refresh() -> None:
    """Asks for the list of weights and the cache's size; starts the engine where none runs."""
    session = link.session()
    session.request("weights_list", callbacks=Callbacks(result=_weights, failure=_failed))
    session.request("cache_size", callbacks=Callbacks(result=_cache, failure=_failed))


def get_weights(name: str) -> None:
    """Downloads weights. Goes on where an earlier download stopped."""
    facts.failed = None
    facts.getting[name] = link.session().request(
        "weights_get",
        {"name": name},
        callbacks=Callbacks(progress=_got_more, failure=_failed, done=_got),
    )
    link.redraw(preferences=True)


def cancel_get(name: str) -> None:
    """Stops that download. What has come stays for the next time."""
    if name in facts.getting:
        facts.getting[name].cancel()


def remove_weights(name: str) -> None:
    """Deletes weights, and what has come of a download that was begun."""
    facts.failed = None
    link.session().request("weights_remove", {"name": name}, callbacks=Callbacks(result=_changed, failure=_failed))


def clear_cache() -> None:
    """Deletes trained captures and results from the cache, never weights."""
    facts.failed = None
    facts.cache = None
    link.session().request("cache_clear", callbacks=Callbacks(result=_changed, failure=_failed))


def _tested(_handle: Handle, result: Result) -> None:
    facts.seconds = time.monotonic() - facts.began
    findings = result.body.get("findings", [])
    facts.trouble = [(f"{each['name']}: {each['detail']}", each["cure"]) for each in findings if each["ok"] is False]
    facts.state = "bad" if facts.trouble else "good"
    link.redraw(preferences=True)


def _not_tested(_handle: Handle, failure: Failure) -> None:
    facts.state = "" if failure.cancelled else "bad"
    facts.trouble = [] if failure.cancelled else [(failure.what, failure.cure)]
    link.redraw(preferences=True)


def _weights(_handle: Handle, result: Result) -> None:
    facts.weights = list(result.body.get("weights", []))
    link.redraw(preferences=True)


def _cache(_handle: Handle, result: Result) -> None:
    facts.cache = dict(result.body)
    link.redraw(preferences=True)


def _got_more(handle: Handle, progress: Progress) -> None:
    facts.told[handle.body["name"]] = progress
    link.redraw(preferences=True)


def _got(handle: Handle) -> None:
    facts.getting.pop(handle.body["name"], None)
    facts.told.pop(handle.body["name"], None)
    mask_preview.try_again()  # they may be what a mask was waiting for
    if link.state() in ("starting", "ready"):
        refresh()


def _changed(_handle: Handle, _result: Result) -> None:
    refresh()


def _failed(_handle: Handle, failure: Failure) -> None:
    if not failure.cancelled and facts.state != "bad":  # there the test has said the same
        facts.failed = failure
    link.redraw(preferences=True)
