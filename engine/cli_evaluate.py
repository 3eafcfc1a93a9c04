"""The command line of `sa3d evaluate masks | segmenters | field | mesh | ablation | nvos | spin-nerf | replica`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cache import cache_root
from engine.cli_evaluate_field import evaluate_field
from engine.cli_evaluate_mesh import evaluate_mesh
from engine.cli_options import (
    AsJson,
    CacheDir,
    CapturePath,
    Device,
    Disk,
    Memory,
    Seed,
    SegmenterName,
    lifting_settings,
    run,
    share_option,
)
from engine.lifting.operators import OperatorBudget
from engine.progress import Job

evaluate_app = typer.Typer(no_args_is_help=True, help="Measures against the truth.")
evaluate_app.command("field")(evaluate_field)
evaluate_app.command("mesh")(evaluate_mesh)

Objects = Annotated[str | None, typer.Option("--object", help="Names, separated by commas (default: all).")]
Apart = Annotated[str, typer.Option(help="Names of objects to be left out of a second mean, separated by commas.")]
Page = Annotated[Path | None, typer.Option("--html", help="Writes a page with the tables and the worst views.")]
Quality = Annotated[str, typer.Option(help="Of the field: draft, good or best.")]
Rule = Annotated[str, typer.Option(help="ours, or paper: V > 0 and all else exactly as published.")]
Lambda = Annotated[float | None, typer.Option("--lambda", min=0.0, help="Weight of evidence against (1; paper: 0.15).")]
Tau = Annotated[float, typer.Option(callback=share_option, help="Least IoU of an accepted view.")]
Points = Annotated[int | None, typer.Option(min=1, help="Point prompts per view (n_p) (10; paper: 3).")]
Weights = Annotated[Path | None, typer.Option(help="SAM's weights file.")]


def _names(text: str | None) -> list[str] | None:
    return [name for name in text.split(",") if name] if text else None


def _whole_numbers(text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"'{text}' is no list of whole numbers such as 1,2,3,5.") from None
    if not found or min(found) < 1:
        raise typer.BadParameter("numbers of clicks are 1 or more.")
    return found


@evaluate_app.command("masks")
def evaluate_masks(
    capture: CapturePath,
    protocol: Annotated[
        str, typer.Option(help="reference: one true mask given; clicks: simulated ones; ceiling: all true masks.")
    ] = "reference",
    clicks: Annotated[
        str, typer.Option("--clicks", "-k", help="Numbers of clicks, for --protocol clicks.")
    ] = "1,2,3,5",
    view: Annotated[str | None, typer.Option(help="Reference view (default: the first).")] = None,
    objects: Objects = None,
    apart: Apart = "",
    rule: Rule = "ours",
    lam: Lambda = None,
    tau: Tau = 0.5,
    prompts: Points = None,
    two_pass: Annotated[bool, typer.Option("--two-pass", help="With the second pass of appendix B.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Without the paper's rule beside ours.")] = False,
    meshes: Annotated[bool, typer.Option(help="Compare meshes, too, where there are true ones.")] = True,
    quality: Quality = "draft",
    field: Annotated[Path | None, typer.Option(help="Folder of a trained field (default: the cache's).")] = None,
    segmenter: SegmenterName = "auto",
    weights: Weights = None,
    html: Page = None,
    memory: Memory = OperatorBudget.memory_mb,
    disk: Disk = OperatorBudget.disk_mb,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """A capture with masks/ (objects.json, meshes/): all views but the prompted one are compared with the truth."""
    from engine.evaluation import commands
    from engine.options import Options, SegmentOptions

    if protocol not in commands.PROTOCOLS:
        raise typer.BadParameter(f"there is no protocol '{protocol}'; choose one of: {', '.join(commands.PROTOCOLS)}.")
    settings = lifting_settings(rule, lam, tau=tau, prompts=prompts, two_pass=two_pass)
    request = SegmentOptions(quality, segmenter, weights, settings, field_folder=field)
    options = Options(cache_root(cache), device, seed, OperatorBudget(memory, disk))
    source = commands.Source("masks", capture, _names(objects), view)
    plan = commands.MasksPlan(protocol, _whole_numbers(clicks), _names(apart) or [], quick, meshes, html)

    def work(job: Job) -> dict[str, Any]:
        return commands.evaluate_masks(source, plan, request, options, job)

    run(work, as_json, commands.show_result)


def _contenders(names: list[str], weights: list[str]) -> list[tuple[str, Path | None]]:
    """The segmenters to be measured: by name, or with the weights files that stand for them."""
    files = []
    for text in weights:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise typer.BadParameter(f"'{text}' is not NAME=PATH.")
        files.append((name, Path(path)))
    with_files = {name for name, _ in files}
    return [*((name, None) for name in names if name not in with_files), *files]


@evaluate_app.command("segmenters")
def evaluate_segmenters(
    captures: Annotated[list[Path], typer.Argument(help="Captures with masks/.", metavar="CAPTURE...")],
    segmenter: Annotated[
        list[str] | None, typer.Option(help="Name, or a click model's JSON (default: all at hand).")
    ] = None,
    weights: Annotated[
        list[str] | None, typer.Option(metavar="NAME=PATH", help="A segmenter with this weights file.")
    ] = None,
    clicks: Annotated[str, typer.Option(help="Numbers of simulated clicks.")] = "1,2,3,5",
    points: Annotated[str, typer.Option(help="Numbers of interior points given at once.")] = "3,6",
    objects: Objects = None,
    every: Annotated[int, typer.Option(min=1, help="Every how many of the views is used.")] = 1,
    least_pixels: Annotated[int, typer.Option(min=1, help="Of an object in a photo as stored.")] = 400,
    longest: Annotated[int, typer.Option(min=32, help="Pixels of a photo's longer side, at most.")] = 1024,
    connected: Annotated[
        bool, typer.Option("--connected", help="Keep only parts of a mask that hold a positive click.")
    ] = False,
    previous: Annotated[bool, typer.Option("--previous", help="Give the mask so far with each further click.")] = False,
    with_field: Annotated[
        bool, typer.Option("--with-field", help="Give the field's depth and normals with the photo.")
    ] = False,
    quality: Quality = "draft",
    field: Annotated[Path | None, typer.Option(help="Folder of a trained field (default: the cache's).")] = None,
    html: Page = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder for a picture of every object and view.")] = None,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """2D segmenters: mean IoU after simulated clicks, from points and from a box, and their speed."""
    from engine.evaluation.segmenters import Contender, SegmentersPlan, evaluate_segmenters, show_segmenters
    from engine.evaluation.trials import Protocol
    from engine.options import Options, SegmentOptions

    protocol = Protocol(_whole_numbers(clicks), _whole_numbers(points), True, previous)
    contenders = [Contender(*each) for each in _contenders(segmenter or [], weights or [])]
    plan = SegmentersPlan(
        protocol, contenders, _names(objects), every, least_pixels, longest, with_field, connected, html, pictures
    )
    request = SegmentOptions(quality, field_folder=field)
    options = Options(cache_root(cache), device, seed)

    def work(job: Job) -> dict[str, Any]:
        return evaluate_segmenters(captures, plan, request, options, job)

    run(work, as_json, show_segmenters)


@evaluate_app.command("ablation")
def evaluate_ablation(
    path: Annotated[Path, typer.Argument(help="A capture with masks/, or the folder of a benchmark's data set.")],
    benchmark: Annotated[str, typer.Option(help="What PATH holds: masks, nvos, spin-nerf or replica.")] = "masks",
    table: Annotated[
        list[str] | None, typer.Option(help="views, decay, tau, lambda or methods (default: all of them).")
    ] = None,
    view: Annotated[str | None, typer.Option(help="Reference view (default: the first).")] = None,
    objects: Objects = None,
    apart: Apart = "",
    rule: Rule = "ours",
    quality: Quality = "draft",
    field: Annotated[Path | None, typer.Option(help="Folder of a trained field (default: the cache's).")] = None,
    segmenter: SegmenterName = "auto",
    weights: Weights = None,
    html: Page = None,
    memory: Memory = OperatorBudget.memory_mb,
    disk: Disk = OperatorBudget.disk_mb,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """The paper's tables 4 to 7 on a capture with masks/ or a benchmark, and a row for each of our differences."""
    from engine.evaluation import commands
    from engine.evaluation.ablation import TITLES
    from engine.options import Options, SegmentOptions

    wanted = table or list(TITLES)
    for name in wanted:
        if name not in TITLES:
            raise typer.BadParameter(f"there is no table '{name}'; choose among: {', '.join(TITLES)}.")
    if benchmark not in commands.KINDS:
        raise typer.BadParameter(f"there is no benchmark '{benchmark}'; choose among: {', '.join(commands.KINDS)}.")
    source = commands.Source(benchmark, path, _names(objects), view)
    request = SegmentOptions(quality, segmenter, weights, lifting_settings(rule, None), field_folder=field)
    options = Options(cache_root(cache), device, seed, OperatorBudget(memory, disk))

    def work(job: Job) -> dict[str, Any]:
        return commands.evaluate_ablation(source, wanted, _names(apart) or [], request, options, html, job)

    run(work, as_json, commands.show_result)


