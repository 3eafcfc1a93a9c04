"""Objects out of photos, as meshes: `sa3d demo` shows it all; then `captures`, `train`, `segment`, `mesh`."""

from __future__ import annotations

import engine.server_start  # isort: skip  # noqa: F401  under `sa3d serve`, standard output is kept for frames

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cache import cache_root
from engine.cli_captures import captures_app
from engine.cli_encode import encode
from engine.cli_evaluate import evaluate_app
from engine.cli_object import cut, render
from engine.cli_options import (
    SCALE_HELP,
    TEXTURE_HELP,
    AsJson,
    CacheDir,
    CapturePath,
    Device,
    Disk,
    Memory,
    PhotoMasks,
    ResultPath,
    Seed,
    SegmenterName,
    box_option,
    lifting_settings,
    parse_corners,
    point_option,
    run,
    scale_by_option,
    share_option,
    text_option,
    texture_option,
)
from engine.cli_serve import serve
from engine.cli_weights import weights_app
from engine.lifting.operators import OperatorBudget
from engine.progress import Job, readable_seconds
from engine.scribbles import SCRIBBLE_HELP
from engine.segmenters.text import BOX_THRESHOLD, TEXT_THRESHOLD

OUT_HELP = "File, by its suffix: .glb, .ply, .obj, .stl, .usd, .usda, .usdc (default: object.glb in the folder)."
SCALE_BY_HELP = (
    "A:B:METRES, to write in metres: two points, each x,y,z in the capture's world or VIEW:x,y in pixels of a photo, "
    "and their true distance."
)
OPEN_HELP = "Leave out what no photo shows, instead of closing the mesh there by a guess."

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)
app.add_typer(captures_app, name="captures")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(weights_app, name="weights")
app.command()(encode)
app.command()(render)
app.command()(cut)
app.command()(serve)


