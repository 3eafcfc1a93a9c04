"""Reads COLMAP's sparse models, .bin or .txt, and the photos that they were made from.

COLMAP's pose maps the world to the camera, in OpenCV's axes (+Y down, looking along +Z); its pixels count from the
top-left corner with centres at +0.5, as ours do. World coordinates stay the model's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.captures.capture import Camera, Capture, SparsePoints
from engine.captures.colmap_binary import read_images_bin, read_lenses_bin, read_points_bin
from engine.captures.colmap_lenses import camera_of
from engine.captures.colmap_model import ColmapImage, ColmapLens, model_files
from engine.captures.colmap_text import read_images_txt, read_lenses_txt, read_points_txt
from engine.captures.images import photo_header
from engine.captures.lens_fit import SHOWN_MISS_PX, Fit
from engine.captures.scene_masks import masked
from engine.captures.validate import BadView, Draft, assemble, examples, fitted, inside, keep_good, rigid_pose
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["MODEL_FOLDERS", "find_model", "points_of", "read_colmap", "root_of_model"]

MODEL_FOLDERS = (
    "sparse/0",
    "sparse",
    "colmap/sparse/0",
    "colmap/sparse",
    "",
    "0",
)  # in a capture's folder, in this order
_PHOTOS = ("images", "")  # where photos lie in a capture's folder
_OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
_MOST_FITTED = 200  # different lenses that have to be fitted, a tenth of a second each


def find_model(root: Path) -> Path | None:
    """The folder of the COLMAP model of the capture in ``root``; None where there is none.

    Of several models (COLMAP writes sparse/0, sparse/1, ... where photos don't all connect) the one with most photos,
    by the size of its file of photos. Raises CaptureError where it lies outside through a symbolic link.
    """
    for written in MODEL_FOLDERS:
        folder = root / written if written else root
        if model_files(folder) is None:
            continue
        if folder.name == "0":
            others = [f for f in folder.parent.iterdir() if f.name.isdecimal() and model_files(f) is not None]
            folder = max(sorted(others), key=_photos_size)
        if written:
            _inside_root(root, folder)
        return folder
    return None


def root_of_model(folder: Path) -> Path:
    """The capture's folder that a model's own folder belongs to: sparse/0, sparse and colmap/sparse/0 lie in it."""
    parts = [part.lower() for part in folder.parts]
    if folder.name.isdecimal() and len(parts) > 1 and parts[-2] == "sparse":
        folder = folder.parent
    if folder.name.lower() == "sparse":
        folder = folder.parent
        if folder.name.lower() == "colmap" and not (folder / "images").is_dir():
            folder = folder.parent  # nerfstudio's layout; else it is but a capture of that name
        return folder
    # a model beside its photos: in their folder, or beside that
    return folder.parent if not (folder / "images").is_dir() and (folder.parent / "images").is_dir() else folder


def read_colmap(root: Path, model: Path, images: str | None = None) -> Capture:
    """The capture whose cameras lie in the COLMAP model in the folder ``model`` and whose photos lie in ``root``.

    The photos are looked for in ``root``'s folder ``images`` (None: the folder "images", else beside), under the names
    that the model gives them; those of another size, as in images_4, have their cameras scaled. Raises CaptureError.
    """
    lenses, listed = _cameras(root, model)
    folder = _photo_folder(root, listed, images)
    fits: dict[int, Fit | BadView] = {}
    drafts: dict[str, Draft] = {}
    bad, missing, repeated = [], [], []
    approximated: dict[str, float] = {}
    for image in listed:
        name = f"{folder}/{image.name}" if folder else image.name
        try:
            name, path = inside(root, name)
            if not path.is_file():
                missing.append(name)
                continue
            if name in drafts:
                repeated.append(name)
                continue
            header = photo_header(path)
            fit = _fit_of(image.lens, lenses, fits)
            camera = replace(fit.camera, world_from_camera=_pose(image))
            if fit.miss_px > SHOWN_MISS_PX:
                approximated[name] = fit.miss_px
        except BadView as reason:
            bad.append((name, str(reason)))
            continue
        drafts[name] = Draft(name, path, header, fitted(name, camera, header))
    if len(missing) == len(listed):
        raise CaptureError(
            f"None of the {len(listed)} photos of the COLMAP model is there ({examples(missing)}).",
            "Put the photos into a folder named images, under the names that they had in COLMAP.",
        )
    told = keep_good(len(listed) - len(missing), bad)
    for names, sentence in (
        (missing, "photos of the COLMAP model are missing and are left out"),
        (repeated, "photos are in the COLMAP model more than once; the first camera counts"),
    ):
        if names:
            told.append(f"{len(names)} of {len(listed)} {sentence}: {examples(names)}.")
    if approximated:
        told.append(
            f"The lenses of {len(approximated)} photos are of a model that has no exact counterpart here; they are "
            f"approximated to within {max(approximated.values()):.3f} pixels: {examples(list(approximated))}."
        )
    points = points_of(root, model, told)
    ordered, mask_notes = masked(root, [drafts[name] for name in sorted(drafts)])
    extra: dict[str, object] = {"images": folder, "model": str(model.relative_to(root))}
    return replace(assemble(root, "colmap", ordered, [*told, *mask_notes], extra), points=points)


def points_of(root: Path, model: Path, told: list[str]) -> SparsePoints | None:
    """The sparse points of a model; None where it has none. What was left out is added to ``told``."""
    files = model_files(model)
    if files is None or not files[2].is_file():
        return None
    path = files[2]
    _inside_root(root, path)
    points, total = read_points_bin(path) if path.suffix == ".bin" else read_points_txt(path)
    if points is not None and len(points) < total:
        told.append(f"Some of the sparse points in {path.name} are left out; {len(points)} are used.")
    return points


def _cameras(root: Path, model: Path) -> tuple[dict[int, ColmapLens], list[ColmapImage]]:
    files = model_files(model)
    if files is None:
        raise CaptureError(
            f"There is no COLMAP model in {model.name}; looked for cameras.bin and images.bin, and .txt.",
            "Choose the folder that holds these files.",
        )
    for path in files[:2]:
        _inside_root(root, path)
    if files[0].suffix == ".bin":
        lenses, images = read_lenses_bin(files[0]), read_images_bin(files[1])
    else:
        lenses, images = read_lenses_txt(files[0]), read_images_txt(files[1])
    if not lenses:
        raise CaptureError(f"{files[0].name} lists no cameras.", "Export the model again from COLMAP.")
    if not images:
        raise CaptureError(f"The COLMAP model in {model.name} has no photos.", "Reconstruct the photos again.")
    return lenses, images


def _inside_root(root: Path, path: Path) -> None:
    """Raises CaptureError where ``path``, which belongs to the capture, leads outside through a symbolic link."""
    try:
        inside(root, os.path.relpath(path, root))
    except BadView as error:
        raise CaptureError(f"{path.name} is not a file that can be read.", "Export the model again.") from error


def _photos_size(folder: Path) -> int:
    files = model_files(folder)
    return files[1].stat().st_size if files else 0


def _photo_folder(root: Path, listed: Sequence[ColmapImage], images: str | None) -> str:
    """The folder of ``root`` that the names in the model start from; "" where they lie in ``root`` itself."""
    if images is not None:
        return images
    some = [image.name for image in listed[:: max(1, len(listed) // 20)]]

    def there(folder: str) -> int:
        count = 0
        for name in some:
            try:
                count += inside(root, f"{folder}/{name}" if folder else name)[1].is_file()
            except BadView:
                continue  # counted as missing, or told as bad, when it is read
        return count

    return max(_PHOTOS, key=there)


def _fit_of(number: int, lenses: dict[int, ColmapLens], fits: dict[int, Fit | BadView]) -> Fit:
    """The camera of a lens, made once. Raises BadView."""
    if number not in lenses:
        raise BadView(f"the model has no camera {number}")
    if number not in fits:
        if sum(isinstance(fit, BadView) or fit.miss_px > 0 for fit in fits.values()) >= _MOST_FITTED:
            raise CaptureError(
                f"More than {_MOST_FITTED} of the model's cameras have no exact counterpart here.",
                "Undistort the photos with COLMAP's image_undistorter, or share one camera among them.",
            )
        try:
            fits[number] = camera_of(lenses[number])
        except BadView as reason:
            fits[number] = reason
    fit = fits[number]
    if isinstance(fit, BadView):
        raise BadView(str(fit))
    return fit


def _pose(image: ColmapImage) -> np.ndarray:
    """World-from-camera [4, 4] in OpenGL's axes. Raises BadView."""
    return rigid_pose(pose_from_quaternion(image.qvec, image.tvec))


def pose_from_quaternion(qvec: Sequence[float], tvec: Sequence[float]) -> np.ndarray:
    """World-from-camera [4, 4], OpenGL's axes, of the camera-from-world rotation ``qvec`` (w, x, y, z) and
    translation ``tvec`` in OpenCV's axes. Raises BadView where the quaternion is none.
    """
    q, t = np.array(qvec, np.float64), np.array(tvec, np.float64)
    if not (np.isfinite(q).all() and np.isfinite(t).all()):
        raise BadView("its pose holds values that are not finite")
    length = float(np.linalg.norm(q)) if np.abs(q).max() < 1e100 else np.inf
    if not 0.5 < length < 2.0:
        raise BadView("its rotation is not a quaternion of length 1")
    if np.abs(t).max() > 1e9:
        raise BadView("it stands absurdly far from the origin")
    w, x, y, z = q / length
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation.T, -rotation.T @ t
    return pose @ _OPENGL_FROM_OPENCV


def same_world(cameras: dict[str, Camera], root: Path, model: Path) -> bool:
    """Whether the COLMAP model has the given cameras (by the photos' file names without suffix) where they are.

    At least half of the photos have to be in both, their places alike to a thousandth of the scene's size. Where no
    name is in both (shrunken photos are often renamed) and there are as many, they go by the order of their names.
    """
    _, listed = _cameras(root, model)
    theirs = {}
    for image in listed:
        try:
            theirs[Path(image.name).stem] = _pose(image)[:3, 3]
        except BadView:
            continue  # such a photo proves nothing
    if theirs.keys().isdisjoint(cameras) and len(theirs) == len(cameras):
        theirs = dict(zip(sorted(cameras), (theirs[name] for name in sorted(theirs)), strict=True))
    both = [name for name in cameras if name in theirs]
    if 2 * len(both) < len(cameras) or len(both) < 3:
        return False
    ours = np.array([cameras[name].position for name in both])
    spread = float(np.ptp(ours, axis=0).max())
    away = np.linalg.norm(ours - np.array([theirs[name] for name in both]), axis=1)
    return bool(np.median(away) <= 1e-3 * spread)
