"""Checks that every reader shares: what is wrong with a capture is said in one sentence, at the border.

A view that is wrong on its own raises BadView, which the reader collects; ``keep_good`` turns few of them into one
warning and many into an error. What is wrong with the capture as a whole raises CaptureError at once.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from engine.captures.capture import Camera, Capture, View
from engine.captures.images import PhotoHeader, orientation_warning, photos_see_through
from engine.captures.rays import rays_distort_well
from sa3d_blender.protocol.errors import CaptureError

__all__ = [
    "MAX_FRAMES",
    "MAX_JSON_BYTES",
    "BadView",
    "Draft",
    "assemble",
    "examples",
    "fitted",
    "inside",
    "keep_good",
    "limited_size",
    "number",
    "read_json",
    "rigid_pose",
    "stays_inside",
    "unique_stems",
]

MAX_JSON_BYTES = 64 * 2**20
MAX_FRAMES = 100_000
MIN_VIEWS = 3
_DRIFT = 1e-2  # how far rotation columns may be from orthonormal: rounding to 3 digits stays below it
_ABSURD_PX, _ABSURD_LENS = 1e9, 1e6  # beyond them, sums of a lens's terms have no digits left, or overflow
_AGAIN = "Export the capture again, with the cameras of these photos."
_FAR = 1e6  # a camera further from the origin than this is a reconstruction that has diverged


class BadView(Exception):
    """One view can't be used; the text is a clause that follows its name ("its focal length is 0")."""


@dataclass(frozen=True)
class Draft:
    """A view as a reader knows it, before it is compared with the others."""

    name: str
    path: Path
    header: PhotoHeader
    camera: Camera
    split: str = "train"
    near_far: tuple[float, float] | None = None
    mask_path: Path | None = None


def examples(names: Sequence[str], count: int = 3) -> str:
    """The first few names, in one string: "a, b, c and 4 more"."""
    more = len(names) - count
    return ", ".join(names[:count]) + (f" and {more} more" if more > 0 else "")


def limited_size(path: Path) -> None:
    """Raises CaptureError where ``path`` is no file, has more than MAX_JSON_BYTES, or is a link out of its folder."""
    try:
        size = path.stat().st_size
        is_file = path.is_file()
        own = stays_inside(path.parent, path)
    except (OSError, RuntimeError) as error:
        raise _unreadable(path, error) from error
    if not own:
        raise CaptureError(
            f"{path.name} is a link to a file outside of its folder.", "Put the file itself into the capture's folder."
        )
    if not is_file:
        raise CaptureError(f"{path.name} is not a file.", "Choose the capture's folder or the file in it.")
    if size > MAX_JSON_BYTES:
        raise CaptureError(
            f"{path.name} has {size / 2**20:.0f} MB, more than the {MAX_JSON_BYTES // 2**20} MB that cameras need.",
            "Check that it is the right file.",
        )


def read_json(path: Path) -> dict[str, object]:
    """The JSON object in ``path``. Raises CaptureError where there is none."""
    limited_size(path)
    try:
        data = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise _unreadable(path, error) from error
    except json.JSONDecodeError as error:
        raise CaptureError(
            f"{path.name} is not valid JSON: {error.msg} in line {error.lineno}.", "Export the capture again."
        ) from error
    except (ValueError, RecursionError) as error:
        raise CaptureError(f"{path.name} is not valid JSON.", "Export the capture again.") from error
    if not isinstance(data, dict):
        raise CaptureError(f"{path.name} holds no JSON object with frames.", "Export the capture again.")
    return data


def stays_inside(root: Path, path: Path) -> bool:
    """Whether ``path`` lies in ``root`` with all symbolic links followed. Raises OSError or RuntimeError for loops."""
    return path.resolve().is_relative_to(root.resolve())


def _unreadable(path: Path, error: OSError | RuntimeError) -> CaptureError:
    reason = getattr(error, "strerror", None) or error
    return CaptureError(f"{path.name} can't be read: {reason}.", "Check that it is there and that you may read it.")


