"""The command line of `sa3d evaluate field`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cache import cache_root
from engine.cli_options import AsJson, CacheDir, Device, Seed, run
from engine.progress import Job


def _names(text: str) -> list[str]:
    found = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not found:
        raise typer.BadParameter("there is no name in it.")
    return found


def evaluate_field(
    captures: Annotated[list[Path], typer.Argument(help="Captures of 16 views or more.", metavar="CAPTURE...")],
    field: Annotated[str, typer.Option(help="Kinds, separated by commas, such as tensorf,dvgo,nerf.")] = "tensorf",
    quality: Annotated[str, typer.Option(help="Presets, separated by commas: draft, good, best.")] = "draft",
    most: Annotated[int | None, typer.Option(min=1, help="Held-out views measured at most (default: all).")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Writes a page with the worst, the median and the best views.")
    ] = None,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fields: PSNR, SSIM and LPIPS of held-out views, seconds to 25, 27, 29 and 31 dB, memory, disk and speed."""
    from engine.evaluation.field import FieldPlan, evaluate_field, show_field
    from engine.options import Options

    plan = FieldPlan(_names(field), _names(quality), most, html)
    options = Options(cache_root(cache), device, seed)

    def work(job: Job) -> dict[str, Any]:
        return evaluate_field(captures, plan, options, job)

    run(work, as_json, show_field)
