"""One capture in another format: photos copied where the format can express their lens, else taken again through one
that it can. Never writes into a capture.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from engine.captures.capture import Camera, Capture, View
from engine.captures.images import stored_photo
from engine.captures.straight import hidden_share, straight_camera
from engine.captures.writers.base import Written, filling, retaken, same_lens
from engine.captures.writers.formats import FORMATS
from engine.out_folder import refuse_capture, refuse_others
from engine.progress import Job
from engine.whole_folder import written_together
from sa3d_blender.protocol.errors import CaptureError

__all__ = ["Converted", "convert_capture"]

MASKS = "masks"
_WORTH_SAYING = 0.005  # of a photo


@dataclass(frozen=True)
class Converted:
    """A capture that was written: its folder, its format's name, how many views it has and how many of them were taken
    again through another lens, and in one sentence each what the format can't say.
    """

    folder: Path
    format: str
    views: int
    retaken: int
    lost: tuple[str, ...]


def convert_capture(
    capture: Capture,
    format: str,
    out: Path,
    job: Job,
    distortion: Sequence[float] | None = None,
    straighten: bool = False,
) -> Converted:
    """Writes the capture into the folder ``out`` in one of FORMATS.

    ``distortion`` (k1, k2, p1, p2; OpenCV's): the photos are taken again through such a lens, for the formats that hold
    one. ``straighten``: photos that a lens bent are taken again straight, so that they show all that they did, and
    what is black around it is masked (straight.py). All files appear together, or none does.

    Raises:
        CaptureError: there is no such format, or it holds no distortion; both are asked for; a photo can't be read.
        StorageError: ``out`` lies in the capture, holds other things, or can't be written.
    """
    if format not in FORMATS:
        raise CaptureError(f"There is no format {format!r} to write.", f"Choose one of: {', '.join(FORMATS)}.")
    chosen = FORMATS[format]
    if distortion is not None and not chosen.distorts:
        able = ", ".join(each.name for each in FORMATS.values() if each.distorts)
        raise CaptureError(f"{format} holds no lens distortion.", f"Choose one of: {able}.")
    if distortion is not None and straighten:
        raise CaptureError("Photos can't be straightened and bent at once.", "Ask for one of the two.")
    refuse_capture(out, capture.root)
    refuse_others(out, ())
    cameras = [view.camera for view in capture.views]
    if straighten:
        cameras = [straight_camera(camera) for camera in cameras]
    targets = chosen.targets([_bent(camera, distortion) for camera in cameras] if distortion is not None else cameras)
    written, again = [], 0
    with written_together(out) as part, job.stage("Writing the capture", len(capture)) as stage:
        for number, (view, target) in enumerate(zip(capture.views, targets, strict=True)):
            job.check()
            retake = not same_lens(view.camera, target)
            again += retake
            suffix = ".png" if retake or chosen.png else view.image_path.suffix.lower()
            photo = chosen.place(view, number, suffix)
            mask = _write_photo(view, target, part, photo, retake)
            written.append(Written(view, target, photo, mask))
            stage.advance()
        lost = chosen.write(part, _all_masked(written, part), capture)
    if straighten:
        lost = [*lost, *_said_of_hidden(written)]
    return Converted(out, format, len(written), again, tuple(lost))


def _said_of_hidden(written: Sequence[Written]) -> list[str]:
    """What isn't in the straight pictures, in a sentence: the rim of wide photos, corners that a format can't place."""
    most = max((hidden_share(each.view.camera, each.camera) for each in written), default=0.0)
    if most < _WORTH_SAYING:
        return []
    return [f"Up to {100 * most:.0f} % of a photo, at its rim, is cut off."]


def _bent(camera: Camera, distortion: Sequence[float]) -> Camera:
    """A camera with that lens, long enough for the photo to fill all of its picture."""
    return filling(replace(camera, model="opencv", distortion=tuple(distortion)), camera)


def _write_photo(view: View, target: Camera, folder: Path, photo: str, retake: bool) -> str | None:
    """Writes a view's photo and its mask; returns where the mask lies, if there is one."""
    path = folder / photo
    path.parent.mkdir(parents=True, exist_ok=True)
    unseen = None
    if not retake and path.suffix.lower() == view.image_path.suffix.lower():
        shutil.copyfile(view.image_path, path)
    else:
        pixels, unseen = _taken(view, target if retake else None)
        Image.fromarray(pixels).save(path)
    shows = None if view.mask_path is None else _mask(view.mask_path, view.camera, target)
    if unseen is not None and unseen.any():
        shows = ~unseen if shows is None else shows & ~unseen
    if shows is None:
        return None
    name = f"{MASKS}/{path.stem}.png"
    (folder / MASKS).mkdir(exist_ok=True)
    Image.fromarray(shows.astype(np.uint8) * 255).save(folder / name)
    return name


def _taken(view: View, target: Camera | None) -> tuple[np.ndarray, np.ndarray | None]:
    """A view's photo in 8 bits, uint8 [H, W, 3 or 4], and where it shows nothing, bool [H, W]; as ``target`` takes it,
    or as it is. At most 8 bytes a pixel beside the result, and some 200 MB.
    """
    with stored_photo(view) as photo:
        width, height = photo.size if target is None else (target.width, target.height)
        found = np.zeros((height, width, photo.part(0, 0, 1, 1).shape[-1]), np.uint8)
        if target is None:
            for rows, pixels in photo.bands():
                found[rows] = (pixels * 255.0).round()
            return found, None
        unseen = np.zeros((height, width), bool)
        for block in retaken(photo.part, view.camera, target):
            found[block.rows, block.columns] = (block.pixels * 255.0).round()
            unseen[block.rows, block.columns] = block.unseen
    return found, unseen


def _all_masked(written: Sequence[Written], folder: Path) -> list[Written]:
    """With white masks for those that have none, if any has one: a folder of masks counts only when it is whole."""
    if not any(each.mask for each in written):
        return list(written)
    result = []
    for each in written:
        if each.mask is None:
            each = replace(each, mask=f"{MASKS}/{Path(each.photo).stem}.png")
            Image.new("L", (each.camera.width, each.camera.height), 255).save(folder / f"{each.mask}")
        result.append(each)
    return result


def _mask(path: Path, source: Camera, target: Camera) -> np.ndarray:
    """The mask at ``path`` as ``target`` sees it, bool [H, W]: True where the photo shows the scene."""
    try:
        with Image.open(path) as image:
            white = np.asarray(image.convert("L")) > 127
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise CaptureError(f"The mask {path.name} is damaged.", "Replace the file, or remove it.") from error
    if white.shape != (source.height, source.width):
        raise CaptureError(
            f"The mask {path.name} is not of its photo's size.", "Load the capture again if its masks have changed."
        )
    if same_lens(source, target):
        return white

    def part(left: int, top: int, right: int, bottom: int) -> np.ndarray:
        return white[top:bottom, left:right, None].astype(np.float32)

    shows = np.zeros((target.height, target.width), bool)
    for block in retaken(part, source, target, smooth=False):
        shows[block.rows, block.columns] = block.pixels[..., 0] > 0.5
    return shows
