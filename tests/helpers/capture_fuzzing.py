"""Reads captures that nobody would make, and says what has to be true of that.

Either a capture is loaded, and then all in it is finite and lies in its folder, or it is refused with a CaptureError
of whole sentences. Anything else is a failure: another exception, a hang, memory, a file opened outside of the folder.
"""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from small_captures import write_photo
from spoiled_captures import spoil, write_bases

from engine.captures.bounds import scene_box
from engine.captures.capture import Capture
from engine.captures.images import read_rgb
from engine.captures.load import load_capture
from sa3d_blender.protocol.errors import CaptureError

SECONDS, MEGABYTES = 10.0, 300  # for one capture, whatever is in it


class Hung(BaseException):
    """Reading took too long. No Exception, so that nothing on the way takes it for bad input."""


@dataclass
class Tally:
    """What came of many captures."""

    loaded: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    formats: Counter[str] = field(default_factory=Counter)
    sentences: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    grown_mb: float = 0.0


class Opened:
    """Which files are opened while it watches, by Python's audit events (which can't be taken off again)."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.watching = False
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple) -> None:
        if self.watching and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            self.paths.append(os.fsdecode(arguments[0]))

    def outside(self, folder: Path) -> list[str]:
        """Those of them that lie outside of the folder and belong to no Python package either."""
        allowed = [os.path.realpath(each) for each in (folder, sys.prefix, sys.base_prefix, *sys.path) if str(each)]
        real = [os.path.realpath(path) for path in self.paths]
        return [path for path in real if not any(path.startswith(f"{place}{os.sep}") for place in allowed)]


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    def ring_out(*_: object) -> None:
        raise Hung

    previous = signal.signal(signal.SIGALRM, ring_out)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def complaint(capture: Capture) -> str | None:
    """What is wrong with a capture that was loaded, or None."""
    root = capture.root.resolve()
    for view in capture.views:
        for path in (view.image_path, view.mask_path):
            if path is not None and not path.resolve().is_relative_to(root):
                return f"{path} lies outside"
        c = view.camera
        numbers = [c.fl_x, c.fl_y, c.cx, c.cy, *c.distortion, *c.world_from_camera.ravel()]
        if not np.isfinite(numbers).all() or min(c.fl_x, c.fl_y) <= 0 or min(c.width, c.height) < 1:
            return f"the camera of {view.name} makes no sense"
    if capture.points is not None and not np.isfinite(capture.points.xyz).all():
        return "points are not finite"
    return None


def read_one(folder: Path, opened: Opened, tally: Tally, label: str) -> None:
    """Reads a capture as a job would begin to; what comes of it goes into ``tally``."""
    opened.paths.clear()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    failure = None
    opened.watching = True
    try:
        with limited(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            capture = load_capture(folder)
            read_rgb(capture.views[0])
            scene_box(capture)
        tally.loaded += 1
        tally.formats[capture.format] += 1
        failure = complaint(capture)
    except CaptureError as error:
        tally.refused += 1
        tally.sentences[re.sub(r"[\d.]+", "#", error.what)[:60]] += 1
        if not (error.what.endswith(".") and error.cure.endswith(".")) or "\n" in error.what:
            failure = f"no sentence: {error}"
    except Hung:
        failure = f"took more than {SECONDS:.0f} s"
    except Exception:
        failure = traceback.format_exc()
    finally:
        opened.watching = False
    tally.slowest_s = max(tally.slowest_s, time.perf_counter() - start)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    tally.grown_mb = max(tally.grown_mb, grown)
    strangers = opened.outside(folder)
    if strangers:
        failure = f"opened {strangers}"
    elif grown > MEGABYTES:
        failure = f"took {grown:.0f} MB"
    if failure:
        tally.failures.append(f"{label}: {failure}")


def fuzz(
    folder: Path, count: int, seed: int, first: int = 0, check: Callable[[int, Tally], None] | None = None
) -> Tally:
    """Spoils and reads ``count`` captures in ``folder``; case ``first`` + i depends on ``seed`` and its number."""
    bases, tally, opened = write_bases(folder / "bases"), Tally(), Opened()
    for base in bases:
        read_one(base, opened, tally, f"sound {base.name}")
    if tally.refused or tally.failures:
        raise AssertionError(f"the captures are not sound to begin with: {tally}")
    tally.loaded, tally.grown_mb = 0, 0.0
    tally.formats.clear()
    for number in range(first, first + count):
        chance = random.Random(f"{seed}-{number}")
        case, outside = folder / "case", folder / "outside"
        for old in (case, outside):
            shutil.rmtree(old, ignore_errors=True)
        base = chance.choice(bases)
        shutil.copytree(base, case)
        outside.mkdir()
        write_photo(outside / "secret.png")
        told = spoil(case, outside, chance)
        read_one(case, opened, tally, f"--seed {seed} --first {number} --count 1 ({base.name}: {told})")
        if check is not None:
            check(number, tally)
    return tally
