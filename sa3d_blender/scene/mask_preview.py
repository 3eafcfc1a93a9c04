"""Asks the engine for the mask of the photo that one looks at, as soon as something is said about it.

What is seen says what is asked: each drawing of a viewport tells ``look`` what it shows, and what isn't known of that
is asked for a moment later. So it makes no difference what has changed: a click, its undo, a word, the photo. What
nobody looks at any more is cancelled. Answers come through link.py's pump and are kept (mask_answers.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import bpy
import numpy as np

from .. import jobs, link
from ..client.session import Callbacks, Handle, as_numpy
from ..protocol.errors import EnvironmentFault, PromptError
from ..protocol.messages import Failure, Result
from .delivery import capture_by_uid, prompted_by_uid
from .mask_answers import Answer, Candidate, Hit, Place, Question, Shelf, read_hits, what_is_said
from .prompt_store import prompt_request
from .views import cameras_of, capture_of

__all__ = [
    "advance",
    "answer_for",
    "forget",
    "is_asked",
    "is_preparing",
    "latest_for",
    "look",
    "look_away",
    "place_of",
    "question_of",
    "register",
    "seek",
    "try_again",
    "unregister",
    "wake",
]

DEBOUNCE = 0.05
LINGER = 0.25
"""Seconds that a photo is looked at before it is prepared: who turns pages doesn't want them all."""

Prepared = tuple[str, str, tuple[tuple[str, Any], ...]]

_shelf = Shelf()
_wanted: dict[int, tuple[Question, ...]] = {}
_seen: dict[int, Prepared] = {}
_asked: dict[Question, Handle] = {}
_preparing: tuple[Prepared, Handle] | None = None
_prepared: Prepared | None = None
_finds: dict[tuple[str, str, str], tuple[Hit, ...]] = {}
_sought: set[tuple[str, str, str]] = set()
_due = _prepare_due = 0.0
_woken = False
_refused: frozenset[Question] = frozenset()
_engine: Any = None
"""What the engine said first whose answers these are; another one may know better."""
_unhook: Any = None


def place_of(capture: Any, prompted: Any, camera: Any) -> Place:
    """Where an object is in a photo."""
    return Place(str(capture.get("sa3d_uid", "")), prompted.uid, str(camera["sa3d_view"]))


def question_of(scene: Any, capture: Any, prompted: Any, camera: Any) -> Question | None:
    """What there is to ask about an object in a photo; None where nothing was said about it."""
    place = place_of(capture, prompted, camera)
    said = what_is_said(prompted, camera, _is_sought(place, prompted))
    return None if said is None else Question(place, *said, _settings(scene))


def answer_for(scene: Any, capture: Any, prompted: Any, camera: Any) -> Answer | None:
    """What is known of an object in a photo, if it answers all that was said about it."""
    question = question_of(scene, capture, prompted, camera)
    return None if question is None else _shelf.get(question)


def latest_for(scene: Any, capture: Any, prompted: Any, camera: Any) -> Answer | None:
    """As ``answer_for``; while that is on its way, what was known before. None where nothing is said any more."""
    question = question_of(scene, capture, prompted, camera)
    return None if question is None else _shelf.get(question) or _shelf.latest(question.place)


def seek(capture: Any, prompted: Any, camera: Any) -> None:
    """An object's words are looked for in a photo: only there, only where asked, for it takes long."""
    place = place_of(capture, prompted, camera)
    _sought.add((place.capture, place.view, prompted.words.strip()))
    wake()
    _show()


def _is_sought(place: Place, prompted: Any) -> bool:
    return (place.capture, place.view, prompted.words.strip()) in _sought


def is_asked(place: Place) -> bool:
    """Whether an answer about a place is on its way, or will be."""
    return any(one.place == place for one in (*_asked, *(q for wanted in _wanted.values() for q in wanted)))


def is_preparing(capture: Any, camera: Any) -> bool:
    """Whether the engine is looking at a photo for the first time."""
    return _preparing is not None and _preparing[0][:2] == (capture.get("sa3d_uid"), camera["sa3d_view"])


