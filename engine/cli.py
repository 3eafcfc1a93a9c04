"""The command line: `sa3d train | segment | mesh | evaluate | demo | doctor`.

It parses, prints and exits; the API works.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cache import cache_root
from engine.console import ConsoleListener, readable_seconds
from engine.progress import Job
from sa3d_blender.protocol.errors import Sa3dError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)
evaluate_app = typer.Typer(no_args_is_help=True, help="Measures against the truth.")
app.add_typer(evaluate_app, name="evaluate")

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
CacheDir = Annotated[Path | None, typer.Option("--cache", help="Cache folder (default: $SA3D_CACHE or the user's).")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a machine-readable result on standard output.")]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]
CapturePath = Annotated[Path, typer.Argument(help="A capture: its folder, transforms.json or poses_bounds.npy.")]


def _run(work: Callable[[Job], dict[str, Any]], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
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


def _point(text: str) -> tuple[float, float, int]:
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


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"'{text}' is not X0,Y0,X1,Y1.") from None
    return x0, y0, x1, y1


def _share(value: float) -> float:
    if not 0 < value <= 1:
        raise typer.BadParameter("it must be above 0 and at most 1.")
    return value


@app.command()
def train(
    capture: CapturePath,
    field: Annotated[str, typer.Option(help="Kind of field: tensorf.")] = "tensorf",
    quality: Annotated[str, typer.Option(help="draft, good or best.")] = "draft",
    out: Annotated[Path | None, typer.Option(help="Folder for the field (default: in the cache).")] = None,
    again: Annotated[bool, typer.Option("--again", help="Train even if there is a field.")] = False,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Trains a radiance field on a capture."""
    from engine import api
    from engine.captures.load import load_capture

    def work(job: Job) -> dict[str, Any]:
        found = load_capture(capture)
        for warning in found.warnings:
            job.log(f"Warning: {warning}")
        trained = api.train(found, quality, api.Options(cache_root(cache), device, seed), job, out, field, again)
        return {
            "field": str(trained.folder),
            "from_cache": trained.from_cache,
            "heldout_psnr_db": trained.field.mean_heldout_psnr_db,
            "heldout_views": trained.field.heldout_psnr_db,
            "seconds": job.timings,
        }

    def show(result: dict[str, Any]) -> None:
        print(f"Field: {result['field']}")
        if result["heldout_views"]:
            print(f"Held-out PSNR: {result['heldout_psnr_db']:.2f} dB over {len(result['heldout_views'])} views")

    _run(work, as_json, show)


