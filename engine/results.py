"""The folder that segmenting writes: masks, mesh, report, and what Blender needs to show it all."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
from jaxtyping import Float
from PIL import Image
from safetensors.numpy import load_file, save_file

from engine import __version__
from engine.cache import atomic_file
from engine.captures.capture import View
from engine.lifting.projection import VoxelGrid
from sa3d_blender.protocol.errors import StorageError

LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "trimesh", "segment-anything", "safetensors")
REPORT, MESH, EVIDENCE, SCENE, MASKS = "report.json", "object.glb", "object.safetensors", "scene.json", "masks"


@dataclass(frozen=True)
class StoredEvidence:
    """An object as it was lifted: F and B on the voxels of a field, and the weight lambda of B."""

    foreground: Float[np.ndarray, " n"]
    background: Float[np.ndarray, " n"]
    lam: float
    capture_key: str
    field_key: str


def versions() -> dict[str, str]:
    """Of Python, of this package and of the libraries that results depend on."""
    found = {"sa3d": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def write_mask(path: Path, mask: Float[np.ndarray, "h w"]) -> None:
    """A mask in [0, 1] as an 8-bit grey PNG."""
    with atomic_file(path) as temporary:
        Image.fromarray((np.clip(mask, 0, 1) * 255 + 0.5).astype(np.uint8)).save(temporary, format="PNG")


def write_evidence(path: Path, stored: StoredEvidence) -> None:
    """F and B as safetensors, so that the mesh can be made again, or the object be corrected, later."""
    arrays = {"foreground": stored.foreground, "background": stored.background}
    about = {"lambda": str(stored.lam), "capture": stored.capture_key, "field": stored.field_key}
    with atomic_file(path) as temporary:
        save_file(arrays, temporary, metadata=about)


def read_evidence(folder: Path) -> StoredEvidence:
    """The evidence in a result folder.

    Raises:
        StorageError: there is none, or it is damaged.
    """
    path = folder / EVIDENCE
    try:
        arrays = load_file(path)
        with safetensors.safe_open(path, framework="numpy") as file:
            about = file.metadata()
        return StoredEvidence(
            arrays["foreground"], arrays["background"], float(about["lambda"]), about["capture"], about["field"]
        )
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise StorageError(
            f"{folder} holds no segmented object that can be read.", "Name a folder that `sa3d segment --out` wrote."
        ) from error


def read_report(folder: Path) -> dict[str, object]:
    """The report in a result folder. Raises StorageError where it is missing or damaged."""
    try:
        found = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{folder} holds no {REPORT} that can be read.", "Name a folder that `sa3d segment --out` wrote."
        ) from error
    if not isinstance(found, dict):
        raise StorageError(f"{folder / REPORT} is no report.", "Name a folder that `sa3d segment --out` wrote.")
    return found


def scene_description(
    name: str, root: Path, views: Mapping[str, View], prompts: list[dict[str, object]]
) -> dict[str, object]:
    """What the add-on reads to build the scene: cameras with photos, the mesh, the prompts (pixels of the photos)."""
    return {
        "name": name,
        "capture_root": str(root.absolute()),
        "views": [
            {
                "name": view.name,
                "stem": stem,
                "image": str(view.image_path.absolute()),
                "width": view.camera.width,
                "height": view.camera.height,
                "fl_x": view.camera.fl_x,
                "fl_y": view.camera.fl_y,
                "cx": view.camera.cx,
                "cy": view.camera.cy,
                "world_from_camera": view.camera.world_from_camera.tolist(),
            }
            for stem, view in views.items()
        ],
        "objects": [{"name": "object", "mesh": MESH, "prompts": prompts}],
    }


def same_voxels(stored: StoredEvidence, voxels: VoxelGrid) -> bool:
    """Whether stored evidence fits the voxels of a field."""
    return len(stored.foreground) == voxels.count == len(stored.background)
