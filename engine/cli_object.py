"""`sa3d render` and `sa3d cut`: a segmented object without its scene."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cache import cache_root
from engine.cli_options import AsJson, CacheDir, Device, ResultPath, run
from engine.progress import Job, readable_seconds


def render(
    result: ResultPath,
    out: Annotated[Path, typer.Option(help="Folder for PNGs, or a film of a turntable: FILE.mp4 or FILE.webp.")],
    views: Annotated[str | None, typer.Option(help="all, or names of photos with commas between.")] = None,
    turntable: Annotated[
        float | None,
        typer.Option(min=0.1, max=600.0, help="Seconds of a turn around it, 24 frames each (6 for a film)."),
    ] = None,
    size: Annotated[
        int | None, typer.Option(min=16, max=8192, help="Longer side in pixels (the field's; 512 for a turntable).")
    ] = None,
    device: Device = "auto",
    cache: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Renders a segmented object alone, on nothing, from the photos' cameras or on a turntable."""
    from engine import api

    names = None
    if views is not None and views.strip() != "all":
        names = tuple(name.strip() for name in views.split(",") if name.strip())
        if not names:
            raise typer.BadParameter("--views is all, or names of photos.")
    wanted = api.PictureOptions(names, views is not None, turntable, size)

    def work(job: Job) -> dict[str, Any]:
        return api.render_result(result, out, wanted, api.Options(cache_root(cache), device), job)

    def show(found: dict[str, Any]) -> None:
        views, frames = len(found["views"]), found["frames"]
        made = [f"{views} view{'' if views == 1 else 's'}"] if views else []
        made += [f"a turntable of {frames} frames"] if frames else []
        print(f"{found['out']}: {' and '.join(made)}; {readable_seconds(sum(found['seconds'].values()))}")

    run(work, as_json, show)


def cut(
    result: ResultPath,
    out: Annotated[Path, typer.Option(help="Folder for the object's field.")],
    device: Device = "auto",
    cache: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Cuts the field to a segmented object and saves that as a field of its own."""
    from engine import api

    def work(job: Job) -> dict[str, Any]:
        return api.cut_result(result, out, api.Options(cache_root(cache), device), job)

    run(work, as_json, lambda found: print(f"Field: {found['field']} ({found['bytes'] / 1e6:.1f} MB)"))
