"""The door to the captures: recognises a format, calls its reader, finds views by name. Never writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from engine.captures.capture import Capture, View
from engine.captures.colmap import find_model, read_colmap, root_of_model
from engine.captures.colmap_model import model_files
from engine.captures.images import IMAGE_SUFFIXES
from engine.captures.llff import read_llff
from engine.captures.metashape import is_metashape, read_metashape
from engine.captures.reality import is_reality, read_reality
from engine.captures.reality_xmp import has_sidecars, read_sidecars
from engine.captures.replica import TRAJECTORY, read_replica
from engine.captures.transforms import SPLITS, read_nerf_synthetic, read_transforms
from engine.captures.validate import examples, stays_inside
from sa3d_blender.protocol.errors import CaptureError, PromptError

__all__ = ["find_view", "load_capture"]

_MODEL_FILES = tuple(f"{name}{suffix}" for name in ("cameras", "images", "points3D") for suffix in (".bin", ".txt"))
FIND_POSES = "Run `sa3d captures poses` on it first, which finds them and writes a capture."
_VIDEOS = frozenset({".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mts", ".3gp"})
_SPLIT_FILES = tuple(f"transforms_{split}.json" for split in SPLITS)
# What programs write that is no list of cameras that is read, and what to take instead.
_INSTEAD = {
    ".psx": "In Metashape choose File, Export, Export Cameras, as Agisoft XML.",
    ".psz": "In Metashape choose File, Export, Export Cameras, as Agisoft XML.",
    ".rcproj": 'In RealityCapture export the registration as "Internal/External camera parameters".',
    ".rsproj": 'In RealityScan export the registration as "Internal/External camera parameters".',
    ".out": "Export the cameras as COLMAP, as Metashape's XML, or as RealityScan's camera parameters.",
}


def load_capture(path: Path) -> Capture:
    """The capture in the folder ``path``, or that the file ``path`` of one belongs to.

    Looked for, in this order: transforms.json, transforms_train.json (or _val, _test), poses_bounds.npy, a COLMAP model
    (sparse/0, sparse, colmap/sparse/0, or in the folder itself), traj_w_c.txt (Replica; also in the folder's
    Sequence_1), a Metashape .xml or a RealityCapture .csv, RealityCapture's .xmp beside the photos. So what a program
    derived from a COLMAP model comes before the model: LLFF's and mip-NeRF 360's folders are read by poses_bounds.npy,
    with its depth bounds and its habit of testing every 8th view, and take the model's sparse points where its cameras
    stand at the same places. Choosing sparse/0 itself reads the model.

    A path of one of these files, or of a model's folder, decides the format; any other .json file is read like a
    transforms.json, and a folder of photos beside poses_bounds.npy or a model (such as images_8) chooses these photos.
    Raises CaptureError.
    """
    path = Path(path)
    try:
        exists, is_folder = path.exists(), path.is_dir()
        path = path.absolute()
    except (OSError, ValueError) as error:
        raise CaptureError(f"{str(path)!r} is not a path that can be read.", "Choose a capture's folder.") from error
    if not exists:
        raise CaptureError(f"There is no capture at {path}.", "Check the path.")
    try:
        return _read_folder(path) if is_folder else _read_file(path)
    except OSError as error:
        raise CaptureError(
            f"The capture at {path} can't be read: {error.strerror or error}.",
            "Check that you may read its folders and files.",
        ) from error


def _read_folder(folder: Path) -> Capture:
    if (folder / "transforms.json").is_file():
        return read_transforms(folder / "transforms.json")
    if any((folder / name).is_file() for name in _SPLIT_FILES):
        return read_nerf_synthetic(folder)
    if (folder / "poses_bounds.npy").is_file():
        return read_llff(folder)
    if model_files(folder) is not None or folder.name in ("sparse", "colmap"):
        model = folder if model_files(folder) is not None else find_model(folder)
        if model is not None:
            return read_colmap(root_of_model(model), model)
    if (folder.parent / "poses_bounds.npy").is_file():
        return read_llff(folder.parent, images=folder.name)
    model = find_model(folder)
    if model is not None:
        return read_colmap(folder, model)
    for sequence in (folder, folder / "Sequence_1"):
        if (sequence / TRAJECTORY).is_file():
            return read_replica(sequence)
    exported = _exported(folder)
    if exported is not None:
        return exported
    if has_sidecars(folder):
        return read_sidecars(folder)
    if _holds_photos(folder):
        model = find_model(folder.parent)
        if model is not None:
            return read_colmap(folder.parent, model, images=folder.name)
        raise CaptureError(f"{folder} holds photos, but is not a known kind of capture: it has no cameras.", FIND_POSES)
    raise CaptureError(
        f"{folder} is not a known kind of capture; looked for transforms.json, {', '.join(_SPLIT_FILES)}, "
        f"poses_bounds.npy, a COLMAP model (sparse/0), {TRAJECTORY}, and cameras of Metashape (.xml) or RealityCapture "
        "(.csv, .xmp) in it.",
        "Choose the folder that holds one of these files.",
    )


def _exported(folder: Path) -> Capture | None:
    """The capture of the one export of Metashape's or RealityCapture's cameras in the folder, if there is one."""
    # only files that are files: a pipe would never end, a link may lead anywhere
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and stays_inside(folder, path)]
    found = [path for path in files if path.suffix.lower() == ".xml" and is_metashape(path)]
    found += [path for path in files if path.suffix.lower() == ".csv" and is_reality(path)]
    if len(found) > 1:
        raise CaptureError(
            f"There are several files of cameras in {folder.name}: {examples([path.name for path in found])}.",
            "Choose one of these files.",
        )
    if not found:
        return None
    return _read_file(found[0])


def _holds_photos(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES | {".heic", ".heif"} for path in folder.iterdir())


def _read_file(file: Path) -> Capture:
    if file.name in _SPLIT_FILES:
        return read_nerf_synthetic(file.parent)
    if file.suffix.lower() == ".json":
        return read_transforms(file)
    if file.name == "poses_bounds.npy":
        return read_llff(file.parent)
    if file.name in _MODEL_FILES:
        return read_colmap(root_of_model(file.parent), file.parent)
    if file.name == TRAJECTORY:
        return read_replica(file.parent)
    if file.suffix.lower() == ".xml":
        return read_metashape(file)
    if file.suffix.lower() == ".csv":
        return read_reality(file)
    if file.suffix.lower() == ".xmp":
        return read_sidecars(file.parent)
    if file.suffix.lower() in _INSTEAD:
        raise CaptureError(f"{file.name} is not a list of cameras that can be read.", _INSTEAD[file.suffix.lower()])
    if file.suffix.lower() in _VIDEOS:
        raise CaptureError(f"{file.name} is a video, without cameras.", FIND_POSES)
    raise CaptureError(
        f"{file.name} is not a capture's file; known are transforms.json, {', '.join(_SPLIT_FILES)}, "
        f"poses_bounds.npy, cameras.bin or .txt of COLMAP, {TRAJECTORY}, .xml of Metashape, and .csv and .xmp of "
        "RealityCapture.",
        "Choose one of these files or the folder that holds it.",
    )


def find_view(capture: Capture, name: str) -> View:
    """The view that ``name`` means: its exact name, else its stem, its file name, or its path without suffix.

    The first of these ways that finds a view decides. Raises PromptError where none does, or where it finds several.
    """
    wanted = str(PurePosixPath(name.strip().replace("\\", "/")))
    ways: tuple[Callable[[View], set[str]], ...] = (
        lambda view: {view.name},
        lambda view: {view.stem},
        lambda view: {PurePosixPath(view.name).name},
        lambda view: {PurePosixPath(view.name).stem, str(PurePosixPath(view.name).with_suffix(""))},
    )
    for way in ways:
        found = [view for view in capture.views if wanted in way(view)]
        if len(found) == 1:
            return found[0]
        if found:
            raise PromptError(
                f"{len(found)} views of the capture are called {name!r}: {examples([view.name for view in found])}.",
                "Give the view's whole name.",
            )
    raise PromptError(
        f"The capture has no view {name!r}; it has {examples([view.name for view in capture.views])}.",
        "Give the name of one of its photos.",
    )
