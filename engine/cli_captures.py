"""`sa3d captures info | convert | poses`: what a capture is, the same in another format, one from photos alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cache import cache_root
from engine.cli_options import AsJson, CacheDir, CapturePath, Seed, run
from engine.progress import Job, readable_seconds

captures_app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__, add_completion=False
)


@captures_app.command()
def info(
    capture: CapturePath,
    picture: Annotated[Path | None, typer.Option(help="PNG to draw cameras and points into, from three sides.")] = None,
    as_json: AsJson = False,
) -> None:
    """Says which format a capture has, how many photos, of which sizes and lenses, and what is missing."""
    from engine import api

    run(lambda job: api.capture_info(capture, job, picture), as_json, _show_info)


def _show_info(facts: dict[str, Any]) -> None:
    def listed(counts: dict[str, int]) -> str:
        return ", ".join(f"{count} of {name}" if len(counts) > 1 else name for name, count in counts.items())

    low, high = facts["field_of_view_degrees"]
    print(f"Format: {facts['format']}, at {facts['root']}")
    print(f"Views: {facts['views']} ({listed(facts['splits'])}), pixels: {listed(facts['sizes'])}")
    angle = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    print(f"Lenses: {facts['different_lenses']} ({listed(facts['lens_models'])}), {angle} degrees across")
    print(f"Sparse points: {facts['points'] or 'none'}")
    print(f"Opacity: {'yes' if facts['alpha'] else 'no'}; masks: {facts['masks'] or 'none'}")
    if facts["box"] is not None:
        corners = [", ".join(f"{value:.4g}" for value in corner) for corner in facts["box"]]
        print(f"Region of interest: ({corners[0]}) to ({corners[1]}), {facts['box_kind']}")
    for warning in facts["warnings"]:
        print(f"Warning: {warning}")
    if "picture" in facts:
        print(f"Picture: {facts['picture']}")


@captures_app.command()
def convert(
    capture: CapturePath,
    to: Annotated[
        str, typer.Option(help="colmap, colmap-txt, llff, nerf-synthetic, nerfstudio or replica.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the capture.")],
    distortion: Annotated[
        str | None,
        typer.Option(help="K1,K2,P1,P2: take the photos again through such a lens (colmap, colmap-txt, nerfstudio)."),
    ] = None,
    straighten: Annotated[
        bool, typer.Option("--straighten", help="Take photos that their lens bent again, straight and whole.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Writes a capture in another format; photos are taken again where that can't express their lens."""
    from engine import api
    from engine.captures.load import load_capture

    lens = None if distortion is None else _coefficients(distortion)

    def work(job: Job) -> dict[str, Any]:
        found = load_capture(capture)
        for warning in found.warnings:
            job.log(f"Warning: {warning}")
        done = api.convert_capture(found, to, out, job, lens, straighten)
        for lost in done.lost:
            job.log(f"Lost: {lost}")
        return {**asdict(done), "folder": str(done.folder)}

    def show(result: dict[str, Any]) -> None:
        print(f"{result['folder']}: {result['views']} views, {result['retaken']} of them taken again")

    run(work, as_json, show)


def _coefficients(text: str) -> tuple[float, float, float, float]:
    try:
        k1, k2, p1, p2 = (float(part) for part in text.split(","))
        if not all(abs(value) < 10 for value in (k1, k2, p1, p2)):
            raise ValueError
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not K1,K2,P1,P2.") from None
    return k1, k2, p1, p2


@captures_app.command()
def poses(
    photos: Annotated[Path, typer.Argument(help="A folder of photos, or a video.")],
    out: Annotated[Path, typer.Option(help="A new folder for the capture.")],
    max_side: Annotated[int, typer.Option(min=200, max=16_000, help="Larger photos are shrunk to it, pixels.")] = 2000,
    frames: Annotated[int, typer.Option(min=3, max=2000, help="About how many frames to take of a video.")] = 100,
    camera: Annotated[
        str, typer.Option(help="Lens model of COLMAP, such as SIMPLE_RADIAL or OPENCV.")
    ] = "SIMPLE_RADIAL",
    masks: Annotated[
        Path | None, typer.Option(help="Folder of masks, white where a photo shows the scene (default: masks, if any).")
    ] = None,
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Finds the cameras of photos or of a video and writes a capture; goes on where an earlier run stopped."""
    from engine import api

    def work(job: Job) -> dict[str, Any]:
        how = api.PosesOptions(max_side, frames, camera, masks)
        return api.find_poses(photos, out, api.Options(cache_root(cache), "cpu", seed), job, how)

    def show(result: dict[str, Any]) -> None:
        print(
            f"{result['capture']}: {result['placed']} of {result['photos']} photos placed, {result['points']} points, "
            f"{result['error_px']:.2f} pixels off; {readable_seconds(sum(result['seconds'].values()))}"
        )

    run(work, as_json, show)
