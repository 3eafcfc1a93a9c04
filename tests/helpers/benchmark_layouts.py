"""Writes the tiny capture in the layouts of the public benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tiny_capture import FOCAL, HEIGHT, WIDTH, TinyCapture

OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


def write_llff(capture: TinyCapture, scene: Path) -> None:
    """``images/`` and ``poses_bounds.npy``, 17 columns."""
    (scene / "images").mkdir(parents=True)
    rows = []
    for name, pose in zip(capture.names, capture.world_from_camera, strict=True):
        (scene / "images" / Path(name).name).write_bytes((capture.folder / name).read_bytes())
        right, up, back, position = (pose[:3, i] for i in range(4))
        matrix = np.stack([-up, right, back, position, [HEIGHT, WIDTH, FOCAL]], 1)
        rows.append([*matrix.ravel(), 1.0, 6.0])
    np.save(scene / "poses_bounds.npy", np.array(rows))


def _picture(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((mask * 255).astype(np.uint8)).save(path)


def write_nvos(capture: TinyCapture, root: Path, reference: int = 4, target: int = 9) -> None:
    """Scene and task "fern": scribbles on the ball (and beside it) in one view, the ball's mask in another."""
    write_llff(capture, root / "fern")
    photo = root / "fern" / "images" / f"{reference:03d}.png"
    kept = root / "reference_image" / "fern" / f"{reference:03d}.JPG"
    kept.parent.mkdir(parents=True)
    with Image.open(photo) as image:
        image.convert("RGB").save(kept, format="JPEG")
    masks = root / "masks" / "fern"
    _picture(masks / f"{target:03d}_mask.png", capture.masks["ball"][target])
    with Image.open(root / "fern" / "images" / f"{target:03d}.png") as image:
        image.convert("RGB").save(masks / f"{target:03d}.JPG", format="JPEG")
    x, y = (int(v) for v in capture.centre_px("ball", reference))
    line, beside = np.zeros((HEIGHT, WIDTH), bool), np.zeros((HEIGHT, WIDTH), bool)
    line[y - 1 : y + 2, x - 6 : x + 7] = True
    beside[2:5, 5:75] = True
    _picture(root / "scribbles" / "fern" / f"pos_0_{reference:03d}.png", line)
    _picture(root / "scribbles" / "fern" / f"neg_0_{reference:03d}.png", beside)


def write_spin_nerf(capture: TinyCapture, root: Path, annotated: tuple[int, ...] = (3, 7, 11, 15)) -> None:
    """Scene "fern" with the box's masks in some views, and the files beside them that are no truth."""
    write_llff(capture, root / "fern")
    for i in annotated:
        _picture(root / "masks" / "fern" / f"{i:03d}.png", capture.masks["box"][i])
        _picture(root / "masks" / "fern" / f"{i:03d}_cutout.png", np.zeros((HEIGHT, WIDTH), bool))
        _picture(root / "masks" / "fern" / f"{i:03d}_pseudo.png", np.zeros((HEIGHT, WIDTH), bool))


def write_replica(capture: TinyCapture, root: Path, scene: str = "office_0", ids: tuple[int, int] = (3, 4)) -> None:
    """A sequence whose ball and box are instances 3 and 4. The field of view is not the tiny capture's own."""
    folder = root / scene / "Sequence_1"
    for name in ("rgb", "semantic_instance"):
        (folder / name).mkdir(parents=True)
    lines = []
    for i, (name, pose) in enumerate(zip(capture.names, capture.world_from_camera, strict=True)):
        (folder / "rgb" / f"rgb_{i}.png").write_bytes((capture.folder / name).read_bytes())
        instances = np.zeros((HEIGHT, WIDTH), np.uint16)
        instances[capture.masks["ball"][i]], instances[capture.masks["box"][i]] = ids
        Image.fromarray(instances).save(folder / "semantic_instance" / f"semantic_instance_{i}.png")
        lines.append(" ".join(f"{value:.12f}" for value in (pose @ OPENCV_FROM_OPENGL).ravel()))
    (folder / "traj_w_c.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
