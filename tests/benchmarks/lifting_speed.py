"""How fast the sparse lifting is beside autograd, and what it keeps in memory. Prints JSON.

    python tests/benchmarks/lifting_speed.py CAPTURE

One view of 400 x 300 pixels (or of the photos' size, if that is smaller) of a capture with a trained field: rendering a
mask grid and handing a 2D mask back to it, by autograd on a dense grid and by two sparse products. Then the memory of
an object's evidence beside the paper's dense float32 grid, a second object, a correction and another lambda.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

# isort: off
import engine  # noqa: E402, F401 (before torch: it says how torch's threads wait)
import torch  # noqa: E402

# isort: on
from autograd_lifting import rendered_and_gradient  # noqa: E402

from engine.cache import cache_root  # noqa: E402
from engine.captures.load import load_capture  # noqa: E402
from engine.evaluation.masks import given_seed, mask_tasks  # noqa: E402
from engine.evaluation.run import TimedSegmenter  # noqa: E402
from engine.evaluation.truth import read_truth  # noqa: E402
from engine.lifting.corrections import correct  # noqa: E402
from engine.lifting.loop import lift  # noqa: E402
from engine.lifting.masks import resample  # noqa: E402
from engine.lifting.projection import view_operator  # noqa: E402
from engine.lifting.settings import LiftingSettings  # noqa: E402
from engine.lifting.store import store  # noqa: E402
from engine.options import Options, SegmentOptions  # noqa: E402
from engine.progress import Job  # noqa: E402
from engine.segment import object_masks, object_probability, render_masks, views_changed  # noqa: E402
from engine.segmenters.choose import make_segmenter  # noqa: E402
from engine.train import open_workspace  # noqa: E402


def best_of(times: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs."""
    seconds = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def main() -> None:
    """Runs it all and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("capture", type=Path, help="a capture with masks/, its field in the cache")
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--objects", default="apple,banana", help="two of its objects")
    given = parser.parse_args()
    job = Job(log=lambda line: print(line, file=sys.stderr))
    options = Options(cache_root(given.cache), "cpu")
    workspace, _ = open_workspace(load_capture(given.capture), options, SegmentOptions(), job)
    workspace.prepare(job)
    truth = read_truth(given.capture)
    names = given.objects.split(",")
    tasks = mask_tasks(workspace.capture, truth, names, None)
    view = workspace.views[tasks[0].reference]

    # one view, the same rays and samples both ways
    scale = min(1.0, 400 / view.camera.width)
    camera = view.camera.resized(round(view.camera.width * scale), round(view.camera.height * scale))
    sampling = workspace.trained.settings.rendering
    mask = resample(truth.mask(view.stem, names[0]).astype(np.float32), (camera.height, camera.width))
    v = torch.zeros(workspace.voxels.shape)
    operator = view_operator(workspace.volume, workspace.grid, workspace.voxels, camera, sampling)
    flat = np.random.default_rng(0).random(workspace.voxels.count).astype(np.float32)
    v.view(-1)[torch.from_numpy(workspace.voxels.flat_positions)] = torch.from_numpy(flat)
    target = torch.from_numpy(mask.reshape(-1))

    def by_autograd() -> tuple[torch.Tensor, torch.Tensor]:
        return rendered_and_gradient(workspace.volume, workspace.grid, camera, sampling, v, target, 0.15)

    def by_products() -> tuple[np.ndarray, np.ndarray]:
        return operator.render(flat), operator.back_project(mask - 0.15 * (1 - mask))

    rendered, gradient = by_autograd()
    ours, back = by_products()
    expected = -gradient.view(-1).numpy()[workspace.voxels.flat_positions]
    slow, fast = best_of(3, by_autograd), best_of(10, by_products)

    segmenter = TimedSegmenter(make_segmenter("auto", "cpu", options.cache, None))
    settings = LiftingSettings()
    first = lift(workspace.scene, [given_seed(workspace, tasks[0])], segmenter, settings, job)[0]
    segmenter.seconds = 0.0
    begun = time.perf_counter()
    second = lift(workspace.scene, [given_seed(workspace, tasks[1])], segmenter, settings, job, [first])[0]
    lifted_in = time.perf_counter() - begun
    masks = object_masks(workspace, second, object_probability(workspace, store(second), settings), job)
    both_in, in_2d = time.perf_counter() - begun, segmenter.seconds

    other = max((s for s in masks if s != second.start), key=lambda s: float((masks[s] > 0.5).sum()))
    inside = np.argwhere(masks[other] > 0.9)
    row, column = inside[len(inside) // 2]
    segmenter.seconds = 0.0
    before = object_probability(workspace, store(second), settings)
    begun = time.perf_counter()
    click = np.array([[column + 0.5, row + 0.5]], np.float32)
    done = correct(workspace.scene, second, workspace.views[other], click, np.ones(1, np.int64), segmenter, job)
    now = object_probability(workspace, store(second), settings)
    changed = views_changed(workspace, before, now)
    render_masks(workspace, now, job, changed)
    corrected_in = time.perf_counter() - begun
    voxels = second.voxels()

    dense = 4 * int(np.prod(workspace.voxels.shape))
    whole = 4 * int(np.prod(workspace.trained.model.resolution))
    support, contributions = second.evidence.support().nbytes, second.evidence.nbytes
    figures = {
        "view": f"{camera.width} x {camera.height}",
        "autograd_ms": 1e3 * slow,
        "sparse_ms": 1e3 * fast,
        "times_faster": slow / fast,
        "largest_difference_rendering": float(np.abs(ours.reshape(-1) - rendered.numpy()).max()),
        "largest_difference_gradient": float(np.abs(back - expected).max()),
        "gradient_scale": float(np.abs(expected).max()),
        "dense_grid_mb": dense / 1e6,
        "dense_grid_of_the_whole_field_mb": whole / 1e6,
        "evidence_mb": support / 1e6,
        "evidence_share_of_dense": support / dense,
        "contributions_mb": contributions / 1e6,
        "with_contributions_share_of_the_whole_field": (support + contributions) / whole,
        "second_object_s": both_in,
        "second_object_without_segmenter_s": both_in - in_2d,
        "second_object_lifting_without_segmenter_s": lifted_in - in_2d,
        "correction_s": corrected_in,
        "correction_without_segmenter_s": corrected_in - segmenter.seconds,
        "correction_touched_views": len(done.touched),
        "correction_masks_made_again": len(changed),
        "lambda_ms": 1e3 * best_of(5, lambda: voxels.probability(0.5)),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
