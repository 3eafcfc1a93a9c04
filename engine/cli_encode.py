"""`sa3d encode`: the photos of a capture as embeddings, ahead of the first click."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cache import cache_root
from engine.cli_options import AsJson, CacheDir, CapturePath, Device, SegmenterName, run
from engine.progress import Job


def encode(
    capture: CapturePath,
    segmenter: SegmenterName = "auto",
    weights: Annotated[Path | None, typer.Option(help="Weights file of the segmenter.")] = None,
    quality: Annotated[str, typer.Option(help="Of the field to be used: draft, good or best.")] = "draft",
    device: Device = "auto",
    cache: CacheDir = None,
    as_json: AsJson = False,
) -> None:
    """Does ahead what is slow about a segmenter, once for all objects; goes on where an earlier run stopped."""
    from engine import api

    def work(job: Job) -> dict[str, Any]:
        return api.encode_capture(capture, segmenter, weights, quality, api.Options(cache_root(cache), device), job)

    def show(result: dict[str, Any]) -> None:
        print(f"{result['encoded']} photos encoded for {result['segmenter']}, {result['already']} were there already.")

    run(work, as_json, show)
