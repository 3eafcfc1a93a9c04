"""The folder that segmenting writes: masks, mesh, report, and what Blender needs to show it all."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from jaxtyping import Float, UInt8
from PIL import Image
from safetensors.numpy import load_file, save_file

from engine import __version__
from engine.cache import atomic_file
from engine.captures.capture import View
from engine.lifting.store import StoredObject, from_arrays, to_arrays
from engine.lifting.voxels import VoxelGrid
from engine.options import MeshOptions
from engine.whole_folder import settle
from sa3d_blender.protocol.errors import StorageError

LIBRARIES = ("torch", "numpy", "scipy", "scikit-image", "trimesh", "segment-anything", "safetensors")
REPORT, MESH, EVIDENCE, SCENE, MASKS = "report.json", "object.glb", "object.safetensors", "scene.json", "masks"


@dataclass(frozen=True)
class ObjectFile:
    """An object in a result folder, and the capture and field that it belongs to."""

    stored: StoredObject
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


def write_mask(path: Path, mask: Float[np.ndarray, "h w"], size: tuple[int, int]) -> None:
    """A mask in [0, 1] as an 8-bit grey PNG of ``size`` (width, height): bytes are enlarged, as floats a photo of 50
    megapixels would take a gigabyte."""
    levels = Image.fromarray((np.clip(mask, 0, 1) * 255 + 0.5).astype(np.uint8))
    with atomic_file(path) as temporary:
        levels.resize(size, Image.Resampling.BILINEAR).save(temporary, format="PNG")


def read_mask_levels(path: Path, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "h w"]:
    """A mask that `write_mask` wrote, 255 = the object; shrunk to ``size`` (width, height) by averaging over areas.

    Raises StorageError where it is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            levels = image.convert("L")
            return np.asarray(levels if size is None else levels.resize(size, Image.Resampling.BOX))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise StorageError(f"The mask {path} can't be read.", "Run `sa3d segment` again.") from error


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Float[np.ndarray, "h w"]:
    """`read_mask_levels` in [0, 1], float32."""
    return read_mask_levels(path, size).astype(np.float32) / 255


def write_object(path: Path, kept: ObjectFile) -> None:
    """An object as safetensors, so that its mesh can be made again, or the object be corrected, in a later session."""
    arrays, words = to_arrays(kept.stored)
    with atomic_file(path) as temporary:
        save_file(arrays, temporary, metadata={**words, "capture": kept.capture_key, "field": kept.field_key})


def read_object(folder: Path, grid: VoxelGrid, field_key: str) -> ObjectFile:
    """The object in a result folder, on the voxels of the field with ``field_key``.

    Raises:
        StorageError: there is none, it is damaged, or it belongs to another field.
    """
    settle(folder)
    path = folder / EVIDENCE
    try:
        arrays = load_file(path)
        with safetensors.safe_open(path, framework="numpy") as file:
            words = file.metadata() or {}
        if words["field"] != field_key:
            raise StorageError(
                f"The field that {folder} was made with has been trained anew since.", "Run `sa3d segment` again."
            )
        return ObjectFile(from_arrays(arrays, words, grid), words["capture"], words["field"])
    except (OSError, KeyError, TypeError, ValueError, IndexError, safetensors.SafetensorError) as error:
        raise StorageError(
            f"{folder} holds no segmented object that can be read.", "Name a folder that `sa3d segment --out` wrote."
        ) from error


def read_report(folder: Path) -> dict[str, Any]:
    """The report in a result folder. Raises StorageError where it is missing or damaged."""
    settle(folder)
    try:
        found = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{folder} holds no {REPORT} that can be read.", "Name a folder that `sa3d segment --out` wrote."
        ) from error
    if not isinstance(found, dict):
        raise StorageError(f"{folder / REPORT} is no report.", "Name a folder that `sa3d segment --out` wrote.")
    return found


def mesh_options(folder: Path) -> MeshOptions:
    """How the mesh in a result folder was made last; as usual where an older engine wrote no word about it.

    Raises:
        StorageError: the report is missing or damaged.
    """
    usual = MeshOptions()
    try:
        found = read_report(folder).get("settings", {}).get("mesh", {})
        level, is_open, texture_px = (found.get(name, value) for name, value in asdict(usual).items())
        options = MeshOptions(float(level), is_open is True, None if texture_px is None else int(texture_px))
        if not 0 < options.level < 1:
            raise ValueError(options.level)
    except (AttributeError, TypeError, ValueError) as error:
        raise StorageError(
            f"The report in {folder} doesn't say how its mesh was made.", "Run `sa3d segment` again."
        ) from error
    return options


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
                "model": view.camera.model,
                "distortion": list(view.camera.distortion),
                "world_from_camera": view.camera.world_from_camera.tolist(),
            }
            for stem, view in views.items()
        ],
        "objects": [{"name": "object", "mesh": MESH, "prompts": prompts}],
    }


def read_prompts(folder: Path) -> list[dict[str, object]]:
    """The clicks of the object in a result folder, as `scene_description` was given them.

    Raises:
        StorageError: the scene is missing or damaged.
    """
    settle(folder)
    try:
        found = json.loads((folder / SCENE).read_text(encoding="utf-8"))
        return list(found["objects"][0]["prompts"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StorageError(
            f"{folder} holds no {SCENE} that can be read.", "Name a folder that `sa3d segment --out` wrote."
        ) from error
