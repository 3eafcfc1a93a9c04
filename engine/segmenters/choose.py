"""Chooses the segmenter: the one that was named, or the best one that this machine has weights for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.segmenters.base import Segmenter
from engine.segmenters.click_model import is_click_model, make_click_model
from engine.segmenters.graph_cut import GraphCutSegmenter
from engine.segmenters.ranking import CLICKNET, GRAPH_CUT, RANKING, SEGMENTERS
from engine.segmenters.weights import WEIGHTS, find_weights, load_state_dict, verify_weights
from sa3d_blender.protocol.errors import Sa3dError, SegmenterError

__all__ = ["RANKING", "SEGMENTERS", "at_hand", "make_segmenter"]

CLICKNET_WEIGHTS = Path(__file__).parent / CLICKNET / "clicknet.safetensors"

Log = Callable[[str], None]


def make_segmenter(
    name: str = "auto",
    device: str = "cpu",
    cache_dir: Path | None = None,
    weights_path: Path | None = None,
    log: Log = lambda line: None,
    allow_unlisted: bool = False,
) -> Segmenter:
    """The segmenter ``name`` (one of SEGMENTERS, or a click model's) on ``device`` ("cpu", "cuda" or "mps").

    "auto" takes the first of RANKING that is at hand, with verified weights, and says through ``log`` which and why.
    One that was asked for by name, or by ``weights_path``, is never replaced by another. Raises SegmenterError,
    StorageError or EnvironmentFault.
    """
    if is_click_model(name):
        return make_click_model(name, weights_path, device, log)
    if name not in SEGMENTERS:
        raise SegmenterError(
            f'There is no segmenter called "{name}".',
            f"Choose one of: {', '.join(SEGMENTERS)}, or a click model's JSON.",
        )
    if name == "auto":
        if weights_path is None:
            return _best_at_hand(device, cache_dir, log)
        return make_segmenter(_named_by(weights_path), device, cache_dir, weights_path, log, allow_unlisted)
    if name == GRAPH_CUT:
        if weights_path is not None:
            raise SegmenterError("The segmenter graph-cut has no weights.", "Leave the weights out, or choose a SAM.")
        return GraphCutSegmenter()
    if name == CLICKNET:
        return _clicknet(weights_path, device, cache_dir, log)
    path = find_weights(name, weights_path, cache_dir)
    if path is None:
        raise SegmenterError(
            f"There are no weights for {name}.",
            f"Run `sa3d weights get {name}`, give the path of {WEIGHTS[name].file}, or choose auto.",
        )
    return _sam(name, path, device, cache_dir, log, allow_unlisted)


def at_hand(cache_dir: Path | None = None) -> tuple[str, ...]:
    """The names of RANKING for which nothing has to be downloaded, best first. Weights are found, not yet verified."""
    return tuple(
        name
        for name in RANKING
        if name == GRAPH_CUT
        or (CLICKNET_WEIGHTS.is_file() if name == CLICKNET else find_weights(name, None, cache_dir) is not None)
    )


def _best_at_hand(device: str, cache_dir: Path | None, log: Log) -> Segmenter:
    for candidate in at_hand(cache_dir):
        try:
            segmenter = make_segmenter(candidate, device, cache_dir, None, log)
        except Sa3dError as error:
            log(f"Segmenter {candidate} is left out: {error}")
            continue
        better = RANKING[: RANKING.index(candidate)]
        log(f"Segmenter: {candidate}, {_reason(candidate)}{_what_would_be_better(better)}.")
        return segmenter
    raise SegmenterError("No segmenter can be used.", "Install the engine again.")  # the graph cut needs nothing


def _reason(name: str) -> str:
    if name in WEIGHTS:
        return "the best one with verified weights in the cache"
    if name == CLICKNET:
        return "the learned one that comes along, because the cache holds no usable SAM weights"
    return "because neither usable SAM weights nor clicknet's are there"


def _what_would_be_better(better: tuple[str, ...]) -> str:
    to_get = [name for name in better if name in WEIGHTS]
    return f" (better, but to be downloaded: {', '.join(to_get)})" if to_get else ""


def _named_by(path: Path) -> str:
    """Which segmenter a weights file is for, by its name."""
    known = {entry.file: entry.name for entry in WEIGHTS.values()} | {CLICKNET_WEIGHTS.name: CLICKNET}
    if Path(path).name not in known:
        raise SegmenterError(
            f"The weights {Path(path).name} do not say which segmenter they are for.",
            f"Name the segmenter beside them: {', '.join(known.values())}.",
        )
    return known[Path(path).name]


def _clicknet(weights_path: Path | None, device: str, cache_dir: Path | None, log: Log) -> Segmenter:
    # Imported late, as all that follow: networks take seconds to load and aren't needed for the graph cut.
    from engine.segmenters.clicknet.segmenter import ClickNetSegmenter

    return ClickNetSegmenter(weights_path, device, cache_dir, log)


def _sam(name: str, path: Path, device: str, cache_dir: Path | None, log: Log, allow_unlisted: bool) -> Segmenter:
    from engine.segmenters.sam import SamSegmenter, build_sam

    digest = verify_weights(name, path, cache_dir, allow_unlisted)
    model = build_sam(WEIGHTS[name].architecture, load_state_dict(path))
    return SamSegmenter(name, model, device, cache_dir, digest, log)