def look(viewport: int, scene: Any, camera: Any, eager: bool = True) -> None:
    """Tells what a viewport shows: called each time that it is drawn, so nothing may be changed here.

    Unless ``eager`` (one of our tools is in the hand) no engine is started for it.
    """
    global _due, _prepare_due
    capture = capture_of(scene, camera)
    if capture is None or not capture.get("sa3d_source"):
        look_away(viewport)
        return
    if not (eager or _woken or link.state() in ("starting", "ready")):
        return
    state = capture.sa3d
    order = sorted(range(len(state.objects)), key=lambda number: number != state.active)
    questions = (question_of(scene, capture, state.objects[number], camera) for number in order)
    wanted = tuple(one for one in questions if one is not None and one not in _shelf)
    now = time.monotonic()
    if wanted != _wanted.get(viewport, ()):
        _wanted[viewport] = wanted
        _due = now + DEBOUNCE
        _soon(DEBOUNCE)
    seen: Prepared = (str(capture["sa3d_uid"]), str(camera["sa3d_view"]), _settings(scene))
    if _seen.get(viewport) != seen:
        _seen.pop(viewport, None)
        _seen[viewport] = seen  # the latest one is the last one
        _prepare_due = now + LINGER
        _soon(LINGER)


def look_away(viewport: int) -> None:
    """A viewport shows no photo any more."""
    _wanted.pop(viewport, None)
    _seen.pop(viewport, None)


def wake() -> None:
    """From now on the engine is started for what is seen, whatever tool is in the hand."""
    global _woken
    _woken = True


def try_again() -> None:
    """What failed is asked once more where it is looked at: the reason may be gone."""
    _shelf.forget_failures()
    _show()


def forget() -> None:
    """Forgets all answers and wishes; what is under way is cancelled."""
    global _preparing, _prepared, _woken
    handles = [*_asked.values(), *([] if _preparing is None else [_preparing[1]])]
    _asked.clear()
    _preparing = _prepared = None
    _woken = False
    for handle in handles:
        handle.cancel()
    for kept in (_shelf, _wanted, _seen, _finds, _sought):
        kept.clear()


def advance() -> None:
    """Cancels what nobody wants any more, asks for what is wanted and due."""
    _notice_engine()
    wanted = {one: None for wishes in _wanted.values() for one in wishes if one not in _shelf}
    for question in [one for one in _asked if one not in wanted]:
        _asked.pop(question).cancel()
    now = time.monotonic()
    if now >= _due:
        fresh = [one for one in wanted if one not in _asked]
        if fresh and _engine_takes(frozenset(fresh)):
            for question in fresh:
                _ask(question)
    if now >= _prepare_due and not _asked and _seen:
        _prepare(list(_seen.values())[-1])


def _notice_engine() -> None:
    global _engine
    engine = link.hello()
    if engine is not None and engine is not _engine:
        _engine = engine
        try_again()


def _engine_takes(fresh: frozenset[Question]) -> bool:
    """Whether it makes sense to ask now. Where no engine was set up, that is looked at again for each new question,
    quietly; one that died is restarted by the panel's button only."""
    global _refused
    if link.state() != "dead":
        _refused = frozenset()
        return True
    fault = link.fault()
    if fault is None or fault.code != EnvironmentFault.code or fresh <= _refused:
        return False
    _refused = fresh
    link.restart()
    return link.state() != "dead"


def _settings(scene: Any) -> tuple[tuple[str, Any], ...]:
    """What else the mask depends on, as the body of a request has it."""
    quality = {"quality": scene.sa3d.quality}  # so that the photo is encoded at the size at which it will be lifted
    return tuple(sorted((quality | jobs.request_defaults("segment")).items()))


def _ask(question: Question) -> None:
    capture, prompted, camera = _look_up(question.place)
    # Who has said more in the meantime is asked about that, at the next drawing.
    if (
        camera is None
        or prompted is None
        or what_is_said(prompted, camera, bool(question.words)) != (question.said, question.words)
    ):
        return
    body, arrays = prompt_request(prompted, camera)
    _send(question, body, arrays, str(capture["sa3d_source"]))


def _send(question: Question, body: Mapping[str, Any], arrays: Mapping[str, np.ndarray], source: str) -> None:
    hits = _finds.get(_words_key(question)) if question.words else ()
    full = dict(body)
    if hits is None:
        full["text"] = {"words": question.words}
    elif hits:
        full["box"] = list(hits[0].box)
    full |= {"capture": source, **dict(question.settings)}
    callbacks = Callbacks(result=_answered(question), failure=_failed(question, body, arrays, source))
    _asked[question] = link.session().request("prompt", full, arrays, callbacks)