Root = Annotated[Path, typer.Argument(help="Folder of the data set.")]
Scenes = Annotated[str | None, typer.Option("--task", help="Names, separated by commas (default: all there).")]
Good = Annotated[str, typer.Option("--quality", help="Of the fields: draft, good or best.")]


@dataclass(frozen=True)
class _Common:
    """The options that the public benchmarks share."""

    rule: str
    quality: str
    segmenter: str
    weights: Path | None
    html: Path | None
    device: str
    cache: Path | None
    seed: int
    as_json: bool


@evaluate_app.command("nvos")
def evaluate_nvos(
    root: Root,
    tasks: Scenes = None,
    seeds: Annotated[int, typer.Option(min=1, help="Draws of points from the scribbles; the mean is reported.")] = 3,
    rule: Rule = "ours",
    quality: Good = "good",
    segmenter: SegmenterName = "auto",
    weights: Weights = None,
    html: Page = None,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """NVOS: ROOT/<scene>, ROOT/masks, ROOT/reference_image, ROOT/scribbles."""
    common = _Common(rule, quality, segmenter, weights, html, device, cache, seed, as_json)
    _benchmark("nvos", root, tasks, common, draws=seeds)


@evaluate_app.command("spin-nerf")
def evaluate_spin_nerf(
    root: Root,
    tasks: Scenes = None,
    rule: Rule = "ours",
    quality: Good = "good",
    segmenter: SegmenterName = "auto",
    weights: Weights = None,
    html: Page = None,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """SPIn-NeRF: ROOT/<scene> with true masks in ROOT/masks/<scene> or ROOT/<scene>/masks."""
    common = _Common(rule, quality, segmenter, weights, html, device, cache, seed, as_json)
    _benchmark("spin-nerf", root, tasks, common)


@evaluate_app.command("replica")
def evaluate_replica(
    root: Root,
    tasks: Scenes = None,
    every: Annotated[int, typer.Option(min=1, help="Every how many of the 900 views is used.")] = 5,
    rule: Rule = "ours",
    quality: Good = "good",
    segmenter: SegmenterName = "auto",
    weights: Weights = None,
    html: Page = None,
    device: Device = "auto",
    cache: CacheDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Replica as rendered by Zhi et al.: ROOT/<scene>/Sequence_1."""
    common = _Common(rule, quality, segmenter, weights, html, device, cache, seed, as_json)
    _benchmark("replica", root, tasks, common, every=every)


def _benchmark(kind: str, root: Path, names: str | None, common: _Common, draws: int = 3, every: int = 5) -> None:
    from engine.evaluation import commands
    from engine.options import Options, SegmentOptions

    settings = lifting_settings(common.rule, None)
    request = SegmentOptions(common.quality, common.segmenter, common.weights, settings)
    options = Options(cache_root(common.cache), common.device, common.seed)
    source = commands.Source(kind, root, _names(names), None, draws, every)

    def work(job: Job) -> dict[str, Any]:
        return commands.evaluate_benchmark(source, request, options, common.html, job)

    run(work, common.as_json, commands.show_result)