@app.command()
def segment(
    capture: CapturePath,
    view: Annotated[str, typer.Option(help="The photo in which the prompts are given.")],
    out: Annotated[Path, typer.Option(help="Folder for masks, mesh and report.")],
    point: Annotated[
        list[str] | None, typer.Option(help="X,Y[,0|1] in pixels of the photo; 0 = not the object.")
    ] = None,
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1 around the object.")] = None,
    scribble: Annotated[Path | None, typer.Option(help="PNG painted over the object.")] = None,
    mask: Annotated[Path | None, typer.Option(help="PNG with the object's mask in that view.")] = None,
    text: Annotated[str | None, typer.Option(help="Words for the object (not available yet).")] = None,
    segmenter: Annotated[str, typer.Option(help="auto, graph-cut, sam-vit-h, sam-vit-l or sam-vit-b.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="SAM's weights file.")] = None,
    tau: Annotated[float, typer.Option(callback=_share, help="Least IoU of an accepted view.")] = 0.5,
    lam: Annotated[float, typer.Option("--lambda", min=0.0, help="Weight of evidence against.")] = 1.0,
    prompts: Annotated[int, typer.Option(min=1, help="Point prompts per view (n_p).")] = 3,
    views: Annotated[float, typer.Option(callback=_share, help="Share of the views that vote.")] = 1.0,
    two_pass: Annotated[bool, typer.Option("--two-pass", help="Second pass (not available yet).")] = False,
    quality: Annotated[str, typer.Option(help="Of the field if one has to be trained: draft, good or best.")] = "draft",
    field: Annotated[Path | None, typer.Option(help="Folder of a trained field (default: the cache's).")] = None,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Segments an object in 3D from prompts in one view; trains a field first if there is none."""
    from engine import api
    from engine.lifting.settings import LiftingSettings
    from engine.prompts import UserPrompt

    if text is not None:
        raise typer.BadParameter("text prompts are not available yet; use --point, --box, --scribble or --mask.")
    if two_pass:
        raise typer.BadParameter("--two-pass is not available yet.")
    points = tuple(_point(p) for p in point or [])
    prompt = UserPrompt(view, points, _box(box), scribble, mask)
    if prompt.is_empty:
        raise typer.BadParameter("give at least one --point, a --box, a --scribble or a --mask.")
    lifting = LiftingSettings(lam=lam, tau=tau, prompts=prompts, views=views)
    request = api.SegmentOptions(quality, segmenter, weights, lifting, field_folder=field)

    def work(job: Job) -> dict[str, Any]:
        options = api.Options(cache_root(cache), device, seed)
        return {**api.segment_capture(capture, prompt, request, options, out, job), "out": str(out)}

    def show(result: dict[str, Any]) -> None:
        print(
            f"{out}: {result['mesh']['faces']} faces, {result['accepted']} views accepted, {result['rejected']} "
            f"rejected, {result['not_visible']} without the object; segmenter {result['segmenter']}; "
            f"{readable_seconds(result['seconds_total'])}"
        )

    _run(work, as_json, show)


@app.command()
def mesh(
    result: Annotated[Path, typer.Argument(help="A folder that `sa3d segment --out` wrote.")],
    level: Annotated[
        float, typer.Option(callback=_share, help="Surface level in (0, 1]: lower grows, higher shrinks.")
    ] = 0.5,
    lam: Annotated[float | None, typer.Option("--lambda", min=0.0, help="Weight of evidence against.")] = None,
    out: Annotated[Path | None, typer.Option(help="GLB file (default: object.glb in the folder).")] = None,
    device: Device = "auto",
    cache: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Makes the mesh of a segmented object again, without segmenting."""
    from engine import api

    if level >= 1:
        raise typer.BadParameter("--level must be below 1.")

    def work(job: Job) -> dict[str, Any]:
        path = api.mesh_again(result, api.Options(cache_root(cache), device), job, level, lam, out)
        return {"mesh": str(path), "seconds": job.timings}

    _run(work, as_json, lambda found: print(found["mesh"]))


@app.command()
def doctor(cache: CacheDir = None, as_json: AsJson = False) -> None:
    """Says what is installed, which devices and weights there are, what is missing and how to get it."""
    from engine.doctor import examine

    def show(result: dict[str, Any]) -> None:
        table = Table(show_header=False, box=None, pad_edge=False)
        for _ in range(4):
            table.add_column(overflow="fold")
        for finding in result["findings"]:
            mark = {True: "ok", False: "MISSING", None: "-"}[finding["ok"]]
            table.add_row(mark, finding["name"], finding["detail"], finding["cure"])
        Console().print(table)

    def work(job: Job) -> dict[str, Any]:
        findings = [asdict(f) for f in examine(cache_root(cache))]
        return {"findings": findings, "healthy": all(f["ok"] is not False for f in findings)}

    _run(work, as_json, show)


@evaluate_app.command("masks")
def evaluate_masks(
    capture: CapturePath,
    view: Annotated[str | None, typer.Option(help="Reference view (default: the first).")] = None,
    objects: Annotated[str | None, typer.Option("--object", help="Names, separated by commas (default: all).")] = None,
    quality: Annotated[str, typer.Option(help="draft, good or best.")] = "draft",
    segmenter: Annotated[str, typer.Option(help="auto, graph-cut, sam-vit-h, sam-vit-l or sam-vit-b.")] = "auto",
    lam: Annotated[float, typer.Option("--lambda", min=0.0, help="Weight of evidence against.")] = 1.0,
    tau: Annotated[float, typer.Option(callback=_share, help="Least IoU of an accepted view.")] = 0.5,
    prompts: Annotated[int, typer.Option(min=1, help="Point prompts per view (n_p).")] = 3,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Gives the true mask of one view and compares all others with the truth (masks/, objects.json, meshes/)."""
    from engine import api
    from engine.evaluation.protocols import evaluate_reference_masks, print_masks_table
    from engine.lifting.settings import LiftingSettings

    request = api.SegmentOptions(quality, segmenter, lifting=LiftingSettings(lam=lam, tau=tau, prompts=prompts))

    def work(job: Job) -> dict[str, Any]:
        names = objects.split(",") if objects else None
        return evaluate_reference_masks(
            capture, view, names, request, api.Options(cache_root(cache), device, seed), job
        )

    _run(work, as_json, print_masks_table)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for all that the demo makes.")] = Path("demo-out"),
    views: Annotated[int, typer.Option(min=16, help="Views to render.")] = 40,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """The main job from nothing: renders a scene, trains, segments an object by two clicks, compares with the truth."""
    from engine import api
    from engine.demo import print_demo_table, run_demo

    # The demo keeps its own cache, so that it always shows the whole way.
    folder = cache_root(cache) if cache is not None else out / "cache"
    _run(lambda job: run_demo(out, views, api.Options(folder, device, seed), job), as_json, print_demo_table)


def main() -> None:
    """Entry point of the ``sa3d`` command."""
    app()


if __name__ == "__main__":
    main()
