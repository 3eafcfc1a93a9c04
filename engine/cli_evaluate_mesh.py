"""The command line of `sa3d evaluate mesh`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cache import cache_root
from engine.cli_options import (
    TEXTURE_HELP,
    AsJson,
    CacheDir,
    CapturePath,
    Device,
    Seed,
    SegmenterName,
    run,
    texture_option,
)
from engine.progress import Job


def _names(text: str | None) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def evaluate_mesh(
    capture: CapturePath,
    objects: Annotated[
        str | None, typer.Option(help="Names, separated by commas (default: all that have a true mesh).")
    ] = None,
    masks: Annotated[
        str, typer.Option(help="true: those of all views; segmented: carried from the true mask of one view.")
    ] = "true",
    view: Annotated[str | None, typer.Option(help="The view whose mask is carried (default: the first).")] = None,
    apart: Annotated[
        str, typer.Option(help="Names of objects to be left out of a second mean, separated by commas.")
    ] = "",
    quality: Annotated[str, typer.Option(help="Of field and mesh: draft, good or best.")] = "draft",
    most: Annotated[
        int | None, typer.Option(min=1, help="Photos of an object whose colours are compared at most (default: all).")
    ] = None,
    texture: Annotated[str | None, typer.Option(help=TEXTURE_HELP)] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Writes a page with the meshes beside the photos.")
    ] = None,
    surface: Annotated[
        str | None, typer.Option(help="fusion: measures meshes by this second way, too (the extra 'fusion').")
    ] = None,
    field: Annotated[Path | None, typer.Option(help="Folder of a trained field (default: the cache's).")] = None,
    segmenter: SegmenterName = "auto",
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """A capture with masks/ and meshes/: our meshes, and plain marching cubes, beside the true ones and the photos."""
    from engine.evaluation.mesh import MASKS, MeshPlan, evaluate_mesh, show_mesh
    from engine.options import MeshOptions, Options, SegmentOptions

    if masks not in MASKS:
        raise typer.BadParameter(f"there are no masks '{masks}'; choose one of: {', '.join(MASKS)}.")
    if objects is not None and not _names(objects):
        raise typer.BadParameter("--objects names none.")
    if surface not in (None, "fusion"):
        raise typer.BadParameter(f"there is no second way '{surface}'; it is: fusion.")
    plan = MeshPlan(masks, _names(objects) or None, view, _names(apart), most, html, surface is not None)
    mesh = MeshOptions(texture_px=texture_option(texture))
    request = SegmentOptions(quality, segmenter, field_folder=field, mesh=mesh)
    options = Options(cache_root(cache), device, seed)

    def work(job: Job) -> dict[str, Any]:
        return evaluate_mesh(capture, plan, request, options, job)

    run(work, as_json, show_mesh)
