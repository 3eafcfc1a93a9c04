"""How close the cameras come that are found from a capture's photos alone: throws its poses away and compares.

    python tests/benchmarks/poses.py CAPTURE [--found FOLDER] [--camera MODEL] [--cache DIR]

The found cameras are laid onto the given ones by a similarity (Umeyama 1991). Distances between centres are printed
relative to the diagonal of the given centres' box, the bound being 2 %, and to the median distance from a camera to
the attention point. ``--found``: a capture that was found before, to be compared only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from engine import api
from engine.cache import cache_root
from engine.captures.bounds import attention_point
from engine.captures.load import load_capture
from engine.console import ConsoleListener
from engine.progress import Job
from sa3d_blender.protocol.errors import CaptureError

BOUND = 0.02


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``source`` [N, 3] moved onto ``target`` [N, 3] by the similarity that leaves the least squared distance."""
    a, b = source - source.mean(0), target - target.mean(0)
    left, sizes, right = np.linalg.svd(b.T @ a)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    scale = np.trace(np.diag(sizes) @ flip) / (a**2).sum()
    return scale * a @ (left @ flip @ right).T + target.mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--found", type=Path)
    parser.add_argument("--camera", default=api.PosesOptions().camera)
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    true = load_capture(given.capture)
    with tempfile.TemporaryDirectory(prefix="sa3d-") as scratch:
        folder, seconds, report = given.found, None, {}
        if folder is None:
            photos, folder = Path(scratch, "photos"), Path(scratch, "capture")
            photos.mkdir()
            for view in true.views:
                shutil.copyfile(view.image_path, photos / f"{view.stem}{view.image_path.suffix}")
            started = time.perf_counter()
            with ConsoleListener() as listener:
                report = api.find_poses(
                    photos,
                    folder,
                    api.Options(given.cache or cache_root(Path(scratch, "cache")), "cpu"),
                    Job(listener, listener.log),
                    api.PosesOptions(camera=given.camera),
                )
            seconds = time.perf_counter() - started
        found = {view.stem: view.camera for view in load_capture(folder).views}
    both = [view for view in true.views if view.stem in found]
    target = np.array([view.camera.position for view in both])
    away = np.linalg.norm(umeyama(np.array([found[view.stem].position for view in both]), target) - target, axis=1)
    everything = np.array([view.camera.position for view in true.views])
    size = float(np.linalg.norm(np.ptp(everything, axis=0)))
    try:
        looked_at = attention_point(everything, np.array([view.camera.forward for view in true.views]))
        distance = float(np.median(np.linalg.norm(everything - looked_at, axis=1)))
    except CaptureError:  # all look one way
        distance = float("nan")
    result = {
        "photos": len(true.views),
        "placed": len(both),
        "seconds": seconds,
        "of_scene_size": {"median": np.median(away) / size, "worst": away.max() / size},
        "of_median_distance": {"median": np.median(away) / distance, "worst": away.max() / distance},
        "within_bound": bool(len(both) == len(true.views) and away.max() <= BOUND * size),
        "focal_px": {"given": both[0].camera.fl_x, "found": found[both[0].stem].fl_x},
        "stages": report.get("seconds", {}),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
