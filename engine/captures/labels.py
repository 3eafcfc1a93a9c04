"""Photos that a file of cameras names by label: found in the folder images beside it, or right beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from engine.captures.capture import Capture
from engine.captures.images import IMAGE_SUFFIXES, PhotoHeader, photo_header
from engine.captures.lens_fit import SHOWN_MISS_PX, Fit
from engine.captures.scene_masks import masked
from engine.captures.validate import BadView, Draft, assemble, examples, fitted, inside, keep_good
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["Labelled", "capture_of"]

_FOLDERS = ("images", "")
_MOST_LENSES = 200  # different ones that have to be fitted, a tenth of a second each


@dataclass(frozen=True)
class Labelled:
    """A camera as such a file has it: the photo's label (a file name, its suffix perhaps left out), its pose
    (world-from-camera, OpenGL's axes), and its lens, made for a photo with that header.

    ``lens_key`` is equal for equal lenses. ``pose`` is None where the program found none. ``pose`` and ``lens`` may
    raise BadView.
    """

    label: str
    lens_key: object
    pose: Callable[[], np.ndarray] | None
    lens: Callable[[PhotoHeader], Fit]


def capture_of(root: Path, file: Path, format: str, cameras: Iterable[Labelled], told: list[str]) -> Capture:
    """The capture of these cameras, which ``file`` lists, and their photos in ``root``. Raises CaptureError."""
    there = _photos(root)
    drafts: dict[str, Draft] = {}
    fits: dict[object, Fit | BadView] = {}
    bad, missing, repeated, unplaced = [], [], [], []
    approximated: dict[str, float] = {}
    listed = 0
    for camera in cameras:
        name = _found(there, camera.label)
        if camera.pose is None:
            unplaced += [] if name is None else [name]
            continue
        listed += 1
        if name is None:
            missing.append(camera.label)
            continue
        if name in drafts:
            repeated.append(name)
            continue
        try:
            name, path = inside(root, name)
            header = photo_header(path)
            fit = _fit(camera, header, fits)
            placed = replace(fit.camera, world_from_camera=camera.pose() @ fit.camera.world_from_camera)
            if fit.miss_px > SHOWN_MISS_PX:
                approximated[name] = fit.miss_px
        except BadView as reason:
            bad.append((name, str(reason)))
            continue
        drafts[name] = Draft(name, path, header, fitted(name, placed, header))
    if not listed:
        raise CaptureError(f"{file.name} lists no cameras with poses.", "Align the photos, then export again.")
    if len(missing) == listed:
        raise CaptureError(
            f"None of the {listed} photos that {file.name} lists is there ({examples(missing)}).",
            f"Put the photos beside {file.name}, or into a folder named images there.",
        )
    told = [*told, *keep_good(listed - len(missing), bad)]
    for names, sentence in (
        (missing, "listed photos are missing and are left out"),
        (repeated, "photos are listed more than once; the first camera counts"),
    ):
        if names:
            told.append(f"{len(names)} of {listed} {sentence}: {examples(names)}.")
    if unplaced:
        told.append(f"{len(unplaced)} photos are left out, as they were not aligned: {examples(unplaced)}.")
    if approximated:
        told.append(
            f"The lenses of {len(approximated)} photos have no exact counterpart here; they are approximated to within "
            f"{max(approximated.values()):.3f} pixels: {examples(list(approximated))}."
        )
    ordered, mask_notes = masked(root, [drafts[name] for name in sorted(drafts)])
    return assemble(root, format, ordered, [*told, *mask_notes], {"file": file.name})


def _photos(root: Path) -> dict[str, str]:
    """The photos' names in the capture by their file names, and by those without suffix where these are unique."""
    found: dict[str, str] = {}
    for folder in _FOLDERS:
        place = root / folder if folder else root
        if not place.is_dir():
            continue
        inside(root, folder or "x")
        names = sorted(p.name for p in place.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        whole = {name: f"{folder}/{name}" if folder else name for name in names}
        stems = Counter(PurePosixPath(name).stem for name in names)
        short = {PurePosixPath(n).stem: whole[n] for n in names if stems[PurePosixPath(n).stem] == 1}
        found = {**short, **whole, **found}  # a name with its suffix comes before one without, images before beside
    return found


def _found(there: dict[str, str], label: str) -> str | None:
    name = PurePosixPath(label.replace("\\", "/")).name
    return there.get(name) or there.get(PurePosixPath(name).stem)


def _fit(camera: Labelled, header: PhotoHeader, fits: dict[object, Fit | BadView]) -> Fit:
    key = (camera.lens_key, header.width, header.height)
    if key not in fits:
        if sum(isinstance(fit, BadView) or fit.miss_px > 0 for fit in fits.values()) >= _MOST_LENSES:
            raise CaptureError(
                f"More than {_MOST_LENSES} of the cameras have lenses with no exact counterpart here.",
                "Undistort the photos in the program that made the cameras, or share one lens among them.",
            )
        try:
            fits[key] = camera.lens(header)
        except BadView as reason:
            fits[key] = reason
    fit = fits[key]
    if isinstance(fit, BadView):
        raise BadView(str(fit))
    return fit