@app.command()
def train(
    capture: CapturePath,
    field: Annotated[str, typer.Option(help="Kind of field: tensorf, dvgo or nerf.")] = "tensorf",
    quality: Annotated[str, typer.Option(help="draft, good or best.")] = "draft",
    out: Annotated[Path | None, typer.Option(help="Folder for the field (default: in the cache).")] = None,
    refine_poses: Annotated[
        bool, typer.Option("--refine-poses", help="Correct the cameras a little while training.")
    ] = False,
    box: Annotated[
        str | None,
        typer.Option(help="Region of interest, X,Y,Z:X,Y,Z: its lowest and highest corner in the capture's world."),
    ] = None,
    masks: PhotoMasks = "auto",
    again: Annotated[bool, typer.Option("--again", help="Train even if there is a field.")] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Import this TensoRF .th or DirectVoxGO .tar as the good field, train nothing."),
    ] = None,
    background: Annotated[str, typer.Option(help="With --from: what it was trained on, white or black.")] = "white",
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Trains a radiance field on a capture, or imports one that another program trained."""
    from engine import api
    from engine.captures.load import load_capture
    from engine.captures.scene_masks import with_masks

    corners = None if box is None else parse_corners(box)

    def work(job: Job) -> dict[str, Any]:
        found = with_masks(load_capture(capture), masks)
        for warning in found.warnings:
            job.log(f"Warning: {warning}")
        options = api.Options(cache_root(cache), device, seed)
        if source is not None:
            trained = api.import_field(found, source, options, job, out, again, background)
        else:
            trained = api.train(found, quality, options, job, out, field, again, refine_poses, corners)
        return {
            "field": str(trained.folder),
            "from_cache": trained.from_cache,
            "heldout_psnr_db": trained.field.mean_heldout_psnr_db,
            "heldout_views": trained.field.heldout_psnr_db,
            "left_out": trained.field.left_out,
            "seconds": job.timings,
        }

    def show(result: dict[str, Any]) -> None:
        print(f"Field: {result['field']}")
        if result["heldout_views"]:
            print(f"Held-out PSNR: {result['heldout_psnr_db']:.2f} dB over {len(result['heldout_views'])} views")

    run(work, as_json, show)


@app.command()
def segment(
    capture: CapturePath,
    view: Annotated[str, typer.Option(help="The photo in which the prompts are given.")],
    out: Annotated[Path, typer.Option(help="Folder for masks, mesh and report.")],
    point: Annotated[
        list[str] | None, typer.Option(help="X,Y[,0|1] in pixels of the photo; 0 = not the object.")
    ] = None,
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1 around the object.")] = None,
    scribble: Annotated[Path | None, typer.Option(help=SCRIBBLE_HELP)] = None,
    mask: Annotated[Path | None, typer.Option(help="PNG with the object's mask in that view.")] = None,
    text: Annotated[str | None, typer.Option(help='Words for the object: "the mug". The best hit is taken.')] = None,
    hit: Annotated[int, typer.Option(min=1, help="Which of the hits of --text to take, by its number.")] = 1,
    box_threshold: Annotated[float, typer.Option(min=0.0, help="Least score of a hit of --text.")] = BOX_THRESHOLD,
    text_threshold: Annotated[float, typer.Option(min=0.0, help="Least score of a word in a hit.")] = TEXT_THRESHOLD,
    detector: Annotated[str, typer.Option(help="For --text: auto, a name of `sa3d weights list`, a folder.")] = "auto",
    segmenter: SegmenterName = "auto",
    weights: Annotated[Path | None, typer.Option(help="Weights file of a SAM or a click model.")] = None,
    scale: Annotated[str | None, typer.Option(help=SCALE_HELP)] = None,
    tau: Annotated[float, typer.Option(callback=share_option, help="Least IoU of an accepted view.")] = 0.5,
    lam: Annotated[
        float | None,
        typer.Option("--lambda", min=0.0, help="Weight of evidence against (1; paper: 0.15)."),
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(min=1, help="Point prompts per view (n_p) (10; paper: 3).", show_default=False)
    ] = None,
    views: Annotated[float, typer.Option(callback=share_option, help="Share of the views that vote.")] = 1.0,
    two_pass: Annotated[
        bool, typer.Option("--two-pass", help="Second pass, beside what the first took along by mistake.")
    ] = False,
    boundary: Annotated[
        bool, typer.Option("--boundary", help="Move the surface to edges of colour and density (for thin things).")
    ] = False,
    rule: Annotated[str, typer.Option(help="ours, or paper: V > 0 and all else exactly as published.")] = "ours",
    is_open: Annotated[bool, typer.Option("--open", help=OPEN_HELP)] = False,
    texture: Annotated[str | None, typer.Option(help=TEXTURE_HELP)] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="Result folder of a neighbour that shares nothing with this object.")
    ] = None,
    memory: Memory = OperatorBudget.memory_mb,
    disk: Disk = OperatorBudget.disk_mb,
    quality: Annotated[str, typer.Option(help="Of the field if one has to be trained: draft, good or best.")] = "draft",
    field: Annotated[Path | None, typer.Option(help="Folder of a trained field (default: the cache's).")] = None,
    photo_masks: PhotoMasks = "auto",
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Segments an object in 3D from prompts in one view; trains a field first if there is none."""
    from engine import api
    from engine.prompts import UserPrompt

    points = tuple(point_option(p) for p in point or [])
    words = text_option(text, hit, box_threshold, text_threshold, detector, others=(box, scribble, mask))
    prompt = UserPrompt(view, points, box_option(box), scribble, mask, words)
    if prompt.is_empty:
        raise typer.BadParameter("give at least one --point, a --box, a --scribble, a --mask or a --text.")
    lifting = lifting_settings(
        rule, lam, tau=tau, prompts=prompts, views=views, two_pass=two_pass, boundary=boundary, scale=scale
    )
    mesh = api.MeshOptions(open=is_open, texture_px=texture_option(texture))
    request = api.SegmentOptions(quality, segmenter, weights, lifting, field_folder=field, mesh=mesh, masks=photo_masks)

    def work(job: Job) -> dict[str, Any]:
        options = api.Options(cache_root(cache), device, seed, OperatorBudget(memory, disk))
        report = api.segment_capture(capture, prompt, request, options, out, job, beside or [])
        return {**report, "out": str(out)}

    def show(result: dict[str, Any]) -> None:
        print(
            f"{out}: {result['mesh']['faces']} faces, {result['accepted']} views accepted, {result['rejected']} "
            f"rejected, {result['not_visible']} without the object; segmenter {result['segmenter']}; "
            f"{readable_seconds(result['seconds_total'])}"
        )

    run(work, as_json, show)


