"""Options and habits that all commands of `sa3d` share: progress, errors as one line, exit codes."""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.console import ConsoleListener
from engine.known_distance import KnownDistance, known_distance
from engine.lifting.settings import RULES, LiftingSettings
from engine.progress import Job
from engine.segmenters.ranking import SEGMENTERS
from engine.segmenters.text import TextPrompt
from sa3d_blender.protocol.errors import Sa3dError

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
CacheDir = Annotated[Path | None, typer.Option("--cache", help="Cache folder (default: $SA3D_CACHE or the user's).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a machine-readable result on standard output.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
SEGMENTER_HELP = f"{', '.join(SEGMENTERS)}, or a click model: PATH/model.json."
SCALE_HELP = "Which of the segmenter's masks is meant, such as part (default: the one it scores highest)."
TEXTURE_HELP = "none, 512, 1024, 2048 or 4096 texels a side (default: what the field's quality has)."
MASKS_HELP = "What is black in the photos' masks: object (nothing is there), ignore, none, auto."
PhotoMasks = Annotated[str, typer.Option("--masks", help=MASKS_HELP)]
SegmenterName = Annotated[str, typer.Option(help=SEGMENTER_HELP)]
Memory = Annotated[int, typer.Option("--memory", min=0, help="Megabytes of memory for ray weights.")]
Disk = Annotated[int, typer.Option("--disk", min=0, help="Megabytes of the cache for ray weights.")]
ResultPath = Annotated[Path, typer.Argument(help="A folder that `sa3d segment --out` wrote.")]
CapturePath = Annotated[Path, typer.Argument(help="A capture: its folder, or the file that holds its cameras.")]


def run(work: Callable[[Job], dict[str, Any]], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    """Runs a job with progress and Ctrl-C, prints its result, and turns errors into one line and exit code 1."""
    cancel = threading.Event()
    previous = signal.signal(signal.SIGINT, lambda *_: cancel.set())
    try:
        with ConsoleListener() as listener:
            logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
            result = work(Job(listener=listener, log=listener.log, cancel=cancel))
    except Sa3dError as error:
        if as_json:
            print(json.dumps({"error": error.code, "what": error.what, "cure": error.cure}))
        print(f"sa3d: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    finally:
        signal.signal(signal.SIGINT, previous)
    if as_json:
        print(json.dumps(result, default=_plain))
    else:
        show(result)


def _plain(value: object) -> object:
    return str(value)


def point_option(text: str) -> tuple[float, float, int]:
    parts = text.split(",")
    try:
        if len(parts) not in (2, 3):
            raise ValueError
        x, y = float(parts[0]), float(parts[1])
        label = int(parts[2]) if len(parts) == 3 else 1
        if label not in (0, 1) or not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not X,Y or X,Y,1 (the object) or X,Y,0 (not the object).") from None
    return x, y, label


def box_option(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not X0,Y0,X1,Y1.") from None
    return x0, y0, x1, y1


def text_option(
    words: str | None, hit: int, box_threshold: float, text_threshold: float, detector: str, others: Sequence[object]
) -> TextPrompt | None:
    """The prompt of --text. ``others`` are the prompts that say the same in another way: not both."""
    if words is None:
        if hit != 1:
            raise typer.BadParameter("--hit chooses among the hits of --text, which is not given.")
        return None
    if not words.strip():
        raise typer.BadParameter("--text holds no word.")
    if any(other is not None for other in others):
        raise typer.BadParameter("give --text or one of --box, --scribble and --mask, not both; --point goes with it.")
    return TextPrompt(words, hit, box_threshold, text_threshold, detector)


def scale_by_option(text: str | None) -> KnownDistance | None:
    try:
        return None if text is None else known_distance(text)
    except ValueError as error:
        raise typer.BadParameter(f"--scale-by: {error}") from None


def texture_option(text: str | None) -> int | None:
    if text is None or text in ("512", "1024", "2048", "4096"):
        return None if text is None else int(text)
    if text != "none":
        raise typer.BadParameter(f"'{text}' is no size of a texture: give none, 512, 1024, 2048 or 4096.")
    return 0


def share_option(value: float) -> float:
    if not 0 < value <= 1:
        raise typer.BadParameter("it must be above 0 and at most 1.")
    return value


def lifting_settings(rule: str, lam: float | None, **knobs: Any) -> LiftingSettings:
    """The settings of a rule ("ours" or "paper"), with the knobs that were given (those that aren't None)."""
    if rule not in RULES:
        raise typer.BadParameter(f"there is no rule '{rule}'; choose one of: {', '.join(RULES)}.")
    settings = replace(RULES[rule], **{name: value for name, value in knobs.items() if value is not None})
    return settings if lam is None else replace(settings, lam=lam)


def parse_corners(text: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """``X,Y,Z:X,Y,Z`` of an option as two points. Raises BadParameter for anything else."""
    try:
        low, high = (tuple(float(number) for number in corner.split(",")) for corner in text.split(":"))
        (a, b, c), (d, e, f) = low, high
    except ValueError as error:
        raise typer.BadParameter(f"'{text}' is not X,Y,Z:X,Y,Z.") from error
    return (a, b, c), (d, e, f)
