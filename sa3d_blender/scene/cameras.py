"""One Blender camera per view, projecting as the photo's pinhole camera does."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix

from .description import Pinhole, SceneView
from .names import fitting
from .straight_camera import hidden_share, with_straight_camera

__all__ = ["Lens", "add_camera", "lens_of", "spread", "use_view", "view_of"]

SENSOR_WIDTH_MM = 36.0


@dataclass(frozen=True)
class Lens:
    """A pinhole camera in Blender's terms, for a horizontal sensor fit.

    ``lens`` in mm; shifts as fractions of the picture's width; ``aspect`` (x, y) is the shape of a pixel.
    """

    lens: float
    shift_x: float
    shift_y: float
    aspect: tuple[float, float]


def lens_of(view: SceneView) -> Lens:
    """Blender's lens, shift and pixel aspect for a view: of its photo, or of its straightened photo.

    The sensor fit is set to horizontal instead of automatic, so one formula serves upright photos too: all lengths
    are then measured in pixel widths. A pixel is fl_x / fl_y times as high as wide, and neither of Blender's two
    aspect numbers may be below 1.
    """
    pinhole = view.pinhole
    ratio = pinhole.fl_x / pinhole.fl_y
    return Lens(
        lens=pinhole.fl_x * SENSOR_WIDTH_MM / view.width,
        shift_x=-(pinhole.cx - view.width / 2) / view.width,
        shift_y=(pinhole.cy - view.height / 2) * ratio / view.width,
        aspect=(1.0, ratio) if ratio >= 1 else (1 / ratio, 1.0),
    )


def add_camera(view: SceneView, collection: Any, scale: float) -> Any:
    """A camera object for ``view`` in ``collection``; ``scale`` (see ``spread``) sizes its symbol and its clipping.

    Where the photo's lens bent it, the camera is the one that shows it straightened (straight_camera.py).
    """
    view = with_straight_camera(view)
    lens = lens_of(view)
    data = bpy.data.cameras.new(fitting(view.stem))
    data.sensor_fit = "HORIZONTAL"
    data.sensor_width = SENSOR_WIDTH_MM
    data.lens, data.shift_x, data.shift_y = lens.lens, lens.shift_x, lens.shift_y
    data.display_size = 0.06 * scale
    data.clip_start, data.clip_end = 0.002 * scale, 100.0 * scale
    data.show_passepartout = True
    data.passepartout_alpha = 0.85
    camera = bpy.data.objects.new(fitting(view.stem), data)
    camera.matrix_world = Matrix(view.world_from_camera)
    # What a scene can hold for one camera only, kept for `use_view`.
    camera["sa3d_view"] = view.stem
    camera["sa3d_photo"] = view.name
    camera["sa3d_image"] = str(view.image)
    camera["sa3d_pinhole"] = (view.fl_x, view.fl_y, view.cx, view.cy)
    camera["sa3d_lens"] = view.model
    camera["sa3d_distortion"] = list(view.distortion) or [0.0]  # Blender keeps no empty lists
    if view.straight is not None:
        camera["sa3d_straight"] = astuple(view.straight)
        camera["sa3d_hidden"] = hidden_share(view)
    camera["sa3d_resolution"] = (view.width, view.height)
    camera["sa3d_pixel_aspect"] = lens.aspect
    # The photo was taken from here, whatever the mouse does by mistake; the N-panel's Item tab unlocks it.
    camera.lock_location = camera.lock_rotation = camera.lock_scale = (True, True, True)
    collection.objects.link(camera)
    return camera


def view_of(camera: Any) -> SceneView:
    """The view that ``camera`` was made from, as it was then. Raises KeyError for a camera of another maker.

    Cameras of files from before straight cameras were chosen have none: their prompts lie in pictures of the photo's
    own numbers, and there they stay.
    """
    width, height = (int(n) for n in camera["sa3d_resolution"])
    fl_x, fl_y, cx, cy = camera["sa3d_pinhole"]
    model = str(camera["sa3d_lens"])
    return SceneView(
        name=camera["sa3d_photo"],
        stem=camera["sa3d_view"],
        image=Path(camera["sa3d_image"]),
        width=width,
        height=height,
        fl_x=fl_x,
        fl_y=fl_y,
        cx=cx,
        cy=cy,
        world_from_camera=tuple(tuple(row) for row in camera.matrix_world),  # type: ignore[arg-type]
        model=model,
        distortion=() if model == "pinhole" else tuple(camera["sa3d_distortion"]),
        straight=Pinhole(*camera["sa3d_straight"]) if "sa3d_straight" in camera else None,
    )


def use_view(scene: Any, camera: Any) -> None:
    """Makes ``camera`` the scene's, with its photo's resolution and pixel aspect."""
    scene.camera = camera
    scene.render.resolution_x, scene.render.resolution_y = (int(n) for n in camera["sa3d_resolution"])
    scene.render.resolution_percentage = 100
    scene.render.pixel_aspect_x, scene.render.pixel_aspect_y = camera["sa3d_pixel_aspect"]


def spread(views: tuple[SceneView, ...]) -> float:
    """A length of the capture's size, in its units: the median distance of the cameras from their middle.

    A single camera, or several at one place, have none: 1.
    """
    positions = np.array([np.array(view.world_from_camera)[:3, 3] for view in views])
    distance = float(np.median(np.linalg.norm(positions - positions.mean(axis=0), axis=1)))
    return distance if distance > 1e-6 else 1.0
