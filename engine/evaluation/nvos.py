"""NVOS (Ren et al. 2022): scribbles in one view of an LLFF scene, the mask of another is compared."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from engine.captures.capture import Capture, View
from engine.captures.load import find_view, load_capture
from engine.evaluation.pictures import need_folder, pngs, read_painted
from engine.evaluation.tasks import Task
from engine.scribbles import NEGATIVE_SHARE, POSITIVE_SHARE, skeleton_points
from sa3d_blender.protocol.errors import CaptureError, PromptError

TASKS = ("fern", "flower", "fortress", "horns_center", "horns_left", "leaves", "orchids", "trex")
LAYOUT = (
    "ROOT/<scene>/{images,poses_bounds.npy}, ROOT/masks/<task>/<target>_mask.png, "
    "ROOT/reference_image/<task>/<reference>.JPG and ROOT/scribbles/<task>/{pos_*,neg_*}.png"
)


def nvos_tasks(root: Path, names: list[str] | None = None, seeds: tuple[int, ...] = (0, 1, 2)) -> list[list[Task]]:
    """For each task that is there (or each of ``names``) one `Task` a seed; they differ in the points drawn.

    Raises:
        CaptureError: the layout is another, or a file is missing.
    """
    masks = need_folder(root / "masks", LAYOUT)
    wanted = names if names is not None else [name for name in TASKS if (masks / name).is_dir()]
    if not wanted:
        raise CaptureError(f"{masks} holds none of the tasks {', '.join(TASKS)}.", f"The layout is {LAYOUT}.")
    return [_task(root, name, seeds) for name in wanted]


def _task(root: Path, name: str, seeds: tuple[int, ...]) -> list[Task]:
    capture = load_capture(need_folder(root / name.split("_")[0], LAYOUT))
    reference = _view(capture, _only(need_folder(root / "reference_image" / name, LAYOUT), "*", "reference photo"))
    mask = _only(need_folder(root / "masks" / name, LAYOUT), "*_mask.png", "mask")
    target = _view(capture, Path(mask.stem.removesuffix("_mask")))
    scribbles = pngs(need_folder(root / "scribbles" / name, LAYOUT))
    positive = [path for path in scribbles if path.name.startswith("pos")]
    negative = [path for path in scribbles if path.name.startswith("neg")]
    if not positive:
        raise CaptureError(f"{root / 'scribbles' / name} holds no scribble pos_*.png.", f"The layout is {LAYOUT}.")
    tasks = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        points = [
            *_points(positive, POSITIVE_SHARE, 1, reference, rng),
            *_points(negative, NEGATIVE_SHARE, 0, reference, rng),
        ]
        targets = {target.stem: partial(read_painted, mask)}
        tasks.append(Task(capture, name, reference.stem, None, targets, tuple(points)))
    return tasks


def _points(
    paths: list[Path], share: float, label: int, view: View, rng: np.random.Generator
) -> list[tuple[float, float, int]]:
    """Pixels of the scribbles' skeletons, at random, in pixels of the photo as stored."""
    found: list[tuple[float, float, int]] = []
    for path in paths:
        painted = read_painted(path)
        scale_x, scale_y = view.camera.width / painted.shape[1], view.camera.height / painted.shape[0]
        for row, column in skeleton_points(painted, share, rng):
            found.append(((float(column) + 0.5) * scale_x, (float(row) + 0.5) * scale_y, label))
    return found


def _only(folder: Path, pattern: str, what: str) -> Path:
    found = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
    if len(found) != 1:
        raise CaptureError(
            f"{folder} holds {len(found)} files where one {what} is expected.", f"The layout is {LAYOUT}."
        )
    return found[0]


def _view(capture: Capture, file: Path) -> View:
    try:
        return find_view(capture, file.stem)
    except PromptError as error:
        raise CaptureError(
            f"{file.name} is none of the photos of {capture.root}.", "Take masks and photos from the same data set."
        ) from error