def number(value: object, what: str) -> float:
    """``value`` as a finite float. Raises BadView."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadView(f"{what} is not a number")
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise BadView(f"{what} is not a finite number")
    return result


def rigid_pose(matrix: object) -> np.ndarray:
    """A camera-to-world matrix, float64 [4, 4], from rows of 3x4 or 4x4 numbers.

    Small drift (up to 1e-2) of the rotation is taken out: the nearest rotation is returned. Raises BadView where the
    matrix is no rigid motion.
    """
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadView("its pose is not a matrix of numbers") from error
    if pose.shape not in ((3, 4), (4, 4)):
        raise BadView("its pose is not a 4 x 4 matrix")
    if not np.isfinite(pose).all():
        raise BadView("its pose holds values that are not finite")
    if pose.shape == (4, 4) and np.abs(pose[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise BadView("the last row of its pose is not 0 0 0 1")
    rotation, position = pose[:3, :3], pose[:3, 3]
    if np.abs(rotation).max() > 2 or np.abs(rotation.T @ rotation - np.eye(3)).max() > _DRIFT:
        raise BadView("its rotation is not orthonormal")
    if np.linalg.det(rotation) < 0:
        raise BadView("its pose is mirrored")
    if np.abs(position).max() > _FAR:
        raise BadView(f"it stands more than {_FAR:.0f} units from the origin")
    left, _, right = np.linalg.svd(rotation)
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = left @ right, position
    return result


def inside(root: Path, written: object) -> tuple[str, Path]:
    """(name, path) of a file that a capture names: ``name`` is relative to ``root``, normalised, forward slashes.

    The file need not exist. Raises CaptureError where the path is no path, is absolute or leaves ``root``, by ".." or
    through a symbolic link; BadView where nothing is written.
    """
    if not isinstance(written, str) or not written.strip():
        raise BadView("it names no photo")
    text = written.replace("\\", "/")
    leaving = CaptureError(
        f"The capture names the file {written!r}, which lies outside of its folder.",
        "Move the photos and what belongs to them into the capture's folder and make their paths relative to it.",
    )
    if PurePosixPath(text).is_absolute() or PureWindowsPath(written).drive:
        raise leaving
    name = os.path.normpath(text).replace("\\", "/")
    if name == ".." or name.startswith("../"):
        raise leaving
    if name == ".":  # the folder itself; with a suffix added to it, a file beside it
        raise BadView("it names no photo")
    path = root / name
    try:
        if not stays_inside(root, path):
            raise leaving
        path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise BadView("its path is not one that a file can have") from error
    return name, path


def fitted(name: str, camera: Camera, header: PhotoHeader) -> Camera:
    """The camera for the photo as it is: scaled where the photo is a uniformly scaled one (to the pixel).

    Raises CaptureError where photo and camera have different shapes, or where the lens's numbers are absurd.
    """
    if max(camera.fl_x, camera.fl_y, abs(camera.cx), abs(camera.cy)) > _ABSURD_PX:
        raise CaptureError(f"The camera of {name} has a focal length or centre of absurd size.", _AGAIN)
    if any(abs(value) > _ABSURD_LENS for value in camera.distortion):
        raise CaptureError(f"The lens of {name} has coefficients of absurd size.", _AGAIN)
    photo, stated = np.array([header.width, header.height]), np.array([camera.width, camera.height])
    if (photo == stated).all():
        return camera
    scale = float(np.mean(photo / stated))
    if np.abs(scale * stated - photo).max() > 1.0:
        turned = " (the photo seems to be turned)" if (photo[::-1] == stated).all() else ""
        raise CaptureError(
            f"The photo {name} has {photo[0]} x {photo[1]} pixels where its camera is for {stated[0]} x {stated[1]}"
            f"{turned}.",
            "Use the photos that the cameras were made from, uncropped and not turned.",
        )
    return camera.resized(header.width, header.height)


def keep_good(total: int, bad: Sequence[tuple[str, str]]) -> list[str]:
    """A warning about the ``bad`` (view, reason) pairs, or none.

    Raises CaptureError where most of ``total`` are bad.
    """
    if not bad:
        return []
    name, reason = bad[0]
    if 2 * len(bad) > total:
        raise CaptureError(
            f"{len(bad)} of {total} views can't be used; {name} because {reason}.",
            "Export the capture again, with cameras that belong to its photos.",
        )
    others = f" (and likewise {examples([other for other, _ in bad[1:]])})" if len(bad) > 1 else ""
    return [f"{len(bad)} of {total} views are left out: {name} because {reason}{others}."]


def unique_stems(names: Sequence[str]) -> list[str]:
    """A stem per view name, no two alike: file stems, and where these clash the whole path ("train/r_0.png" ->
    "train_r_0", then "train_r_0_png", then a number). Letters' case doesn't count: some file systems ignore it."""

    def clashes(stems: list[str]) -> list[bool]:
        counts = Counter(stem.casefold() for stem in stems)
        return [counts[stem.casefold()] > 1 for stem in stems]

    paths = [PurePosixPath(name) for name in names]
    stems = [path.stem for path in paths]
    for longer in (
        ["_".join(path.with_suffix("").parts) for path in paths],
        ["_".join([*path.with_suffix("").parts, path.suffix.lstrip(".")]) for path in paths],
    ):
        stems = [new if clash else old for old, new, clash in zip(stems, longer, clashes(stems), strict=True)]
    taken: set[str] = {stem.casefold() for stem, clash in zip(stems, clashes(stems), strict=True) if not clash}
    result = []
    for stem, clash in zip(stems, clashes(stems), strict=True):
        candidate, count = stem, 1
        while clash and candidate.casefold() in taken:
            count += 1
            candidate = f"{stem}_{count}"
        taken.add(candidate.casefold())
        result.append(candidate)
    return result


def _views(count: int) -> str:
    return f"{count} view{'s' if count > 1 else ''}"


def assemble(
    root: Path, format: str, drafts: Sequence[Draft], warnings: Sequence[str], extra: dict[str, object] | None = None
) -> Capture:
    """The capture made of the readers' drafts, after the checks that compare views. Raises CaptureError."""
    if not drafts:
        raise CaptureError("The capture has no views.", "Choose a folder whose photos are there.")
    if len(drafts) < MIN_VIEWS:
        raise CaptureError(
            " ".join([f"The capture has {_views(len(drafts))}, at least {MIN_VIEWS} are needed.", *warnings]),
            "Choose a folder with more photos, taken from different places.",
        )
    positions = np.array([draft.camera.position for draft in drafts])
    spread = np.ptp(positions, axis=0).max()
    if spread <= 1e-7 * max(1e-6, np.abs(positions).max()):
        raise CaptureError(
            "All cameras of the capture stand at the same point, so nothing can be seen in depth.",
            "Export the capture again with its camera positions.",
        )
    stems = unique_stems([draft.name for draft in drafts])
    views = tuple(
        View(draft.name, stem, draft.path, draft.camera, draft.split, draft.near_far, mask_path=draft.mask_path)
        for draft, stem in zip(drafts, stems, strict=True)
    )
    told = [*warnings]
    turned = orientation_warning([(draft.name, draft.header) for draft in drafts])
    folded = [draft.name for draft in drafts if not rays_distort_well(draft.camera)]
    if turned:
        told.append(turned)
    if folded:
        told.append(
            f"The lens distortion of {len(folded)} of {len(drafts)} cameras (such as {folded[0]}'s) is not valid up to "
            "the photo's border; pixels beyond are left out."
        )
    with_alpha = sum(draft.header.has_alpha for draft in drafts)
    if 0 < with_alpha < len(drafts):
        told.append(f"Only {with_alpha} of {len(drafts)} photos carry opacity, so it is ignored.")
    has_alpha = with_alpha == len(drafts) and photos_see_through(views)
    views = views if has_alpha else tuple(replace(view, opaque=True) for view in views)
    if any(view.mask_path is not None for view in views):
        from engine.captures.scene_masks import are_silhouettes, told_masks  # which needs this file's drafts

        silhouettes = are_silhouettes(views)
        has_alpha = has_alpha or silhouettes
        views = tuple(replace(view, silhouette=silhouettes) for view in views)
        told.append(told_masks(views) or "")
    return Capture(root, format, views, tuple(told), has_alpha, dict(extra or {}))
