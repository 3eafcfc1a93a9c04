"""Photos behind their cameras."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import bpy

from .description import SceneView

__all__ = ["add_photo", "blend_path", "show_image"]


def add_photo(camera: Any, view: SceneView, relative_to: Path | None) -> bool:
    """Shows the view's photo in ``camera``'s frame; False where there is no such file.

    The photo is the frame, so it is stretched to it: any other fit would be off by parts of a pixel.
    """
    if not view.image.is_file():
        return False
    image = bpy.data.images.load(str(view.image), check_existing=True)
    image.filepath = blend_path(view.image, relative_to)
    show_image(camera, image)
    return True


def show_image(camera: Any, image: Any) -> None:
    """Puts an image behind ``camera``, filling its frame."""
    background = camera.data.background_images.new()
    background.image = image
    background.alpha = 1.0
    background.display_depth = "BACK"
    background.frame_method = "STRETCH"
    camera.data.show_background_images = True


def blend_path(path: Path, relative_to: Path | None) -> str:
    """``path`` as Blender writes it from a file in folder ``relative_to``: "//photos/a.png".

    Absolute for a file that was never saved (None), and where no relative path exists (another Windows drive).
    """
    if relative_to is None:
        return str(path)
    try:
        return "//" + Path(os.path.relpath(path, relative_to)).as_posix()
    except ValueError:
        return str(path)
