"""SPIn-NeRF / MVSeg (Mirzaei et al. 2023): the true mask of the first view is given, the other annotated ones count."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from engine.captures.load import find_view, load_capture
from engine.evaluation.pictures import need_folder, pngs, read_painted
from engine.evaluation.tasks import Task
from sa3d_blender.protocol.errors import CaptureError, PromptError

SCENES = ("orchids", "leaves", "fern", "room", "horns", "fortress", "fork", "pinecone", "truck", "lego")
NOT_TRUTH = ("_cutout", "_pseudo")
LAYOUT = "ROOT/<scene>, a capture, with true masks in ROOT/masks/<scene>/<photo>.png or ROOT/<scene>/masks/<photo>.png"


def spin_nerf_tasks(root: Path, names: list[str] | None = None) -> list[Task]:
    """A task for each scene that is there (or each of ``names``): the first annotated view, sorted, is the reference.

    The reference view's own mask stands in ``others``: the paper counts it in. Raises CaptureError.
    """
    need_folder(root, LAYOUT)
    wanted = names if names is not None else [name for name in SCENES if (root / name).is_dir()]
    if not wanted:
        raise CaptureError(f"{root} holds none of the scenes {', '.join(SCENES)}.", f"The layout is {LAYOUT}.")
    return [_task(root, name) for name in wanted]


def _task(root: Path, name: str) -> Task:
    scene = need_folder(root / name, LAYOUT)
    capture = load_capture(scene)
    apart = root / "masks" / name
    folder = apart if apart.is_dir() else need_folder(scene / "masks", LAYOUT)
    targets = {}
    for path in pngs(folder, NOT_TRUTH):
        try:
            stem = find_view(capture, path.stem.removesuffix("_mask")).stem
        except PromptError as error:
            raise CaptureError(
                f"The mask {path} belongs to none of the photos of {scene}.", f"The layout is {LAYOUT}."
            ) from error
        targets[stem] = partial(read_painted, path)
    if len(targets) < 2:
        raise CaptureError(f"{folder} holds {len(targets)} true masks; two are the least.", f"The layout is {LAYOUT}.")
    reference = min(targets)
    others = {stem: mask for stem, mask in targets.items() if stem != reference}
    return Task(capture, name, reference, targets[reference], others, others={reference: targets[reference]})
