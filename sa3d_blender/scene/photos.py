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
from .lens import is_straight, straightened

__all__ = ["ensure_photo", "straight_copy"]

QUALITY = 92
_LAST_BYTES = (b"\xff\xd9", b"IEND\xaeB`\x82")  # of a whole JPEG, of a whole PNG


def ensure_photo(camera: Any) -> str:
    """Sees to it that the camera has a photo. Returns what is wrong, as a sentence for the user, or nothing."""
    if any(one.image is not None and _is_there(one.image) for one in camera.data.background_images):
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
        copy = straight_copy(view, _folder())
    except (OSError, RuntimeError) as fault:
        add_photo(camera, view, folder)
        # Blender's own errors are several lines, each with a label.
        why = [line.removeprefix("Error: ").strip() for line in str(fault).splitlines() if line.strip()]
        return f"The photo {view.name} is shown as its lens bent it: {why[0] if why else type(fault).__name__}"
    image = bpy.data.images.load(str(copy), check_existing=True)
    image.name = view.name[-59:]
    show_image(camera, image)
    return ""


def straight_copy(view: SceneView, folder: Path) -> Path:
    """A straightened copy of the view's photo in ``folder``, made unless it is there. Raises OSError, RuntimeError."""
    state = view.image.stat()
    said = repr((str(view.image), state.st_mtime_ns, state.st_size, view.model, view.distortion))
    said += repr((view.width, view.height, view.fl_x, view.fl_y, view.cx, view.cy))
    path = folder / f"{view.image.stem[:40]}-{hashlib.sha256(said.encode()).hexdigest()[:16]}.jpg"
    for one in (path, path.with_suffix(".png")):
        if one.is_file():
            return one
    folder.mkdir(parents=True, exist_ok=True)
    photo = bpy.data.images.load(str(view.image), check_existing=False)
    made = None
    # A copy to look at: JPEG is written twenty times as fast as PNG, but holds no transparency.
    file_format = "PNG" if photo.depth == 32 else "JPEG"
    path = path.with_suffix(".png" if file_format == "PNG" else ".jpg")
    temporary = path.with_name(f".{uuid.uuid4().hex}{path.suffix}")
    try:
        width, height = photo.size
        if not width * height:
            raise RuntimeError("Blender can't read it")
        pixels = np.empty(width * height * 4, np.float32)
        photo.pixels.foreach_get(pixels)
        rows = pixels.reshape(height, width, 4)[::-1]  # Blender's rows begin at the bottom
        straight = straightened(view, rows)[::-1]
        made = bpy.data.images.new(".sa3d straight", width, height, alpha=True)
        made.pixels.foreach_set(np.ascontiguousarray(straight, dtype=np.float32).ravel())
        made.file_format = file_format
        made.filepath_raw = str(temporary)
        made.save(quality=QUALITY)
        if not temporary.read_bytes().endswith(_LAST_BYTES):  # Blender says nothing where a PNG finds no room
            raise OSError("there was no room for the whole of it on the disk")
        os.replace(temporary, path)
    finally:
        bpy.data.images.remove(photo)
        if made is not None:
            bpy.data.images.remove(made)
        temporary.unlink(missing_ok=True)
    return path


def _folder() -> Path:
    """Where straightened copies lie: the extension's own folder, Blender's temporary one outside of an extension."""
    package = (__package__ or "").split(".sa3d_blender")[0]
    if package.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(package, path="straightened", create=True))
    return Path(bpy.app.tempdir) / "sa3d-straightened"


def _is_there(image: Any) -> bool:
    return image.packed_file is not None or Path(bpy.path.abspath(image.filepath)).is_file()
