"""A mesh as the photos' cameras would see it, rendered by Blender in a process of its own: colours without light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image

from engine.blender_process import run_blender_module
from engine.cache import storage_errors, write_json
from engine.captures.capture import View
from engine.progress import Job
from engine.results import scene_description
from sa3d_blender.protocol.errors import MeshError, StorageError

__all__ = ["read_render", "render_surface", "surface_colours"]

MODULE = "sa3d_blender.unlit"


def render_surface(mesh: trimesh.Trimesh, views: Mapping[str, View], folder: Path, job: Job) -> dict[str, Path]:
    """Pictures of a mesh, by stem, in the views' cameras at their sizes, written into ``folder``.

    Blender's cameras are pinholes: what a lens distorts is rendered straight. Principal points and pixels that are not
    square are the views' own. The mesh shines in its own colours, a texture's or its vertices', before nothing.

    Raises:
        MeshError: it has no colours.
        EnvironmentFault: the bpy package is not installed, or doesn't work.
        StorageError: the folder can't be written.
        Cancelled: on request.
    """
    surface, texture, scene, out = (folder / n for n in ("surface.npz", "texture.png", "scene.json", "renders"))
    colours, image = surface_colours(mesh)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(surface, vertices=np.asarray(mesh.vertices), faces=np.asarray(mesh.faces), **colours)
        if image is not None:
            image.save(texture)
    straight = {
        stem: replace(view, camera=replace(view.camera, model="pinhole", distortion=())) for stem, view in views.items()
    }
    write_json(scene, scene_description("mesh", folder, straight, []))
    arguments = ["--surface", str(surface), "--scene", str(scene), "--out", str(out)]
    if image is not None:
        arguments += ["--texture", str(texture)]
    run_blender_module(MODULE, arguments, job, "Rendering the mesh")
    return {stem: out / f"{number:04d}.png" for number, stem in enumerate(views)}


def read_render(path: Path) -> tuple[Float[np.ndarray, "h w 3"], Float[np.ndarray, "h w"]]:
    """(colour of the mesh, sRGB in [0, 1]; share of each pixel that it covers) of a picture that was rendered.

    Raises:
        StorageError: the picture is missing or damaged.
    """
    try:
        with Image.open(path) as image:
            rgba = np.asarray(image.convert("RGBA"), np.float32) / 255
    except OSError as fault:
        raise StorageError(f"The picture {path.name} was not rendered.", "Look at the log above.") from fault
    return rgba[..., :3], rgba[..., 3]


def surface_colours(mesh: trimesh.Trimesh) -> tuple[dict[str, np.ndarray], Image.Image | None]:
    """({"uv" float [V, 2]}, texture) of a mesh with one, else ({"colours" uint8 [V, 4] in sRGB}, None).

    Raises:
        MeshError: it has neither.
    """
    visual: Any = mesh.visual
    kind = None if visual is None else visual.kind
    if kind == "texture":
        image = getattr(visual.material, "baseColorTexture", None) or getattr(visual.material, "image", None)
        if visual.uv is not None and image is not None:
            return {"uv": np.asarray(visual.uv, np.float64)}, image.convert("RGB")
    elif kind in ("vertex", "face"):
        colours: UInt8[np.ndarray, "v 4"] = np.asarray(visual.vertex_colors, np.uint8)
        return {"colours": colours}, None
    raise MeshError("The mesh to be rendered has no colours.", "Give it vertex colours, or UVs and a texture.")
