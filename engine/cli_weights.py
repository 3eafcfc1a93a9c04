"""`sa3d weights list | get | verify | remove | path`: the weights of learned models, fetched only when asked for."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cache import cache_root
from engine.cli_options import AsJson, CacheDir, run
from engine.console import TABLE_WIDTH
from engine.progress import Job

weights_app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__, add_completion=False
)

Name = Annotated[str, typer.Argument(help="As `sa3d weights list` says, such as sam-vit-b.")]


@weights_app.command("list")
def list_command(cache: CacheDir = None, as_json: AsJson = False) -> None:
    """Lists all weights: what they are, size, licence, and what the cache holds of them."""
    from engine.segmenters.weights import list_weights

    def work(job: Job) -> dict[str, Any]:
        return {"weights": [asdict(state) for state in list_weights(cache_root(cache))]}

    def show(result: dict[str, Any]) -> None:
        table = Table(box=None, pad_edge=False)
        for head in ("name", "what", "size", "licence", "state"):
            table.add_column(head, justify="right" if head == "size" else "left")
        for each in result["weights"]:
            share = f" ({100 * each['bytes_there'] // each['size']} %)" if each["state"] == "partial" else ""
            size = f"{each['size'] / 1e6:.0f} MB"
            table.add_row(each["name"], each["about"], size, each["licence"], each["state"] + share)
        console = Console()
        (console if console.width >= TABLE_WIDTH else Console(width=TABLE_WIDTH)).print(table)

    run(work, as_json, show)


@weights_app.command()
def get(
    name: Name,
    mirror: Annotated[
        str | None, typer.Option(help="Address of a folder that holds the same files (default: the listed server).")
    ] = None,
    cache: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Downloads weights into the cache and verifies them; goes on where an earlier download stopped."""
    from engine.segmenters.weights import get_weights

    run(
        lambda job: {"name": name, "path": str(get_weights(name, cache_root(cache), job, mirror)), "state": "verified"},
        as_json,
        lambda result: print(result["path"]),
    )


@weights_app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="Which weights (default: all that are there).")] = None,
    cache: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Reads weights again from the first byte to the last and compares their hashes with the listed ones."""
    from engine.segmenters.weights import check_weights

    run(
        lambda job: {"verified": check_weights(name, cache_root(cache), job)},
        as_json,
        lambda result: print("Verified: " + (", ".join(result["verified"]) or "there are no weights in the cache")),
    )


@weights_app.command()
def remove(name: Name, cache: CacheDir = None, as_json: AsJson = False) -> None:
    """Deletes weights from the cache, and what was begun of their download."""
    from engine.segmenters.weights import remove_weights

    run(
        lambda job: {"name": name, "bytes_freed": remove_weights(name, cache_root(cache))},
        as_json,
        lambda result: print(f"{name}: {result['bytes_freed'] / 1e6:.1f} MB freed"),
    )


@weights_app.command()
def path(
    name: Annotated[str | None, typer.Argument(help="Which weights (default: the folder of all).")] = None,
    cache: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Prints where weights lie, or where a file that was downloaded by hand has to be put."""
    from engine.segmenters.weights import weights_path

    def work(job: Job) -> dict[str, Any]:
        place: Path = weights_path(name, cache_root(cache))
        return {"path": str(place), "there": place.exists()}

    run(work, as_json, lambda result: print(result["path"]))
