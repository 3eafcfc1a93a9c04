"""The view that the user prompts: its 2D mask, and the places in space under the clicks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from engine.captures.capture import View
from engine.captures.load import find_view
from engine.lifting.geometry import connected_surface, surface_points
from engine.lifting.lifted import Seed
from engine.lifting.masks import resample
from engine.prompts import UserPrompt, prompts_for, read_drawing
from engine.segmenters.base import Prompts, Segmenter
from engine.segmenters.scales import check_scale
from engine.workspace import Workspace
from sa3d_blender.protocol.errors import PromptError

RIM_PIXELS = 2.0  # of the operator's raster around a mask, in which a depth may be the object's or what lies behind


def first_seed(
    workspace: Workspace, prompt: UserPrompt, segmenter: Segmenter, seed: int, scale: str | None = None
) -> Seed:
    """The 2D mask of the prompted view, at working size, with the clicks that it was made from.

    A mask given by the user is taken as it is; its score is None.

    Args:
        scale: which of the segmenter's scales is meant; by default its score decides.

    Raises:
        PromptError: the prompt names no view, says nothing, the segmenter finds nothing or doesn't know the scale.
    """
    view = workspace.views[find_view(workspace.capture, prompt.view).stem]
    stored = workspace.stored[view.stem]
    if prompt.mask is not None:
        mask = resample(read_drawing(prompt.mask, stored), (view.camera.height, view.camera.width))
        return Seed(view, mask, None, refused=places_refused(workspace, prompt, mask))
    check_scale(segmenter, scale)
    prompts = replace(prompts_for(prompt, stored, (view.camera.width, view.camera.height), seed), scale=scale)
    segmenter.set_image(workspace.scene.photo(view))
    found = segmenter.predict(prompts)
    if float((found.mask > 0.5).sum()) == 0:
        raise PromptError(
            f"The segmenter found nothing in {view.name} for these prompts.", "Click in the middle of the object."
        )
    mask = attached_to_clicks(workspace, view, found.mask, prompts)
    refused = places_refused(workspace, prompt, mask)
    return Seed(view, mask, found.score, prompts.points_px, prompts.labels, refused)


def attached_to_clicks(
    workspace: Workspace, view: View, mask: Float[np.ndarray, "h w"], prompts: Prompts
) -> Float[np.ndarray, "h w"]:
    """A mask without what only touches the clicked object in the picture but lies elsewhere in space.

    Without positive clicks (a box alone), or where none of them lies on the mask, the mask stays as it is.
    """
    clicks = prompts.points_px[prompts.labels == 1]
    operator = workspace.operator(view)
    shape = (operator.camera.height, operator.camera.width)
    seeds = np.zeros(shape, bool)
    scale = np.array([shape[1] / view.camera.width, shape[0] / view.camera.height])
    for column, row in (clicks * scale).astype(int):
        seeds[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = True
    coarse = resample(mask, shape) > 0.25
    kept = connected_surface(coarse, surface_points(operator.camera, operator.depth), operator.camera, seeds)
    if not kept.any():
        return mask
    dropped = coarse & ~ndimage.binary_dilation(kept)  # a pixel of doubt: the rim belongs to the photo's own edge
    return mask * (resample(dropped.astype(np.float32), mask.shape) < 0.5)


def prompt_places(workspace: Workspace, prompt: UserPrompt) -> list[dict[str, object]]:
    """The user's clicks with the surface points under them (None where the field has nothing)."""
    view = workspace.views[find_view(workspace.capture, prompt.view).stem]
    stored = workspace.stored[view.stem].camera
    operator = workspace.operator(view)
    points = surface_points(operator.camera, operator.depth)
    found: list[dict[str, object]] = []
    for x, y, label in prompt.points:
        column = min(operator.camera.width - 1, int(x / stored.width * operator.camera.width))
        row = min(operator.camera.height - 1, int(y / stored.height * operator.camera.height))
        place = points[row, column]
        world = place.tolist() if np.isfinite(place).all() else None
        found.append({"view": view.stem, "x_px": x, "y_px": y, "label": label, "point_world": world})
    return found


def places_refused(
    workspace: Workspace, prompt: UserPrompt, mask: Float[np.ndarray, "h w"]
) -> Float[np.ndarray, "k 3"]:
    """World points under the "not this" clicks, where the field has something.

    Left out are clicks on the rim of ``mask``, what came of the prompt: the depth there may be the object's own, and
    the click would be shown to other views as a point on the object.
    """
    view = workspace.views[find_view(workspace.capture, prompt.view).stem]
    stored, raster = workspace.stored[view.stem].camera, workspace.operator(view).opacity.shape
    away = ndimage.distance_transform_edt(resample(mask, raster) < 0.5)
    found = []
    for place in prompt_places(workspace, prompt):
        if place["label"] != 0 or place["point_world"] is None:
            continue
        row = min(raster[0] - 1, int(float(str(place["y_px"])) / stored.height * raster[0]))
        column = min(raster[1] - 1, int(float(str(place["x_px"])) / stored.width * raster[1]))
        if away[row, column] > RIM_PIXELS:
            found.append(place["point_world"])
    return np.array(found, np.float64).reshape(-1, 3)
