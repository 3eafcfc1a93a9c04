"""The photo behind a camera when it is looked at: found again, or straightened where the lens bent it."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from .cameras import view_of
from .description import SceneView
from .images import add_photo, show_image
from .lens import is_straight
from .straight_copies import folder_of_copies, make_room, mark_used
from .straighten import LONGEST, straight_size, straightened

__all__ = ["ensure_photo", "straight_image"]

QUALITY = 92
SHRINK_BELOW = 0.75  # of a photo's pixels along a side: what is thinned out more would show jagged edges
_LAST_BYTES = (b"\xff\xd9", b"IEND\xaeB`\x82")  # of a whole JPEG, of a whole PNG


def ensure_photo(camera: Any) -> str:
    """Sees to it that the camera has a photo. Returns what is wrong, as a sentence for the user, or nothing."""
    there = [one.image for one in camera.data.background_images if one.image is not None and _is_there(one.image)]
    if there:
        for image in there:
            mark_used(Path(bpy.path.abspath(image.filepath)))
        return ""
    if "sa3d_image" not in camera:
        return ""  # of a file from before photos were looked after; it shows what it shows
    view = view_of(camera)
    if not view.image.is_file():
        return f"The photo {view.image} is not there any more."
    camera.data.background_images.clear()
    folder = Path(bpy.data.filepath).parent if bpy.data.filepath else None
    if is_straight(view):
        add_photo(camera, view, folder)
        return ""
    try:
        image = straight_image(view, folder_of_copies())
    except (OSError, RuntimeError) as fault:
        add_photo(camera, view, folder)
        # Blender's own errors are several lines, each with a label.
        why = [line.removeprefix("Error: ").strip() for line in str(fault).splitlines() if line.strip()]
        return f"The photo {view.name} is shown as its lens bent it: {why[0] if why else type(fault).__name__}"
    image.name = view.name[-59:]
    show_image(camera, image)
    return ""


def straight_image(view: SceneView, folder: Path) -> Any:
    """An image of the view's photo, straightened, from a copy in ``folder`` that is made unless it is there.

    It fills the frame of the view's camera (straight_camera.py). Making a copy may remove others (straight_copies.py).
    Raises OSError, RuntimeError.
    """
    state = view.image.stat()
    said = repr((str(view.image), state.st_mtime_ns, state.st_size, view.model, view.distortion, view.straight))
    said += repr((view.width, view.height, view.fl_x, view.fl_y, view.cx, view.cy, LONGEST))
    path = folder / f"{view.image.stem[:40]}-{hashlib.sha256(said.encode()).hexdigest()[:16]}.jpg"
    for one in (path, path.with_suffix(".png")):
        if one.is_file():
            mark_used(one)
            return bpy.data.images.load(str(one), check_existing=True)
    folder.mkdir(parents=True, exist_ok=True)
    photo = bpy.data.images.load(str(view.image), check_existing=False)
    made = None
    # A copy to look at: JPEG is written twenty times as fast as PNG, but holds no transparency.
    file_format = "PNG" if photo.depth == 32 else "JPEG"
    path = path.with_suffix(".png" if file_format == "PNG" else ".jpg")
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        straight = straightened(view, _pixels(photo, view), from_below=True)
        if file_format == "JPEG":
            straight[..., 3] = 1.0
        made = bpy.data.images.new(".sa3d straight", straight.shape[1], straight.shape[0], alpha=True)
        made.pixels.foreach_set(straight.ravel())
        made.file_format = file_format
        made.filepath_raw = str(temporary)
        made.save(quality=QUALITY)
        if not temporary.read_bytes().endswith(_LAST_BYTES):  # Blender says nothing where a PNG finds no room
            raise OSError("there was no room for the whole of it on the disk")
        os.replace(temporary, path)
        image = next((one for one in bpy.data.images if Path(bpy.path.abspath(one.filepath)) == path), None)
        if image is None:
            made.filepath_raw = str(path)  # as if loaded from there: reading it again would take as long
            image, made = made, None
        else:
            image.reload()  # of a camera that had missed it
    finally:
        bpy.data.images.remove(photo)
        if made is not None:
            bpy.data.images.remove(made)
        temporary.unlink(missing_ok=True)
    make_room(folder)
    return image


def _pixels(photo: Any, view: SceneView) -> np.ndarray:
    """The photo's pixels, float32 [H, W, 4], rows from below; no more of them than the straightened one can show."""
    width, height = photo.size
    if not width * height:
        raise RuntimeError("Blender can't read it")
    shrink = straight_size(view, width, height)[0] / width * view.pinhole.fl_x / view.fl_x
    if shrink < SHRINK_BELOW:
        width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
        photo.scale(width, height)
    pixels = np.empty(width * height * 4, np.float32)
    photo.pixels.foreach_get(pixels)
    return pixels.reshape(height, width, 4)


def _is_there(image: Any) -> bool:
    return image.packed_file is not None or Path(bpy.path.abspath(image.filepath)).is_file()
