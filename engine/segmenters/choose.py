"""Chooses the segmenter: the one that was named, or the best one that this machine has weights for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.segmenters.base import Segmenter
from engine.segmenters.click_model import is_click_model, make_click_model
from engine.segmenters.graph_cut import GraphCutSegmenter
from engine.segmenters.weights import WEIGHTS, find_weights, load_state_dict, verify_weights
from sa3d_blender.protocol.errors import Sa3dError, SegmenterError

__all__ = ["SEGMENTERS", "make_segmenter"]

SEGMENTERS = ("auto", *WEIGHTS, GraphCutSegmenter.name)


def make_segmenter(
    name: str = "auto",
    device: str = "cpu",
    cache_dir: Path | None = None,
    weights_path: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
    allow_unlisted: bool = False,
) -> Segmenter:
    """The segmenter ``name`` (one of SEGMENTERS, or a click model's) on ``device`` ("cpu", "cuda" or "mps").

    "auto" takes the largest SAM whose verified weights are in the cache, else the embedded graph cut, and says
    through ``log`` which and why. A SAM that was asked for by name, or by ``weights_path``, is never
    replaced by another segmenter. Raises SegmenterError, StorageError or EnvironmentFault.
    """
    if is_click_model(name):
        return make_click_model(name, weights_path, device, log)
    if name not in SEGMENTERS:
        raise SegmenterError(
            f'There is no segmenter called "{name}".',
            f"Choose one of: {', '.join(SEGMENTERS)}, or a click model's JSON.",
        )
    if name == GraphCutSegmenter.name:
        if weights_path is not None:
            raise SegmenterError("The segmenter graph-cut has no weights.", "Leave the weights out, or choose a SAM.")
        return GraphCutSegmenter()
    if name != "auto":
        path = find_weights(name, weights_path, cache_dir)
        if path is None:
            raise SegmenterError(
                f"There are no weights for {name}.",
                f"Run `sa3d weights get {name}`, give the path of {WEIGHTS[name].file}, or choose graph-cut.",
            )
        return _sam(name, path, device, cache_dir, log, allow_unlisted)
    if weights_path is not None:
        named = next((entry.name for entry in WEIGHTS.values() if entry.file == Path(weights_path).name), None)
        if named is None:
            raise SegmenterError(
                f"The weights {Path(weights_path).name} do not say which SAM they are for.",
                f"Name the segmenter beside them: {', '.join(WEIGHTS)}.",
            )
        return make_segmenter(named, device, cache_dir, weights_path, log, allow_unlisted)
    for candidate in WEIGHTS:
        path = find_weights(candidate, None, cache_dir)
        if path is None:
            continue
        try:
            segmenter = _sam(candidate, path, device, cache_dir, log, False)
        except Sa3dError as error:
            log(f"Segmenter {candidate} is left out: {error}")
            continue
        log(f"Segmenter: {candidate}, the largest with verified weights ({path.name}).")
        return segmenter
    log("Segmenter: graph-cut, because the cache holds no usable SAM weights; SAM needs fewer clicks.")
    return GraphCutSegmenter()


def _sam(
    name: str, path: Path, device: str, cache_dir: Path | None, log: Callable[[str], None], allow_unlisted: bool
) -> Segmenter:
    # Imported late: SAM's packages take seconds to load and aren't needed for the graph cut.
    from engine.segmenters.sam import SamSegmenter, build_sam

    digest = verify_weights(name, path, cache_dir, allow_unlisted)
    model = build_sam(WEIGHTS[name].architecture, load_state_dict(path))
    return SamSegmenter(name, model, device, cache_dir, digest, log)