def _answered(question: Question) -> Any:
    def answered(handle: Handle, message: Result) -> None:
        global _prepared
        if _asked.get(question) is handle:
            del _asked[question]
        body = message.body
        if question.words and _words_key(question) not in _finds:
            _finds[_words_key(question)] = read_hits(body)
        candidates = tuple(
            Candidate(str(one["scale"]), float(one["score"]), as_numpy(message.arrays[one["array"]]))
            for one in body.get("candidates", ())
        )
        hits = _finds.get(_words_key(question), ())
        score, chosen = body.get("score"), body.get("chosen")
        mask = as_numpy(message.arrays["mask"])
        if mask.max(initial=0) < 128:
            note = "The segmenter finds nothing there"
        else:
            note = "" if hits or not question.words else f'Nothing here looks like "{question.words}"'
        _shelf.put(
            Answer(
                question,
                mask,
                str(body.get("segmenter", "")),
                None if score is None else float(score),
                candidates,
                None if chosen is None else int(chosen),
                hits,
                time.monotonic() - handle.started,
                note=note,
            )
        )
        _prepared = (question.place.capture, question.place.view, question.settings)
        _show()

    return answered


def _failed(question: Question, body: Mapping[str, Any], arrays: Mapping[str, np.ndarray], source: str) -> Any:
    def failed(handle: Handle, message: Failure) -> None:
        mine = _asked.get(question) is handle
        if mine:
            del _asked[question]
        if message.cancelled or not mine or link.state() == "dead":
            _show()
            return
        unfound = message.code == PromptError.code and question.words and _words_key(question) not in _finds
        if unfound and (body.get("points") or arrays):
            _finds[_words_key(question)] = ()  # what was clicked there counts all the same
            _send(question, body, arrays, source)
            return
        _notice_engine()
        _shelf.put(Answer(question, what=message.what, cure=message.cure, code=message.code))
        _show()

    return failed


def _words_key(question: Question) -> tuple[str, str, str]:
    return question.place.capture, question.place.view, question.words


def _prepare(seen: Prepared) -> None:
    global _preparing
    if _preparing is not None and _preparing[0] != seen:
        _preparing[1].cancel()
        _preparing = None
    if _preparing is not None or _prepared == seen or link.state() == "dead":
        return
    capture = capture_by_uid(seen[0])
    if capture is None:
        return
    body = {"capture": str(capture["sa3d_source"]), "view": seen[1], **dict(seen[2])}

    def done(handle: Handle) -> None:
        global _preparing, _prepared
        if _preparing is not None and _preparing[1] is handle:
            _preparing = None
            if link.state() != "dead":
                _prepared = seen  # or it can't be done, which the first click will be told
            _show()

    _preparing = (seen, link.session().request("prepare_view", body, callbacks=Callbacks(done=done)))


def _look_up(place: Place) -> tuple[Any, Any, Any]:
    """(capture, prompted object, camera) as they are now, each None where it is gone."""
    capture = capture_by_uid(place.capture)
    if capture is None:
        return None, None, None
    camera = next((one for one in cameras_of(capture) if one["sa3d_view"] == place.view), None)
    return capture, prompted_by_uid(capture, place.prompted), camera


def _show() -> None:
    link.redraw("WINDOW", "UI")


def _soon(seconds: float) -> None:
    """Looks again when the hand has rested. In the background timers never fire; there the pump does it."""
    if not bpy.app.background and not bpy.app.timers.is_registered(_tick):
        bpy.app.timers.register(_tick, first_interval=seconds)


def _tick() -> float | None:
    advance()
    now = time.monotonic()
    left = [due - now for due in (_due, _prepare_due) if due > now]
    return max(min(left), 0.01) if left else None


@bpy.app.handlers.persistent
def _after_load(_file: Any) -> None:
    forget()


def register() -> None:
    """Listens to the engine."""
    global _unhook
    _unhook = link.on_pump(advance)
    bpy.app.handlers.load_post.append(_after_load)


def unregister() -> None:
    """Forgets everything."""
    global _unhook
    bpy.app.handlers.load_post.remove(_after_load)
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    if _unhook is not None:
        _unhook()
        _unhook = None
    forget()