@app.command()
def correct(
    result: ResultPath,
    view: Annotated[str | None, typer.Option(help="The photo in which the clicks are given.")] = None,
    point: Annotated[
        list[str] | None, typer.Option(help="X,Y[,0|1] in pixels of the photo; 0 = not the object.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the latest correction back.")] = False,
    segmenter: Annotated[str | None, typer.Option(help="As for segment (default: the one used there).")] = None,
    scale: Annotated[str | None, typer.Option(help=SCALE_HELP)] = None,
    device: Device = "auto",
    cache: CacheDir = None,
    memory: Memory = OperatorBudget.memory_mb,
    disk: Disk = OperatorBudget.disk_mb,
    as_json: AsJson = False,
) -> None:
    """Corrects a segmented object by more clicks in any view; only what they touch is worked out anew."""
    from engine import api
    from engine.prompts import UserPrompt

    if undo and scale is not None:
        raise typer.BadParameter("--scale goes with clicks, not with --undo.")
    if undo == bool(point) or (point and view is None):
        raise typer.BadParameter("give --view and at least one --point, or --undo alone.")
    options = api.Options(cache_root(cache), device, 0, OperatorBudget(memory, disk))

    def work(job: Job) -> dict[str, Any]:
        if undo:
            return api.undo_result(result, options, job)
        prompt = UserPrompt(str(view), tuple(point_option(p) for p in point or []))
        return api.correct_result(result, prompt, options, job, segmenter, scale)

    def show(report: dict[str, Any]) -> None:
        print(
            f"{result}: {len(report['corrections'])} corrections, {len(report['masks_changed'])} masks changed, "
            f"{report['mesh']['faces']} faces; {readable_seconds(sum(report['seconds_correction'].values()))}"
        )

    run(work, as_json, show)


@app.command()
def mesh(
    result: ResultPath,
    level: Annotated[
        float | None, typer.Option(help="Surface level between 0 and 1 (0.5): lower grows, higher shrinks.")
    ] = None,
    lam: Annotated[float | None, typer.Option("--lambda", min=0.0, help="Weight of evidence against.")] = None,
    out: Annotated[Path | None, typer.Option(help=OUT_HELP)] = None,
    scale_by: Annotated[str | None, typer.Option(help=SCALE_BY_HELP)] = None,
    is_open: Annotated[bool | None, typer.Option("--open/--closed", help=OPEN_HELP, show_default=False)] = None,
    texture: Annotated[str | None, typer.Option(help=TEXTURE_HELP)] = None,
    surface: Annotated[
        str, typer.Option(help="solidity, or fusion: depth maps from all around, fused (the extra 'fusion').")
    ] = "solidity",
    device: Device = "auto",
    cache: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Makes the mesh of a segmented object again, without segmenting; what isn't given is as it was."""
    from engine import api
    from engine.meshing.from_field import WAYS, SurfaceSettings

    if level is not None and not 0 < level < 1:
        raise typer.BadParameter("--level must be above 0 and below 1.")
    texture_px = texture_option(texture)
    way = next((each for each in WAYS if each == surface), None)
    if way is None:
        raise typer.BadParameter(f"there is no surface '{surface}'; choose one of: {', '.join(WAYS)}.")
    scale = scale_by_option(scale_by)
    if scale is not None and out is None:
        raise typer.BadParameter("--scale-by goes with --out: the result's own mesh stays where its photos are.")

    def work(job: Job) -> dict[str, Any]:
        options = api.Options(cache_root(cache), device)
        path = api.mesh_again(
            result, options, job, level, lam, out, scale, is_open, texture_px, SurfaceSettings(way=way)
        )
        return {"mesh": str(path), "seconds": job.timings}

    run(work, as_json, lambda found: print(found["mesh"]))


@app.command()
def doctor(cache: CacheDir = None, as_json: AsJson = False) -> None:
    """Says what is installed, which devices and weights there are, what is missing and how to get it."""
    from engine.doctor import examine

    def show(result: dict[str, Any]) -> None:
        rows = [
            ({True: "ok", False: "MISSING", None: "-"}[each["ok"]], each["name"], each["detail"], each["cure"])
            for each in result["findings"]
        ]
        if not sys.stdout.isatty():  # no line is broken for who greps
            wide = max(len(name) for _, name, _, _ in rows)
            for mark, name, detail, cure in rows:
                print(f"{mark:8}{name:{wide + 2}}{detail}  {cure}".rstrip())
            return
        table = Table(show_header=False, box=None, pad_edge=False)
        for _ in range(4):
            table.add_column(overflow="fold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)

    def work(job: Job) -> dict[str, Any]:
        findings = [asdict(f) for f in examine(cache_root(cache))]
        return {"findings": findings, "healthy": all(f["ok"] is not False for f in findings)}

    run(work, as_json, show)


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
    run(lambda job: run_demo(out, views, api.Options(folder, device, seed), job), as_json, print_demo_table)


def main() -> None:
    """Entry point of the ``sa3d`` command."""
    app()


if __name__ == "__main__":
    main()
